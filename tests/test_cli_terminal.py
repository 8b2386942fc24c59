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
from command_line import CommandLine, Owner, Terminal, planned

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


async def test_everything_but_a_yes_declines(cli: CommandLine) -> None:
    owner = await cli.owner("linea")

    async def decline(answer: str) -> tuple[int, str]:
        terminal = await Terminal.open(cli, *grant(owner))
        await terminal.read_until(QUESTION)
        terminal.type(answer)
        return await terminal.end()

    # One after the other: while a person is asked, nobody else is asked for the same owner.
    for answer in ("n\n", "\n", "\x04"):
        status, rest = await decline(answer)
        assert status == 1
        assert "nothing was signed" in rest
    assert await cli.nonce("linea", owner) == 0
    assert [d.station for d in cli.delegations()] == ["failed"] * 3


async def test_ctrl_c_at_the_question_ends_it_at_once(cli: CommandLine) -> None:
    owner = await cli.owner("linea")
    terminal = await Terminal.open(cli, *grant(owner))
    await terminal.read_until(QUESTION)
    await asyncio.sleep(0.5)  # nobody is so quick that the question is shown but not yet waiting for its answer
    terminal.process.send_signal(signal.SIGINT)
    status, rest = await terminal.end()
    assert status == 1
    assert "nothing was signed" in rest
    assert [d.station for d in cli.delegations()] == ["failed"]


async def test_what_is_out_of_date_is_asked_about_on_the_terminal_also_with_yes(cli: CommandLine) -> None:
    owner = await cli.owner("linea")
    old = await planned(cli, owner, 900)
    (cli.home / "elsewhere").mkdir()
    assert (await CommandLine(cli.sandbox, cli.home / "elsewhere").call(*grant(owner, "--yes"))).status == 0
    terminal = await Terminal.open(cli, "resume", old.id, "--wallet", str(owner.key_file), "--yes")
    shown = await terminal.read_until("Sign and send this all the same? [y/N]: ")
    assert "when the allowance was 0 USDC" in shown
    assert "Now the allowance is 5000 USDC" in shown
    terminal.type("y\n")
    status, rest = await terminal.end()
    assert (status, "VERIFIED" in rest) == (0, True)
    assert await cli.nonce("linea", owner) == 2


async def test_the_spinner_shows_the_station_and_the_elapsed_time_and_leaves_the_screen_clean(cli: CommandLine) -> None:
    owner = await cli.owner("linea")
    proof = {"method": "POST", "path": "/v1/delegation/evm/post-approval", "delay": 1.5}
    await cli.platform("POST", "/sandbox/misbehave", proof)
    terminal = await Terminal.open(cli, *grant(owner, "--yes"), columns=32, stdout=asyncio.subprocess.DEVNULL)
    status, shown = await terminal.end()
    assert status == 0
    frames = re.findall(r"\r\x1b\[2K(([⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏]) ([^\r]*) \((\d+) s\))", shown)
    waiting = [(sign, int(seconds)) for _, sign, words, seconds in frames if words == "submission: telling the"]
    assert len({sign for sign, _ in waiting}) > 3
    assert waiting[-1][1] >= 1
    assert max(len(frame) for frame, *_ in frames) < 32, "a line that wraps cannot be wiped out"
    assert shown.endswith("\r\x1b[2K")


async def test_a_keystore_asks_for_its_password_without_showing_it(cli: CommandLine, tmp_path: Path) -> None:
    from eth_account import Account

    owner = await cli.owner("linea", gas=False, tokens=False)
    keystore = tmp_path / "keystore.json"
    keystore.write_text(json.dumps(Account.encrypt(owner.key_file.read_text(), "correct horse", iterations=4096)))
    keystore.chmod(0o600)
    statement = ("--domain", "card.example.com", "--nonce", "5f8a9b2c4d3e1a7b")
    sign = ("ownership", "sign", "--network", "linea", "--wallet", str(keystore), *statement)

    async def sign_on_terminal(password: str) -> tuple[int, str]:
        terminal = await Terminal.open(cli, *sign)
        await terminal.read_until("Password of the keystore: ")
        await asyncio.sleep(0.2)  # until the terminal echoes no more
        terminal.type(password + "\n")
        return await terminal.end()

    piped = await cli.start(*sign, stdin=asyncio.subprocess.PIPE)
    (refused, said), (status, shown), signed = await asyncio.gather(
        sign_on_terminal("battery staple"), sign_on_terminal("correct horse"), cli.finish(piped, "correct horse\n")
    )
    assert refused == 2
    assert "password is wrong" in said
    assert "battery staple" not in said
    assert status == 0
    assert re.search(r"^0x[0-9a-f]{130}$", shown, re.MULTILINE)
    assert "correct horse" not in shown
    assert (signed.status, len(signed.out.strip())) == (0, 132)


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


@pytest.mark.parametrize(
    ("stream", "command", "status"),
    [
        ("<&-", "grant --network linea --currency usdc --amount 5 --wallet KEY", 2),
        ("<&-", "grant --network linea --currency usdc --amount 5 --wallet KEY --yes", 0),
        ("2>&-", "grant --network linea --currency usdc --amount 5 --wallet KEY --yes", 0),
        (">/dev/full", "--json list", 1),
        (">/dev/full", "status --network linea --currency usdc --owner OWNER", 1),
        (">/dev/full", "verify --network linea --currency usdc --owner OWNER --amount 5 " + "0x" + "ab" * 32, 3),
    ],
)
async def test_streams_that_the_shell_has_closed_or_that_are_full_end_in_words(
    cli: CommandLine, stream: str, command: str, status: int
) -> None:
    owner = await cli.owner("linea")
    arguments = command.replace("KEY", str(owner.key_file)).replace("OWNER", owner.address)
    program = Path(sys.executable).with_name("delegation")
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        f"{program} --profile sandbox {arguments} {stream}",
        env=cli.environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    ended = await cli.finish(process)
    assert ended.status == status, ended
    assert "Error" in ended.err or status == 0
