"""From broadcast to proof: waiting for the state of the chain, and naming whatever else happened.

A receipt is only the way to a block; success is the allowance that this very block holds. What is decided by nonce
is decided by nonce: a transaction is replaced when its nonce was used by another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from chains.errors import (
    FeeTooLowError,
    NodeError,
    NodeUnreachableError,
    NoGasError,
    NonceOccupiedError,
    RpcError,
    SignatureMismatchError,
    TransactionDroppedError,
    TransactionPendingError,
    TransactionReplacedError,
    TransactionRevertedError,
    UnexpectedAllowanceError,
)
from chains.evm.addresses import parse_address
from chains.evm.answers import is_method_missing, parse_hash, parse_list, parse_object, parse_quantity
from chains.evm.codec.approval_logs import Pair, approved_value, parse_logs, topic_of
from chains.evm.codec.erc20 import (
    APPROVAL_TOPIC,
    decode_revert,
    decode_uint256,
    encode_allowance,
    encode_approve,
)
from chains.evm.nonces import find_user_of_nonce, get_nonce
from chains.evm.sending import replaced, send
from chains.evm.simulation import at_block, call_contract
from chains.rpc import Rpc
from chains.types import (
    AllowanceIntent,
    ApproveStep,
    Block,
    EvmTransaction,
    SentTransaction,
    Settlement,
    SignedTransaction,
)

_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 2.0
# How often nonce and mempool are looked at while there is no receipt.
_CHECK_EVERY: Final = 2.0
# How long a node may not know a transaction that a wallet says it sent: wallets may send through private relays.
_DROPPED_AFTER: Final = 120.0
# find_approval looks back this far at most, window by window.
_WINDOW: Final = 5_000
# The first windows are smaller: many nodes keep the state of the newest 128 blocks only, and most searches end there.
_FIRST_WINDOW: Final = 64
_WINDOWS: Final = 20

# How often reading the state may fail before it is an error: the servers behind one URL can be a block apart.
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


async def settle(
    rpc: Rpc,
    intent: AllowanceIntent,
    step: ApproveStep,
    unsigned: EvmTransaction,
    sent: SignedTransaction | SentTransaction,
    timeout: float,  # noqa: ASYNC109 - the wait ends with an error that names the transaction
) -> Settlement:
    """Wait up to `timeout` seconds until a block holds the step's allowance; signed bytes are sent again meanwhile.

    Raises the `TransactionError` that names what happened instead, and `SignatureMismatchError` if a sending wallet
    gave the hash of another transaction.
    """
    clock = asyncio.get_running_loop().time
    started = clock()
    watch = _Watch(rpc, intent, step, unsigned, sent, following=sent.hash, last_known=started)
    next_check = started + _CHECK_EVERY / 2
    pause = _FIRST_PAUSE
    while True:
        settlement = await watch.read()
        if settlement is not None:
            return settlement
        now = clock()
        if now >= next_check:
            next_check = now + _CHECK_EVERY
            if await watch.check(now):
                continue
        left = started + timeout - clock()
        if left <= 0:
            raise TransactionPendingError(
                f"The transaction {watch.following} has not settled within {timeout:g} seconds.{watch.problem}",
                hint="Nothing is lost and it may still land: run it again later to go on waiting. Do not approve again "
                "meanwhile.",
                transaction_hash=watch.following,
            )
        if watch.failed_reads:
            pause = max(pause, _READ_PAUSE)
        await asyncio.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE)


@dataclass(slots=True)
class _Watch:
    """A transaction on its way, and what has been seen of it; `following` is the hash that is waited for."""

    rpc: Rpc
    intent: AllowanceIntent
    step: ApproveStep
    unsigned: EvmTransaction
    sent: SignedTransaction | SentTransaction
    following: str
    last_known: float
    nonce_was_used: bool = False
    failed_reads: int = 0
    problem: str = ""

    async def read(self) -> Settlement | None:
        """Return the proof that it took effect, or None while there is none or it cannot be read yet."""
        try:
            receipt = await _ask_receipt(self.rpc, self.following)
        except RpcError as error:
            # Such as "transaction indexing is in progress" of geth: neither yes nor no.
            if is_method_missing(error):
                raise
            self.problem = f" The node could not say whether a block holds it: {error.message}"
            return None
        if receipt is None:
            return None
        reported = self.following != self.sent.hash or isinstance(self.sent, SentTransaction)
        try:
            return await _read_settlement(
                self.rpc, self.intent, self.step, self.unsigned, self.following, receipt, reported=reported
            )
        except RpcError:
            self.failed_reads += 1
            if self.failed_reads == _READ_ATTEMPTS:
                raise
            return None

    async def check(self, now: float) -> bool:
        """Look at nonce and mempool; return whether another transaction is followed from now on.

        Raises the `TransactionError` that names why there is nothing to wait for. A node that cannot say it now may
        say it later.
        """
        try:
            return await self._look_around(now)
        except RpcError as error:
            if is_method_missing(error):
                raise
            self.problem = f" The node could not say what became of its nonce: {error.message}"
            return False

    async def _look_around(self, now: float) -> bool:
        if not await is_nonce_free(self.rpc, self.unsigned):
            return await self._look_for_user_of_nonce()
        if isinstance(self.sent, SignedTransaction):
            self.nonce_was_used = False
            await self._send_again(self.sent)
        elif await self.rpc.request("eth_getTransactionByHash", [self.following]) is not None:
            self.last_known = now
        elif now - self.last_known >= _DROPPED_AFTER:
            raise TransactionDroppedError(
                f"The node does not know the transaction {self.following}, whose nonce {self.unsigned.nonce} is still "
                "free.",
                hint="Nothing was approved and no fee was paid. Look into the wallet; if it has given the "
                "transaction up, approve again.",
                transaction_hash=self.following,
            )
        return False

    async def _look_for_user_of_nonce(self) -> bool:
        other = await _find_mined(self.rpc, self.intent, self.step, self.unsigned)
        if other is not None and other != self.following:
            self.following = other
            return True
        # Seen twice, because the servers behind one URL can be a block apart; and a wallet that sends by itself may
        # have chosen a later nonce, which can still wait to be mined.
        waits = isinstance(self.sent, SentTransaction) and await _has_pending(self.rpc, self.unsigned)
        if other is None and self.nonce_was_used and not waits:
            raise replaced(self.sent.hash, await _find_replacement(self.rpc, self.unsigned))
        self.nonce_was_used = True
        return False

    async def _send_again(self, signed: SignedTransaction) -> None:
        """Send the same bytes again; other nodes may still have them, so that what this one thinks decides nothing."""
        try:
            refusal = await send(self.rpc, signed)
        except _REFUSALS as error:
            refusal = error.message
        if refusal:
            self.problem = f" The node would not take it again: {refusal}"


async def _ask_receipt(rpc: Rpc, hash_: str) -> Mapping[str, Any] | None:
    """Return the receipt of a transaction that a block holds, else None."""
    answer = await rpc.request("eth_getTransactionReceipt", [hash_])
    if answer is None:
        return None
    receipt = parse_object("eth_getTransactionReceipt", answer)
    return None if receipt.get("blockHash") is None else receipt


async def _read_settlement(
    rpc: Rpc,
    intent: AllowanceIntent,
    step: ApproveStep,
    unsigned: EvmTransaction,
    hash_: str,
    receipt: Mapping[str, Any],
    *,
    reported: bool,
) -> Settlement | None:
    """Return the proof that `hash_` took effect, or None if the block of its receipt is not canonical any more.

    What is only `reported`, and not sent by us, must be shown to be this approval and no other transaction.
    """
    block = Block(
        number=parse_quantity("blockNumber", receipt.get("blockNumber")),
        hash=parse_hash("blockHash", receipt["blockHash"]),
    )
    if reported:
        await _require_owners(rpc, unsigned, hash_)
    if parse_quantity("status", receipt.get("status")) != 1:
        reason = await _revert_reason(rpc, unsigned, receipt, block)
        raise TransactionRevertedError(
            f"The transaction {hash_} was mined in block {block.number} and failed: {reason}.",
            hint="Its fee is paid and nothing was approved. Plan the approval anew.",
            found=reason,
            transaction_hash=hash_,
        )
    pair = Pair(*(parse_address(text) for text in (intent.token.address, intent.owner, intent.spender)))
    try:
        result = await call_contract(rpc, pair.token, encode_allowance(pair.owner, pair.spender), at_block(block))
    except RpcError:
        if await _is_canonical(rpc, block):
            raise
        return None
    allowance = _allowance(result.returned)
    if allowance != step.amount:
        raise UnexpectedAllowanceError(
            f"The transaction {hash_} succeeded, but block {block.number} holds an allowance of {allowance} base units "
            f"instead of {step.amount}.",
            hint="The wallet may have changed the amount, or something else in that block did. Check the allowance.",
            expected=step.amount,
            found=allowance,
            transaction_hash=hash_,
        )
    if reported and step.amount not in (approved_value(pair, log) for log in parse_logs(receipt)):
        raise UnexpectedAllowanceError(
            f"The wallet reported the transaction {hash_}, which does not hold this approval.",
            hint="Look into the wallet for the transaction that it made.",
            expected=step.amount,
            transaction_hash=hash_,
        )
    paid = parse_quantity("gasUsed", receipt.get("gasUsed")) * parse_quantity(
        "effectiveGasPrice", receipt.get("effectiveGasPrice")
    )
    # Rollups of the OP stack charge the cost of their Ethereum data on top and name it in the receipt.
    paid += parse_quantity("l1Fee", receipt.get("l1Fee") or "0x0")
    return Settlement(hash=hash_, block=block, allowance=allowance, fee_paid=paid, finality="included")


async def find_approval(rpc: Rpc, intent: AllowanceIntent, step: ApproveStep, unsigned: EvmTransaction) -> str | None:
    """Return the hash of the transaction by which a sending wallet made this step, or None if it was not made.

    That is a transaction of the owner that holds an `Approval` of this owner, spender and token, and either has the
    nonce of `unsigned`, or a later one and identical calldata. Looks back to where the nonce was still free, but at
    most 100,000 blocks.

    Raises `TransactionPendingError` while the owner has a pending transaction that may be it, and `NodeError` where the
    node's history does not reach far enough to tell.
    """
    found = None if await is_nonce_free(rpc, unsigned) else await _find_mined(rpc, intent, step, unsigned)
    if found is None and await _has_pending(rpc, unsigned):
        raise TransactionPendingError(
            f"A transaction of {unsigned.sender} with nonce {unsigned.nonce} or later waits to be mined; it may be "
            "this one.",
            hint="Nothing is lost. Run it again to go on when it is mined; do not approve again meanwhile.",
        )
    return found


async def is_nonce_free(rpc: Rpc, unsigned: EvmTransaction) -> bool:
    """Return whether no transaction in the chain has used the nonce yet."""
    return await get_nonce(rpc, unsigned.sender, "latest") <= unsigned.nonce


async def _has_pending(rpc: Rpc, unsigned: EvmTransaction) -> bool:
    """Return whether the owner has a transaction in the mempool with this nonce or a later one."""
    mined, pending = [await get_nonce(rpc, unsigned.sender, block) for block in ("latest", "pending")]
    return pending > max(mined, unsigned.nonce)


async def _find_mined(rpc: Rpc, intent: AllowanceIntent, step: ApproveStep, unsigned: EvmTransaction) -> str | None:
    """Search the chain for the approval from its newest block back to where the nonce was still free."""
    newest = parse_quantity("eth_blockNumber", await rpc.request("eth_blockNumber"))
    last = newest - _WINDOW * _WINDOWS
    window, widest = min(_FIRST_WINDOW, _WINDOW), _WINDOW
    while newest > last:
        oldest = max(0, newest - window + 1)
        try:
            found = await _find_in_window(rpc, intent, step, unsigned, oldest, newest)
        except RpcError:
            # Nodes limit how many blocks, or how many logs, one question may span, each in its own words.
            if window == 1:
                raise
            window = widest = max(1, window // 4)
            continue
        if found is not None or oldest == 0:
            return found
        if await _was_nonce_free(rpc, unsigned, oldest):
            return None
        newest, window = oldest - 1, min(4 * window, widest)
    raise NodeError(
        f"Nonce {unsigned.nonce} of {unsigned.sender} was used more than {_WINDOW * _WINDOWS} blocks ago; "
        "by what, could not be found.",
        hint="Look the address up in a block explorer and give the hash of its approval.",
    )


async def _was_nonce_free(rpc: Rpc, unsigned: EvmTransaction, block: int) -> bool:
    """Return whether a block shows the nonce as free; False also where the node keeps no state so far back."""
    try:
        return await get_nonce(rpc, unsigned.sender, hex(block)) <= unsigned.nonce
    except RpcError:
        return False


async def _find_in_window(
    rpc: Rpc, intent: AllowanceIntent, step: ApproveStep, unsigned: EvmTransaction, oldest: int, newest: int
) -> str | None:
    owner, spender = parse_address(intent.owner), parse_address(intent.spender)
    wanted = {
        "address": intent.token.address,
        "topics": [APPROVAL_TOPIC, topic_of(owner), topic_of(spender)],
        "fromBlock": hex(oldest),
        "toBlock": hex(newest),
    }
    calldata = encode_approve(spender, step.amount)
    logs = parse_list("eth_getLogs", await rpc.request("eth_getLogs", [wanted]))
    hashes = [parse_hash("transactionHash", parse_object("log", log).get("transactionHash")) for log in logs]
    # Spending can emit Approval too, so the transaction and not the log decides.
    for hash_ in dict.fromkeys(reversed(hashes)):
        answer = await rpc.request("eth_getTransactionByHash", [hash_])
        if answer is None:
            continue
        transaction = parse_object("eth_getTransactionByHash", answer)
        if str(transaction.get("from")).lower() != owner.lower():
            continue
        nonce = parse_quantity("nonce", transaction.get("nonce"))
        same_call = str(transaction.get("input")).lower() == "0x" + calldata.hex()
        if nonce == unsigned.nonce or (nonce > unsigned.nonce and same_call):
            return hash_
    return None


async def _find_replacement(rpc: Rpc, unsigned: EvmTransaction) -> str | None:
    """Return the hash of what used the nonce in place of `unsigned`, or None where the node's history does not tell."""
    try:
        newest = parse_quantity("eth_blockNumber", await rpc.request("eth_blockNumber"))
        return await find_user_of_nonce(rpc, unsigned.sender, unsigned.nonce, newest)
    except NodeError:
        # Old state is pruned on many nodes; the hash is evidence that can be missing, not part of the verdict.
        return None


async def _require_owners(rpc: Rpc, unsigned: EvmTransaction, hash_: str) -> None:
    """Raise `SignatureMismatchError` unless the owner sent this with the nonce of `unsigned` or a later one."""
    answer = await rpc.request("eth_getTransactionByHash", [hash_])
    if answer is None:
        raise RpcError(f"The node has the receipt of {hash_} but not the transaction.", code=0)
    transaction = parse_object("eth_getTransactionByHash", answer)
    sender, nonce = str(transaction.get("from")), parse_quantity("nonce", transaction.get("nonce"))
    if sender.lower() != unsigned.sender.lower() or nonce < unsigned.nonce:
        raise SignatureMismatchError(
            f"The transaction {hash_} (nonce {nonce} of {sender}) is not the one that the wallet was asked for.",
            hint="Nothing is lost. Take the hash of the approval from the wallet and run it again with that.",
            expected=(unsigned.sender, unsigned.nonce),
            found=(sender, nonce),
        )


async def _revert_reason(rpc: Rpc, unsigned: EvmTransaction, receipt: Mapping[str, Any], block: Block) -> str:
    """Return why a mined transaction failed, by calling the same on the block before it."""
    if parse_quantity("gasUsed", receipt.get("gasUsed")) >= unsigned.fee.gas_limit:
        return "it ran out of gas"
    before = hex(max(0, block.number - 1))
    try:
        result = await call_contract(rpc, unsigned.to, bytes.fromhex(unsigned.data[2:]), before, sender=unsigned.sender)
    except RpcError as error:
        return f"the reason could not be asked ({error.message})"
    if result.success:
        return "the reason lies in a transaction before it in the same block"
    return decode_revert(result.returned)


async def _is_canonical(rpc: Rpc, block: Block) -> bool:
    answer = await rpc.request("eth_getBlockByNumber", [hex(block.number), False])
    return answer is not None and parse_object("eth_getBlockByNumber", answer).get("hash") == block.hash


def _allowance(returned: bytes) -> int:
    try:
        return decode_uint256(returned)
    except ValueError as error:
        raise NodeError(
            f"The allowance could not be read: {error}.", hint="Name another node and run it again to go on."
        ) from error
