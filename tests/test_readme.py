"""What the README shows works as it is written."""

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from command_line import CommandLine, Result

from chains.types import Family
from delegation import Profile
from delegation.cli import main
from delegation.sandbox import Sandbox
from delegation.sandbox.profile import profile_of

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def command_lines() -> list[str]:
    """Return every command line of `delegation` that is shown, in a block or in a sentence."""
    shown = re.findall(r"^ {4}(delegation .*)$", README, re.MULTILINE) + re.findall(r"`(delegation [^`]+)`", README)
    return sorted(set(shown))


@pytest.fixture
async def cli(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[CommandLine]:
    """A command line as `sandbox up` leaves it: the profile `sandbox` names a wallet."""
    cli = CommandLine(sandbox, tmp_path)
    owner = await cli.owner("linea")
    wallets: dict[Family, str] = {"evm": str(owner.key_file)}
    cli.write_profile(profile_of(sandbox.document, journal=cli.journal_file, wallets=wallets))
    yield cli
    await cli.close()


async def run(cli: CommandLine, *command: str) -> Result:
    """Run a program as a person in the directory of these tests."""
    pipe = asyncio.subprocess.PIPE
    environment = cli.environment | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cli.home, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
    )
    return await cli.finish(process)


async def test_the_python_block_runs_unchanged(cli: CommandLine) -> None:
    (block,) = blocks("python")
    result = await run(cli, sys.executable, "-W", "error", "-c", block)
    assert (result.status, result.err) == (0, "")
    assert re.fullmatch(r"VERIFIED 0x[0-9a-f]{64}\nVERIFIED active T0\n", result.out)
    assert [d.station for d in cli.delegations()] == ["done"]


async def test_the_terminal_session_prints_what_is_shown(cli: CommandLine) -> None:
    (session,) = blocks("console")
    shown_id = re.findall(r"Delegation +([0-9a-f]{12})", session)[0]
    commands = re.findall(r"^\$ (.*)\n((?:(?!\$).*\n)*)", session, re.MULTILINE)
    assert len(commands) == 3
    for command, shown in commands:
        made = cli.delegations()
        typed = command.replace(shown_id, made[0].id) if made else command
        result = await run(cli, "bash", "-o", "pipefail", "-c", typed)
        assert result.status == 0, result.err
        assert _without_what_differs(result.out) == _without_what_differs(shown)


def _without_what_differs(words: str) -> str:
    """Return a text without the addresses, hashes, ids and block numbers in it, which differ from run to run."""
    return re.sub(r"0x[0-9a-fA-F]+|\b[0-9a-f]{12}\b|[Bb]lock [0-9]+", "…", words)


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
