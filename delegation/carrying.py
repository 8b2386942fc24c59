"""The right to carry a delegation, and the lock of its owner: both are taken before anybody is asked for anything."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Final

from chains.amounts import format_amount
from chains.errors import (
    TransactionDroppedError,
    TransactionExpiredError,
    TransactionReplacedError,
    TransactionRevertedError,
    UnexpectedAllowanceError,
)
from chains.types import EvmTransaction
from delegation.approval import watch
from delegation.attempts import unsigned_of
from delegation.context import Context, keep
from delegation.errors import OwnerBusyError
from delegation.intents import supersede
from delegation.journal import UnreadableRow, owner_busy
from delegation.leases import Lease
from delegation.models import Delegation, Replaced, filled

# What ends a wait for another delegation's transaction: it has landed, or it never can.
_DECIDED: Final = (
    TransactionRevertedError,
    TransactionReplacedError,
    TransactionExpiredError,
    TransactionDroppedError,
    UnexpectedAllowanceError,
)
_PAUSE: Final = 1.0  # seconds


@contextmanager
def carrying(d: Delegation, context: Context, *, force: bool = False) -> Iterator[Lease]:
    """Hold the right to carry a saved delegation; raises `LeasedError` if another process has it.

    With `force` it is taken all the same, and what that process saves next is refused.
    """
    lease = context.journal.lease(d, force=force)
    try:
        yield lease
    finally:
        lease.release()


def require_not_lent(d: Delegation, context: Context) -> None:
    """Raise `OwnerBusyError` while another delegation wants the nonce of what is in flight: the chain decides first."""
    if d.replaced_by is None or not d.in_flight:
        return
    other = context.journal.load(d.replaced_by)
    if other.in_flight:
        raise owner_busy(other, d)


async def take_owner_lock(d: Delegation, context: Context, lease: Lease) -> Replaced | None:
    """Take the lock of the owner on this network, so that nobody else asks for a signature meanwhile.

    A revocation does not wait. It ends a delegation that is only being asked about, and what it finds in flight is
    returned, to be replaced (EVM), or waited for until it has landed or never can (Solana, or where the nonce is used
    already). Raises `OwnerBusyError`.
    """
    while True:
        try:
            context.journal.lock_owner(d, lease)
        except OwnerBusyError:
            other = context.journal.find_lock_holder(d)
            if d.request.amount or isinstance(other, UnreadableRow):
                raise
            if other is None:
                continue
            if not other.in_flight:
                keep(context.journal, other, "supersede", ended=supersede(other, d, context.now()).ended)
            elif await _can_be_replaced(other, context):
                return _describe(other, d)
            else:
                await _outlast(other, context)
        else:
            return None


async def _can_be_replaced(other: Delegation, context: Context) -> bool:
    """Return whether another transaction could still take the place of the one in flight."""
    unsigned = other.approvals[filled(other.next_step, "step in flight")].unsigned
    return isinstance(unsigned, EvmTransaction) and await context.node.can_land(unsigned)


def _describe(other: Delegation, d: Delegation) -> Replaced:
    plan = filled(other.plan, "plan")
    approval = other.approvals[filled(other.next_step, "step in flight")]
    unsigned = approval.unsigned
    return Replaced(
        delegation_id=other.id,
        amount=Decimal(format_amount(approval.step.amount, plan.token.decimals)),
        currency=other.request.currency,
        spender=plan.spender,
        same_allowance=other.request.currency == d.request.currency,
        hash=approval.hash,
        nonce=unsigned.nonce if isinstance(unsigned, EvmTransaction) else 0,
    )


async def _outlast(other: Delegation, context: Context) -> None:
    """Wait until a transaction that nothing can replace has landed or never can."""
    index = filled(other.next_step, "step in flight")
    unsigned = unsigned_of(other.approvals[index])
    left = await context.node.get_time_left(unsigned)
    until = "" if left is None else f", at the latest until about {context.now() + left:%H:%M:%S} UTC"
    context.progress("approval", f"waiting until delegation {other.id} has landed or never can{until}")
    clock = asyncio.get_running_loop().time
    deadline = clock() + context.settle_timeout
    with carrying(other, context, force=True):
        while True:
            try:
                other = await watch(other, index, context)
            except _DECIDED:
                return
            if not other.in_flight:
                return
            if clock() >= deadline:
                raise owner_busy(other, other)
            await asyncio.sleep(_PAUSE)
