"""Giving a delegation up for good, once nothing that was done for it can change what the chain allows.

| where it stands                    | what is asked            | it is given up unless                       |
|------------------------------------|--------------------------|---------------------------------------------|
| `requested`, `agreed`              | nothing, unless a wallet | a wallet may still send what it was asked   |
|                                    | was asked or something   | for, or the chain allows more than before   |
|                                    | was signed before        |                                             |
| `handed_out`                       | chain and mempool        | the wallet made it, or may still send it    |
| `on_its_way`                       | chain and mempool        | it landed, or still can                     |
| `approved`, `signed`, `submitted`, | the allowance, and       | its allowance is in force, or its block has |
| `unverified`                       | whether its block counts | left the chain and may come back as another |

Of `handed_out` and `on_its_way` the allowance is read as well: a wallet may have allowed more than it was asked for. A
node that cannot be asked leaves everything as it is.
"""

from __future__ import annotations

from chains.amounts import format_amount
from chains.errors import (
    SignatureMismatchError,
    TransactionDroppedError,
    TransactionExpiredError,
    TransactionPendingError,
    TransactionReplacedError,
    TransactionRevertedError,
    UnexpectedAllowanceError,
)
from chains.types import SentTransaction, SignedTransaction
from delegation.attempts import intent_of_step, keep_found, look_for, sent_of, unsigned_of
from delegation.carrying import carrying
from delegation.context import Context, check_context
from delegation.errors import InvalidRequestError, StillHarmfulError
from delegation.intents import find_newer, require_not_over
from delegation.models import Approval, Delegation, Ending, filled, is_cancellation

_CANCEL = "Cancel it: that uses up its nonce, and then it is over."
_CARRY_ON = "Carry it on to its end. To take it back, revoke afterwards."
_REVOKE = "Revoke it: once that has settled, this one is over by itself."


async def abandon(d: Delegation, context: Context) -> Delegation:
    """End a delegation that can do no harm any more, and return it as it is saved; it never comes back.

    What another process saves of it afterwards is refused, so that an answer which a person still gives there is not
    used. Of one that nothing was signed or asked for neither a node nor the platform is asked. Raises
    `StillHarmfulError` while it counts or may still count on chain, `InvalidRequestError` if it has ended already,
    `NodeError` where that could not be found out, and `JournalConflictError` if it went on meanwhile: nothing is
    changed then.
    """
    check_context(d, context)
    require_not_over(d, ())
    if not d.unfinished:
        raise InvalidRequestError(
            f"Delegation {d.id} is {d.state}: it has come to its end.",
            hint="To take its allowance back, revoke it.",
            found=d.state,
        )
    reason = f"Its owner gave it up. {await _find_why_harmless(d, context)}"
    with carrying(d, context, force=True):
        return context.keep(
            d, "abandon", ended=Ending(kind="abandoned", reason=reason, at=context.now()), verification=None
        )


async def _find_why_harmless(d: Delegation, context: Context) -> str:
    """Return in a sentence why a delegation can do no harm any more; raises `StillHarmfulError` if it can."""
    if d.to_be_made:
        await _require_nothing_left_behind(d, context)
        return "Nothing of it was on its way."
    await context.node.check_chain()
    if not d.in_flight:
        return await _find_why_settled_is_harmless(d, context)
    index = filled(d.next_step, "step in flight")
    if d.approvals[index].sent is None:
        why = await _find_why_asked_is_harmless(d, index, context)
    else:
        why = await _find_why_sent_is_harmless(d, index, context)
    await _require_no_more_allowed(d, context)
    return why


async def _require_nothing_left_behind(d: Delegation, context: Context) -> None:
    """Raise `StillHarmfulError` while a wallet may still send what it was asked for before that was discarded.

    So it is if what was signed before did a part of what it was to do, such as one that was spent from at once.
    """
    given_up = next((approval.given_up for approval in d.approvals if approval.given_up is not None), None)
    if given_up is None and not d.touched_chain:
        return
    await context.node.check_chain()
    if given_up is not None and await context.node.can_land(given_up):
        raise _harmful(
            d,
            "a wallet was asked for its transaction, and may still send it.",
            "Carry it on, or make another transaction of this owner: that uses up its nonce.",
        )
    await _require_no_more_allowed(d, context)


async def _find_why_asked_is_harmless(d: Delegation, index: int, context: Context) -> str:
    """Look for what a wallet made of what it was asked for; what it made is kept."""
    try:
        can_land, made = await look_for(d, index, context)
    except TransactionPendingError as error:
        raise _harmful(d, error.message, _CANCEL) from error
    if made is not None:
        with carrying(d, context, force=True):
            keep_found(d, index, made, context)
        raise _harmful(d, f"the wallet made this approval: {made.hash}.", _CARRY_ON)
    approval = d.approvals[index]
    await _require_unknown(d, approval, context)
    if not can_land:
        return "What its wallet was asked for can never take effect."
    if approval.last_seen_at is None:
        raise await _may_land(d, approval, context, "its wallet was asked for a transaction, and may still send it.")
    return "No node knew the transaction that its wallet said it had sent."


async def _require_unknown(d: Delegation, approval: Approval, context: Context) -> None:
    """Raise `StillHarmfulError` if a node knows what was on its way before the wallet was asked for something else."""
    for attempt in approval.earlier:
        if attempt.sent is not None and await context.node.get_nonce(attempt.sent.hash) is not None:
            raise _harmful(d, f"the transaction {attempt.sent.hash} took effect or may still do so.", _CARRY_ON)


async def _find_why_sent_is_harmless(d: Delegation, index: int, context: Context) -> str:
    """Ask the chain what became of what was sent."""
    approval = d.approvals[index]
    unsigned = unsigned_of(approval)
    is_ours = isinstance(approval.sent, SignedTransaction)
    # Asked first, because waiting for what can land would send the same bytes again.
    if (is_ours or unsigned.kind == "solana") and await context.node.can_land(unsigned):
        raise await _may_land(d, approval, context, f"its transaction {approval.hash} may still take effect.")
    try:
        winner = await _ask_what_landed(d, index, context)
    except TransactionPendingError as error:
        raise await _may_land(d, approval, context, error.message) from error
    except TransactionReplacedError as error:
        if error.found in {rival.hash for rival in approval.rivals}:
            raise _harmful(d, f"{error.found}, which it was to replace, took effect.", _CARRY_ON) from error
        return error.message
    except (TransactionRevertedError, TransactionExpiredError, TransactionDroppedError) as error:
        return error.message
    except (SignatureMismatchError, UnexpectedAllowanceError) as error:
        raise _harmful(d, error.message, _CARRY_ON) from error
    if winner is None:
        return "Its nonce was used up by nothing."
    raise _harmful(d, f"its transaction {winner} took effect.", _CARRY_ON)


async def _ask_what_landed(d: Delegation, index: int, context: Context) -> str | None:
    """Return the hash of the approval that took effect, None if a cancellation did; raises `TransactionError`."""
    approval, node = d.approvals[index], context.node
    unsigned, sent = unsigned_of(approval), sent_of(approval)
    unseen_for = approval.unseen_for(context.now())
    rivals = approval.live_rivals
    if approval.cancelling:
        winner = await node.settle_cancellation(unsigned, sent, timeout=0, rivals=rivals, unseen_for=unseen_for)
        undone = {sent.hash, *(rival.hash for rival in rivals if is_cancellation(rival.unsigned))}
        return None if winner in undone else winner
    # A wallet on Solana may have put in a newer blockhash: that is waited out, which takes about a minute.
    waits = unsigned.kind == "solana" and isinstance(sent, SentTransaction)
    if waits:
        context.progress("approval", f"waiting until {sent.hash} has landed or never can")
    timeout = context.settle_timeout if waits else 0.0
    settled = await node.settle(
        intent_of_step(d), approval.step, unsigned, sent, timeout=timeout, rivals=rivals, unseen_for=unseen_for
    )
    return settled.hash


async def _find_why_settled_is_harmless(d: Delegation, context: Context) -> str:
    """Look whether the allowance that took effect is in force."""
    settlement = filled(d.approvals[-1].settlement, "settled approval")
    review = await context.node.review(intent_of_step(d), settlement)
    if not review.canonical:
        why = f"the block that held {settlement.hash} has left the chain, and another may hold it again."
        raise _harmful(d, why, _CARRY_ON)
    newer = find_newer(d, context.journal.read_all(d)[0])
    if newer is not None:
        return f"Delegation {newer.id} has set the same allowance since."
    allowance = await _get_allowance(d, context)
    if allowance:
        raise _harmful(d, f"its allowance is in force: {_shown(d, allowance)}.", _REVOKE)
    return "The chain allows nothing of it any more."


async def _require_no_more_allowed(d: Delegation, context: Context) -> None:
    """Raise `StillHarmfulError` if the chain allows more than it did when this was planned, and nobody else did it."""
    before = filled(d.plan, "plan").before.allowance
    allowance = await _get_allowance(d, context)
    settled_since = find_newer(d.model_copy(update={"approvals": ()}), context.journal.read_all(d)[0])
    if allowance > before and settled_since is None:
        why = f"the chain allows {_shown(d, allowance)}, more than when it was planned ({_shown(d, before)})."
        raise _harmful(d, why, _REVOKE)


async def _get_allowance(d: Delegation, context: Context) -> int:
    plan = filled(d.plan, "plan")
    return (await context.node.get_allowance(plan.token, plan.owner, plan.spender)).allowance


async def _may_land(d: Delegation, approval: Approval, context: Context, why: str) -> StillHarmfulError:
    """Return the error for a transaction that can still take effect, which says what ends that, or when it ends."""
    left = await context.node.get_time_left(unsigned_of(approval))
    if left is None:
        return _harmful(d, why, _CANCEL)
    if not left:
        return _harmful(d, why, "Ask again in a moment: what became of it is not known yet.")
    until = f"{context.now() + left:%H:%M:%S} UTC"
    return _harmful(
        d, f"{why} It can until about {until}.", f"Wait until about {until}; then it has landed or can be abandoned."
    )


def _harmful(d: Delegation, why: str, hint: str) -> StillHarmfulError:
    return StillHarmfulError(
        f"Delegation {d.id} cannot be abandoned yet: {why[:1].lower()}{why[1:]}",
        hint=f"Nothing is lost. {hint}",
        found=d.state,
    )


def _shown(d: Delegation, allowance: int) -> str:
    token = filled(d.plan, "plan").token
    return f"{format_amount(allowance, token.decimals)} {token.symbol.upper()}"
