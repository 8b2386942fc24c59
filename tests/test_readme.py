"""What the README shows works as it is written."""

import asyncio
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from command_line import CommandLine

from chains.wallets import write_secret_file
from delegation import Profile
from delegation.cli import main
from delegation.sandbox import Sandbox

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def command_lines() -> list[str]:
    """Return every command line of `delegation` that is shown, in a block or in a sentence."""
    shown = re.findall(r"^ {4}(delegation .*)$", README, re.MULTILINE) + re.findall(r"`(delegation [^`]+)`", README)
    return sorted(set(shown))


async def test_the_python_block_runs_unchanged(sandbox: Sandbox, tmp_path: Path) -> None:
    (block,) = blocks("python")
    cli = CommandLine(sandbox, tmp_path)
    owner = await cli.owner("linea")
    write_secret_file(tmp_path / "linea.key", owner.key_file.read_text())
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", block, cwd=tmp_path, env=cli.environment, stdout=pipe, stderr=pipe
    )
    result = await cli.finish(process)
    assert (result.status, result.err) == (0, "")
    assert re.fullmatch(r"VERIFIED 0x[0-9a-f]{64}\n", result.out)
    assert [d.request.owner for d in cli.delegations()] == [owner.address]


def test_what_a_reader_copies_passes_the_strict_typing_that_py_typed_promises(tmp_path: Path) -> None:
    copied = [ROOT / "scripts" / f"{name}.py" for name in ("grant_allowance", "revoke_allowance", "verify_delegation")]
    for number, block in enumerate(blocks("python")):
        copied.append(tmp_path / f"block_{number}.py")
        copied[-1].write_text(block)
    mypy = [sys.executable, "-m", "mypy", "--strict"]
    checked = subprocess.run([*mypy, *map(str, copied)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_command_lines_are_shown() -> None:
    assert len(command_lines()) > 12


@pytest.mark.parametrize("line", command_lines())
def test_every_command_line_shown_is_one_of_ours(line: str) -> None:
    arguments = shlex.split(line, comments=True)[1:]
    # With --help the options are read and nothing is done.
    ended = CliRunner().invoke(main, [*arguments, "--help"])
    assert ended.exit_code == 0, ended.output


async def test_the_profile_shown_is_one() -> None:
    (block,) = blocks("json")
    profile = Profile.model_validate(json.loads(block))
    assert profile.chain("linea").rpc_url == "https://linea.example.com/v1/your-key"
    async with profile.gateway_door() as gateway:
        assert gateway.region == "international"
    assert profile.model_dump(exclude_none=True, exclude_unset=True) == json.loads(block), "nothing shown is ignored"


def test_the_exit_statuses_are_those_of_the_help() -> None:
    rows = re.findall(r"^\| ([0-9]) \| ([^;:|]+)", README, re.MULTILINE)
    assert [status for status, _ in rows] == ["0", "1", "2", "3", "4"]
    for status, meaning in rows:
        assert f"{status} {meaning.strip()}" in (main.epilog or "")


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:scripts|chains|delegation)/[\w./]*)`", README))))
def test_every_file_named_is_there(path: str) -> None:
    assert (ROOT / path).exists()
