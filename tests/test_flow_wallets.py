"""Wallets that sign and send by themselves: we only ever hear a hash, or nothing; nothing is approved twice for it."""

from dataclasses import replace
from pathlib import Path

import pytest
from line_lab import UNIT, CrashError, Line, TamperedWallet, WalletApp, die_at, open_line

from chains.errors import (
    RpcError,
    SignatureMismatchError,
    TransactionPendingError,
    UnexpectedAllowanceError,
    WalletRefusedError,
)
from chains.evm import watch
from chains.types import SignedTransaction
from delegation import Context, Delegation, Plan, carry
from delegation.errors import DeclinedError, DelegationEndedError, OutdatedPlanError
from delegation.sandbox import Sandbox


def with_app(line: Line, app: WalletApp) -> Context:
    return replace(line.context, wallet=app.wallet)


async def die() -> None:
    raise CrashError


async def die_with(sent: str) -> str:
    raise CrashError


async def check_done(line: Line, d: Delegation, *, signed: int = 1) -> None:
    assert d.station == "done"
    assert d.verification is not None
    assert d.verification.verdict == "VERIFIED"
    assert await line.count_signed() == signed
    assert await line.statuses() == [201]


@pytest.mark.parametrize("network", ["linea", "solana"])
async def test_a_wallet_that_sends_by_itself_is_asked_once_for_the_approval_and_once_for_the_text(
    sandbox: Sandbox, tmp_path: Path, network: str
) -> None:
    async with open_line(sandbox, tmp_path, network) as line:
        app = WalletApp(line)
        d = await carry(line.new("5000"), with_app(line, app))
        await check_done(line, d)
        assert len(app.asked) == 2
        assert len(app.transactions) == 1
        assert d.approvals[0].handed_over


@pytest.mark.parametrize("network", ["base", "solana"])
async def test_a_crash_before_the_hash_was_heard_ends_with_the_transaction_found_on_chain(
    sandbox: Sandbox, tmp_path: Path, network: str
) -> None:
    async with open_line(sandbox, tmp_path, network) as line:
        with pytest.raises(CrashError):
            await carry(line.new("5000"), with_app(line, WalletApp(line, after=die_with)))
        stopped = line.only()
        assert (stopped.station, stopped.in_flight, stopped.approvals[0].sent) == ("approval", True, None)
        again = WalletApp(line)
        d = await carry(stopped, with_app(line, again))
        assert again.transactions == []
        await check_done(line, d)


@pytest.mark.parametrize("network", ["base", "solana"])
async def test_a_crash_before_the_wallet_sent_ends_with_the_same_being_asked_again(
    sandbox: Sandbox, tmp_path: Path, network: str
) -> None:
    async with open_line(sandbox, tmp_path, network) as line:
        first, again = WalletApp(line, before=die), WalletApp(line)
        with pytest.raises(CrashError):
            await carry(line.new("5000"), with_app(line, first))
        d = await carry(line.only(), with_app(line, again))
        assert again.transactions == first.transactions, "the same nonce, or the same bytes: only one can take effect"
        await check_done(line, d)


async def test_after_a_lost_answer_a_wallet_that_only_signs_can_finish_the_line(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        with pytest.raises(CrashError):
            await carry(line.new("5000"), with_app(line, WalletApp(line, before=die)))
        await check_done(line, await carry(line.only(), line.context))


async def test_a_refusal_leaves_nothing_behind_and_the_owner_free(sandbox: Sandbox, tmp_path: Path) -> None:
    class RejectedByUserError(Exception):
        code = 4001  # EIP-1193

    async def reject() -> None:
        raise RejectedByUserError

    async with open_line(sandbox, tmp_path, "base") as line:
        with pytest.raises(WalletRefusedError):
            await carry(line.new("5000"), with_app(line, WalletApp(line, before=reject)))
        refused = line.only()
        assert not refused.in_flight
        assert not refused.touched_chain
        assert await line.count_signed() == 0
        assert (refused.station, refused.ended and refused.ended.error) == ("failed", "WalletRefusedError")
        await check_done(line, await line.carry("7"))
        with pytest.raises(DelegationEndedError, match="said no"):
            await carry(refused, line.context)
        assert await line.count_signed() == 1


async def test_a_plan_that_is_shown_again_can_be_declined(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:

        def decline(plan: Plan) -> None:
            raise DeclinedError("no")

        with pytest.raises(CrashError):
            await carry(line.new("5000"), replace(line.context, progress=die_at("preparing")))
        with pytest.raises(DeclinedError):
            await carry(line.only(), replace(line.context, agree=decline))
        assert line.only().station == "failed"
        assert await line.count_signed() == 0


async def test_a_text_that_was_refused_is_asked_for_again_and_the_approval_is_not(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:

        async def refuse() -> None:
            raise WalletRefusedError("no")

        with pytest.raises(WalletRefusedError):
            await carry(line.new("5000"), replace(line.context, wallet=TamperedWallet(line.key, before_text=refuse)))
        refused = line.only()
        assert (refused.station, refused.in_flight) == ("ownership", False)
        await check_done(line, await carry(refused, line.context))


async def test_a_wallet_that_changed_the_amount_is_found_out_and_asked_again_only_by_resume(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        app = WalletApp(line)
        d = line.new("5000")
        context = with_app(line, app)
        app.before = change_amount(line, app)
        with pytest.raises(UnexpectedAllowanceError) as caught:
            await carry(d, context)
        assert (caught.value.expected, caught.value.found) == (5000 * UNIT, 1000 * UNIT)
        stopped = line.only()
        assert stopped.approvals[0].discarded == (caught.value.hash,)
        assert len(app.transactions) == 1
        app.before, app.changes = None, {}
        # The chain now holds what nobody asked for, so that it is no matter of course that 5000 is still wanted.
        with pytest.raises(OutdatedPlanError) as outdated:
            await carry(stopped, context)
        assert (outdated.value.expected, outdated.value.found) == (0, 1000 * UNIT)
        agreeing = replace(context, agree_again=lambda outdated: None)
        await check_done(line, await carry(line.only(), agreeing), signed=2)


def change_amount(line: Line, app: WalletApp):
    async def change() -> None:
        data = str(app.transactions[0]["params"][0]["data"])
        app.changes = {"data": data[:-64] + (1000 * UNIT).to_bytes(32, "big").hex()}

    return change


@pytest.mark.parametrize("network", ["base", "solana"])
async def test_the_hash_of_another_transaction_is_refused_and_the_right_one_is_found_by_resume(
    sandbox: Sandbox, tmp_path: Path, network: str
) -> None:
    async with open_line(sandbox, tmp_path, network) as line:
        earlier = await line.carry("5000")
        other = earlier.approvals[0].hash
        assert other is not None

        async def answer_another(sent: str) -> str:
            return other

        app = WalletApp(line, after=answer_another)
        with pytest.raises(SignatureMismatchError):
            await carry(line.new("5000"), with_app(line, app))
        stopped = line.only()
        assert (stopped.in_flight, stopped.approvals[0].sent) == (True, None)
        d = await carry(stopped, with_app(line, app))
        assert len(app.transactions) == 1
        assert d.approvals[0].hash != other
        assert d.station == "done"
        assert await line.count_signed() == 2
        assert await line.statuses() == [201, 201]


async def test_an_answer_that_is_no_hash_is_refused_and_the_transaction_is_found_by_resume(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:

        async def answer_bundle(sent: str) -> str:
            return "0x1"

        app = WalletApp(line, after=answer_bundle)
        with pytest.raises(SignatureMismatchError, match="not the hash"):
            await carry(line.new("5000"), with_app(line, app))
        d = await carry(line.only(), with_app(line, app))
        assert len(app.transactions) == 1
        await check_done(line, d)


async def test_a_wallet_that_chose_a_later_nonce_is_waited_for_and_not_asked_again(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_CHECK_EVERY", 0.2)
    async with open_line(sandbox, tmp_path, "base", settle_timeout=1) as line:

        async def use_nonce_and_hold() -> None:
            nonce = int(app.transactions[0]["params"][0]["nonce"], 16)
            await line.send_directly("0x", to=line.owner, nonce=nonce)
            app.changes = {"nonce": nonce + 1}
            await line.rpc.request("evm_setAutomine", [False])

        app = WalletApp(line, before=use_nonce_and_hold)
        context = with_app(line, app)
        try:
            with pytest.raises(TransactionPendingError):
                await carry(line.new("5000"), context)
            forgotten = line.only()
            approval = forgotten.approvals[0].model_copy(update={"sent": None, "handed_over": True})
            forgotten = line.context.keep(forgotten, "disown", approvals=(approval,))
            with pytest.raises(TransactionPendingError):
                await carry(forgotten, context)
        finally:
            await line.rpc.request("evm_setAutomine", [True])
        await line.rpc.request("evm_mine")
        d = await carry(line.only(), context)
        assert len(app.transactions) == 1
        await check_done(line, d, signed=2)


async def test_a_wallet_that_fails_says_so_and_is_asked_again(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:

        async def fail() -> None:
            raise RpcError("the wallet is locked", code=-32603)

        app = WalletApp(line, before=fail)
        with pytest.raises(RpcError, match="locked"):
            await carry(line.new("5000"), with_app(line, app))
        app.before = None
        await check_done(line, await carry(line.only(), with_app(line, app)))


async def test_signed_bytes_that_are_another_transaction_are_neither_kept_nor_sent(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        theirs: list[SignedTransaction] = []

        async def swap(signed: SignedTransaction) -> SignedTransaction:
            theirs.append(signed)
            return theirs[0]

        wallet = TamperedWallet(line.key, after=swap)
        context = replace(line.context, wallet=wallet)
        await carry(line.new("5000"), context)
        with pytest.raises(SignatureMismatchError):
            await carry(line.new("6000"), context)
        stopped = line.only()
        assert stopped.approvals[0].sent is None
        assert not stopped.in_flight
        assert await line.count_signed() == 1
