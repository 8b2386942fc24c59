"""The command on a terminal: the question, the spinner, the password, Ctrl-C, and how fast help comes."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from command_line import CommandLine, Owner, Terminal

from delegation.sandbox import Sandbox

QUESTION = "Sign and send this? [y/N]: "
HEAVY = ("asyncio", "pydantic", "httpx", "web3", "eth_account", "solders", "sqlite3", "delegation.flow", "chains")


@pytest.fixture
async def cli(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[CommandLine]:
    cli = CommandLine(sandbox, tmp_path)
    yield cli
    await cli.close()


def grant(owner: Owner, *more: str) -> tuple[str, ...]:
    """Return the arguments of a grant that asks."""
    place = ("--network", "linea", "--currency", "usdc", "--amount", "5000")
    return ("grant", *place, "--wallet", str(owner.key_file), *more)


async def test_the_plan_is_shown_before_the_question_and_a_yes_carries_it_out(cli: CommandLine) -> None:
    owner = await cli.owner("linea")
    terminal = await Terminal.open(cli, *grant(owner))
    shown = await terminal.read_until(QUESTION)
    for words in ("Allow     5000 USDC on Linea", cli.sandbox.document.networks["linea"].delegation_contract):
        assert words in shown
    assert await cli.nonce("linea", owner) == 0
    terminal.type("y\n")
    status, rest = await terminal.end()
    assert status == 0
    assert re.search(r"Verification +VERIFIED", rest)
    assert await cli.nonce("linea", owner) == 1


@pytest.mark.parametrize("answer", ["n\n", "\n", "\x04"])
async def test_everything_but_a_yes_declines(cli: CommandLine, answer: str) -> None:
    owner = await cli.owner("linea")
    terminal = await Terminal.open(cli, *grant(owner))
    await terminal.read_until(QUESTION)
    terminal.type(answer)
    status, rest = await terminal.end()
    assert status == 1
    assert "nothing was signed" in rest
    assert (await cli.nonce("linea", owner), cli.delegations()) == (0, ())


async def test_ctrl_c_at_the_question_ends_it_at_once(cli: CommandLine) -> None:
    owner = await cli.owner("linea")
    terminal = await Terminal.open(cli, *grant(owner))
    await terminal.read_until(QUESTION)
    terminal.process.send_signal(signal.SIGINT)
    status, rest = await terminal.end()
    assert status == 1
    assert "nothing was signed" in rest
    assert cli.delegations() == ()


async def test_the_spinner_shows_the_station_and_the_elapsed_time_and_leaves_the_screen_clean(cli: CommandLine) -> None:
    owner = await cli.owner("linea")
    proof = {"method": "POST", "path": "/v1/delegation/evm/post-approval", "delay": 1.5}
    await cli.platform("POST", "/sandbox/misbehave", proof)
    terminal = await Terminal.open(cli, *grant(owner, "--yes"), stdout=asyncio.subprocess.PIPE)
    status, shown = await terminal.end()
    assert status == 0
    spins = re.findall(r"\r\x1b\[2K([⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏]) submission: telling the platform \((\d+) s\)", shown)
    assert len({frame for frame, _ in spins}) > 3
    assert [seconds for _, seconds in spins][-1] == "1"
    assert shown.endswith("\r\x1b[2K"), "the last of it is wiped out"


async def test_ctrl_c_while_it_waits_says_how_to_go_on(cli: CommandLine) -> None:
    owner = await cli.owner("linea")
    proof = {"method": "POST", "path": "/v1/delegation/evm/post-approval", "delay": 3}
    await cli.platform("POST", "/sandbox/misbehave", proof)
    terminal = await Terminal.open(cli, *grant(owner, "--yes"), columns=30)
    shown = await terminal.read_until("submission: telling t (1 s)")
    frames = re.findall(r"\x1b\[2K([⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏][^\r]*)", shown)
    assert max(len(frame) for frame in frames) <= 29, "a line that wraps cannot be wiped out"
    terminal.process.send_signal(signal.SIGINT)
    status, rest = await terminal.end()
    (saved,) = cli.delegations()
    assert status == 4
    assert f"Nothing is lost; finish it with: delegation --profile sandbox resume {saved.id}" in rest


async def test_a_keystore_asks_for_its_password_without_showing_it(cli: CommandLine, tmp_path: Path) -> None:
    from eth_account import Account

    owner = await cli.owner("linea")
    keystore = tmp_path / "keystore.json"
    keystore.write_text(json.dumps(Account.encrypt(owner.key_file.read_text(), "correct horse", iterations=4096)))
    keystore.chmod(0o600)
    sealed = Owner(owner.address, keystore)

    terminal = await Terminal.open(cli, *grant(sealed, "--yes"))
    await terminal.read_until("Password of the keystore: ")
    terminal.type("wrong\n")
    status, rest = await terminal.end()
    assert status == 2
    assert "password is wrong" in rest
    assert "wrong\n" not in rest.replace("is wrong", "")

    terminal = await Terminal.open(cli, *grant(sealed))
    await terminal.read_until("Password of the keystore: ")
    terminal.type("correct horse\n")
    shown = await terminal.read_until(QUESTION)
    terminal.type("y\n")
    status, rest = await terminal.end()
    assert status == 0
    assert "correct horse" not in shown + rest

    piped = await cli.start(*grant(sealed, "--yes"), stdin=asyncio.subprocess.PIPE)
    out, _ = await piped.communicate(b"correct horse\n")
    assert piped.returncode == 0
    assert b"VERIFIED" in out


async def test_a_changed_spender_is_trusted_only_by_a_yes(cli: CommandLine) -> None:
    owner = await cli.owner("linea")
    await cli.call(*grant(owner, "--yes"))
    other = cli.sandbox.document.networks["linea"].operator.address
    await cli.platform("POST", "/sandbox/config", {"network": "linea", "delegationContract": other})
    try:
        for answer, expected in (("n\n", 1), ("y\n", 0)):
            terminal = await Terminal.open(cli, "networks", "--trust", "linea")
            assert other in await terminal.read_until("[y/N]: ")
            terminal.type(answer)
            assert (await terminal.end())[0] == expected
    finally:
        await cli.platform("DELETE", "/sandbox/config")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"]])
def test_help_comes_without_heavy_imports(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom delegation.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "LOADED []"


@pytest.mark.parametrize("verb", ["grant", "revoke", "resume", "status", "networks", "list", "wallets", "ownership"])
def test_the_help_of_a_verb_comes_without_heavy_imports(verb: str) -> None:
    code = (
        "import sys\nfrom delegation.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code, verb, "-h"], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "LOADED []"
    assert "Usage: " in ended.stdout


def test_a_closed_pipe_is_no_traceback(tmp_path: Path) -> None:
    command = str(Path(sys.executable).with_name("delegation"))
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run([command, "--help"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writing)
    assert "Traceback" not in ended.stderr
