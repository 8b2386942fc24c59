"""What can become of an approval on its way: reverted, replaced, dropped, pending, expired, spent from; and resume."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from line_lab import UNIT, Clock, Line, TamperedWallet, WalletApp, open_line

from chains.errors import (
    NoGasError,
    TransactionDroppedError,
    TransactionPendingError,
    TransactionReplacedError,
    TransactionRevertedError,
)
from chains.evm import watch
from chains.rpc import HttpRpc, Params
from chains.solana.node import SolanaNode
from chains.types import EvmTransaction, SignedTransaction
from delegation import Context, Delegation, carry
from delegation.errors import OutdatedPlanError
from delegation.intents import OutdatedPlan
from delegation.sandbox import Sandbox


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at nonce and mempool more often, so that the tests need not wait."""
    monkeypatch.setattr(watch, "_CHECK_EVERY", 0.2)


def tampering(
    line: Line, then: Callable[[SignedTransaction], Awaitable[None]], *, at: int = 1
) -> tuple[TamperedWallet, Context]:
    """Return context with a wallet after whose first signature, or the one named, something happens."""

    async def after(signed: SignedTransaction) -> SignedTransaction:
        if len(wallet.signed) == at:
            await then(signed)
        return signed

    wallet = TamperedWallet(line.key, after=after)
    return wallet, replace(line.context, wallet=wallet)


def nonce_of(d: Delegation) -> int:
    unsigned = d.approvals[-1].unsigned
    assert isinstance(unsigned, EvmTransaction)
    return unsigned.nonce


async def check_done(line: Line, d: Delegation, *, signed: int) -> None:
    assert d.station == "done"
    assert d.verification is not None
    assert d.verification.verdict == "VERIFIED", d.verification
    assert await line.count_signed() == signed
    assert await line.statuses() == [201]


async def test_an_approval_that_reverted_is_named_and_made_anew_only_by_resume_and_with_a_new_plan(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:

        async def pause(signed: SignedTransaction) -> None:
            await line.call_as_issuer("pause()")

        wallet, context = tampering(line, pause)
        try:
            with pytest.raises(TransactionRevertedError, match="paused") as caught:
                await carry(line.new("5000"), context)
        finally:
            await line.call_as_issuer("unpause()")
        assert len(wallet.signed) == 1
        assert caught.value.hash == wallet.signed[0].hash
        reverted = line.only()
        assert reverted.approvals[0].discarded == (wallet.signed[0].hash,)
        assert (reverted.touched_chain, reverted.in_flight) == (True, False)
        asked: list[OutdatedPlan] = []
        d = await carry(reverted, replace(context, agree_again=asked.append))
        assert len(asked) == 1
        assert d.approvals[0].discarded == (wallet.signed[0].hash,)
        await check_done(line, d, signed=2)


async def test_an_approval_whose_nonce_was_used_by_something_else_is_over_and_made_anew_only_by_resume(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:

        async def cancel(signed: SignedTransaction) -> None:
            await line.send_directly("0x", to=line.owner)

        wallet, context = tampering(line, cancel)
        with pytest.raises(TransactionReplacedError):
            await carry(line.new("5000"), context)
        assert len(wallet.signed) == 1
        assert not line.only().in_flight
        for _ in range(2):
            # The owner may have cancelled it: the allowance is what it was, and it must not come back unasked.
            with pytest.raises(OutdatedPlanError):
                await carry(line.only(), context)
        assert len(wallet.signed) == 1
        d = await carry(line.only(), replace(context, agree_again=lambda outdated: None))
        assert nonce_of(d) == 1
        await check_done(line, d, signed=2)


async def test_another_transaction_that_waits_with_the_same_nonce_is_waited_for_because_the_nonce_decides(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:

        async def wait_for_a_block() -> None:
            await asyncio.sleep(1.5)
            await line.rpc.request("evm_mine")

        blocks: list[asyncio.Task[None]] = []

        async def occupy(signed: SignedTransaction) -> None:
            await line.rpc.request("evm_setAutomine", [False])
            await line.send_directly("0x", to=line.owner)
            blocks.append(asyncio.create_task(wait_for_a_block()))

        wallet, context = tampering(line, occupy)
        try:
            with pytest.raises(TransactionReplacedError):
                await carry(line.new("5000"), context)
            await asyncio.gather(*blocks)
        finally:
            await line.rpc.request("evm_setAutomine", [True])
        assert len(wallet.signed) == 1
        assert not line.only().in_flight


async def test_an_approval_that_the_owner_sped_up_elsewhere_is_settled_under_its_new_hash(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        faster: list[str] = []

        async def speed_up(signed: SignedTransaction) -> None:
            faster.append(await line.approve_directly(5000 * UNIT))

        wallet, context = tampering(line, speed_up)
        d = await carry(line.new("5000"), context)
        assert [d.approvals[0].hash] == faster != [wallet.signed[0].hash]
        assert d.proof is not None
        assert d.proof.tx_hash == faster[0]
        await check_done(line, d, signed=1)


async def test_a_pending_approval_is_waited_for_and_sent_again_with_the_same_bytes_after_it_was_dropped(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base", settle_timeout=0.3) as line:
        wallet = TamperedWallet(line.key)
        context = replace(line.context, wallet=wallet)
        await line.rpc.request("evm_setAutomine", [False])
        try:
            for _ in range(2):
                with pytest.raises(TransactionPendingError, match=r"has not settled within 0\.3 seconds"):
                    await carry(line.only() if wallet.signed else line.new("5000"), context)
                await line.rpc.request("anvil_dropTransaction", [wallet.signed[0].hash])
            pending = line.only()
            assert pending.in_flight
        finally:
            await line.rpc.request("evm_setAutomine", [True])
        d = await carry(pending, context)
        assert [signed.hash for signed in wallet.signed] == [d.approvals[0].hash]
        await check_done(line, d, signed=1)


async def test_a_handed_out_approval_in_the_mempool_is_waited_for_and_nobody_is_asked_again(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        headless = replace(line.context, wallet=None)
        d = await carry(line.new("5000"), headless)
        unsigned = d.approvals[0].unsigned
        assert isinstance(unsigned, EvmTransaction)
        await line.rpc.request("evm_setAutomine", [False])
        try:
            await line.approve_directly(5000 * UNIT, nonce=unsigned.nonce)
            with pytest.raises(TransactionPendingError, match="waits to be mined"):
                await carry(d, line.context)
        finally:
            await line.rpc.request("evm_setAutomine", [True])
        await line.rpc.request("evm_mine")
        await check_done(line, await carry(d, line.context), signed=1)


async def test_a_hash_that_no_node_knows_any_more_is_asked_for_again_with_the_same_nonce(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_DROPPED_AFTER", 0.2)
    async with open_line(sandbox, tmp_path, "base") as line:

        async def drop(sent: str) -> str:
            await line.rpc.request("anvil_dropTransaction", [sent])
            await line.rpc.request("evm_setAutomine", [True])
            return sent

        async def hold() -> None:
            await line.rpc.request("evm_setAutomine", [False])

        app = WalletApp(line, before=hold, after=drop)
        context = replace(line.context, wallet=app.wallet)
        with pytest.raises(TransactionDroppedError):
            await carry(line.new("5000"), context)
        app.before = app.after = None
        d = await carry(line.only(), context)
        first, second = app.transactions
        assert first["params"][0]["nonce"] == second["params"][0]["nonce"]
        await check_done(line, d, signed=1)


@pytest.mark.parametrize("every", [5, 30])
async def test_a_hash_that_no_node_knows_is_dropped_after_its_time_in_total_however_short_each_wait(
    sandbox: Sandbox, tmp_path: Path, every: int
) -> None:
    clock = Clock()
    async with open_line(sandbox, tmp_path, "base", now=clock, settle_timeout=0) as line:

        async def hold() -> None:
            await line.rpc.request("evm_setAutomine", [False])

        async def drop(sent: str) -> str:
            await line.rpc.request("anvil_dropTransaction", [sent])
            await line.rpc.request("evm_setAutomine", [True])
            return sent

        app = WalletApp(line, before=hold, after=drop)
        context = replace(line.context, wallet=app.wallet)
        with pytest.raises(TransactionPendingError):
            await carry(line.new("5000"), context)
        waited = 0
        # As a web backend does it: each call is a process that has no memory but the journal.
        while waited <= 180:
            clock.ahead += timedelta(seconds=every)
            waited += every
            try:
                await carry(line.only(), context)
            except TransactionPendingError:
                continue
            except TransactionDroppedError:
                break
        assert 120 <= waited <= 120 + every + 20
        assert line.only().state == "handed_out"
        app.before = app.after = None
        clock.ahead = timedelta()
        await check_done(line, await carry(line.only(), replace(context, settle_timeout=20)), signed=1)


async def test_bytes_that_could_not_be_paid_for_are_kept_and_sent_when_there_is_gas(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:

        async def empty(signed: SignedTransaction) -> None:
            await line.rpc.request("anvil_setBalance", [line.owner, "0x1"])

        wallet, context = tampering(line, empty)
        with pytest.raises(NoGasError):
            await carry(line.new("5000"), context)
        assert line.only().in_flight
        await line.rpc.request("anvil_setBalance", [line.owner, hex(10**18)])
        d = await carry(line.only(), context)
        assert len(wallet.signed) == 1
        await check_done(line, d, signed=1)


async def test_the_second_of_two_steps_that_was_replaced_is_made_again_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "ethereum", "usdt") as line:
        await line.approve_directly(7)

        async def cancel(signed: SignedTransaction) -> None:
            await line.send_directly("0x", to=line.owner)

        wallet, context = tampering(line, cancel, at=2)
        with pytest.raises(TransactionReplacedError):
            await carry(line.new("5000"), context)
        stopped = line.only()
        assert [approval.settlement is not None for approval in stopped.approvals] == [True, False]
        d = await carry(stopped, replace(context, agree_again=lambda outdated: None))
        assert d.approvals[0] == stopped.approvals[0]
        assert len(wallet.signed) == 3
        # The approval of the test's own, the reset to 0, what took the nonce, and the approval made anew.
        await check_done(line, d, signed=4)


class MeddlingRpc:
    """A real connection to Solana on which something happens to the answers."""

    def __init__(self, rpc: HttpRpc) -> None:
        self._rpc = rpc
        self.calls = 0
        self.lost: set[str] = set()
        self.shorten_lives = 0
        self.when_taken: Callable[[], Awaitable[object]] | None = None

    async def request(self, method: str, params: Params = ()) -> Any:
        self.calls += 1
        if method == "sendTransaction":
            assert isinstance(params, list)
            if len(self.lost) == 0 or params[0] in self.lost:
                self.lost.add(params[0])
                return ""
        answer = await self._rpc.request(method, params)
        if method == "getLatestBlockhash":
            answer["value"]["lastValidBlockHeight"] -= self.shorten_lives
        # What was granted before is looked at again first, and is final.
        status = answer["value"][0] if method == "getSignatureStatuses" else None
        taken = status is not None and status["confirmationStatus"] != "finalized"
        if taken and self.when_taken is not None:
            happens, self.when_taken = self.when_taken, None
            await happens()
        return answer

    async def aclose(self) -> None:
        await self._rpc.aclose()


async def test_a_solana_transaction_that_can_never_land_any_more_is_rebuilt_and_nothing_is_approved_twice(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "solana") as line:
        rpc = MeddlingRpc(line.rpc)
        # The first transaction gets lost; it is said to live for 40 blocks only, so that the test is not longer.
        rpc.shorten_lives = 110
        wallet = TamperedWallet(line.key)
        context = replace(line.context, wallet=wallet, node=SolanaNode(line.context.node.chain, rpc))
        d = await carry(line.new("5000"), context)
        assert [signed.raw for signed in wallet.signed[:1]] == list(rpc.lost)
        assert d.approvals[0].discarded == (wallet.signed[0].hash,)
        assert d.approvals[0].hash == wallet.signed[1].hash
        await check_done(line, d, signed=1)


async def test_an_allowance_that_is_spent_from_before_it_is_final_has_still_taken_effect(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "solana") as line:
        await line.carry("5000")
        rpc = MeddlingRpc(line.rpc)
        rpc.lost.add("nothing")
        rpc.when_taken = lambda: sandbox.spend("solana", "usdc", line.owner, 1200 * UNIT)
        d = await carry(line.new("10000"), replace(line.context, node=SolanaNode(line.context.node.chain, rpc)))
        # It settles as soon as it is confirmed, which may be before or after it is spent from.
        assert d.approvals[0].settlement is not None
        assert d.approvals[0].settlement.allowance in {8800 * UNIT, 10000 * UNIT}
        assert d.verification is not None
        assert (d.verification.verdict, d.verification.allowance) == ("VERIFIED", 8800 * UNIT)
        assert await line.count_signed() == 2
        assert await line.listed() == 8800
