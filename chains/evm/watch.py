"""One nonce of an owner, watched until it is decided: which of the transactions that want it a block holds.

What is decided by nonce is decided by nonce: a transaction is replaced when its nonce was used by another one. The
receipts of the hashes that are known come first, because they need no archive and no logs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from chains.errors import (
    FeeTooLowError,
    NodeError,
    NodeUnreachableError,
    NoGasError,
    NonceOccupiedError,
    RpcError,
    TransactionDroppedError,
    TransactionPendingError,
    TransactionReplacedError,
)
from chains.evm.answers import is_method_missing, parse_data, parse_hash, parse_object, parse_quantity
from chains.evm.nonces import find_user_of_nonce, get_nonce, has_pending, is_nonce_free
from chains.evm.sending import replaced, send
from chains.rpc import Rpc
from chains.types import Block, EvmTransaction, Rival, SentTransaction, SignedTransaction

_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 2.0
# How often nonce and mempool are looked at while there is no receipt.
_CHECK_EVERY: Final = 2.0
# How long a node may not know a transaction that a wallet says it sent: wallets may send through private relays.
_DROPPED_AFTER: Final = 120.0
# The servers behind one URL can be a block apart: what decides against a transaction is looked at again after this,
# and once more where it cannot be said what used the nonce.
_LOOK_AGAIN: Final = 0.5
_LOOKS: Final = 3
# How often reading the state may fail before it is an error.
_READ_ATTEMPTS: Final = 3
_READ_PAUSE: Final = 0.5

# What sending again may come to without an end to the waiting.
_REFUSALS: Final = (
    RpcError,
    NodeUnreachableError,
    NoGasError,
    FeeTooLowError,
    NonceOccupiedError,
    TransactionReplacedError,
)

_Outcome = TypeVar("_Outcome")


@dataclass(frozen=True, slots=True)
class Made:
    """A transaction as a node gives it: who made it, and what it calls."""

    sender: str
    nonce: int
    to: str
    data: bytes
    value: int

    def calls_as(self, unsigned: EvmTransaction) -> bool:
        """Return whether it makes the call of `unsigned`, whatever its nonce and fee are."""
        same = self.to == unsigned.to.lower() and self.data == bytes.fromhex(unsigned.data[2:])
        return same and self.value == 0 and self.sender == unsigned.sender.lower()


@dataclass(frozen=True, slots=True)
class Landed:
    """A transaction in a block of the chain that has as many blocks on it as were asked for."""

    hash: str
    block: Block
    receipt: Mapping[str, Any]


@dataclass(slots=True)
class Watch:
    """The transactions that want one nonce, and what has been seen of them.

    `sent` is the newest and was made from `unsigned`; `depth` is how many blocks count as decided, its own included;
    `last_known` when, by the clock of the event loop, a node last knew the newest. `search` looks for the transaction
    otherwise than by its nonce and hash, where there is a way.
    """

    rpc: Rpc
    depth: int
    unsigned: EvmTransaction
    sent: SignedTransaction | SentTransaction
    rivals: Sequence[Rival]
    last_known: float
    search: Callable[[], Awaitable[str | None]] | None = None
    known: list[str] = field(default_factory=list)
    ruled_out: set[str] = field(default_factory=set)
    in_block: str = ""
    is_known: bool = False
    checked: bool = False
    looks: int = 0
    failed_reads: int = 0
    waits: str = ""
    problem: str = ""

    async def wait(
        self,
        judge: Callable[[Landed], Awaitable[_Outcome | None]],
        timeout: float,  # noqa: ASYNC109 - the wait ends with an error that names the transaction
    ) -> _Outcome:
        """Return what `judge` makes of a transaction that landed, for up to `timeout` seconds.

        Signed bytes of the newest are sent again meanwhile. Nonce and mempool are looked at at least once, however
        short the time, and once more where a look could decide against the newest. Raises the `TransactionError` that
        names what happened instead, as `judge` may.
        """
        clock = asyncio.get_running_loop().time
        self.known += [hash_ for hash_ in dict.fromkeys((self.sent.hash, *(r.hash for r in self.rivals))) if hash_]
        started = clock()
        next_check, ends = started + _CHECK_EVERY / 2, started + timeout
        pause = _FIRST_PAUSE
        while True:
            outcome = await self._read(judge)
            if outcome is not None:
                return outcome
            now = clock()
            if now >= next_check or (not self.checked and now >= ends):
                looks = self.looks
                if await self._check(now):
                    continue
                next_check = clock() + (_LOOK_AGAIN if self.looks == 1 else _CHECK_EVERY)
                if looks < self.looks < _LOOKS:
                    ends = max(ends, next_check)
            left = ends - clock()
            if left <= 0 and self.checked:
                raise self._pending(timeout, clock())
            if self.failed_reads:
                pause = max(pause, _READ_PAUSE)
            await asyncio.sleep(max(0.0, min(pause, left)))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def rule_out(self, hash_: str) -> None:
        """Do not wait for this transaction any more: it did not use the nonce."""
        self.known.remove(hash_)
        self.ruled_out.add(hash_)
        self.in_block, self.waits = "", ""

    async def is_elsewhere(self) -> bool:
        """Return whether the newest was sent with a later nonce than it was asked for, and may land there."""
        if isinstance(self.sent, SignedTransaction):
            return False
        made = await ask_transaction(self.rpc, self.sent.hash)
        return made is not None and made.nonce > self.unsigned.nonce

    async def _read(self, judge: Callable[[Landed], Awaitable[_Outcome | None]]) -> _Outcome | None:
        """Return what `judge` makes of what landed, or None while nothing has or it cannot be read yet."""
        self.in_block, self.waits = "", ""
        for hash_ in tuple(self.known):
            try:
                landed = await self._ask(hash_)
            except RpcError as error:
                # Such as "transaction indexing is in progress" of geth: neither yes nor no.
                if is_method_missing(error):
                    raise
                self.problem = f" The node could not say whether a block holds it: {error.message}"
                continue
            if landed is None:
                continue
            try:
                outcome = await judge(landed)
            except RpcError:
                self.failed_reads += 1
                if self.failed_reads == _READ_ATTEMPTS:
                    raise
                continue
            if outcome is not None:
                return outcome
        return None

    async def _ask(self, hash_: str) -> Landed | None:
        """Return a transaction that a block of the chain holds, with enough blocks on it, else None."""
        answer = await self.rpc.request("eth_getTransactionReceipt", [hash_])
        if answer is None:
            return None
        receipt = parse_object("eth_getTransactionReceipt", answer)
        if receipt.get("blockHash") is None:
            return None
        block = Block(
            number=parse_quantity("blockNumber", receipt.get("blockNumber")),
            hash=parse_hash("blockHash", receipt["blockHash"]),
        )
        canonical = await is_canonical(self.rpc, block)
        if canonical is False:
            return None
        self.in_block = hash_
        self.is_known = True
        if canonical is None:
            return None
        if self.depth > 1:
            head = parse_quantity("eth_blockNumber", await self.rpc.request("eth_blockNumber"))
            missing = block.number + self.depth - 1 - head
            if missing > 0:
                more = "one more block" if missing == 1 else f"{missing} more blocks"
                self.waits = f" It is in block {block.number} and waits for {more}."
                return None
        return Landed(hash_, block, receipt)

    async def _check(self, now: float) -> bool:
        """Look at nonce and mempool; return whether one more transaction is known from now on.

        Raises the `TransactionError` that names why there is nothing to wait for. A node that cannot say it now may
        say it later.
        """
        self.checked = True
        try:
            return await self._look_around(now)
        except RpcError as error:
            if is_method_missing(error):
                raise
            self.problem = f" The node could not say what became of its nonce: {error.message}"
            return False

    async def _look_around(self, now: float) -> bool:
        if self.in_block:
            # It waits for blocks, or for a server that is behind.
            self.last_known, self.looks = now, 0
            return False
        if not await is_nonce_free(self.rpc, self.unsigned):
            return await self._look_for_user_of_nonce()
        self.looks = 0
        if isinstance(self.sent, SignedTransaction):
            await self._send_again(self.sent)
        else:
            await self._look_for_sent(self.sent.hash, now)
        return False

    async def _look_for_sent(self, hash_: str, now: float) -> None:
        """Raise `TransactionDroppedError` if no node has known a wallet's transaction, or a rival, for a long time."""
        self.is_known = await ask_transaction(self.rpc, hash_) is not None
        if self.is_known:
            self.last_known = now
            return
        if now - self.last_known < _DROPPED_AFTER:
            return
        for other in self.known:
            if other != hash_ and await ask_transaction(self.rpc, other) is not None:
                return
        raise TransactionDroppedError(
            f"The node does not know the transaction {hash_}, whose nonce {self.unsigned.nonce} is still free.",
            hint="Nothing was approved and no fee was paid. Look into the wallet; if it has given the transaction up, "
            "approve again.",
            transaction_hash=hash_,
        )

    async def _look_for_user_of_nonce(self) -> bool:
        """Return whether it was found out what used the nonce, so that it is known from now on.

        Raises `TransactionReplacedError` if it is none of ours, seen twice in blocks that lie deep enough, or three
        times where the node's history does not tell what it is.
        """
        unsearched: RpcError | None = None
        other = None
        try:
            other = None if self.search is None else await self.search()
        except RpcError as error:
            unsearched = error
        if other is not None and other not in self.ruled_out:
            if other in self.known:
                return False
            self.known.append(other)
            return True
        if not await self._is_used_for_good():
            self.problem = " Another transaction has used its nonce, in a block that may still be replaced."
            return False
        self.looks += 1
        if self.looks < 2 or await self._waits_elsewhere():
            return False
        newest = parse_quantity("eth_blockNumber", await self.rpc.request("eth_blockNumber"))
        if await get_nonce(self.rpc, self.unsigned.sender, hex(newest)) <= self.unsigned.nonce:
            # This server is behind the one that knows the nonce as used: it cannot know by what.
            return False
        user = await self._find_user(newest)
        if user in self.known or (user is None and self.looks < _LOOKS):
            return False
        if user is not None and user not in self.ruled_out and await self._is_ours(user):
            self.known.append(user)
            return True
        if unsearched is not None and isinstance(self.sent, SentTransaction):
            raise unsearched
        raise replaced(self.sent.hash, user)

    async def _is_used_for_good(self) -> bool:
        """Return whether the nonce was used in a block that lies deep enough."""
        if self.depth == 1:
            return True
        head = parse_quantity("eth_blockNumber", await self.rpc.request("eth_blockNumber"))
        deep = max(0, head - self.depth + 1)
        return await get_nonce(self.rpc, self.unsigned.sender, hex(deep)) > self.unsigned.nonce

    async def _waits_elsewhere(self) -> bool:
        """Return whether a wallet that sends by itself may have chosen a later nonce, which can still be mined."""
        if isinstance(self.sent, SignedTransaction):
            return False
        return await self.is_elsewhere() or await has_pending(self.rpc, self.unsigned)

    async def _find_user(self, newest: int) -> str | None:
        """Return the hash of what used the nonce, or None where the node's history does not tell."""
        try:
            return await find_user_of_nonce(self.rpc, self.unsigned.sender, self.unsigned.nonce, newest)
        except NodeError:
            # Old state is pruned on many nodes; the hash is evidence that can be missing, not part of the verdict.
            return None

    async def _is_ours(self, hash_: str) -> bool:
        """Return whether a transaction makes the call of the newest or of a rival: a wallet may have sped it up."""
        made = await ask_transaction(self.rpc, hash_)
        ours = [self.unsigned, *(r.unsigned for r in self.rivals if isinstance(r.unsigned, EvmTransaction))]
        return made is not None and any(made.calls_as(unsigned) for unsigned in ours)

    async def _send_again(self, signed: SignedTransaction) -> None:
        """Send the same bytes again; other nodes may still have them, so that what this one thinks decides nothing."""
        try:
            refusal = await send(self.rpc, signed)
        except _REFUSALS as error:
            refusal = error.message
        if refusal:
            self.problem = f" The node would not take it again: {refusal}"

    def _pending(self, timeout: float, now: float) -> TransactionPendingError:
        hash_ = self.in_block or self.sent.hash
        unseen = None
        if isinstance(self.sent, SentTransaction):
            unseen = 0.0 if self.in_block or self.is_known else now - self.last_known
        return TransactionPendingError(
            f"The transaction {hash_} has not settled within {timeout:g} seconds.{self.waits or self.problem}",
            hint="Nothing is lost and it may still land: run it again later to go on waiting. Do not approve again "
            "meanwhile.",
            transaction_hash=hash_,
            unseen_for=unseen,
        )


async def ask_transaction(rpc: Rpc, hash_: str) -> Made | None:
    """Return what a node gives for a hash, from a block or its mempool; None if it does not know it."""
    answer = await rpc.request("eth_getTransactionByHash", [hash_])
    if answer is None:
        return None
    fields = parse_object("eth_getTransactionByHash", answer)
    return Made(
        sender=str(fields.get("from")).lower(),
        nonce=parse_quantity("nonce", fields.get("nonce")),
        to=str(fields.get("to")).lower(),
        data=parse_data("input", fields.get("input")),
        value=parse_quantity("value", fields.get("value") or "0x0"),
    )


async def is_canonical(rpc: Rpc, block: Block) -> bool | None:
    """Return whether a block is part of the chain now; None where the node has no block of that number (yet)."""
    answer = await rpc.request("eth_getBlockByNumber", [hex(block.number), False])
    if answer is None:
        return None
    found = parse_object("eth_getBlockByNumber", answer)
    return parse_hash("block hash", found.get("hash")) == block.hash
