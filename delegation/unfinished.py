"""Carrying everything that a journal holds and that is not finished, the newest of each allowance first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from delegation.context import Context
from delegation.flow import carry
from delegation.journal import Journal
from delegation.models import Delegation


@dataclass(frozen=True, slots=True)
class Outcome:
    """What carrying a delegation came to: how it stands now, and the error that stopped it, if one did."""

    delegation: Delegation
    error: Exception | None = None


def order_unfinished(delegations: Iterable[Delegation]) -> list[list[Delegation]]:
    """Return what is not finished, one list for each owner on each network, in the order to carry it.

    First what is in flight, because it has the owner's lock; then the newest, so that older ones of the same allowance
    end without a fee.
    """
    owners: dict[tuple[str, str], list[Delegation]] = {}
    for d in delegations:
        if d.unfinished:
            owners.setdefault((d.request.network, d.request.owner), []).append(d)
    return [sorted(each, key=lambda d: (d.in_flight, d.created_at, d.id), reverse=True) for each in owners.values()]


def _unheard(outcome: Outcome) -> None:
    """Take no notice of an outcome before all are there."""


async def carry_all(
    journal: Journal,
    open_for: Callable[[Delegation], AbstractAsyncContextManager[Context]],
    *,
    at_once: int = 1,
    heard: Callable[[Outcome], None] = _unheard,
) -> list[Outcome]:
    """Carry everything that is not finished, and return what each came to; one failure stops no other.

    `open_for` opens the context of a delegation. Those of one owner on one network are carried one after the other;
    `at_once` is how many owners are carried side by side, and `heard` is told each outcome as it comes. No error is
    raised: an outcome holds the one that stopped it, and its delegation may still be unfinished.
    """
    outcomes: list[Outcome] = []
    turn = asyncio.Semaphore(at_once)

    async def carry_one_owner(delegations: list[Delegation]) -> None:
        async with turn:
            for d in delegations:
                outcome = await _carry_one(d, journal, open_for)
                outcomes.append(outcome)
                heard(outcome)

    async with asyncio.TaskGroup() as group:
        for delegations in order_unfinished(journal.list()):
            group.create_task(carry_one_owner(delegations))
    return outcomes


async def _carry_one(
    d: Delegation, journal: Journal, open_for: Callable[[Delegation], AbstractAsyncContextManager[Context]]
) -> Outcome:
    # What was carried before it may have ended it, or another process may have.
    d = journal.load(d.id)
    if not d.unfinished:
        return Outcome(d)
    try:
        async with open_for(d) as context:
            return Outcome(await carry(d, context))
    except Exception as error:  # noqa: BLE001
        # Also what somebody else's wallet raises: it is told, and stops none of the others.
        return Outcome(journal.load(d.id), error)
