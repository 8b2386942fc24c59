"""`speed-up`, `cancel`, `abandon`, `revoke`, `resume --all` and `list`, as an operator at night types them."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from command_line import CommandLine, Owner, Result, Terminal, planned
from test_cli_delegations import grant, of

from chains.rpc import HttpRpc
from delegation.models import Delegation
from delegation.sandbox import Sandbox

NETWORK = "base"


@pytest.fixture
async def cli(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[CommandLine]:
    cli = CommandLine(sandbox, tmp_path)
    yield cli
    await cli.close()


@pytest.fixture
async def owner(cli: CommandLine) -> Owner:
    return await cli.owner(NETWORK)


@pytest.fixture
async def chain(sandbox: Sandbox, owner: Owner) -> AsyncIterator[HttpRpc]:
    """A network that mines nothing until it is told to, once the owner has gas on it."""
    assert owner
    rpc = HttpRpc(sandbox.document.networks[NETWORK].rpc_url)
    await rpc.request("evm_setAutomine", [False])
    yield rpc
    await rpc.request("anvil_dropAllTransactions")
    await rpc.request("evm_setAutomine", [True])
    await rpc.aclose()


async def interrupted(cli: CommandLine, chain: HttpRpc, *arguments: str) -> Result:
    """Run a command until its transaction waits to be mined, and stop it there with Ctrl-C."""
    process = await cli.start(*arguments)
    await until_it_waits(process, chain)
    process.send_signal(signal.SIGINT)
    return await cli.finish(process)


async def mined(cli: CommandLine, chain: HttpRpc, *arguments: str) -> Result:
    """Run a command to its end on a network that mines once the command's transaction waits for it."""
    process = await cli.start(*arguments)
    said = await until_it_waits(process, chain)
    ending = asyncio.create_task(cli.finish(process))
    while not ending.done():
        await chain.request("evm_mine")
        await asyncio.sleep(0.3)
    ended = await ending
    return Result(ended.status, ended.out, said + ended.err)


async def until_it_waits(process: asyncio.subprocess.Process, chain: HttpRpc) -> str:
    """Return what a command said until the node has the transaction that it says it waits for: it says so first."""
    assert process.stderr is not None
    said = ""
    while (waiting := re.search(r"waiting for (0x[0-9a-f]{64})", said)) is None:
        line = await asyncio.wait_for(process.stderr.readline(), 30)
        assert line, said
        said += line.decode()
    for _ in range(600):
        if await chain.request("eth_getTransactionByHash", [waiting[1]]) is not None:
            return said
        await asyncio.sleep(0.05)
    raise AssertionError(f"the node never got {waiting[1]}")


async def stuck(cli: CommandLine, chain: HttpRpc, owner: Owner, amount: str = "900") -> Delegation:
    """Return a grant that waits to be mined, and that nobody carries."""
    stopped = await interrupted(cli, chain, *grant(NETWORK, "usdc", amount, owner))
    assert stopped.status == 4
    return cli.delegations()[-1]


def wallet(owner: Owner) -> tuple[str, ...]:
    return ("--wallet", str(owner.key_file), "--yes")


async def allowance(cli: CommandLine, owner: Owner) -> str:
    allowed: str = (await cli.call("--json", "status", *of(NETWORK, "usdc", owner))).document["allowance"]
    return allowed


async def test_a_stuck_grant_is_sped_up_and_the_new_bound_is_shown_before_it_is_signed(
    cli: CommandLine, chain: HttpRpc, owner: Owner
) -> None:
    d = await stuck(cli, chain, owner)
    nobody = await cli.run("speed-up", d.id, "--wallet", str(owner.key_file))
    assert "run it again with --yes" in nobody.err
    assert cli.delegations()[-1] == d
    capped = await cli.run("speed-up", d.id, *wallet(owner), "--max-fee", "1")
    assert "more than the cap of 1" in capped.err
    assert cli.delegations()[-1] == d

    done = await mined(cli, chain, "speed-up", d.id, *wallet(owner))
    assert done.status == 0, done
    assert "New fee" in done.err
    assert "only one of the two is ever paid" in done.err
    finished = cli.delegations()[-1]
    assert (finished.state, len(finished.approvals[0].earlier)) == ("done", 1)
    assert (await allowance(cli, owner), await cli.nonce(NETWORK, owner)) == ("900000000", 1)
    again = await cli.run("speed-up", d.id, *wallet(owner))
    assert again.status == 2
    assert "has no transaction in flight" in again.err


async def test_a_stuck_grant_is_cancelled_and_never_comes_back(cli: CommandLine, chain: HttpRpc, owner: Owner) -> None:
    d = await stuck(cli, chain, owner)
    kept = await cli.run("abandon", d.id)
    assert kept.status == 2
    assert f"Cancel it with: delegation --profile sandbox cancel {d.id}" in kept.err
    cancelled = await mined(cli, chain, "cancel", d.id, *wallet(owner))
    assert cancelled.status == 0, cancelled
    assert "Cancelled" in cancelled.out
    assert (await allowance(cli, owner), await cli.nonce(NETWORK, owner)) == ("0", 1)
    over = await cli.run("resume", d.id, *wallet(owner))
    assert over.status == 2
    assert "never comes back by itself" in over.err
    assert (await cli.run("abandon", d.id)).status == 2


async def test_a_revocation_takes_the_place_of_a_grant_in_flight(
    cli: CommandLine, chain: HttpRpc, owner: Owner
) -> None:
    d = await stuck(cli, chain, owner)
    busy = await cli.run(*grant(NETWORK, "usdc", "5", owner))
    assert busy.status == 1
    assert f"speed-up {d.id}" in busy.err
    revoked = await mined(cli, chain, "revoke", "--network", NETWORK, "--currency", "usdc", *wallet(owner))
    assert revoked.status == 0, revoked
    assert d.approvals[0].hash is not None
    assert f"{d.approvals[0].hash} (nonce 0) of delegation {d.id}" in revoked.err
    assert (await allowance(cli, owner), await cli.nonce(NETWORK, owner)) == ("0", 1)
    assert {one.id: one.state for one in cli.delegations()}[d.id] == "superseded"


async def test_a_revocation_does_not_wait_for_a_question_that_nobody_answers(cli: CommandLine) -> None:
    owner = await cli.owner("linea")
    place = ("--network", "linea", "--currency", "usdc")
    terminal = await Terminal.open(cli, "grant", *place, "--amount", "5", "--wallet", str(owner.key_file))
    await terminal.read_until("Sign and send this? [y/N]: ")
    revoked = await cli.run("revoke", *place, *wallet(owner))
    assert revoked.status == 0, revoked
    terminal.type("y\n")
    status, rest = await terminal.end()
    assert status == 1
    assert "this one has stopped" in rest
    assert [d.state for d in cli.delegations()] == ["superseded", "done"]
    assert await cli.nonce("linea", owner) == 1


async def test_resume_all_carries_the_newest_first_goes_past_failures_and_ends_with_4_while_any_is_left(
    cli: CommandLine,
) -> None:
    owner, poor, elsewhere = await cli.owner("linea"), await cli.owner("linea"), await cli.owner("linea")
    old, newer = await planned(cli, owner, 900), await planned(cli, owner, 5)
    other = await planned(cli, poor, 7)
    # Whose wallet is not at hand.
    some = await cli.run("resume", "--all", *wallet(owner))
    assert some.status == 4
    assert f"{newer.id}  5 USDC on linea: VERIFIED" in some.err
    assert f"{old.id}  900 USDC on linea: superseded" in some.err
    assert f"{other.id}  7 USDC on linea: stopped at the approval" in some.err
    assert "1 of 3 are not finished" in some.err
    assert await cli.nonce("linea", owner) == 1
    rest = await cli.run("--json", "resume", "--all", *wallet(poor))
    assert (rest.status, rest.document["left"]) == (0, 0)
    assert [one["delegation"]["id"] for one in rest.document["outcomes"]] == [other.id]
    nothing = await cli.run("resume", "--all", *wallet(elsewhere))
    assert (nothing.status, "Nothing to resume" in nothing.err) == (0, True)
    both = await cli.run("resume", "--all", other.id)
    assert both.status == 2


async def test_revoke_all_takes_back_everything_in_force_after_one_question(cli: CommandLine) -> None:
    owner = await cli.owner("linea")
    for currency, amount in (("usdc", "5"), ("usdt", "6")):
        assert (await cli.run(*grant("linea", currency, amount, owner))).status == 0
    key = ("--wallet", str(owner.key_file))
    unasked = await cli.run("revoke", "--all", *key)
    assert unasked.status == 2
    assert "USDC on linea" in unasked.err
    assert "USDT on linea" in unasked.err
    terminal = await Terminal.open(cli, "revoke", "--all", *key)
    await terminal.read_until("Take all of it back? [y/N]: ")
    terminal.type("y\n")
    status, _ = await terminal.end()
    assert status == 0
    for currency in ("usdc", "usdt"):
        left = await cli.call("--json", "status", *of("linea", currency, owner))
        assert left.document["allowance"] == "0"
    nothing = await cli.run("revoke", "--all", *wallet(owner))
    assert (nothing.status, "Nothing is in force" in nothing.err) == (0, True)
    wrong = await cli.run("revoke", "--all", "--currency", "usdc", *wallet(owner))
    assert wrong.status == 2
    missing = await cli.run("revoke", "--network", "linea", *wallet(owner))
    assert (missing.status, "--currency is missing" in missing.err) == (2, True)


async def test_the_list_marks_what_is_in_force_is_narrowed_and_fits_the_terminal(cli: CommandLine) -> None:
    owner = await cli.owner("linea")
    for amount in ("5", "6"):
        await cli.call(*grant("linea", "usdc", amount, owner))
    await planned(cli, await cli.owner("linea"), 7)
    first, second, third = cli.delegations()

    async def ids(*options: str) -> list[str]:
        listed = await cli.call("--json", "list", *options)
        assert listed.status == 0, listed
        return [d["id"] for d in listed.document["delegations"]]

    assert await ids() == [first.id, second.id, third.id]
    assert await ids("--state", "in-force") == [second.id]
    assert await ids("--state", "unfinished") == [third.id]
    assert await ids("--state", "done", "--limit", "1") == [second.id]
    assert await ids("--owner", owner.address.lower()) == [first.id, second.id]
    assert await ids("--network", "base") == []
    assert await ids("--since", "1h") == [first.id, second.id, third.id]
    assert await ids("--since", "2999-01-01") == []
    for wrong in (("--state", "lost"), ("--since", "yesterday"), ("--network", "lineo"), ("--limit", "0")):
        assert (await cli.call("list", *wrong)).status == 2

    for columns in (80, 200):
        terminal = await Terminal.open(cli, "list", columns=columns)
        status, shown = await terminal.end()
        assert status == 0
        assert not [line for line in shown.splitlines() if len(line) > columns]
        starred = [line for line in shown.splitlines() if line.startswith("*") and second.id in line]
        assert len(starred) == 1
        assert (owner.address in starred[0]) is (columns == 200)
        assert ("VERIFIED (active)" in starred[0]) is (columns == 200)
