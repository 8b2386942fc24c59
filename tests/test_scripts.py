"""The recipes in scripts/, run as a person runs them."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from command_line import CommandLine, Owner, Result

from delegation.sandbox import Sandbox
from delegation.sandbox.profile import profile_of

SCRIPTS = Path(__file__).parent.parent / "scripts"


@pytest.fixture
async def cli(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[CommandLine]:
    cli = CommandLine(sandbox, tmp_path)
    yield cli
    await cli.close()


async def default_wallet(cli: CommandLine) -> Owner:
    """Return a fresh wallet that is the profile's default."""
    owner = await cli.owner("linea")
    cli.write_profile(profile_of(cli.sandbox.document, journal=cli.journal_file, wallets={"evm": str(owner.key_file)}))
    return owner


async def start(cli: CommandLine, script: str, *arguments: str) -> asyncio.subprocess.Process:
    """Start a script."""
    pipe = asyncio.subprocess.PIPE
    path = str(SCRIPTS / script)
    process = await asyncio.create_subprocess_exec(
        sys.executable, path, *arguments, env=cli.environment, stdin=pipe, stdout=pipe, stderr=pipe
    )
    cli.processes.append(process)
    return process


async def run(cli: CommandLine, script: str, *arguments: str, typed: str) -> Result:
    """Run a script with what a person types."""
    return await cli.finish(await start(cli, script, *arguments), typed)


async def allowance(cli: CommandLine, owner: Owner) -> str:
    """Return what the chain holds."""
    place = ("--network", "linea", "--currency", "usdc", "--owner", owner.address)
    status = await cli.call("--json", "status", *place)
    return str(status.document["allowance"])


async def test_an_allowance_is_granted_and_revoked_by_a_yes(cli: CommandLine) -> None:
    owner = await default_wallet(cli)
    granted = await run(cli, "grant_allowance.py", "linea", "usdc", "5000", "sandbox", typed="y\n")
    assert granted.status == 0, granted
    spender = cli.sandbox.document.networks["linea"].delegation_contract
    assert "Allow  5000 USDC on Linea" in granted.out
    assert f"VERIFIED: {spender} may spend 5000 USDC." in granted.out
    assert await allowance(cli, owner) == "5000000000"
    revoked = await run(cli, "revoke_allowance.py", "linea", "usdc", "sandbox", typed="y\n")
    assert revoked.status == 0, revoked
    assert f"VERIFIED: {spender} may spend nothing any more." in revoked.out
    assert await allowance(cli, owner) == "0"


async def test_everything_else_than_a_yes_signs_nothing(cli: CommandLine) -> None:
    owner = await default_wallet(cli)
    # One after the other: while a person is asked, nobody else is asked for the same owner.
    declined = await run(cli, "grant_allowance.py", "linea", "usdc", "5000", "sandbox", typed="n\n")
    silent = await run(cli, "grant_allowance.py", "linea", "usdc", "5000", "sandbox", typed="")
    revoked = await run(cli, "revoke_allowance.py", "linea", "usdc", "sandbox", typed="n\n")
    for result in (declined, silent, revoked):
        assert result.status == 1
        assert "nothing was signed" in result.err
    assert await cli.nonce("linea", owner) == 0
    assert [d.station for d in cli.delegations()] == ["failed"] * 3


async def test_ctrl_c_at_the_question_ends_it_at_once(cli: CommandLine) -> None:
    await default_wallet(cli)
    process = await start(cli, "grant_allowance.py", "linea", "usdc", "5000", "sandbox")
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readuntil(b"[y/N] "), 60)
    await asyncio.sleep(0.5)  # nobody is so quick that the question is shown but not yet waiting for its answer
    process.send_signal(signal.SIGINT)
    result = await cli.finish(process)
    assert result.status == 1
    assert result.err.startswith("Interrupted.")
    assert [d.station for d in cli.delegations()] == ["failed"]


async def test_bad_input_ends_with_2_and_a_message(cli: CommandLine) -> None:
    owner = await default_wallet(cli)
    amount, network, profile, usage = await asyncio.gather(
        run(cli, "grant_allowance.py", "linea", "usdc", "5,000", "sandbox", typed="y\n"),
        run(cli, "revoke_allowance.py", "lineo", "usdc", "sandbox", typed="y\n"),
        run(cli, "revoke_allowance.py", "linea", "usdc", "nope", typed="y\n"),
        run(cli, "grant_allowance.py", "linea", typed=""),
    )
    assert [result.status for result in (amount, network, profile, usage)] == [2, 2, 2, 2]
    assert "'5,000' is not an amount." in amount.err
    assert "No network is called 'lineo'." in network.err
    assert "There is no profile 'nope'" in profile.err
    assert "grant_allowance.py NETWORK CURRENCY AMOUNT [PROFILE]" in usage.err
    assert await cli.nonce("linea", owner) == 0


@pytest.mark.parametrize("status", [500, 401])
async def test_what_the_platform_stops_is_finished_by_resume(cli: CommandLine, status: int) -> None:
    owner = await default_wallet(cli)
    proof = {"method": "POST", "path": "/v1/delegation/evm/post-approval", "status": status, "times": 9}
    await cli.platform("POST", "/sandbox/misbehave", proof)
    stopped = await run(cli, "grant_allowance.py", "linea", "usdc", "5000", "sandbox", typed="y\n")
    await cli.platform("DELETE", "/sandbox/misbehave")
    assert stopped.status == 1, "2 would say that nothing was signed"
    assert "delegation --profile sandbox resume" in stopped.err
    resumed = await cli.call("--json", "resume")
    assert (resumed.status, resumed.document["verification"]["verdict"]) == (0, "VERIFIED")
    assert await cli.nonce("linea", owner) == 1


async def test_what_was_granted_is_verified_on_chain_and_a_false_claim_is_refuted(cli: CommandLine) -> None:
    owner = await default_wallet(cli)
    assert (await run(cli, "grant_allowance.py", "linea", "usdc", "5000", "sandbox", typed="y\n")).status == 0
    (delegation,) = cli.delegations()
    claim = ("linea", "usdc", str(delegation.approvals[-1].hash), owner.address)
    verified = await run(cli, "verify_delegation.py", *claim, "5000", "sandbox", typed="")
    assert (verified.status, verified.out.splitlines()[-1]) == (0, "VERIFIED"), verified
    assert "last-approval  VERIFIED" in verified.out
    refuted = await run(cli, "verify_delegation.py", *claim, "4999", "sandbox", typed="")
    assert (refuted.status, refuted.out.splitlines()[-1]) == (1, "REFUTED")
    for wrong in ((), ("linea", "usdc", "0x12", owner.address, "5", "sandbox"), (*claim, "5e3", "sandbox")):
        ended = await run(cli, "verify_delegation.py", *wrong, typed="")
        assert ended.status == 2, ended
        assert ended.err
