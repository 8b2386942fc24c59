"""The approval station: sign, save, send, and read the state; never two for one intent (rule 1 of the line)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
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
    AllowanceIntent,
    ApproveStep,
    EvmFee,
    EvmTransaction,
    Rival,
    SentTransaction,
    Settlement,
    SignedTransaction,
    UnsignedTransaction,
)
from delegation.context import Context, check_context, keep
from delegation.errors import InvalidRequestError
from delegation.intents import require_not_over, supersede
from delegation.journal import Journal
from delegation.lifecycle import Event
from delegation.models import Approval, ApprovalState, Attempt, Delegation, Ending, Replaced, filled
from delegation.plan import intent_of

_REBUILDS: Final = 3
# How much older the journal may say that a hash was last seen than it was: it is written at most this often.
_SEEN_EVERY: Final = timedelta(seconds=20)

# Of the blocks that a reorganisation took away one may have held a step and another the next one: both are sent again.
_SETTLED_BEFORE: Final[dict[ApprovalState, Event]] = {
    "planned": "settle_step",
    "handed_out": "settle_before_asked",
    "on_its_way": "settle_before_sent",
}

_FORGOTTEN_BEFORE: Final[dict[ApprovalState, Event]] = {
    "handed_out": "forget_before_asked",
    "on_its_way": "forget_before_sent",
}
# What a transaction in a block, or with a nonce or blockhash that is used up, can come to.
_JUDGED: Final = (
    TransactionExpiredError,
    TransactionReplacedError,
    TransactionRevertedError,
    UnexpectedAllowanceError,
)

RENEWED: Final[dict[str, Any]] = dict.fromkeys(
    ("delegation_token", "statement", "ownership", "proof", "submission", "verification")
)
"""The stations after the approval, emptied."""


async def approve(d: Delegation, index: int, context: Context) -> Delegation:
    """Carry one step until it has taken effect, or must be signed and there is no wallet, or be agreed to again.

    Raises the ground floor's errors. After a `TransactionError` that leaves the transaction no way to land, the next
    call makes a new one: that is a person's decision (attack A18). Only one that was signed just now and has expired
    is rebuilt at once, and a revocation that lost the race for a nonce goes on with the next one.
    """
    rebuilds = 0
    signed_now = False
    while d.approvals[index].settlement is None and d.ended is None:
        if d.approvals[index].sent is None:
            was_handed_out = d.in_flight
            d = await _authorise(d, index, context)
            if d.approvals[index].sent is None:
                return d
            signed_now = not was_handed_out
        try:
            d = await _settle(d, index, context)
        except _JUDGED as error:
            left = _leave_behind(d, index, context)
            if left is not None:
                return left
            if not isinstance(error, TransactionExpiredError | TransactionReplacedError):
                _forget(d, index, context, judged=True)
                raise
            d, goes_on = _forget_what_cannot_land(d, index, context, error)
            rebuilds += 1
            if rebuilds == _REBUILDS or not goes_on or not (signed_now or d.approvals[index].lost_to):
                raise
        except (TransactionDroppedError, SignatureMismatchError) as error:
            if isinstance(d.approvals[index].sent, SentTransaction):
                dropped = isinstance(error, TransactionDroppedError)
                _forget(d, index, context, judged=False, dropped=dropped)
            raise
    return d


def _leave_behind(d: Delegation, index: int, context: Context) -> Delegation | None:
    """Keep that a step whose nonce is decided is not waited for, where the next one is under way; None elsewhere.

    After a reorganisation one block may hold both, so that its state shows the next one alone: that decides.
    """
    later = next((each.state for each in d.approvals[index + 1 :] if each.under_way), None)
    if later is None:
        return None
    approval = d.approvals[index]
    gone = [each.sent.hash for each in approval.earlier if each.sent is not None]
    changes: dict[str, Any] = {"unsigned": None, "sent": None, "handed_over": False, "earlier": ()}
    discarded = (*approval.discarded, *gone, _sent(approval).hash)
    return keep_approval(d, index, context, _FORGOTTEN_BEFORE[later], discarded=discarded, **changes)


def _forget_what_cannot_land(
    d: Delegation, index: int, context: Context, error: TransactionExpiredError | TransactionReplacedError
) -> tuple[Delegation, bool]:
    """Take back what can never take effect, and return whether the next may be made at once."""
    if isinstance(error, TransactionExpiredError):
        return _forget(d, index, context, judged=True), True
    lost_to = _lost_to(d.approvals[index], error)
    if lost_to:
        context.progress("approval", f"{lost_to[-1]} was mined first; going on with the next nonce")
    return _forget(d, index, context, judged=True, lost_to=lost_to), bool(lost_to) and not d.request.amount


async def discard_request(d: Delegation, context: Context) -> Delegation:
    """Give up a transaction that was handed to a wallet and never came back, so that the owner is free for another.

    Returns the saved delegation, which can still be carried on with a new plan. On EVM networks its nonce is used
    again, so that only one of the two can take effect should the wallet send it after all. Raises
    `InvalidRequestError` if nothing was handed out or if it has been made, and `TransactionPendingError` while it may
    still take effect.
    """
    check_context(d, context)
    await context.node.check_chain()
    index = d.next_step
    if index is None or d.state != "handed_out":
        raise InvalidRequestError(f"Delegation {d.id} has no transaction that a wallet was asked for and did not make.")
    approval = d.approvals[index]
    unsigned = _unsigned(approval)
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
    return take_back(d, index, context)


def take_back(d: Delegation, index: int, context: Context) -> Delegation:
    """Keep that a wallet will not make what it was asked for: what was before it on the same nonce counts again."""
    approval = d.approvals[index]
    if not approval.earlier:
        return keep_approval(d, index, context, "discard", unsigned=None, handed_over=False)
    before = approval.earlier[-1]
    changes: dict[str, Any] = {
        "unsigned": before.unsigned,
        "sent": before.sent,
        "earlier": approval.earlier[:-1],
        "handed_over": True,
    }
    return keep_approval(d, index, context, "hand_out" if before.sent is None else "send", **changes)


async def _authorise(d: Delegation, index: int, context: Context) -> Delegation:
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
        unsigned = _unsigned(approval)
        if approval.last_seen_at is not None:
            # What it said that it had sent was given up; asked again, it may send after all.
            d = keep_approval(d, index, context, "hand_out", last_seen_at=None)
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
    if plan.replaces is None or index or _has_lost(approval):
        return await context.node.prepare(_intent(d), approval.step)
    held = _held(context.journal.load(plan.replaces.delegation_id), plan.replaces)
    if held is None:
        return None
    made = await context.node.replace(_intent(d), approval.step, _unsigned(held))
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
            take_back(d, index, context)
        raise
    if isinstance(sent, SignedTransaction):
        verify_signed(unsigned, sent)
    return keep_sent(context.journal, d, index, sent, context.now(), unsigned=unsigned, **changes)


def keep_sent(
    journal: Journal,
    d: Delegation,
    index: int,
    sent: SignedTransaction | SentTransaction,
    at: datetime,
    **changes: Any,
) -> Delegation:
    """Keep what was signed, or the hash that a wallet gave.

    The delegation whose transaction it replaces ends in the same moment: from then on this one answers for the nonce.
    One of another allowance waits until the chain has decided, and lends its owner's lock until then. If what was to be
    replaced is not in flight any more, nothing that was signed for it is kept, and the step is to be agreed to again.
    """
    approval = d.approvals[index]
    replaces = _replaces(d, index)
    others: list[Delegation] = []
    if replaces is not None:
        other = journal.load(replaces.delegation_id)
        held = _held(other, replaces)
        if held is None:
            return _keep_too_late(journal, d, index, sent, replaces)
        changes["earlier"] = (*held.earlier, Attempt(unsigned=_unsigned(held), sent=held.sent))
        lent = other.model_copy(update={"replaced_by": d.id})
        others.append(supersede(other, d, at) if replaces.same_allowance else lent)
    seen_at = at if isinstance(sent, SentTransaction) else None
    updated = approval.model_copy(update={"sent": sent, "last_seen_at": seen_at, "another_nonce": None, **changes})
    approvals = tuple(updated if place == index else one for place, one in enumerate(d.approvals))
    return keep(journal, d, "send", others=others, approvals=approvals)


def _held(other: Delegation, replaces: Replaced) -> Approval | None:
    """Return the approval in flight whose place is to be taken, or None if it is not that one any more."""
    if not other.in_flight or other.next_step is None:
        return None
    held = other.approvals[other.next_step]
    return held if held.hash == replaces.hash else None


def _keep_too_late(
    journal: Journal, d: Delegation, index: int, sent: SignedTransaction | SentTransaction, replaces: Replaced
) -> Delegation:
    """Keep that what was to be replaced has landed meanwhile, so that its nonce is used and the next is taken."""
    if d.state == "agreed":
        return d  # what was signed is not saved, and never sent
    approval = d.approvals[index]
    changes: dict[str, Any] = {"unsigned": None, "handed_over": False, "last_seen_at": None}
    if isinstance(sent, SentTransaction):
        changes["discarded"] = (*approval.discarded, sent.hash)
        changes["lost_to"] = (*approval.lost_to, replaces.hash or sent.hash)
    updated = approval.model_copy(update=changes)
    approvals = tuple(updated if place == index else one for place, one in enumerate(d.approvals))
    return keep(journal, d, "discard", approvals=approvals)


def _has_lost(approval: Approval) -> bool:
    """Return whether a transaction that was to be replaced, the newest of that delegation or an older, was mined first.

    What was lost to before the plan that replaces it is no part of the approval (see `delegation.flow`).
    """
    return bool(approval.lost_to)


async def look_for(d: Delegation, index: int, context: Context) -> tuple[bool, SentTransaction | None]:
    """Return whether what was handed out can still land, and the transaction that the wallet made of it, if it did."""
    approval = d.approvals[index]
    rivals = (*approval.rivals, *_borrowed_rivals(d, index, context))
    # In this order: what lands between the two questions is found by the second.
    can_land = await context.node.can_land(_unsigned(approval))
    made = await context.node.find_approval(_intent(d), approval.step, _approving(approval), rivals=rivals)
    # The same approval may have been made by another delegation, which answers for it.
    elsewhere = {one.hash for other in context.journal.read_all(d)[0] if other.id != d.id for one in other.approvals}
    ours = made is not None and made not in approval.discarded and made not in elsewhere
    return can_land, SentTransaction(made) if made is not None and ours else None


def _borrowed_rivals(d: Delegation, index: int, context: Context) -> tuple[Rival, ...]:
    """Return the transactions of the delegation that this one was to replace, while none that does so is signed."""
    replaces = _replaces(d, index)
    if replaces is None:
        return ()
    other = context.journal.load(replaces.delegation_id)
    made = [(approval, approval.unsigned) for approval in other.approvals if approval.unsigned is not None]
    return tuple(rival for one, unsigned in made for rival in (*one.rivals, Rival(unsigned, one.hash)))


def _replaces(d: Delegation, index: int) -> Replaced | None:
    """Return the transaction in flight whose place a step takes, until one that does so is signed."""
    approval = d.approvals[index]
    replaces = None if d.plan is None or index or approval.earlier else d.plan.replaces
    return None if replaces is None or _has_lost(approval) else replaces


def _approving(approval: Approval) -> UnsignedTransaction:
    """Return the newest transaction of a step that approves: of a cancellation, what it is to cancel."""
    attempts = [*(each.unsigned for each in approval.earlier), _unsigned(approval)]
    return next((one for one in reversed(attempts) if not _does_nothing(one)), attempts[-1])


def _make_same_call(one: UnsignedTransaction, other: UnsignedTransaction) -> bool:
    if not (isinstance(one, EvmTransaction) and isinstance(other, EvmTransaction)):
        return False
    return (one.to, one.data) == (other.to, other.data)


def _does_nothing(unsigned: UnsignedTransaction) -> bool:
    return isinstance(unsigned, EvmTransaction) and unsigned.data == "0x"


def keep_found(d: Delegation, index: int, made: SentTransaction, context: Context) -> Delegation:
    """Keep what was found on the chain; of a cancellation it is the approval that was to be cancelled."""
    if d.approvals[index].cancelling:
        return _keep_winner(d, index, made.hash, context)
    return keep_sent(context.journal, d, index, made, context.now())


def _keep_winner(d: Delegation, index: int, winner: str, context: Context) -> Delegation:
    """Keep that an earlier transaction was mined before it could be cancelled; it is on its way as it was before."""
    context.progress("approval", f"{winner} was mined before it could be cancelled")
    approval = d.approvals[index]
    attempts = (*approval.earlier, Attempt(unsigned=_unsigned(approval), sent=approval.sent))
    told = next((each for each in attempts if each.sent is not None and each.sent.hash == winner), None)
    sent = SentTransaction(winner) if told is None or told.sent is None else told.sent
    unsigned = _approving(approval) if told is None else told.unsigned
    earlier = tuple(each for each in attempts if each is not told)
    return keep_sent(context.journal, d, index, sent, context.now(), unsigned=unsigned, earlier=earlier)


async def send(signed: SignedTransaction, context: Context) -> None:
    """Send what is signed and saved; if its nonce is used, or about to be, `settle` sees whether by this approval."""
    with suppress(TransactionReplacedError, NonceOccupiedError):
        await context.node.send(signed)


async def _settle(d: Delegation, index: int, context: Context) -> Delegation:
    approval = d.approvals[index]
    sent = _sent(approval)
    unsigned = _unsigned(approval)
    context.progress("approval", f"{_label(d, index)}: waiting for {sent.hash}")
    if isinstance(sent, SignedTransaction):
        await send(sent, context)
    elif approval.earlier and approval.another_nonce is None:
        d = await _read_nonce(d, index, context)
        approval = d.approvals[index]
        sent, unsigned = _sent(approval), _unsigned(approval)
    # What has another nonce replaces nothing: it is the last of them all, and is waited for.
    rivals = approval.rivals if approval.another_nonce is None else ()
    seen_at = approval.last_seen_at
    unseen_for = 0.0 if seen_at is None else max(0.0, (context.now() - seen_at).total_seconds())
    try:
        if approval.cancelling:
            return await _settle_cancellation(d, index, context, unseen_for)
        settlement = await context.node.settle(
            _intent(d),
            approval.step,
            unsigned,
            sent,
            timeout=context.settle_timeout,
            rivals=rivals,
            unseen_for=unseen_for,
        )
    except TransactionPendingError as error:
        if error.unseen_for is not None:
            _keep_seen(d, index, context, context.now() - timedelta(seconds=error.unseen_for))
        raise
    return keep_settled(d, index, settlement, context)


def keep_settled(d: Delegation, index: int, settlement: Settlement, context: Context) -> Delegation:
    """Keep the proof that a step took effect; what was told of another transaction has to be told anew."""
    event: Event = _SETTLED_BEFORE[d.approvals[index + 1].state] if index + 1 < len(d.approvals) else "settle"
    stations: dict[str, Any] = {}
    if event == "settle":
        event = "settle_alone" if d.request.chain_only else "settle"
        if d.told and d.proof is not None and d.proof.tx_hash == settlement.hash:
            event = "settle_told"
        else:
            # What the platform forgot, and would not hear again, was the other one.
            stations = RENEWED | ({"forgotten": None, "stays_told": False} if d.told else {})
    return keep_approval(
        d, index, context, event, settlement=settlement, stations=stations, others=_give_back(d, index, context)
    )


def _give_back(d: Delegation, index: int, context: Context) -> list[Delegation]:
    """Return the end of a delegation of another allowance whose nonce was used up in place of its own transaction."""
    replaces = None if d.plan is None or index else d.plan.replaces
    approval = d.approvals[index]
    if replaces is None or replaces.same_allowance or approval.another_nonce is not None:
        return []
    other = context.journal.load(replaces.delegation_id)
    if _has_lost(approval) or other.replaced_by != d.id or not other.in_flight:
        return []
    return [supersede(other, d, context.now())]


async def _read_nonce(d: Delegation, index: int, context: Context) -> Delegation:
    """Find out whether a wallet kept the nonce of what it was asked to replace; some choose their own."""
    approval = d.approvals[index]
    asked, sent = _unsigned(approval), _sent(approval)
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
    before = approval.earlier[-1]
    changes: dict[str, Any] = {
        "unsigned": before.unsigned,
        "sent": before.sent,
        "earlier": approval.earlier[:-1],
        "handed_over": True,
    }
    return keep_approval(d, index, context, "disown" if before.sent is None else "watch", **changes)


async def _settle_cancellation(d: Delegation, index: int, context: Context, unseen_for: float) -> Delegation:
    """Wait until the nonce is used; afterwards the delegation is cancelled, or its approval is on its way after all."""
    approval = d.approvals[index]
    sent, unsigned = _sent(approval), _unsigned(approval)
    try:
        winner = await context.node.settle_cancellation(
            unsigned, sent, timeout=context.settle_timeout, rivals=approval.rivals, unseen_for=unseen_for
        )
    except TransactionReplacedError as error:
        # By something of the owner's that is not known here, and may be the same approval in another dress.
        made = await context.node.find_approval(_intent(d), approval.step, _approving(approval))
        if made is None:
            return cancelled(d, context, f"Its nonce was used by {error.found or 'another transaction'}.")
        winner = made
    if winner == sent.hash:
        return cancelled(d, context, f"Its nonce was used by {winner}, which does nothing.")
    rival = next((rival.unsigned for rival in approval.rivals if rival.hash == winner), _approving(approval))
    if _does_nothing(rival):
        return cancelled(d, context, f"Its nonce was used by {winner}, which does nothing.")
    if not _make_same_call(rival, _approving(approval)):
        reason = f"Its nonce was used by {winner}, which it was to replace, and what that set stands. Revoke it anew."
        return cancelled(d, context, reason)
    return _keep_winner(d, index, winner, context)


def cancelled(d: Delegation, context: Context, reason: str) -> Delegation:
    """Keep the end of a delegation whose nonce was used up by something else."""
    ended = Ending(kind="cancelled", reason=reason, at=context.now())
    return context.keep(d, "cancel", ended=ended)


def _lost_to(approval: Approval, error: TransactionReplacedError) -> tuple[str, ...]:
    """Return the rival that used the nonce, after those that used one before; nothing if it was none of them.

    What a wallet made of one that it never told the hash of is known by nothing but its nonce.
    """
    known = {rival.hash for rival in approval.rivals}
    lost = error.found is not None and (error.found in known or None in known)
    return (*approval.lost_to, str(error.found)) if lost else ()


def _forget(
    d: Delegation,
    index: int,
    context: Context,
    *,
    judged: bool,
    dropped: bool = False,
    lost_to: tuple[str, ...] = (),
) -> Delegation:
    """Take back what was sent; `judged` if that very transaction can do nothing more, `dropped` if no node knew it.

    Signed bytes are then gone for good. A wallet that sends by itself may have sent something else than it said, so
    that what it was asked for stays, to be looked for on the chain before it is asked again.
    """
    approval = d.approvals[index]
    sent = _sent(approval)
    gone = isinstance(sent, SignedTransaction) or bool(lost_to)
    changes: dict[str, Any] = {"unsigned": None, "handed_over": False, "earlier": ()} if gone else {"handed_over": True}
    if judged:
        dead = [each.sent.hash for each in approval.earlier if each.sent is not None] if gone else []
        changes["discarded"] = (*approval.discarded, *dead, sent.hash)
    if lost_to:
        changes["lost_to"] = lost_to
    if not dropped:
        changes["last_seen_at"] = None
    # Its fee is out of date as well.
    step = ApproveStep(approval.step.amount)
    return keep_approval(d, index, context, "forget" if gone else "disown", step=step, sent=None, **changes)


def _keep_seen(d: Delegation, index: int, context: Context, seen_at: datetime) -> None:
    last = d.approvals[index].last_seen_at
    if last is None or seen_at - last >= _SEEN_EVERY:
        keep_approval(d, index, context, "watch", last_seen_at=seen_at)


def keep_approval(
    d: Delegation,
    index: int,
    context: Context,
    event: Event,
    *,
    stations: dict[str, Any] | None = None,
    others: Sequence[Delegation] = (),
    **changes: Any,
) -> Delegation:
    """Keep what has changed of one approval, and beside it in other stations and of other delegations."""
    approvals = list(d.approvals)
    approvals[index] = approvals[index].model_copy(update=changes)
    return context.keep(d, event, others=others, approvals=tuple(approvals), **(stations or {}))


def _unsigned(approval: Approval) -> UnsignedTransaction:
    return approval.unsigned or filled(None, "transaction to sign")


def _sent(approval: Approval) -> SignedTransaction | SentTransaction:
    return approval.sent or filled(None, "signed approval")


def _intent(d: Delegation) -> AllowanceIntent:
    return intent_of(d.request, filled(d.plan, "plan"))


def _label(d: Delegation, index: int) -> str:
    return f"approval {index + 1} of {len(d.approvals)}"
