"""A chain that mines nothing until it is told to, and the delegations that are stuck on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from line_lab import CrashError, Line

from chains.errors import TransactionPendingError
from chains.types import EvmFee, EvmTransaction, SignedTransaction, Wallet
from delegation import Context, Delegation, answer, awaiting, carry
from delegation.context import Replacement
from delegation.errors import DeclinedError
from delegation.intents import OutdatedPlan
from delegation.journal import Journal
from delegation.models import Plan

NETWORKS = [("linea", "usdc"), ("ethereum", "usdt"), ("base", "usdc")]
"""The EVM networks, each with a token of its own kind: Tether's refuses to change one allowance into another."""


@asynccontextmanager
async def held(line: Line) -> AsyncIterator[None]:
    """Let the network mine nothing by itself; afterwards it mines what it is sent, as always."""
    await line.rpc.request("evm_setAutomine", [False])
    try:
        yield
    finally:
        await line.rpc.request("anvil_dropAllTransactions")
        await line.rpc.request("evm_setAutomine", [True])


async def mine(line: Line, blocks: int = 1) -> None:
    """Mine what waits, and then as many empty blocks as are missing."""
    for _ in range(blocks):
        await line.rpc.request("evm_mine")


async def mine_instead(line: Line, raw: str, *then: str) -> None:
    """Mine these signed bytes, and what came `then` in the same way, as if nothing else had reached the network."""
    await line.rpc.request("anvil_dropAllTransactions")
    for each in (raw, *then):
        await line.rpc.request("eth_sendRawTransaction", [each])
        await mine(line)


async def is_mined(line: Line, hash_: str) -> bool:
    """Return whether a block holds this transaction."""
    return await line.rpc.request("eth_getTransactionReceipt", [hash_]) is not None


def quick(line: Line, **changes: Any) -> Context:
    """Return a context that does not wait long for a chain that mines nothing."""
    return replace(line.context, settle_timeout=0.2, **changes)


async def pending(d: Delegation, context: Context) -> Delegation:
    """Carry a delegation until it waits to be mined, and return it as the journal holds it then."""
    with pytest.raises(TransactionPendingError):
        await carry(d, context)
    return context.journal.load(d.id)


async def hand_over(d: Delegation, context: Context, sign: Callable[[dict[str, object]], str]) -> Delegation:
    """Carry a delegation without a wallet until it waits to be mined; `sign` is the app's own wallet."""
    d = await carry(d, replace(context, wallet=None))
    request = awaiting(d)
    assert request is not None
    return await pending(answer(d, context.journal, sign(request.request)), replace(context, wallet=None))


def transaction_of(d: Delegation, index: int = 0) -> EvmTransaction:
    """Return the newest transaction of a step."""
    unsigned = d.approvals[index].unsigned
    assert isinstance(unsigned, EvmTransaction)
    return unsigned


def bytes_of(d: Delegation, index: int = 0) -> str:
    """Return the newest signed bytes of a step."""
    sent = d.approvals[index].sent
    assert isinstance(sent, SignedTransaction)
    return sent.raw


def hash_of_step(d: Delegation, index: int = 0) -> str:
    """Return the hash of the newest transaction of a step."""
    hash_ = d.approvals[index].hash
    assert hash_ is not None
    return hash_


def is_dearer(new: EvmFee, old: EvmFee) -> bool:
    """Return whether both fees are at least an eighth above the old ones, as the strictest nodes ask for it."""
    return (
        8 * new.max_fee_per_gas >= 9 * old.max_fee_per_gas
        and 8 * new.max_priority_fee_per_gas >= 9 * old.max_priority_fee_per_gas
    )


def never_asked(context: Context) -> Context:
    """Return a context in which nobody may be asked anything but for a signature."""

    def ask(_: Plan | OutdatedPlan | Replacement) -> None:
        raise DeclinedError("nobody may be asked here")

    return replace(context, agree=ask, agree_again=ask, agree_replacement=ask)


def with_wallet(context: Context, wallet: Wallet | None) -> Context:
    """Return a context with another wallet."""
    return replace(context, wallet=wallet)


@dataclass
class Death:
    """When a process dies: just before or just after its n-th save is on the disk."""

    save: int
    when: str
    happened: bool = False


class DyingJournal(Journal):
    """A journal at one of whose saves the process dies; `of` is another journal of the same rows."""

    def __init__(self, of: Journal, death: Death) -> None:
        super().__init__(of._database)
        self._death = death
        self._saves = 0

    def save(self, delegation: Delegation, *, others: Any = ()) -> Delegation:
        self._saves += 1
        if self._saves == self._death.save and self._death.when == "before":
            self._die()
        saved = super().save(delegation, others=others)
        if self._saves == self._death.save:
            self._die()
        return saved

    def _die(self) -> None:
        self._death.happened = True
        raise CrashError
