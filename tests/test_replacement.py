"""A way out for what is stuck: sped up, cancelled, or replaced by a revocation; the nonce decides, and all is kept."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from line_lab import UNIT, Clock, CrashError, Line, TamperedWallet, WalletApp, die_at, open_line, sign_request
from stuck_lab import (
    NETWORKS,
    Death,
    DyingJournal,
    bytes_of,
    hand_over,
    hash_of_step,
    held,
    is_dearer,
    is_mined,
    mine,
    mine_instead,
    never_asked,
    pending,
    quick,
    transaction_of,
    with_wallet,
)

from chains.errors import (
    FeeTooHighError,
    TransactionDroppedError,
    TransactionPendingError,
    TransactionReplacedError,
    WalletRefusedError,
)
from chains.evm import watch
from chains.rpc import HttpRpc, Params
from chains.solana.node import SolanaNode
from chains.types import EvmFee, EvmTransaction, SignedTransaction
from delegation import Context, Delegation, answer, awaiting, carry, new_delegation
from delegation.context import Replacement
from delegation.errors import (
    DeclinedError,
    DelegationEndedError,
    InvalidRequestError,
    JournalConflictError,
    OutdatedPlanError,
)
from delegation.intents import OutdatedPlan
from delegation.journal import open_journal
from delegation.models import Attempt, Station
from delegation.plan import find_asset
from delegation.replacement import cancel, speed_up
from delegation.sandbox import Sandbox


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at nonce and mempool more often, so that the tests need not wait."""
    monkeypatch.setattr(watch, "_CHECK_EVERY", 0.2)
    monkeypatch.setattr(watch, "_LOOK_AGAIN", 0.1)


async def check_done(line: Line, d: Delegation, *, signed: int, allowance: int = 5000 * UNIT) -> None:
    """Check that it is finished, with this many transactions of its owner on the chain, and told once."""
    assert d.state == "done"
    assert d.result.verdict == "VERIFIED", d.result
    assert await line.allowance() == allowance
    assert await line.count_signed() == signed
    assert d.proof is not None
    assert d.proof.tx_hash == d.approvals[-1].hash
    assert await line.statuses() == [201]


def fees(*transactions: object) -> list[EvmFee]:
    return [one.fee for one in transactions if isinstance(one, EvmTransaction)]


# --- sped up ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("network", "currency"), NETWORKS)
async def test_a_stuck_approval_is_sped_up_on_its_own_nonce_and_its_new_bound_is_shown(
    sandbox: Sandbox, tmp_path: Path, network: str, currency: str
) -> None:
    async with open_line(sandbox, tmp_path, network, currency) as line, held(line):
        d = await pending(line.new("5000"), quick(line))
        shown: list[Replacement] = []
        faster = await speed_up(d, replace(line.context, agree_replacement=shown.append))
        (one,) = shown
        assert (one.delegation, one.old, one.new, one.cancels) == (d, transaction_of(d), transaction_of(faster), False)
        old, new = fees(one.old, one.new)
        assert is_dearer(new, old)
        same = ("sender", "to", "data", "nonce", "chain_id")
        assert [getattr(one.new, name) for name in same] == [getattr(one.old, name) for name in same]
        assert faster.approvals[0].earlier == (Attempt(unsigned=transaction_of(d), sent=d.approvals[0].sent),)
        assert line.only() == faster
        faster = await pending(faster, quick(line))
        await mine(line)
        assert [await is_mined(line, hash_of_step(one)) for one in (d, faster)] == [False, True]
        done = await carry(faster, line.context)
        assert done.approvals[0].hash == hash_of_step(faster)
        await check_done(line, done, signed=1)


async def test_what_is_sped_up_is_sent_before_anybody_waits_for_it(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "base") as line, held(line):
        faster = await speed_up(await pending(line.new("5000"), quick(line)), line.context)
        assert await line.rpc.request("eth_getTransactionByHash", [hash_of_step(faster)]) is not None


async def test_no_replacement_is_signed_above_the_cap_and_the_old_one_counts_as_before(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line, held(line):
        wallet = TamperedWallet(line.key)
        context = with_wallet(line.context, wallet)
        d = await pending(line.new("5000"), quick(line, wallet=wallet))
        (fee,) = fees(transaction_of(d))
        for replacing in (speed_up, cancel):
            with pytest.raises(FeeTooHighError, match="more than the cap"):
                await replacing(d, context, max_fee=fee.max_fee_per_gas)
        assert line.only() == d
        assert len(wallet.signed) == 1
        cap = 2 * fee.max_fee_per_gas
        for _ in range(3):
            d = await speed_up(d, context, max_fee=cap)
            assert transaction_of(d).fee.max_fee_per_gas <= cap
        await mine(line)
        await check_done(line, await carry(d, context), signed=1)


async def test_a_replacement_that_is_declined_changes_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "base") as line, held(line):
        d = await pending(line.new("5000"), quick(line))
        for replacing in (speed_up, cancel):
            with pytest.raises(DeclinedError):
                await replacing(d, never_asked(line.context))
        assert line.only() == d
        await mine(line)
        await check_done(line, await carry(d, line.context), signed=1)


@pytest.mark.parametrize("winner", [0, 1, 2, 3])
@pytest.mark.parametrize(("network", "currency"), NETWORKS)
async def test_of_an_approval_that_was_sped_up_three_times_any_may_win_and_it_is_told_of_that_one(
    sandbox: Sandbox, tmp_path: Path, network: str, currency: str, winner: int
) -> None:
    async with open_line(sandbox, tmp_path, network, currency) as line, held(line):
        attempts = [await pending(line.new("5000"), quick(line))]
        for _ in range(3):
            attempts.append(await pending(await speed_up(attempts[-1], line.context), quick(line)))
        hashes = [hash_of_step(one) for one in attempts]
        assert len(set(hashes)) == 4
        assert [one.sent.hash for one in attempts[-1].approvals[0].earlier if one.sent] == hashes[:3]
        assert all(is_dearer(*fees(transaction_of(b), transaction_of(a))) for a, b in itertools.pairwise(attempts))
        await mine_instead(line, bytes_of(attempts[winner]))
        done = await carry(line.only(), line.context)
        assert done.approvals[0].hash == hashes[winner]
        await check_done(line, done, signed=1)


async def test_a_wallet_that_sends_by_itself_speeds_up_too(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "linea") as line, held(line):
        app = WalletApp(line)
        d = await pending(line.new("5000"), quick(line, wallet=app.wallet))
        faster = await speed_up(d, with_wallet(line.context, app.wallet))
        first, second = app.transactions
        assert first["params"][0]["nonce"] == second["params"][0]["nonce"]
        assert int(second["params"][0]["maxFeePerGas"], 16) > int(first["params"][0]["maxFeePerGas"], 16)
        assert faster.approvals[0].another_nonce is None
        await mine(line)
        done = await carry(faster, with_wallet(line.context, app.wallet))
        assert [await is_mined(line, hash_of_step(one)) for one in (d, faster)] == [False, True]
        assert len(app.transactions) == 2
        await check_done(line, done, signed=1)


@pytest.mark.parametrize("sends", [False, True], ids=["signed bytes", "a hash"])
async def test_an_app_is_handed_what_speeds_up_and_answers_with_it(
    sandbox: Sandbox, tmp_path: Path, sends: bool
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line, held(line):
        headless = quick(line, wallet=None)
        d = await hand_over(line.new("5000"), headless, lambda asked: sign_request(asked, line.key))
        asked = await speed_up(d, headless)
        assert asked.state == "handed_out"
        request = awaiting(asked)
        assert request is not None
        assert int(request.request["params"][0]["nonce"], 16) == transaction_of(d).nonce
        given = await WalletApp(line).send(request.request) if sends else sign_request(request.request, line.key)
        faster = await pending(answer(asked, line.context.journal, given), headless)
        await mine(line)
        assert [await is_mined(line, hash_of_step(one)) for one in (d, faster)] == [False, True]
        await check_done(line, await carry(faster, line.context), signed=1)


async def test_what_an_app_was_asked_to_speed_up_and_was_mined_meanwhile_is_found_without_an_answer(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line, held(line):
        headless = quick(line, wallet=None)
        d = await hand_over(line.new("5000"), headless, lambda asked: sign_request(asked, line.key))
        asked = await speed_up(d, headless)
        await mine(line)
        done = await carry(asked, line.context)
        assert done.approvals[0].hash == hash_of_step(d)
        await check_done(line, done, signed=1)


async def test_of_a_wallet_that_speeds_up_with_another_nonce_both_are_followed_and_that_is_said(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line, held(line):
        app, said = WalletApp(line), list[str]()
        context = quick(line, wallet=app.wallet, progress=lambda _, words: said.append(words))
        d = await pending(line.new("5000"), context)
        nonce = transaction_of(d).nonce
        app.changes = {"nonce": nonce + 1}
        faster = await pending(await speed_up(d, context), context)
        assert (faster.approvals[0].another_nonce, transaction_of(faster).nonce) == (nonce + 1, nonce)
        assert any(f"with nonce {nonce + 1} instead of {nonce}" in words for words in said)
        assert [one.sent for one in faster.approvals[0].earlier] == [d.approvals[0].sent]
        await mine(line)
        done = await carry(faster, replace(context, settle_timeout=20))
        assert [await is_mined(line, hash_of_step(one)) for one in (d, faster)] == [True, True]
        assert len(app.transactions) == 2
        await check_done(line, done, signed=2)


@pytest.mark.parametrize("sends", [False, True], ids=["signs", "signs and sends"])
async def test_a_replacement_that_the_wallet_refuses_leaves_the_old_one_counting(
    sandbox: Sandbox, tmp_path: Path, sends: bool
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line, held(line):

        async def refuse(*_: object) -> Any:
            raise WalletRefusedError("no")

        app = WalletApp(line)
        context = quick(line, wallet=app.wallet) if sends else quick(line)
        d = await pending(line.new("5000"), context)
        app.before = refuse
        refusing = with_wallet(context, app.wallet if sends else TamperedWallet(line.key, after=refuse))
        for replacing in (speed_up, cancel):
            with pytest.raises(WalletRefusedError):
                await replacing(line.only(), refusing)
            kept = line.only()
            assert (kept.state, kept.approvals[0].hash) == ("on_its_way", hash_of_step(d))
            assert kept.approvals[0].earlier == ()
        app.before = None
        await mine(line)
        await check_done(line, await carry(line.only(), replace(context, settle_timeout=20)), signed=1)


async def test_nothing_is_replaced_where_nothing_is_in_flight_or_the_chain_has_decided(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        wallet = TamperedWallet(line.key)
        context = with_wallet(line.context, wallet)
        done = await carry(line.new("5"), context)
        for replacing in (speed_up, cancel):
            with pytest.raises(InvalidRequestError, match="no transaction in flight; it is done"):
                await replacing(done, context)
        async with held(line):
            d = await pending(line.new("5000"), quick(line, wallet=wallet))
            await mine(line)
            assert await speed_up(d, never_asked(context)) == d
            settled = await cancel(d, never_asked(context))
            assert (settled.state, settled.submission) == ("approved", None)
        assert len(wallet.signed) == 2


# --- cancelled -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("network", "currency"), NETWORKS)
async def test_a_cancellation_that_wins_ends_the_delegation_and_frees_its_owner(
    sandbox: Sandbox, tmp_path: Path, network: str, currency: str
) -> None:
    async with open_line(sandbox, tmp_path, network, currency) as line, held(line):
        await mine_instead(line, await sign_approval(line, 100 * UNIT))
        d = await pending(line.new("0" if currency == "usdt" else "5000"), quick(line))
        shown: list[Replacement] = []
        context = quick(line, agree_replacement=shown.append)
        with pytest.raises(TransactionPendingError):
            await cancel(d, context)
        (one,) = shown
        assert isinstance(one.new, EvmTransaction)
        assert (one.cancels, one.new.data, one.new.to, one.new.nonce) == (True, "0x", line.owner, 1)
        assert is_dearer(*fees(one.new, one.old))
        await mine(line)
        ended = await carry(line.only(), line.context)
        assert ended.state == "cancelled"
        assert ended.ended is not None
        assert ended.approvals[0].hash in ended.ended.reason
        assert await line.allowance() == 100 * UNIT
        assert [await is_mined(line, hash_of_step(one)) for one in (d, ended)] == [False, True]
        assert await line.statuses() == []
        with pytest.raises(DelegationEndedError):
            await carry(ended, line.context)
        await line.rpc.request("evm_setAutomine", [True])
        assert (await line.carry("0")).state == "done"


async def sign_approval(line: Line, amount: int) -> str:
    """Return signed bytes of the owner that approve an amount, with the next nonce."""
    from eth_account import Account

    from delegation.sandbox.artifacts import encode_call

    nonce = int(await line.rpc.request("eth_getTransactionCount", [line.owner, "latest"]), 16)
    data = encode_call("approve(address,uint256)", line.known.delegation_contract, amount)
    fields = {"to": line.known.tokens[line.currency].address, "data": data, "nonce": nonce, "value": 0, "type": 2}
    fields |= {"chainId": line.known.chain_id, "gas": 100_000}
    fields |= {"maxFeePerGas": 50 * 10**9, "maxPriorityFeePerGas": 2 * 10**9}
    return "0x" + Account.sign_transaction(fields, line.key.private_key).raw_transaction.hex()


async def test_cancel_waits_by_itself_until_the_chain_has_decided(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "base") as line, held(line):
        d = await pending(line.new("5000"), quick(line))

        async def mine_soon() -> None:
            await asyncio.sleep(0.5)
            await mine(line)

        ended, _ = await asyncio.gather(cancel(d, line.context), mine_soon())
        assert ended.state == "cancelled"
        assert await line.allowance() == 0


@pytest.mark.parametrize("sped_up", [0, 2])
async def test_a_cancellation_that_loses_leaves_the_approval_standing_and_the_platform_is_not_told(
    sandbox: Sandbox, tmp_path: Path, sped_up: int
) -> None:
    async with open_line(sandbox, tmp_path, "linea") as line, held(line):
        first = d = await pending(line.new("5000"), quick(line))
        for _ in range(sped_up):
            d = await speed_up(d, line.context)
        with pytest.raises(TransactionPendingError):
            await cancel(d, quick(line))
        await mine_instead(line, bytes_of(first))
        stands = await cancel(line.only(), never_asked(line.context))
        assert (stands.state, stands.approvals[0].hash) == ("approved", hash_of_step(first))
        assert await line.allowance() == 5000 * UNIT
        assert await line.statuses() == []
        await line.rpc.request("evm_setAutomine", [True])
        await check_done(line, await carry(stands, line.context), signed=1)


async def test_of_a_wallet_that_cancels_with_another_nonce_the_first_still_counts_as_live(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line, held(line):
        app = WalletApp(line)
        context = quick(line, wallet=app.wallet)
        d = await pending(line.new("5000"), context)
        app.changes = {"nonce": transaction_of(d).nonce + 1}
        with pytest.raises(TransactionPendingError) as waiting:
            await cancel(d, context)
        assert waiting.value.hash == hash_of_step(d)
        kept = line.only()
        assert (kept.state, kept.approvals[0].hash) == ("on_its_way", hash_of_step(d))
        app.changes = {}
        await mine(line)
        await check_done(line, await carry(kept, replace(context, settle_timeout=20)), signed=2)


async def test_a_cancellation_that_no_node_knows_is_dropped_after_its_time_in_total_and_asked_for_again(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    clock = Clock()
    async with open_line(sandbox, tmp_path, "base", now=clock) as line, held(line):
        app = WalletApp(line)
        context = quick(line, wallet=app.wallet)
        first = await pending(line.new("5000"), context)
        with pytest.raises(TransactionPendingError):
            await cancel(first, context)
        await line.rpc.request("anvil_dropAllTransactions")
        for _ in range(5):
            with pytest.raises((TransactionPendingError, TransactionDroppedError)) as waiting:
                await carry(line.only(), context)
            if isinstance(waiting.value, TransactionDroppedError):
                break
            clock.ahead += timedelta(seconds=50)
        assert timedelta(seconds=100) <= clock.ahead <= timedelta(seconds=150)
        assert (line.only().state, line.only().approvals[0].cancelling) == ("handed_out", True)
        await line.rpc.request("evm_setAutomine", [True])
        ended = await carry(line.only(), replace(context, settle_timeout=20))
        assert (ended.state, len(app.transactions)) == ("cancelled", 3)


@pytest.mark.parametrize("sends", [False, True], ids=["signed bytes", "a hash"])
async def test_an_app_is_handed_a_cancellation_and_answers_with_it(
    sandbox: Sandbox, tmp_path: Path, sends: bool
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line, held(line):
        headless = quick(line, wallet=None)
        d = await hand_over(line.new("5000"), headless, lambda asked: sign_request(asked, line.key))
        asked = await cancel(d, headless)
        request = awaiting(asked)
        assert request is not None
        given = await WalletApp(line).send(request.request) if sends else sign_request(request.request, line.key)
        answered = answer(asked, line.context.journal, given)
        await mine_after(line, pending(answered, headless))
        assert (await carry(line.only(), headless)).state == "cancelled"
        assert await line.allowance() == 0


async def mine_after(line: Line, doing: Awaitable[object]) -> None:
    await doing
    await mine(line)


# --- replaced by a revocation ----------------------------------------------------------------------------------------

# Network, currency, what is allowed before, what is stuck, and at which of its steps.
STUCK = [("linea", "usdc", 0, 0), ("linea", "usdc", 100, 0), ("ethereum", "usdt", 0, 0), ("ethereum", "usdt", 100, 1)]
STUCK += [("base", "usdc", 100, 0)]


async def stuck_grant(line: Line, before: int, step: int, context: Context) -> Delegation:
    """Return a grant of 5000 one of whose steps waits to be mined, with something allowed before."""
    if before:
        await mine_instead(line, await sign_approval(line, before * UNIT))
    d = await pending(line.new("5000"), context)
    if step:
        await mine(line)
        d = await pending(d, context)
    assert d.next_step == step
    return d


async def check_revoked(
    line: Line, first: Delegation, done: Delegation, *, signed: int, by: Delegation | None = None
) -> None:
    """Check that the revocation ended with allowance 0, told once, and that what it replaced ended by it, or `by`."""
    await check_done(line, done, signed=signed, allowance=0)
    ended = line.context.journal.load(first.id)
    assert ended.ended is not None
    assert (ended.state, ended.ended.by) == ("superseded", (by or done).id)
    with pytest.raises(DelegationEndedError):
        await carry(ended, line.context)
    assert await line.count_signed() == signed


@pytest.mark.parametrize(("network", "currency", "before", "step"), [*STUCK, ("ethereum", "usdt", 100, 0)])
async def test_the_stuck_revoke_ends_with_allowance_0_and_the_first_transaction_is_never_mined(
    sandbox: Sandbox, tmp_path: Path, network: str, currency: str, before: int, step: int
) -> None:
    async with open_line(sandbox, tmp_path, network, currency) as line, held(line):
        first = await stuck_grant(line, before, step, quick(line))
        revoke = await pending(line.new("0"), quick(line))
        assert revoke.plan is not None
        assert revoke.plan.replaces is not None
        assert (revoke.plan.replaces.delegation_id, revoke.plan.replaces.hash) == (first.id, hash_of_step(first, step))
        assert transaction_of(revoke).nonce == transaction_of(first, step).nonce
        assert is_dearer(*fees(transaction_of(revoke), transaction_of(first, step)))
        assert line.context.journal.load(first.id).state == "superseded"
        await mine(line)
        done = await carry(revoke, line.context)
        assert not await is_mined(line, hash_of_step(first, step))
        await check_revoked(line, first, done, signed=(before > 0) + step + 1)


@pytest.mark.parametrize("killed", [False, True], ids=["in one go", "after a kill"])
@pytest.mark.parametrize(("network", "currency", "before", "step"), STUCK)
async def test_where_the_first_wins_the_race_the_revoke_goes_on_with_the_next_nonce_and_nobody_is_asked(
    sandbox: Sandbox, tmp_path: Path, network: str, currency: str, before: int, step: int, killed: bool
) -> None:
    async with open_line(sandbox, tmp_path, network, currency) as line, held(line):
        first = await stuck_grant(line, before, step, quick(line))
        revoke = await pending(line.new("0"), quick(line))
        await mine_instead(line, bytes_of(first, step))
        await line.rpc.request("evm_setAutomine", [True])
        if killed:
            with pytest.raises(CrashError):
                await carry(revoke, replace(never_asked(line.context), progress=die_at("preparing")))
            assert line.only().state == "agreed"
            # The plan is shown again, and that is all: `agree_again` refuses by default.
            done = await carry(line.only(), line.context)
        else:
            done = await carry(revoke, never_asked(line.context))
        assert done.approvals[0].lost_to == (hash_of_step(first, step),)
        assert transaction_of(done).nonce == transaction_of(first, step).nonce + 1
        await check_revoked(line, first, done, signed=(before > 0) + step + 2)


@pytest.mark.parametrize("killed", [False, True], ids=["in one go", "after a kill"])
@pytest.mark.parametrize("winner", [0, 1, 2, 3, None])
async def test_a_revoke_replaces_what_was_sped_up_three_times_whichever_of_them_wins(
    sandbox: Sandbox, tmp_path: Path, winner: int | None, killed: bool
) -> None:
    async with open_line(sandbox, tmp_path, "linea") as line, held(line):
        grants = [await pending(line.new("5000"), quick(line))]
        for _ in range(3):
            grants.append(await pending(await speed_up(grants[-1], line.context), quick(line)))
        revoke = await pending(line.new("0"), quick(line))
        assert [one.sent for one in revoke.approvals[0].earlier] == [one.approvals[0].sent for one in grants]
        await mine_instead(line, bytes_of(revoke if winner is None else grants[winner]))
        await line.rpc.request("evm_setAutomine", [True])
        if killed and winner is not None:
            with pytest.raises(CrashError):
                await carry(revoke, replace(line.context, progress=die_at("preparing")))
            revoke = line.only()
        await check_revoked(line, grants[-1], await carry(revoke, line.context), signed=1 + (winner is not None))


@pytest.mark.parametrize("first_wins", [False, True])
async def test_the_revoke_itself_is_sped_up_and_the_first_may_still_win(
    sandbox: Sandbox, tmp_path: Path, first_wins: bool
) -> None:
    async with open_line(sandbox, tmp_path, "ethereum", "usdt") as line, held(line):
        first = await stuck_grant(line, 100, 1, quick(line))
        revoke = await pending(line.new("0"), quick(line))
        faster = await pending(await speed_up(revoke, line.context), quick(line))
        assert len(faster.approvals[0].earlier) == 2
        await mine_instead(line, bytes_of(first, 1) if first_wins else bytes_of(revoke))
        await line.rpc.request("evm_setAutomine", [True])
        done = await carry(faster, never_asked(line.context))
        await check_revoked(line, first, done, signed=3 + first_wins)


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize(("network", "currency"), NETWORKS)
async def test_where_the_first_lands_after_a_reorganisation_the_finished_revoke_goes_on_until_the_allowance_is_0(
    sandbox: Sandbox, tmp_path: Path, network: str, currency: str, depth: int
) -> None:
    async with open_line(sandbox, tmp_path, network, currency) as line:
        await mine(line, depth)
        async with held(line):
            first = await pending(line.new("5000"), quick(line))
            revoke = await pending(line.new("0"), quick(line))
            await mine(line, depth)
            revoke = await carry(revoke, line.context)
            assert revoke.state == "done"
            await line.rpc.request("anvil_rollback", [depth])
            await mine_instead(line, bytes_of(first))
            assert await line.allowance() == 5000 * UNIT
        done = await carry(revoke, never_asked(line.context))
        assert (done.state, done.result.verdict, await line.allowance()) == ("done", "VERIFIED", 0)
        assert done.approvals[0].lost_to == (hash_of_step(first),)
        assert await line.count_signed() == 2
        assert await line.statuses() == [201, 201], "the platform is told of the transaction that took effect"
        assert line.context.journal.load(first.id).state == "superseded"


@pytest.mark.parametrize(("network", "currency"), NETWORKS)
async def test_after_a_reorganisation_the_bytes_of_the_revoke_are_sent_again_and_never_the_firsts(
    sandbox: Sandbox, tmp_path: Path, network: str, currency: str
) -> None:
    async with open_line(sandbox, tmp_path, network, currency) as line:
        await mine(line)
        async with held(line):
            first = await pending(line.new("5000"), quick(line))
            revoke = await pending(line.new("0"), quick(line))
            await mine(line)
            revoke = await carry(revoke, line.context)
            await line.rpc.request("anvil_rollback", [1])
        done = await carry(revoke, never_asked(line.context))
        assert done.approvals[0].hash == revoke.approvals[0].hash
        await check_revoked(line, first, done, signed=1)
        assert not await is_mined(line, hash_of_step(first))


@pytest.mark.parametrize("first_wins", [False, True])
@pytest.mark.parametrize("sends", [False, True], ids=["signed bytes", "a hash"])
async def test_the_stuck_revoke_by_hand_over(sandbox: Sandbox, tmp_path: Path, sends: bool, first_wins: bool) -> None:
    async with open_line(sandbox, tmp_path, "linea") as line, held(line):
        headless = quick(line, wallet=None)
        first = await hand_over(line.new("5000"), headless, lambda asked: sign_request(asked, line.key))
        asked = await carry(line.new("0"), headless)
        request = awaiting(asked)
        assert request is not None
        (wanted,) = request.request["params"]
        assert (int(wanted["nonce"], 16), int(wanted["data"][-64:], 16)) == (transaction_of(first).nonce, 0)
        assert line.context.journal.load(first.id).state == "on_its_way", "until the revocation is signed"
        given = await WalletApp(line).send(request.request) if sends else sign_request(request.request, line.key)
        revoke = await pending(answer(asked, line.context.journal, given), headless)
        assert line.context.journal.load(first.id).state == "superseded"
        if first_wins:
            await mine_instead(line, bytes_of(first))
        else:
            await mine(line)
        await line.rpc.request("evm_setAutomine", [True])
        if first_wins:
            again = await carry(revoke, never_asked(replace(headless, settle_timeout=20)))
            request = awaiting(again)
            assert request is not None
            assert int(request.request["params"][0]["nonce"], 16) == transaction_of(first).nonce + 1
            revoke = answer(again, line.context.journal, sign_request(request.request, line.key))
        await check_revoked(line, first, await carry(revoke, line.context), signed=1 + first_wins)


async def test_where_the_first_lands_before_an_app_has_answered_it_is_asked_for_the_next_nonce(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "linea") as line, held(line):
        headless = quick(line, wallet=None)
        first = await pending(line.new("5000"), quick(line))
        asked = await carry(line.new("0"), headless)
        await mine(line)
        await line.rpc.request("evm_setAutomine", [True])
        asked = await carry(asked, headless)
        request = awaiting(asked)
        assert request is not None
        assert int(request.request["params"][0]["nonce"], 16) == transaction_of(first).nonce + 1
        done = await carry(answer(asked, line.context.journal, sign_request(request.request, line.key)), line.context)
        await check_done(line, done, signed=2, allowance=0)
        with pytest.raises(DelegationEndedError):
            await carry(line.context.journal.load(first.id), line.context)
        assert await line.allowance() == 0


async def test_a_revoke_of_what_has_landed_and_nobody_waited_for_is_planned_as_the_chain_is(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        async with held(line):
            first = await pending(line.new("5000"), quick(line))
            await mine(line)
        done = await line.carry("0")
        assert done.plan is not None
        assert (done.plan.replaces, done.plan.before.allowance) == (None, 5000 * UNIT)
        with pytest.raises(DelegationEndedError):
            await carry(line.context.journal.load(first.id), line.context)
        await check_revoked(line, first, done, signed=2)


async def test_where_the_first_makes_the_very_call_of_the_revoke_and_wins_it_is_the_revocation(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "ethereum", "usdt") as line, held(line):
        # Its first step sets 0, because the token refuses to change one allowance into another.
        first = await stuck_grant(line, 100, 0, quick(line))
        revoke = await pending(line.new("0"), quick(line))
        await mine_instead(line, bytes_of(first))
        await line.rpc.request("evm_setAutomine", [True])
        done = await carry(revoke, never_asked(line.context))
        assert done.approvals[0].hash == hash_of_step(first)
        await check_revoked(line, first, done, signed=2)


async def test_the_stuck_revoke_by_a_wallet_that_sends(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "ethereum", "usdt") as line, held(line):
        app = WalletApp(line)
        context = quick(line, wallet=app.wallet)
        first = await stuck_grant(line, 100, 1, context)
        revoke = await pending(line.new("0"), context)
        await mine(line)
        done = await carry(revoke, replace(context, settle_timeout=20))
        assert not await is_mined(line, hash_of_step(first, 1))
        await check_revoked(line, first, done, signed=3)


async def test_the_stuck_revoke_by_a_wallet_that_sends_and_ignores_the_nonce_is_the_second_half_of_it(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "linea") as line, held(line):
        app, said = WalletApp(line), list[str]()
        context = quick(line, wallet=app.wallet, progress=lambda _, words: said.append(words))
        first = await pending(line.new("5000"), context)
        app.changes = {"nonce": transaction_of(first).nonce + 1}
        revoke = await pending(line.new("0"), context)
        assert revoke.approvals[0].another_nonce == transaction_of(first).nonce + 1
        assert any("it replaces nothing, and both are followed" in words for words in said)
        await mine(line)
        done = await carry(revoke, never_asked(replace(context, settle_timeout=20)))
        assert [await is_mined(line, hash_of_step(one)) for one in (first, done)] == [True, True]
        assert len(app.transactions) == 2
        await check_revoked(line, first, done, signed=2)


async def test_a_revoke_with_a_later_nonce_waits_for_as_long_as_the_first_is_not_mined(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "linea") as line, held(line):
        app = WalletApp(line)
        context = quick(line, wallet=app.wallet)
        first = await pending(line.new("5000"), context)
        raw = sign_request(app.transactions[0], line.key)
        app.changes = {"nonce": transaction_of(first).nonce + 1}
        revoke = await pending(line.new("0"), context)
        later = sign_request(app.transactions[1], line.key, **app.changes)
        await line.rpc.request("anvil_dropAllTransactions")
        await line.rpc.request("eth_sendRawTransaction", [later])
        await mine(line)
        revoke = await pending(revoke, context)
        await line.rpc.request("eth_sendRawTransaction", [raw])
        await mine(line)
        done = await carry(revoke, replace(context, settle_timeout=20))
        await check_revoked(line, first, done, signed=2)


@pytest.mark.parametrize("killed", [False, True], ids=["in one go", "after a kill"])
async def test_a_revoke_replaces_what_a_wallet_was_asked_for_and_never_answered_even_if_that_lands_first(
    sandbox: Sandbox, tmp_path: Path, killed: bool
) -> None:
    async with open_line(sandbox, tmp_path, "linea") as line, held(line):

        async def die(_: str) -> str:
            raise CrashError

        app = WalletApp(line, after=die)
        with pytest.raises(CrashError):
            await carry(line.new("5000"), quick(line, wallet=app.wallet))
        first = line.only()
        assert (first.state, first.approvals[0].hash) == ("handed_out", None)
        revoke = await pending(line.new("0"), quick(line))
        assert line.context.journal.load(first.id).state == "superseded"
        await mine_instead(line, sign_request(app.transactions[0], line.key))
        await line.rpc.request("evm_setAutomine", [True])
        if killed:
            with pytest.raises(CrashError):
                await carry(revoke, replace(line.context, progress=die_at("preparing")))
            revoke = line.only()
        await check_revoked(line, first, await carry(revoke, line.context), signed=2)


async def test_a_transaction_of_another_token_is_cancelled_with_a_revoke_only_if_its_owner_agrees(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base", "usdt") as line, held(line):
        await mine_instead(line, await sign_approval(line, 50 * UNIT))
        first = await pending(line.new("5000", currency="usdc"), quick(line))
        with pytest.raises(OutdatedPlanError, match=r"allows 5000 USDC to .* that is cancelled with it"):
            await carry(line.new("0"), quick(line))
        refused = line.only()
        assert (refused.state, line.context.journal.load(first.id)) == ("requested", first)
        asked: list[OutdatedPlan] = []
        revoke = await pending(refused, quick(line, agree_again=asked.append))
        assert [one.now.replaces is not None and one.now.replaces.nonce for one in asked] == [1]
        lent = line.context.journal.load(first.id)
        assert (lent.state, lent.replaced_by) == ("on_its_way", revoke.id), "until the chain has decided"
        await mine(line)
        done = await carry(revoke, line.context)
        assert not await is_mined(line, hash_of_step(first))
        await check_revoked(line, first, done, signed=2)


async def test_a_transaction_for_another_spender_is_named_too_and_cancelled_only_if_its_owner_agrees(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line, held(line):
        first = await pending(line.new("5000"), quick(line))
        other = line.known.tokens["usdt"].address
        await line.platform.ask("POST", "/sandbox/config", {"network": "base", "delegationContract": other})
        line.context.pins.trust(find_asset(await line.context.gateway.get_networks(), "base", "usdc"))
        request = line.request("0", chain_only=True)
        with pytest.raises(OutdatedPlanError, match=f"allows 5000 USDC to {line.known.delegation_contract}"):
            await carry(new_delegation(request, line.context), quick(line))
        assert line.context.journal.load(first.id) == first
        revoke = await pending(line.only(), quick(line, agree_again=lambda _: None))
        await mine(line)
        assert (await carry(revoke, line.context)).state == "done"
        assert not await is_mined(line, hash_of_step(first))
        assert await line.allowance() == 0
        assert line.context.journal.load(first.id).state == "superseded"


async def test_where_the_transaction_of_another_token_wins_the_revoke_takes_the_next_nonce(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base", "usdt") as line, held(line):
        await mine_instead(line, await sign_approval(line, 50 * UNIT))
        first = await pending(line.new("5000", currency="usdc"), quick(line))
        revoke = await pending(line.new("0"), quick(line, agree_again=lambda _: None))
        await mine_instead(line, bytes_of(first))
        await line.rpc.request("evm_setAutomine", [True])
        await check_done(line, await carry(revoke, never_asked(line.context)), signed=3, allowance=0)
        finished = await carry(line.context.journal.load(first.id), line.context)
        assert (finished.state, finished.approvals[0].hash) == ("done", hash_of_step(first)), (
            "it stands, and is told of"
        )


async def test_a_process_that_still_waits_for_the_first_stops_when_the_revoke_has_taken_its_place(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "linea") as line, held(line):
        waits = asyncio.Event()

        def hear(_: Station, words: str) -> None:
            if "waiting for" in words:
                waits.set()

        waiting = asyncio.create_task(carry(line.new("5000"), replace(line.context, progress=hear)))
        await waits.wait()
        first = line.only()
        journal = open_journal(line.journal)
        revoke = await pending(line.new("0"), quick(line, journal=journal))
        await mine(line)
        done = await carry(revoke, replace(line.context, journal=journal))
        journal.close()
        with pytest.raises((JournalConflictError, TransactionReplacedError)):
            await waiting
        assert not await is_mined(line, hash_of_step(first))
        await check_revoked(line, first, done, signed=1)


@pytest.mark.parametrize("winner", [0, 1, 2])
async def test_a_revoke_that_is_stuck_too_is_replaced_by_the_next_revoke(
    sandbox: Sandbox, tmp_path: Path, winner: int
) -> None:
    async with open_line(sandbox, tmp_path, "linea") as line, held(line):
        grant = await pending(line.new("5000"), quick(line))
        revokes = [await pending(line.new("0"), quick(line)) for _ in range(2)]
        assert [one.sent for one in revokes[1].approvals[0].earlier] == [
            one.approvals[0].sent for one in (grant, revokes[0])
        ]
        await mine_instead(line, bytes_of([grant, *revokes][winner]))
        await line.rpc.request("evm_setAutomine", [True])
        done = await carry(revokes[1], never_asked(line.context))
        signed = 2 if winner == 0 else 1
        await check_revoked(line, grant, done, signed=signed, by=revokes[0])
        await check_revoked(line, revokes[0], done, signed=signed)


async def test_a_cancellation_that_is_stuck_too_is_replaced_by_a_revoke(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "ethereum", "usdt") as line, held(line):
        grant = await pending(line.new("5000"), quick(line))
        with pytest.raises(TransactionPendingError):
            await cancel(grant, quick(line))
        revoke = await pending(line.new("0"), quick(line))
        assert len(revoke.approvals[0].earlier) == 2
        await mine_instead(line, bytes_of(grant))
        await line.rpc.request("evm_setAutomine", [True])
        await check_revoked(line, grant, await carry(revoke, never_asked(line.context)), signed=2)


@pytest.mark.parametrize("winner", ["grant", "revoke", "cancellation"])
async def test_a_revoke_that_is_cancelled_says_what_stands(sandbox: Sandbox, tmp_path: Path, winner: str) -> None:
    async with open_line(sandbox, tmp_path, "linea") as line, held(line):
        grant = await pending(line.new("5000"), quick(line))
        revoke = await pending(line.new("0"), quick(line))
        with pytest.raises(TransactionPendingError):
            await cancel(revoke, quick(line))
        cancelling = line.context.journal.load(revoke.id)
        won = {"grant": grant, "revoke": revoke, "cancellation": cancelling}[winner]
        await mine_instead(line, bytes_of(won))
        await line.rpc.request("evm_setAutomine", [True])
        ended = await cancel(cancelling, never_asked(line.context))
        assert ended.state == ("approved" if winner == "revoke" else "cancelled")
        assert ended.ended is None or hash_of_step(won) in ended.ended.reason
        assert await line.allowance() == (5000 * UNIT if winner == "grant" else 0)
        assert line.context.journal.load(grant.id).state == "superseded"
        if winner == "grant":
            assert ended.ended is not None
            assert "what that set stands" in ended.ended.reason
            done = await line.carry("0")
            assert (done.state, await line.allowance()) == ("done", 0)


@pytest.mark.parametrize("sends", [False, True], ids=["signs", "signs and sends"])
async def test_a_revoke_that_the_wallet_refuses_leaves_the_first_in_flight_as_it_was(
    sandbox: Sandbox, tmp_path: Path, sends: bool
) -> None:
    async with open_line(sandbox, tmp_path, "linea") as line, held(line):

        async def refuse(*_: object) -> Any:
            raise WalletRefusedError("no")

        first = await pending(line.new("5000"), quick(line))
        app = WalletApp(line, before=refuse)
        refusing = quick(line, wallet=app.wallet if sends else TamperedWallet(line.key, after=refuse))
        with pytest.raises(WalletRefusedError):
            await carry(line.new("0"), refusing)
        assert line.only().state == "failed"
        assert line.context.journal.load(first.id) == first
        revoke = await pending(line.new("0"), quick(line))
        await mine(line)
        await check_revoked(line, first, await carry(revoke, line.context), signed=1)


class ForgetfulRpc:
    """A real connection to Solana that loses the first transaction for ever, or, without `loses`, none."""

    def __init__(self, rpc: HttpRpc, *, loses: bool) -> None:
        self._rpc, self._loses = rpc, loses
        self.first = ""

    async def request(self, method: str, params: Params = ()) -> Any:
        if method == "sendTransaction" and isinstance(params, list):
            self.first = self.first or str(params[0])
            if self._loses and params[0] == self.first:
                return ""
        answer = await self._rpc.request(method, params)
        if method == "getLatestBlockhash":
            # It is said to live for 40 blocks only, so that the test is not longer.
            answer["value"]["lastValidBlockHeight"] -= 110
        return answer

    async def aclose(self) -> None:
        await self._rpc.aclose()


@pytest.mark.parametrize("loses", [True, False], ids=["never landed", "landed"])
async def test_on_solana_a_revoke_waits_until_the_first_has_landed_or_never_can_and_then_goes_on(
    sandbox: Sandbox, tmp_path: Path, loses: bool
) -> None:
    async with open_line(sandbox, tmp_path, "solana") as line:
        said: list[str] = []
        node = SolanaNode(line.context.node.chain, ForgetfulRpc(line.rpc, loses=loses))
        context = replace(line.context, node=node, progress=lambda _, words: said.append(words))
        with pytest.raises(CrashError):
            await carry(line.new("5000"), replace(context, progress=die_at("waiting for")))
        first = line.only()
        assert first.state == "on_its_way"
        done = await carry(line.new("0"), context)
        assert any(f"waiting until delegation {first.id} has landed or never can" in words for words in said)
        assert any("until about" in words for words in said)
        await check_done(line, done, signed=1 if loses else 2, allowance=0)
        with pytest.raises(DelegationEndedError):
            await carry(line.context.journal.load(first.id), context)
        assert line.context.journal.load(first.id).state == "superseded"
        assert await line.allowance() == 0


@pytest.mark.parametrize("network", ["base", "solana"])
async def test_a_revoke_ends_what_another_process_is_only_asking_about_and_its_answer_is_not_sent(
    sandbox: Sandbox, tmp_path: Path, network: str
) -> None:
    async with open_line(sandbox, tmp_path, network) as line:
        asked, answered = asyncio.Event(), asyncio.Event()

        async def think(signed: SignedTransaction) -> SignedTransaction:
            asked.set()
            await answered.wait()
            return signed

        slow = with_wallet(line.context, TamperedWallet(line.key, after=think))
        question = asyncio.create_task(carry(line.new("5000"), slow))
        await asked.wait()
        first = line.only()
        assert first.state == "agreed"
        journal = open_journal(line.journal)
        done = await carry(line.new("0"), replace(line.context, journal=journal))
        journal.close()
        answered.set()
        with pytest.raises(JournalConflictError):
            await question
        await check_revoked(line, first, done, signed=1)


# --- killed at every save --------------------------------------------------------------------------------------------


async def replace_grant(line: Line, first: Delegation, context: Context, kind: str) -> None:
    """Do what is to be killed, until it waits to be mined."""
    if kind == "revoke":
        await pending(line.new("0"), context)
    elif kind == "speed up":
        await pending(await speed_up(first, context), context)
    else:
        with pytest.raises(TransactionPendingError):
            await cancel(first, context)


async def carry_all(context: Context) -> None:
    """Carry what is unfinished, the newest first, so that what is over ends without gas."""
    for d in reversed(context.journal.list()):
        try:
            if context.journal.load(d.id).unfinished:
                await carry(context.journal.load(d.id), context)
        except DelegationEndedError:
            continue


KILLED: list[tuple[str, bool, int]] = [
    ("speed up", False, 1),
    ("speed up", True, 2),
    ("cancel", False, 1),
    ("cancel", True, 2),
    ("revoke", False, 3),
    ("revoke", True, 4),
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("kind", "sends", "save"), [(*one[:2], save) for one in KILLED for save in range(1, one[2] + 1)]
)
async def test_a_replacement_killed_at_any_save_is_finished_with_one_nonce_used_and_the_platform_told_once(
    sandbox: Sandbox, tmp_path: Path, kind: str, sends: bool, save: int, when: str
) -> None:
    async with open_line(sandbox, tmp_path, "linea") as line, held(line):
        app = WalletApp(line)
        context = quick(line, wallet=app.wallet) if sends else quick(line)
        first = await pending(line.new("5000"), context)
        granted = hash_of_step(first)
        death = Death(save, when)
        with pytest.raises(CrashError):
            await replace_grant(line, first, replace(context, journal=DyingJournal(line.context.journal, death)), kind)
        assert death.happened
        await line.rpc.request("evm_setAutomine", [True])
        await mine(line)
        await carry_all(replace(context, settle_timeout=20, agree_again=lambda _: None))
        assert not any(d.unfinished for d in line.context.journal.list())
        first = line.context.journal.load(first.id)
        revoked = len(line.context.journal.list()) == 2
        assert await line.allowance() == (0 if revoked or first.state == "cancelled" else 5000 * UNIT)
        # The grant lands first where nobody was asked yet for what takes its place.
        assert await line.count_signed() == (2 if revoked and await is_mined(line, granted) else 1)
        assert await line.statuses() == ([] if first.state == "cancelled" else [201])
