"""The chain moves and the platform forgets: what has settled is looked at again, sent again and told again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from line_lab import POST_APPROVAL, UNIT, CrashError, Line, TamperedWallet, WalletApp, die_at, open_line
from stuck_lab import NETWORKS, held, is_mined, mine, never_asked, pending, quick

from chains.errors import TransactionDroppedError, TransactionReplacedError
from chains.evm import watch
from chains.family import open_node
from delegation import Context, Delegation, carry
from delegation.errors import (
    AssetChangedError,
    ConflictError,
    DelegationEndedError,
    OutdatedPlanError,
    PinMismatchError,
    RejectedError,
)
from delegation.pins import Asset, Pins
from delegation.plan import find_asset
from delegation.sandbox import Sandbox

# Where a process dies, by what it was about to do; each is a station of the line, from the transaction to the end.
STATIONS = {
    "on its way": "waiting for",
    "settled": "taking a token",
    "token taken": "asking the wallet to sign the ownership statement",
    "statement signed": "telling the platform",
    "answer lost": "the platform's answer was lost",
    "told": "comparing the chain",
    "done": "",
}
CHAINS = [(*NETWORKS[0],), (*NETWORKS[1],), pytest.param(*NETWORKS[2], marks=pytest.mark.long)]


async def roll_back(line: Line, depth: int) -> None:
    """Take the newest blocks away, so that the chain is shorter."""
    await line.rpc.request("anvil_rollback", [depth])


async def reorganise(line: Line, depth: int) -> None:
    """Put empty blocks in the place of the newest, so that the chain is as long as before."""
    await line.rpc.request("anvil_reorg", [depth, []])


async def stop_at(line: Line, station: str, amount: str = "5000") -> Delegation:
    """Return a grant whose process died at a station, or that is finished, with its transaction in the newest block."""
    if station == "done":
        return await line.carry(amount)
    if station == "answer lost":
        await line.platform.misbehave(POST_APPROVAL, lose_answer=True)
    with pytest.raises(CrashError):
        await carry(line.new(amount), replace(line.context, progress=die_at(STATIONS[station])))
    return line.only()


async def check_done(line: Line, d: Delegation, *, signed: int, proofs: int = 1) -> None:
    """Check that it is finished and VERIFIED with what the chain allows, and that so many proofs were taken."""
    assert d.state == "done"
    assert d.result.verdict == "VERIFIED", d.result
    assert d.result.allowance == await line.allowance() == int(d.request.amount * UNIT)
    assert d.result.state == ("active" if d.request.amount else "revoked")
    assert d.proof is not None
    assert d.proof.tx_hash == d.approvals[-1].hash
    assert await is_mined(line, d.proof.tx_hash)
    assert await line.count_signed() == signed
    assert (await line.statuses()).count(201) == proofs


@pytest.mark.parametrize(("move", "depth"), [(roll_back, 1), (reorganise, 3)])
@pytest.mark.parametrize("station", STATIONS)
@pytest.mark.parametrize(("network", "currency"), CHAINS)
async def test_a_reorganisation_at_any_station_ends_with_the_saved_bytes_on_the_chain_and_one_proof_of_them(
    sandbox: Sandbox,
    tmp_path: Path,
    network: str,
    currency: str,
    station: str,
    move: Callable[[Line, int], Awaitable[None]],
    depth: int,
) -> None:
    async with open_line(sandbox, tmp_path, network, currency) as line:
        await mine(line, depth)
        d = await stop_at(line, station)
        await move(line, depth)
        assert await line.allowance() == 0
        wallet = TamperedWallet(line.key)
        done = await carry(d, never_asked(replace(line.context, wallet=wallet)))
        assert wallet.signed == []
        assert [one.hash for one in done.approvals] == [one.hash for one in d.approvals]
        await check_done(line, done, signed=1)


@pytest.mark.long
@pytest.mark.parametrize(("move", "depth"), [(roll_back, 3), (reorganise, 1)])
@pytest.mark.parametrize("station", STATIONS)
@pytest.mark.parametrize(("network", "currency"), NETWORKS)
async def test_a_shorter_chain_and_one_of_the_same_length_end_alike(
    sandbox: Sandbox,
    tmp_path: Path,
    network: str,
    currency: str,
    station: str,
    move: Callable[[Line, int], Awaitable[None]],
    depth: int,
) -> None:
    async with open_line(sandbox, tmp_path, network, currency) as line:
        await mine(line, depth)
        d = await stop_at(line, station)
        await move(line, depth)
        await check_done(line, await carry(d, never_asked(line.context)), signed=1)


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("station", ["done", "statement signed", "half"])
async def test_of_two_steps_each_is_sent_again_from_its_bytes(
    sandbox: Sandbox, tmp_path: Path, station: str, depth: int
) -> None:
    async with open_line(sandbox, tmp_path, "ethereum", "usdt") as line:
        await line.approve_directly(100 * UNIT)
        await mine(line, depth)
        if station == "half":
            with pytest.raises(CrashError):
                await carry(line.new("5000"), replace(line.context, progress=die_at("approval 2 of 2: preparing")))
            d = line.only()
        else:
            d = await stop_at(line, station)
        await roll_back(line, depth)
        wallet = TamperedWallet(line.key)
        done = await carry(d, replace(line.context, wallet=wallet))
        assert len(wallet.signed) == (station == "half")
        assert [one.hash for one in done.approvals][:1] == [one.hash for one in d.approvals][:1]
        await check_done(line, done, signed=3)


async def test_a_reorganisation_while_the_statement_is_signed_is_found_before_the_proof_is_offered(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "linea") as line:
        await mine(line)

        async def move_once() -> None:
            if not wallet.texts:
                await reorganise(line, 1)

        wallet = TamperedWallet(line.key, before_text=move_once)
        done = await carry(line.new("5000"), replace(line.context, wallet=wallet))
        assert await line.statuses() == [201], "no proof of a transaction that is on no chain was offered"
        assert len(wallet.signed) == 1
        await check_done(line, done, signed=1)


async def test_what_another_transaction_displaced_after_it_was_told_of_is_made_anew_and_told_anew(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        await mine(line)
        first = await line.carry("5000")
        await roll_back(line, 1)
        await line.send_directly("0x", to=line.owner)
        with pytest.raises(TransactionReplacedError):
            await carry(first, line.context)
        lost = line.only()
        assert (lost.state, lost.verification) == ("agreed", None)
        with pytest.raises(OutdatedPlanError):
            await carry(lost, line.context)
        done = await carry(line.only(), replace(line.context, agree_again=lambda _: None))
        assert done.approvals[0].hash != first.approvals[0].hash
        await check_done(line, done, signed=2, proofs=2)


async def test_a_hash_of_a_wallet_that_left_the_chain_is_waited_for_and_then_asked_for_again(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_CHECK_EVERY", 0.1)
    monkeypatch.setattr(watch, "_DROPPED_AFTER", 0.3)
    async with open_line(sandbox, tmp_path, "base") as line:
        await mine(line)
        app = WalletApp(line)
        context = replace(line.context, wallet=app.wallet)
        first = await carry(line.new("5000"), context)
        await roll_back(line, 1)
        with pytest.raises(TransactionDroppedError):
            await carry(first, context)
        lost = line.only()
        assert (lost.state, lost.verification) == ("handed_out", None)
        done = await carry(lost, context)
        nonces = [request["params"][0]["nonce"] for request in app.transactions]
        assert nonces == [nonces[0]] * 2
        await check_done(line, done, signed=1, proofs=1)


async def test_an_approval_is_not_told_of_before_it_lies_as_deep_as_its_network_asks(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "ethereum") as line:
        await mine(line)
        node = open_node(replace(line.context.node.chain, settle_depth=3), line.known.rpc_url)
        context = replace(line.context, node=node, settle_timeout=0.3)
        async with held(line):
            await pending(line.new("5000"), context)
            await mine(line, 2)
            d = await pending(line.only(), context)
            await reorganise(line, 2)
            d = await pending(d, context)
            assert (d.state, await line.statuses()) == ("on_its_way", [])
            await mine(line, 3)
            done = await carry(d, replace(context, settle_timeout=20))
        await node.aclose()
        await check_done(line, done, signed=1)


async def test_interval_mining_carries_an_approval_to_its_depth_while_it_is_waited_for(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "ethereum") as line:
        node = open_node(replace(line.context.node.chain, settle_depth=2), line.known.rpc_url)
        await line.rpc.request("evm_setIntervalMining", [1])
        try:
            done = await carry(line.new("5000"), replace(line.context, node=node, settle_timeout=20))
        finally:
            await line.rpc.request("evm_setIntervalMining", [0])
            await line.rpc.request("evm_setAutomine", [True])
        await node.aclose()
        await check_done(line, done, signed=1)


# --- what became of it -----------------------------------------------------------------------------------------------


async def spend(line: Line) -> None:
    await line.sandbox.spend(line.network, line.currency, line.owner, 1200 * UNIT)


async def replace_it(line: Line) -> None:
    await line.approve_directly(7 * UNIT)


async def revoke_it(line: Line) -> None:
    await line.approve_directly(0)


@pytest.mark.parametrize(
    ("happens", "state", "left"),
    [(mine, "active", 5000), (spend, "reduced", 3800), (replace_it, "replaced", 7), (revoke_it, "revoked", 0)],
)
@pytest.mark.parametrize("network", ["linea", "base"])
async def test_a_finished_delegation_says_what_became_of_it_and_stays_verified(
    sandbox: Sandbox,
    tmp_path: Path,
    network: str,
    happens: Callable[[Line], Awaitable[None]],
    state: str,
    left: int,
) -> None:
    async with open_line(sandbox, tmp_path, network) as line:
        first = await line.carry("5000")
        assert (first.result.state, first.result.allowance) == ("active", 5000 * UNIT)
        await happens(line)
        again = await carry(first, never_asked(line.context))
        assert again.result.verdict == "VERIFIED"
        assert (again.result.state, again.result.allowance) == (state, left * UNIT)
        assert again.result.block is not None
        assert first.approvals[0].settlement is not None
        assert again.result.block.number >= first.approvals[0].settlement.block.number
        assert await line.statuses() == [201]


async def test_on_solana_a_finished_delegation_says_what_is_left_of_it(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "solana") as line:
        first = await line.carry("5000")
        assert first.result.state == "active"
        await spend(line)
        again = await carry(first, never_asked(line.context))
        assert (again.result.verdict, again.result.state, again.result.allowance) == (
            "VERIFIED",
            "reduced",
            3800 * UNIT,
        )


# --- the platform forgets --------------------------------------------------------------------------------------------


async def forget(line: Line, *, transactions: bool = True) -> None:
    """Let the platform forget all wallets and, if told so, that it was ever told of their transactions."""
    await line.platform.ask("DELETE", "/sandbox/wallets")
    if transactions:
        await line.platform.ask("DELETE", "/sandbox/transactions")


@pytest.mark.parametrize("network", ["linea", "solana"])
async def test_a_platform_that_has_forgotten_a_wallet_is_told_again_without_another_approval(
    sandbox: Sandbox, tmp_path: Path, network: str
) -> None:
    async with open_line(sandbox, tmp_path, network, list_timeout=0.5) as line:
        first = await line.carry("5000")
        await forget(line)
        assert await line.listed() is None
        done = await carry(first, never_asked(line.context))
        assert (done.state, done.result.verdict) == ("done", "VERIFIED")
        assert done.approvals == first.approvals
        assert done.forgotten == first.submission
        assert done.ownership != first.ownership, "a fresh proof of the same approval"
        assert await line.listed() == 5000
        assert await line.count_signed() == 1
        assert await line.statuses() == [201, 201]
        again = await carry(done, never_asked(line.context))
        assert (again.state, await line.statuses()) == ("done", [201, 201])


async def test_a_platform_that_refuses_to_be_told_again_is_asked_once_and_that_is_said_once(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "linea", list_timeout=0.5) as line:
        first = await line.carry("5000")
        await forget(line, transactions=False)
        with pytest.raises(ConflictError, match=r"has forgotten this wallet.*already used") as said:
            await carry(first, never_asked(line.context))
        assert "grant the amount anew" in said.value.hint
        assert said.value.status == 409
        refused = line.only()
        assert (refused.stays_told, refused.told, refused.approvals) == (True, True, first.approvals)
        done = await carry(refused, never_asked(line.context))
        assert done.state == "done"
        assert (done.result.verdict, done.result.state) == ("REFUTED", "active")
        assert [one.rule for one in done.result.findings if one.verdict == "REFUTED"] == ["platform-list"]
        await carry(done, never_asked(line.context))
        assert await line.statuses() == [201, 409]
        assert await line.count_signed() == 1


async def test_what_was_made_anew_after_the_platform_forgot_is_not_taken_for_told_when_it_is_refused(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base", list_timeout=0.5) as line:
        await mine(line)
        first = await line.carry("5000")
        await forget(line)
        told_again = await carry(first, line.context)
        await roll_back(line, 1)
        await line.send_directly("0x", to=line.owner)
        with pytest.raises(TransactionReplacedError):
            await carry(told_again, line.context)
        await line.platform.misbehave(POST_APPROVAL, status=400, body={"message": "Invalid sigMessage"})
        with pytest.raises(RejectedError, match="Invalid sigMessage"):
            await carry(line.only(), replace(line.context, agree_again=lambda _: None))
        refused = line.only()
        assert (refused.state, refused.told, refused.stays_told) == ("approved", False, False)
        await check_done(line, await carry(refused, line.context), signed=2, proofs=3)


async def test_a_platform_that_forgot_is_told_of_what_is_in_force_and_of_nothing_older_or_gone(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base", list_timeout=0.5) as line:
        older = await line.carry("5000")
        newer = await line.carry("6000")
        await forget(line)
        await carry(older, never_asked(line.context))
        assert await line.statuses() == [201, 201]
        await carry(newer, never_asked(line.context))
        assert await line.statuses() == [201, 201, 201]
        revoke = await line.carry("0")
        await forget(line)
        again = await carry(revoke, never_asked(line.context))
        assert (again.result.verdict, again.result.state) == ("VERIFIED", "revoked")
        assert await line.statuses() == [201] * 4


# --- another spender -------------------------------------------------------------------------------------------------


async def test_a_spender_that_changed_between_plan_and_proof_stops_the_line_in_words_and_the_platform_is_not_told(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        other = line.known.tokens["usdt"].address

        async def change() -> None:
            await line.platform.ask("POST", "/sandbox/config", {"network": "base", "delegationContract": other})

        wallet = TamperedWallet(line.key, before_text=change)
        context = replace(line.context, wallet=wallet)
        with pytest.raises(PinMismatchError) as caught:
            await carry(line.new("5000"), context)
        assert line.known.delegation_contract in str(caught.value)
        assert other in str(caught.value)
        stopped = line.only()
        assert (stopped.state, stopped.proof) == ("signed", None)

        # Its owner takes the new spender for right; what was approved is still for the old one.
        changed = find_asset(await line.context.gateway.get_networks(), "base", "usdc")
        trust_anew(line.context, changed)
        with pytest.raises(AssetChangedError) as told:
            await carry(stopped, context)
        assert (told.value.expected, told.value.found) == (line.known.delegation_contract, other)
        assert await line.statuses() == []

        await line.platform.reset()
        trust_anew(line.context, find_asset(await line.context.gateway.get_networks(), "base", "usdc"))
        await check_done(line, await carry(line.only(), line.context), signed=1)


def trust_anew(context: Context, asset: Asset) -> None:
    Pins(context.journal, context.gateway.base_url, context.gateway.region).trust(asset)


async def test_a_delegation_that_a_newer_one_replaced_is_not_sent_again_after_a_reorganisation(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "linea") as line, held(line):
        first = await pending(line.new("5000"), quick(line))
        await pending(line.new("0"), quick(line))
        await mine(line)
        done = await carry(line.only(), line.context)
        await roll_back(line, 1)
        with pytest.raises(DelegationEndedError):
            await carry(line.context.journal.load(first.id), line.context)
        await line.rpc.request("evm_setAutomine", [True])
        again = await carry(done, line.context)
        await check_done(line, again, signed=1)
