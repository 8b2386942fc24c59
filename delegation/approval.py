"""The approval station: sign, save, send, and read the state; never two for one intent (rule 1 of the line)."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

from chains.errors import (
    NonceOccupiedError,
    SignatureMismatchError,
    TransactionDroppedError,
    TransactionExpiredError,
    TransactionPendingError,
    TransactionReplacedError,
    TransactionRevertedError,
    UnexpectedAllowanceError,
    WalletRefusedError,
)
from chains.family import verify_signed
from chains.types import (
    ApproveStep,
    EvmFee,
    EvmTransaction,
    SentTransaction,
    SignedTransaction,
    UnsignedTransaction,
)
from delegation.attempts import (
    approving,
    cancelled,
    forget,
    has_lost,
    held_by,
    intent_of_step,
    keep_approval,
    keep_found,
    keep_seen,
    keep_sent,
    keep_settled,
    keep_winner,
    leave_behind,
    look_for,
    lost_to_rivals,
    make_same_call,
    sent_of,
    take_back,
    unsigned_of,
    what_was_before,
)
from delegation.context import Context, check_context
from delegation.errors import InvalidRequestError
from delegation.intents import require_not_over
from delegation.models import Delegation, filled, is_cancellation

_REBUILDS: Final = 3
# What a transaction in a block, or with a nonce or blockhash that is used up, can come to.
_JUDGED: Final = (
    TransactionExpiredError,
    TransactionReplacedError,
    TransactionRevertedError,
    UnexpectedAllowanceError,
)


async def approve(d: Delegation, index: int, context: Context) -> Delegation:
    """Carry one step until it has taken effect, or must be signed and there is no wallet, or be agreed to again.

    Raises the ground floor's errors. After a `TransactionError` that leaves the transaction no way to land, the next
    call makes a new one: that is a person's decision (attack A18). Only one that was signed just now and has expired
    is rebuilt at once, and a revocation that lost the race for a nonce goes on with the next one.
    """
    return await _approve(d, index, context, watching=False)


async def watch(d: Delegation, index: int, context: Context) -> Delegation:
    """Find out what becomes of a step in flight, for up to `settle_timeout`; nothing is signed and nobody is asked.

    Its saved bytes are sent again meanwhile. Raises as `approve` does where it can never land.
    """
    return await _approve(d, index, dataclasses.replace(context, wallet=None), watching=True)


async def _approve(d: Delegation, index: int, context: Context, *, watching: bool) -> Delegation:
    rebuilds = 0
    signed_now = False
    while d.approvals[index].settlement is None and d.ended is None:
        if d.approvals[index].sent is None:
            was_handed_out = d.in_flight
            d = await _authorise(d, index, context, watching=watching)
            if d.approvals[index].sent is None:
                return d
            signed_now = not was_handed_out
        try:
            d = await _settle(d, index, context)
        except _JUDGED as error:
            left = leave_behind(d, index, context)
            if left is not None:
                return left
            if not isinstance(error, TransactionExpiredError | TransactionReplacedError):
                forget(d, index, context, judged=True)
                raise
            d, goes_on = _forget_what_cannot_land(d, index, context, error)
            rebuilds += 1
            makes_another = goes_on and not watching and (signed_now or bool(d.approvals[index].lost_to))
            if rebuilds == _REBUILDS or not makes_another:
                raise
        except (TransactionDroppedError, SignatureMismatchError) as error:
            if isinstance(d.approvals[index].sent, SentTransaction):
                dropped = isinstance(error, TransactionDroppedError)
                forget(d, index, context, judged=False, dropped=dropped)
            raise
    return d


def _forget_what_cannot_land(
    d: Delegation, index: int, context: Context, error: TransactionExpiredError | TransactionReplacedError
) -> tuple[Delegation, bool]:
    """Take back what can never take effect, and return whether the next may be made at once."""
    if isinstance(error, TransactionExpiredError):
        return forget(d, index, context, judged=True), True
    lost_to = lost_to_rivals(d.approvals[index], error)
    if lost_to:
        context.progress("approval", f"{lost_to[-1]} was mined first; going on with the next nonce")
    return forget(d, index, context, judged=True, lost_to=lost_to), bool(lost_to) and not d.request.amount


async def discard_request(d: Delegation, context: Context) -> Delegation:
    """Give up a transaction that was handed to a wallet and never came back, so that the owner is free for another.

    Returns the saved delegation, which can still be carried on with a new plan. On EVM networks its nonce is used
    again, so that only one of the two can take effect should the wallet send it after all; until then it cannot be
    abandoned. Raises `InvalidRequestError` if nothing was handed out or if it has been made, and
    `TransactionPendingError` while it may still take effect.
    """
    check_context(d, context)
    await context.node.check_chain()
    index = d.next_step
    if index is None or d.state != "handed_out":
        raise InvalidRequestError(f"Delegation {d.id} has no transaction that a wallet was asked for and did not make.")
    approval = d.approvals[index]
    unsigned = unsigned_of(approval)
    can_land, made = await look_for(d, index, context)
    if made is not None:
        keep_found(d, index, made, context)
        raise InvalidRequestError(
            f"The wallet did make this approval: {made.hash}.",
            hint=f"Carry delegation {d.id} on to its end. To take it back, revoke afterwards.",
            found=made.hash,
        )
    if can_land and unsigned.kind == "solana":
        raise TransactionPendingError(
            "The wallet can still sign and send this transaction, beside any other one.",
            hint="It expires within two minutes; discard the request then.",
        )
    return take_back(d, index, context, asked=True)


async def _authorise(d: Delegation, index: int, context: Context, *, watching: bool) -> Delegation:
    """Have one step signed; afterwards `sent` is set, unless there is no wallet or it must be agreed to again."""
    approval = d.approvals[index]
    if approval.handed_over:
        context.progress("approval", f"{_label(d, index)}: looking for what the wallet sent")
        can_land, made = await look_for(d, index, context)
        if made is not None:
            return keep_found(d, index, made, context)
        if not can_land:
            if approval.cancelling:
                return cancelled(d, context, "Its nonce was used, and not by an approval of this delegation.")
            # What it was asked for can never land. Its owner may have moved on, so that the question begins anew.
            step = ApproveStep(approval.step.amount)
            return keep_approval(d, index, context, "discard", step=step, unsigned=None, handed_over=False, earlier=())
        if context.wallet is None:
            return d
        # The same again: of two with one nonce, or of one Solana message signed twice, only one can take effect.
        unsigned = unsigned_of(approval)
        if approval.last_seen_at is not None:
            # What it said that it had sent was given up; asked again, it may send after all.
            d = keep_approval(d, index, context, "hand_out", last_seen_at=None)
    elif watching:
        return d
    else:
        # Asked right before a transaction is made, because another process may have settled since the plan was agreed.
        require_not_over(d, context.journal.read_all(d)[0])
        context.progress("approval", f"{_label(d, index)}: preparing the transaction")
        prepared = await _prepare(d, index, context)
        if prepared is None:
            return d
        unsigned = prepared
        if context.wallet is None or context.wallet.sends:
            # Whoever is asked now may send by himself: remember that before he can.
            d = keep_approval(d, index, context, "hand_out", unsigned=unsigned, handed_over=True)
    return await sign(d, index, unsigned, context)


async def _prepare(d: Delegation, index: int, context: Context) -> UnsignedTransaction | None:
    """Return the transaction of a step; None where the one that it was to replace is not in flight any more."""
    approval, plan = d.approvals[index], filled(d.plan, "plan")
    if plan.replaces is None or index or has_lost(approval):
        return await context.node.prepare(intent_of_step(d), approval.step)
    held = held_by(context.journal.load(plan.replaces.delegation_id), plan.replaces)
    if held is None:
        return None
    made = await context.node.replace(intent_of_step(d), approval.step, unsigned_of(held))
    if isinstance(made, EvmTransaction) and isinstance(approval.step.fee, EvmFee):
        # The fee that was shown: what the network asks for may have risen since, and this one is swapped in as well.
        return dataclasses.replace(made, fee=approval.step.fee)
    return made


async def sign(
    d: Delegation, index: int, unsigned: UnsignedTransaction, context: Context, **changes: Any
) -> Delegation:
    """Have a transaction signed and keep what came back, before anything is sent; as it is if there is no wallet."""
    wallet = context.wallet
    if wallet is None:
        return d
    context.progress("approval", f"{_label(d, index)}: asking the wallet to sign")
    try:
        sent = await wallet.authorise(unsigned)
    except WalletRefusedError:
        if d.approvals[index].state == "handed_out":
            take_back(d, index, context, asked=False)
        raise
    if isinstance(sent, SignedTransaction):
        verify_signed(unsigned, sent)
    return keep_sent(context.journal, d, index, sent, context.now(), unsigned=unsigned, **changes)


async def send(signed: SignedTransaction, context: Context) -> None:
    """Send what is signed and saved; if its nonce is used, or about to be, `settle` sees whether by this approval."""
    with suppress(TransactionReplacedError, NonceOccupiedError):
        await context.node.send(signed)


async def _settle(d: Delegation, index: int, context: Context) -> Delegation:
    approval = d.approvals[index]
    sent = sent_of(approval)
    unsigned = unsigned_of(approval)
    context.progress("approval", f"{_label(d, index)}: waiting for {sent.hash}")
    if isinstance(sent, SignedTransaction):
        await send(sent, context)
    elif approval.earlier and approval.another_nonce is None:
        d = await _read_nonce(d, index, context)
        approval = d.approvals[index]
        sent, unsigned = sent_of(approval), unsigned_of(approval)
    unseen_for = approval.unseen_for(context.now())
    try:
        if approval.cancelling:
            return await _settle_cancellation(d, index, context, unseen_for)
        settlement = await context.node.settle(
            intent_of_step(d),
            approval.step,
            unsigned,
            sent,
            timeout=context.settle_timeout,
            rivals=approval.live_rivals,
            unseen_for=unseen_for,
        )
    except TransactionPendingError as error:
        if error.unseen_for is not None:
            keep_seen(d, index, context, context.now() - timedelta(seconds=error.unseen_for))
        raise
    return keep_settled(d, index, settlement, context)


async def _read_nonce(d: Delegation, index: int, context: Context) -> Delegation:
    """Find out whether a wallet kept the nonce of what it was asked to replace; some choose their own."""
    approval = d.approvals[index]
    asked, sent = unsigned_of(approval), sent_of(approval)
    nonce = await context.node.get_nonce(sent.hash)
    if not isinstance(asked, EvmTransaction) or nonce in (None, asked.nonce):
        return d
    context.progress(
        "approval",
        f"the wallet sent {sent.hash} with nonce {nonce} instead of {asked.nonce}: it replaces nothing, and both are "
        "followed",
    )
    if not approval.cancelling:
        return keep_approval(d, index, context, "watch", another_nonce=nonce)
    # It does nothing, and the approval before it counts as before.
    before = what_was_before(approval)
    return keep_approval(d, index, context, "disown" if before["sent"] is None else "watch", **before)


async def _settle_cancellation(d: Delegation, index: int, context: Context, unseen_for: float) -> Delegation:
    """Wait until the nonce is used; afterwards the delegation is cancelled, or its approval is on its way after all."""
    approval = d.approvals[index]
    sent, unsigned = sent_of(approval), unsigned_of(approval)
    try:
        winner = await context.node.settle_cancellation(
            unsigned, sent, timeout=context.settle_timeout, rivals=approval.rivals, unseen_for=unseen_for
        )
    except TransactionReplacedError as error:
        # By something of the owner's that is not known here, and may be the same approval in another dress.
        made = await context.node.find_approval(intent_of_step(d), approval.step, approving(approval), nonce_used=True)
        if made is None:
            return cancelled(d, context, f"Its nonce was used by {error.found or 'another transaction'}.")
        winner = made
    if winner == sent.hash:
        return cancelled(d, context, f"Its nonce was used by {winner}, which does nothing.")
    rival = next((rival.unsigned for rival in approval.rivals if rival.hash == winner), approving(approval))
    if is_cancellation(rival):
        return cancelled(d, context, f"Its nonce was used by {winner}, which does nothing.")
    if not make_same_call(rival, approving(approval)):
        reason = f"Its nonce was used by {winner}, which it was to replace, and what that set stands. Revoke it anew."
        return cancelled(d, context, reason)
    return keep_winner(d, index, winner, context)


def _label(d: Delegation, index: int) -> str:
    return f"approval {index + 1} of {len(d.approvals)}"
