"""What is kept of the transactions of a step: signed or asked for, found on the chain, taken back, settled, forgotten.

Several can want one nonce: of them one takes effect, and which one the chain decides. Nothing is sent and nothing is
signed here; what is given back is durable.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from chains.errors import TransactionReplacedError
from chains.types import (
    AllowanceIntent,
    ApproveStep,
    EvmTransaction,
    Rival,
    SentTransaction,
    Settlement,
    SignedTransaction,
    UnsignedTransaction,
)
from delegation.context import Context, keep
from delegation.intents import supersede
from delegation.journal import Journal
from delegation.lifecycle import Event
from delegation.models import (
    Approval,
    ApprovalState,
    Attempt,
    Delegation,
    Ending,
    Replaced,
    filled,
    is_cancellation,
)
from delegation.plan import intent_of

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

RENEWED: Final[dict[str, Any]] = dict.fromkeys(
    ("delegation_token", "statement", "ownership", "proof", "submission", "verification")
)
"""The stations after the approval, emptied."""


def leave_behind(d: Delegation, index: int, context: Context) -> Delegation | None:
    """Keep that a step whose nonce is decided is not waited for, where the next one is under way; None elsewhere.

    After a reorganisation one block may hold both, so that its state shows the next one alone: that decides.
    """
    later = next((each.state for each in d.approvals[index + 1 :] if each.under_way), None)
    if later is None:
        return None
    approval = d.approvals[index]
    gone = [each.sent.hash for each in approval.earlier if each.sent is not None]
    changes: dict[str, Any] = {"unsigned": None, "sent": None, "handed_over": False, "earlier": ()}
    discarded = (*approval.discarded, *gone, sent_of(approval).hash)
    return keep_approval(d, index, context, _FORGOTTEN_BEFORE[later], discarded=discarded, **changes)


def take_back(d: Delegation, index: int, context: Context, *, asked: bool) -> Delegation:
    """Keep that a wallet will not make what it was asked for: what was before it on the same nonce counts again.

    `asked` is whether it may still make it, because its request was discarded and not refused.
    """
    approval = d.approvals[index]
    if not approval.earlier:
        return keep_approval(
            d,
            index,
            context,
            "discard",
            unsigned=None,
            handed_over=False,
            given_up=approval.unsigned if asked else None,
        )
    before = what_was_before(approval)
    return keep_approval(d, index, context, "hand_out" if before["sent"] is None else "send", **before)


def what_was_before(approval: Approval) -> dict[str, Any]:
    """Return what changes of an approval when the attempt before its newest counts again."""
    before = approval.earlier[-1]
    return {
        "unsigned": before.unsigned,
        "sent": before.sent,
        "earlier": approval.earlier[:-1],
        "handed_over": True,
    }


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
        held = held_by(other, replaces)
        if held is None:
            return _keep_too_late(journal, d, index, sent, replaces)
        changes["earlier"] = (*held.earlier, Attempt(unsigned=unsigned_of(held), sent=held.sent))
        lent = other.model_copy(update={"replaced_by": d.id})
        others.append(supersede(other, d, at) if replaces.same_allowance else lent)
    seen_at = at if isinstance(sent, SentTransaction) else None
    updated = approval.model_copy(
        update={"sent": sent, "last_seen_at": seen_at, "another_nonce": None, "given_up": None, **changes}
    )
    approvals = tuple(updated if place == index else one for place, one in enumerate(d.approvals))
    return keep(journal, d, "send", others=others, approvals=approvals)


def held_by(other: Delegation, replaces: Replaced) -> Approval | None:
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


def has_lost(approval: Approval) -> bool:
    """Return whether a transaction that was to be replaced, the newest of that delegation or an older, was mined first.

    What was lost to before the plan that replaces it is no part of the approval (see `delegation.flow`).
    """
    return bool(approval.lost_to)


async def look_for(d: Delegation, index: int, context: Context) -> tuple[bool, SentTransaction | None]:
    """Return whether what was handed out can still land, and the transaction that the wallet made of it, if it did."""
    approval = d.approvals[index]
    rivals = (*approval.rivals, *_borrowed_rivals(d, index, context))
    # In this order: what lands between the two questions is found by the second.
    can_land = await context.node.can_land(unsigned_of(approval))
    made = await context.node.find_approval(
        intent_of_step(d), approval.step, approving(approval), rivals=rivals, nonce_used=not can_land
    )
    # The same approval may have been made by another delegation, which answers for it.
    elsewhere = {one.hash for other in context.journal.read_all(d)[0] if other.id != d.id for one in other.approvals}
    ours = made is not None and made not in approval.discarded and made not in elsewhere
    return can_land, SentTransaction(made) if made is not None and ours else None


async def find_given_up(d: Delegation, context: Context) -> Delegation | None:
    """Keep what a wallet made after all of what it was asked for before that was discarded; None if it made nothing."""
    index = d.next_step
    given_up = None if index is None else d.approvals[index].given_up
    if index is None or given_up is None or await context.node.can_land(given_up):
        return None
    approval = d.approvals[index]
    made = await context.node.find_approval(intent_of_step(d), approval.step, given_up, nonce_used=True)
    if made is None or made in approval.discarded:
        return None
    return keep_sent(context.journal, d, index, SentTransaction(made), context.now(), unsigned=given_up)


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
    return None if replaces is None or has_lost(approval) else replaces


def approving(approval: Approval) -> UnsignedTransaction:
    """Return the newest transaction of a step that approves: of a cancellation, what it is to cancel."""
    attempts = [*(each.unsigned for each in approval.earlier), unsigned_of(approval)]
    return next((one for one in reversed(attempts) if not is_cancellation(one)), attempts[-1])


def make_same_call(one: UnsignedTransaction, other: UnsignedTransaction) -> bool:
    """Return whether two transactions ask the same contract for the same."""
    if not (isinstance(one, EvmTransaction) and isinstance(other, EvmTransaction)):
        return False
    return (one.to, one.data) == (other.to, other.data)


def keep_found(d: Delegation, index: int, made: SentTransaction, context: Context) -> Delegation:
    """Keep what was found on the chain; of a cancellation it is the approval that was to be cancelled."""
    if d.approvals[index].cancelling:
        return keep_winner(d, index, made.hash, context)
    return keep_sent(context.journal, d, index, made, context.now())


def keep_winner(d: Delegation, index: int, winner: str, context: Context) -> Delegation:
    """Keep that an earlier transaction was mined before it could be cancelled; it is on its way as it was before."""
    context.progress("approval", f"{winner} was mined before it could be cancelled")
    approval = d.approvals[index]
    attempts = (*approval.earlier, Attempt(unsigned=unsigned_of(approval), sent=approval.sent))
    told = next((each for each in attempts if each.sent is not None and each.sent.hash == winner), None)
    sent = SentTransaction(winner) if told is None or told.sent is None else told.sent
    unsigned = approving(approval) if told is None else told.unsigned
    earlier = tuple(each for each in attempts if each is not told)
    return keep_sent(context.journal, d, index, sent, context.now(), unsigned=unsigned, earlier=earlier)


def keep_settled(d: Delegation, index: int, settlement: Settlement, context: Context) -> Delegation:
    """Keep the proof that a step took effect; what was told of another transaction has to be told anew."""
    event: Event = _SETTLED_BEFORE[d.approvals[index + 1].state] if index + 1 < len(d.approvals) else "settle"
    stations: dict[str, Any] = {}
    if event == "settle":
        event = "settle_alone" if d.request.chain_only else "settle"
        if d.submission is not None and d.proof is not None and d.proof.tx_hash == settlement.hash:
            event = "settle_told" if d.told else "settle_offered"
        elif d.submission is not None:
            # What the platform was told of, forgot, and would not hear again, was the other one.
            stations = RENEWED | {"forgotten": None, "stays_told": False, "lost_answers": 0}
        else:
            stations = RENEWED
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
    if has_lost(approval) or other.replaced_by != d.id or not other.in_flight:
        return []
    return [supersede(other, d, context.now())]


def cancelled(d: Delegation, context: Context, reason: str) -> Delegation:
    """Keep the end of a delegation whose nonce was used up by something else."""
    ended = Ending(kind="cancelled", reason=reason, at=context.now())
    return context.keep(d, "cancel", ended=ended)


def lost_to_rivals(approval: Approval, error: TransactionReplacedError) -> tuple[str, ...]:
    """Return the rival that used the nonce, after those that used one before; nothing if it was none of them.

    What a wallet made of one that it never told the hash of is known by nothing but its nonce.
    """
    known = {rival.hash for rival in approval.rivals}
    lost = error.found is not None and (error.found in known or None in known)
    return (*approval.lost_to, str(error.found)) if lost else ()


def forget(
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
    sent = sent_of(approval)
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


def keep_seen(d: Delegation, index: int, context: Context, seen_at: datetime) -> None:
    """Keep when a node last knew the hash that a wallet gave, every now and then."""
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


def unsigned_of(approval: Approval) -> UnsignedTransaction:
    return approval.unsigned or filled(None, "transaction to sign")


def sent_of(approval: Approval) -> SignedTransaction | SentTransaction:
    return approval.sent or filled(None, "signed approval")


def intent_of_step(d: Delegation) -> AllowanceIntent:
    return intent_of(d.request, filled(d.plan, "plan"))
