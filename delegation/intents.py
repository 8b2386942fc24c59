"""When a request is over, and when it must be agreed to again before anything of it is signed.

A request must never come back by itself once its owner has moved on. This is asked whenever a transaction would be made
that is neither on its way nor handed to a wallet: at the beginning, between two steps, and after one that could never
land, whether it was signed or handed to a wallet. That a newer delegation has taken its place is also asked before the
platform is told: it would be told of an allowance that is gone.

| what happened since it was agreed to                          | what follows                                     |
|---------------------------------------------------------------|--------------------------------------------------|
| a newer delegation of the same allowance has settled on chain | over: `DelegationEndedError` names the newer one |
| the chain holds another allowance than it was left with       | its owner is asked again, with both values       |
| 24 hours have passed, or it is of the future                  | its owner is asked again, with both values       |
| what was signed was replaced, reverted or has expired         | its owner is asked again, with both values       |
| an entry of the journal that may be newer cannot be read      | its owner is asked again, with both values       |
| plan, lock, platform or owner refused it, nothing was signed  | over: `failed`, with the reason                  |
| a node or the platform could not be asked                     | nothing: it can be resumed                       |

An allowance that another program changed and changed back within these hours looks as it was left, and is not noticed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from chains.amounts import format_amount, to_base_units
from chains.errors import InvalidAddressError, InvalidAmountError, RefusedError, WalletRefusedError
from delegation.errors import (
    ConflictError,
    DeclinedError,
    DelegationEndedError,
    NotAuthorizedError,
    OutdatedPlanError,
    OwnerBusyError,
    PinMismatchError,
    RejectedError,
    UnsupportedError,
)
from delegation.models import Delegation, Ending, Plan

if TYPE_CHECKING:
    from delegation.journal import UnreadableRow

AllowanceKey = tuple[str, str, str, str]
"""Network, owner, token and spender: what one allowance is of."""

LONGEST_PLAN_AGE: Final = timedelta(hours=24)
# A clock that was put right since may have been this much ahead.
_CLOCK_SKEW: Final = timedelta(minutes=5)

REFUSALS: Final = (
    RefusedError,
    InvalidAmountError,
    InvalidAddressError,
    WalletRefusedError,
    DeclinedError,
    PinMismatchError,
    OwnerBusyError,
    UnsupportedError,
    RejectedError,
    ConflictError,
    NotAuthorizedError,
)
"""The errors that say no to a request itself; all others only say that it could not be asked about or carried on."""


@dataclass(frozen=True, slots=True)
class OutdatedPlan:
    """Why what was agreed to no longer counts by itself, and the plan as it would be `now`.

    `left_at` is the allowance, in base units, that the chain was left with when it was agreed to at `agreed_at`; None
    for a request of which nobody has seen a plan, which was asked for at that time. `reason` is a sentence.
    """

    reason: str
    agreed_at: datetime
    left_at: int | None
    now: Plan

    def describe(self) -> str:
        """Return in words what has changed, with the allowance then and now."""
        when = f"{self.agreed_at:%Y-%m-%d %H:%M} UTC"
        then = (
            f"It was asked for at {when} and never planned."
            if self.left_at is None
            else f"It was agreed to at {when}, when the allowance was {_shown(self.now, self.left_at)}."
        )
        now = f"{_shown(self.now, self.now.before.allowance)} (block {self.now.before.block.number})"
        return f"{self.reason} {then} Now the allowance is {now}."

    @property
    def error(self) -> OutdatedPlanError:
        """The error for where there is no person to ask."""
        return OutdatedPlanError(
            f"{self.describe()} It has to be agreed to again, and nobody was asked.",
            hint="Nothing was signed. Look at it and agree to it again, or ask for what is wanted now.",
            expected=self.left_at,
            found=self.now.before.allowance,
        )


def _shown(plan: Plan, allowance: int) -> str:
    return f"{format_amount(allowance, plan.token.decimals)} {plan.token.symbol.upper()}"


def find_outdated(d: Delegation, plan: Plan, now: datetime, unreadable: Iterable[UnreadableRow]) -> OutdatedPlan | None:
    """Return why a saved request must be agreed to again although it was agreed to, or None if nothing speaks for it.

    `plan` is its plan as of `now`; `unreadable` are the entries of the journal that cannot be read.
    """
    agreed_at = d.agreed_at or d.created_at
    settled = [approval.settlement.allowance for approval in d.approvals if approval.settlement is not None]
    left_at = settled[-1] if settled else None if d.plan is None else d.plan.before.allowance
    if left_at not in (None, plan.before.allowance) and plan.before.allowance != _foreseen(d):
        reason = "The allowance has changed since this was agreed to."
    elif not -_CLOCK_SKEW <= now - agreed_at <= LONGEST_PLAN_AGE:
        reason = "More than a day has passed since this was agreed to, or a clock was wrong."
    elif _was_stopped(d):
        reason = "What was signed for this did not take effect, and may have been stopped on purpose."
    elif any(_may_be_newer(row, d) for row in unreadable):
        reason = "An entry of the journal that cannot be read may hold a newer request."
    else:
        return None
    return OutdatedPlan(reason, agreed_at, left_at, plan)


def find_bystander(plan: Plan, now: datetime) -> OutdatedPlan | None:
    """Return the question whether a transaction of another allowance may be cancelled with a revocation, or None."""
    if plan.replaces is None or plan.replaces.same_allowance:
        return None
    other = plan.replaces
    reason = (
        f"It takes the nonce {other.nonce} from delegation {other.delegation_id}, which waits to be mined and allows "
        f"{other.amount:f} {other.currency.upper()} to {other.spender}: that is cancelled with it."
    )
    return OutdatedPlan(reason, now, None, plan)


def _foreseen(d: Delegation) -> int | None:
    """Return the allowance, in base units, that the chain holds once the transaction has landed which a revocation was
    agreed to replace; None if it replaces none. It may be mined first, and is revoked with the next nonce then."""
    replaced = None if d.plan is None or d.plan.amount else d.plan.replaces
    if d.plan is None or replaced is None or not replaced.same_allowance:
        return None
    return to_base_units(replaced.amount, d.plan.token.decimals)


def _was_stopped(d: Delegation) -> bool:
    """Return whether a transaction of a step that is left was signed and could not take effect."""
    return any(approval.discarded and not approval.lost_to for approval in d.approvals if approval.settlement is None)


def _may_be_newer(row: UnreadableRow, d: Delegation) -> bool:
    elsewhere = row.network not in (None, d.request.network) or row.owner not in (None, d.request.owner)
    return not elsewhere and (row.created_at is None or row.created_at > d.created_at)


def require_not_over(d: Delegation, others: Iterable[Delegation]) -> None:
    """Raise `DelegationEndedError` if this request failed, or if a newer one of `others` has taken its place."""
    if d.ended is not None:
        raise DelegationEndedError(
            f"Delegation {d.id} is over ({d.ended.kind}): {d.ended.reason}",
            hint="It never comes back by itself. If it is still wanted, ask for it anew.",
            found=d.ended.by or d.ended.reason,
        )
    newer = find_newer(d, others)
    if newer is not None:
        raise DelegationEndedError(
            f"Delegation {d.id} is over, because a newer one has set the same allowance since: {newer.id} "
            f"({newer.request.amount:f} {newer.request.currency.upper()} on {newer.request.network}).",
            hint="Nothing was signed. If the older amount is still wanted, ask for it anew.",
            expected=d.id,
            found=newer.id,
        )


def find_newer(d: Delegation, others: Iterable[Delegation]) -> Delegation | None:
    """Return the last of `others`, the oldest first, that has taken the place of this request on chain, or None.

    While a transaction of it is in flight, the chain decides of it.
    """
    if d.in_flight or d.ended is not None:
        return None
    return next(
        (other for other in reversed(tuple(others)) if other.id != d.id and _has_taken_the_place_of(other, d)), None
    )


def _has_taken_the_place_of(other: Delegation, d: Delegation) -> bool:
    """Return whether `other` sets the same allowance and has settled on chain after `d` was asked for or planned.

    Whether the platform was told of it makes no difference: the chain holds what its owner wanted last.
    """
    settled, own = _settled_blocks(other), _settled_blocks(d)
    if not settled or not _same_allowance(d, other):
        return False
    is_newer = other.created_at > d.created_at
    if d.approved:
        return (max(settled), is_newer) > (max(own), not is_newer)
    # Of one that was asked for before: what it did after `d` was planned, or took its last step, is newer as well.
    return is_newer or (d.plan is not None and max(settled) > max([d.plan.before.block.number, *own]))


def supersede(d: Delegation, newer: Delegation, at: datetime) -> Delegation:
    """Return a delegation as it ends when a newer one has taken its place; it still has to be saved."""
    reason = (
        f"Delegation {newer.id} ({newer.request.amount:f} {newer.request.currency.upper()} on {newer.request.network}) "
        "has taken its place."
    )
    ended = Ending(kind="superseded", reason=reason, at=at, by=newer.id)
    return d.model_copy(update={"ended": ended, "verification": None})


def find_in_force(delegations: Iterable[Delegation]) -> dict[AllowanceKey, Delegation]:
    """Return, for each allowance, the delegation that set it last, by the blocks in which they settled."""
    found: dict[AllowanceKey, Delegation] = {}
    for d in delegations:
        settled, key = _settled_blocks(d), allowance_of(d)
        if not settled or key is None:
            continue
        other = found.get(key)
        if other is None or max(settled) >= max(_settled_blocks(other)):
            found[key] = d
    return found


def allowance_of(d: Delegation) -> AllowanceKey | None:
    """Return which allowance a delegation sets, as far as its plan says it."""
    if d.plan is None:
        return None
    return (d.request.network, d.request.owner, d.plan.token.address, d.plan.spender)


def _settled_blocks(d: Delegation) -> list[int]:
    return [approval.settlement.block.number for approval in d.approvals if approval.settlement is not None]


def _same_allowance(d: Delegation, other: Delegation) -> bool:
    if (d.request.network, d.request.owner) != (other.request.network, other.request.owner):
        return False
    if d.plan is None or other.plan is None:
        return d.request.currency == other.request.currency
    return (d.plan.token.address, d.plan.spender) == (other.plan.token.address, other.plan.spender)
