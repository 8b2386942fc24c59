"""When a request that has touched nothing is over, and when it must be agreed to again before anything is signed.

A request is untouched as long as none of its approvals was signed or handed to a wallet that sends by itself. It must
never come back by itself once its owner has moved on:

| what happened since it was planned                            | what follows                                     |
|---------------------------------------------------------------|--------------------------------------------------|
| a newer delegation of the same allowance has settled on chain | over: `DelegationEndedError` names the newer one  |
| the chain holds another allowance than its plan started from  | its owner is asked again, with both values       |
| its plan is older than 24 hours, or made in the future        | its owner is asked again, with both values       |
| plan, lock, platform or owner refused it                      | over: `failed`, with the reason                  |
| what was signed was replaced, reverted or has expired         | its owner is asked again, with both values       |
| a node or the platform could not be asked                     | nothing: it can be resumed                       |
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from chains.amounts import format_amount
from chains.errors import InvalidAddressError, InvalidAmountError, RefusedError, WalletRefusedError
from delegation.errors import (
    ConflictError,
    DeclinedError,
    DelegationEndedError,
    NotAuthorizedError,
    OwnerBusyError,
    PinMismatchError,
    RejectedError,
    UnsupportedError,
)
from delegation.models import Delegation, Plan

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
    """Why a plan that was agreed to before no longer counts; `before` is what was agreed to, None for a request that
    was never planned, `now` the plan as it would be today."""

    requested_at: datetime
    before: Plan | None
    now: Plan

    def describe(self) -> str:
        """Return in words what has changed, with the allowance then and now."""
        when = f"{self.requested_at:%Y-%m-%d %H:%M} UTC"
        if self.before is None:
            return f"This was asked for at {when} and never planned. Now the allowance is {_held(self.now)}."
        return (
            f"This was last agreed to at {when}, when the allowance was {_held(self.before)}. "
            f"Now the allowance is {_held(self.now)}."
        )


def _held(plan: Plan) -> str:
    symbol = plan.token.symbol.upper()
    return f"{format_amount(plan.before.allowance, plan.token.decimals)} {symbol} (block {plan.before.block.number})"


def find_outdated(d: Delegation, plan: Plan, now: datetime) -> OutdatedPlan | None:
    """Return why a saved request must be agreed to again although it was agreed to, or None if nothing speaks for it.

    `plan` is its plan as of `now`.
    """
    if d.revision == 0:
        return None
    made_at = d.created_at if d.plan is None else d.plan.made_at
    moved = d.plan is not None and d.plan.before.allowance != plan.before.allowance
    fresh = -_CLOCK_SKEW <= now - made_at <= LONGEST_PLAN_AGE
    # What was signed and could not take effect may have been stopped by its owner.
    stopped = d.touched_chain
    return None if fresh and not moved and not stopped else OutdatedPlan(made_at, d.plan, plan)


def require_not_over(d: Delegation, others: Iterable[Delegation]) -> None:
    """Raise `DelegationEndedError` if this request failed, or if a newer one of `others` has taken its place."""
    if d.failure is not None:
        raise DelegationEndedError(
            f"Delegation {d.id} is over: {d.failure.reason}",
            hint="It never comes back by itself. If it is still wanted, ask for it anew.",
            found=d.failure.reason,
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

    One whose transaction is on its way, or whose last one has settled, is never replaced: the chain decides of it.
    """
    if d.in_flight or (d.begun and all(approval.settlement is not None for approval in d.approvals)):
        return None
    return next(
        (other for other in reversed(tuple(others)) if other.id != d.id and _has_taken_the_place_of(other, d)), None
    )


def _has_taken_the_place_of(other: Delegation, d: Delegation) -> bool:
    """Return whether `other` sets the same allowance and has settled on chain after `d` was asked for or planned.

    Whether the platform was told of it makes no difference: the chain holds what its owner wanted last.
    """
    settled = _settled_blocks(other)
    if not settled or not _same_allowance(d, other):
        return False
    # Of one that was asked for before: what it did after `d` was planned, or took its last step, is newer as well.
    return other.created_at > d.created_at or (
        d.plan is not None and max(settled) > max([d.plan.before.block.number, *_settled_blocks(d)])
    )


def _settled_blocks(d: Delegation) -> list[int]:
    return [approval.settlement.block.number for approval in d.approvals if approval.settlement is not None]


def _same_allowance(d: Delegation, other: Delegation) -> bool:
    if (d.request.network, d.request.owner) != (other.request.network, other.request.owner):
        return False
    if d.plan is None or other.plan is None:
        return d.request.currency == other.request.currency
    return (d.plan.token.address, d.plan.spender) == (other.plan.token.address, other.plan.spender)
