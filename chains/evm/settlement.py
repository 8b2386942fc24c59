"""From broadcast to proof: waiting for the state of the chain, and naming whatever else happened.

A receipt is only the way to a block; success is the allowance that this very block holds, once it lies deep enough.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chains.errors import (
    NodeError,
    RpcError,
    SignatureMismatchError,
    TransactionRevertedError,
    UnexpectedAllowanceError,
)
from chains.evm.addresses import parse_address
from chains.evm.answers import parse_quantity
from chains.evm.codec.approval_logs import Pair, approved_value, parse_logs
from chains.evm.codec.erc20 import decode_revert, decode_uint256, encode_allowance
from chains.evm.nonces import find_mined
from chains.evm.sending import replaced
from chains.evm.simulation import at_block, call_contract
from chains.evm.watch import Landed, Made, Watch, ask_transaction, is_canonical
from chains.rpc import Rpc
from chains.types import (
    AllowanceIntent,
    ApproveStep,
    Block,
    EvmTransaction,
    Rival,
    SentTransaction,
    Settlement,
    SignedTransaction,
)


async def settle(
    rpc: Rpc,
    depth: int,
    intent: AllowanceIntent,
    step: ApproveStep,
    unsigned: EvmTransaction,
    sent: SignedTransaction | SentTransaction,
    *,
    timeout: float,  # noqa: ASYNC109 - the wait ends with an error that names the transaction
    rivals: Sequence[Rival] = (),
    unseen_for: float = 0.0,
) -> Settlement:
    """Wait up to `timeout` seconds until a block holds the step's allowance, with `depth` blocks, its own included.

    Signed bytes of the newest are sent again meanwhile. The transaction may be the newest, a rival that makes the same
    call, or one that a wallet put in its place. Raises the `TransactionError` that names what happened instead, and
    `SignatureMismatchError` if a sending wallet gave the hash of another transaction.
    """
    last_known = asyncio.get_running_loop().time() - unseen_for
    watch = Watch(rpc, depth, unsigned, sent, rivals, last_known, lambda: find_mined(rpc, intent, step, unsigned))
    return await watch.wait(_Approval(watch, intent, step).judge, timeout)


async def settle_cancellation(
    rpc: Rpc,
    depth: int,
    unsigned: EvmTransaction,
    sent: SignedTransaction | SentTransaction,
    *,
    timeout: float,  # noqa: ASYNC109 - the wait ends with an error that names the transaction
    rivals: Sequence[Rival] = (),
    unseen_for: float = 0.0,
) -> str:
    """Wait up to `timeout` seconds until the nonce is used, `depth` blocks deep; return the hash of what used it.

    That is the cancellation or a rival. Raises `TransactionReplacedError` if it was neither, and
    `TransactionPendingError` or `TransactionDroppedError` where the nonce is still free.
    """
    last_known = asyncio.get_running_loop().time() - unseen_for
    watch = Watch(rpc, depth, unsigned, sent, rivals, last_known)

    async def judge(landed: Landed) -> str | None:
        if isinstance(sent, SignedTransaction) and landed.hash == sent.hash:
            return landed.hash
        made = await _require_transaction(rpc, landed.hash)
        if (made.sender, made.nonce) == (unsigned.sender.lower(), unsigned.nonce):
            return landed.hash
        # A wallet chose another nonce: this one did not use the nonce that is watched.
        watch.rule_out(landed.hash)
        return None

    return await watch.wait(judge, timeout)


@dataclass(frozen=True, slots=True)
class _Approval:
    """What a transaction must be to count as the step's approval."""

    watch: Watch
    intent: AllowanceIntent
    step: ApproveStep

    async def judge(self, landed: Landed) -> Settlement | None:
        """Return the proof that the step took effect, or None if this transaction says nothing of that.

        What is only reported, and not sent by us, must be shown to be this approval and no other transaction.
        """
        watch, sent = self.watch, self.watch.sent
        if isinstance(sent, SignedTransaction) and landed.hash == sent.hash:
            return await self._read(landed, must_log=False)
        made = await _require_transaction(watch.rpc, landed.hash)
        self._require_owners(landed.hash, made)
        if made.calls_as(watch.unsigned):
            return await self._read(landed, must_log=False)
        rival = self._rival_of(landed.hash, made)
        if rival is not None and not _make_same_call(rival.unsigned, watch.unsigned):
            if made.nonce == watch.unsigned.nonce and not await watch.is_elsewhere():
                raise replaced(sent.hash, landed.hash)
            watch.rule_out(landed.hash)
            return None
        return await self._read(landed, must_log=True)

    def _rival_of(self, hash_: str, made: Made) -> Rival | None:
        """Return the rival that a transaction is: by its hash, or by its call, as a wallet may have sped it up."""
        for rival in self.watch.rivals:
            call = rival.unsigned
            if rival.hash == hash_ or (isinstance(call, EvmTransaction) and made.calls_as(call)):
                return rival
        return None

    def _require_owners(self, hash_: str, made: Made) -> None:
        """Raise `SignatureMismatchError` unless this is the owner's, with the nonce asked for or a later one."""
        unsigned = self.watch.unsigned
        if made.sender != unsigned.sender.lower() or made.nonce < unsigned.nonce:
            raise SignatureMismatchError(
                f"The transaction {hash_} (nonce {made.nonce} of {made.sender}) is not the one that the wallet was "
                "asked for.",
                hint="Nothing is lost. Take the hash of the approval from the wallet and run it again with that.",
                expected=(unsigned.sender, unsigned.nonce),
                found=(made.sender, made.nonce),
            )

    async def _read(self, landed: Landed, *, must_log: bool) -> Settlement | None:
        """Return the proof that it took effect, or None if its block is not canonical any more."""
        rpc, receipt, block, hash_ = self.watch.rpc, landed.receipt, landed.block, landed.hash
        intent, step = self.intent, self.step
        if parse_quantity("status", receipt.get("status")) != 1:
            reason = await _revert_reason(rpc, self.watch.unsigned, receipt, block)
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
            if await is_canonical(rpc, block):
                raise
            return None
        allowance = _allowance(result.returned)
        if allowance != step.amount:
            raise UnexpectedAllowanceError(
                f"The transaction {hash_} succeeded, but block {block.number} holds an allowance of {allowance} base "
                f"units instead of {step.amount}.",
                hint="The wallet may have changed the amount, or something else in that block did. Check the "
                "allowance.",
                expected=step.amount,
                found=allowance,
                transaction_hash=hash_,
            )
        if must_log and step.amount not in (approved_value(pair, log) for log in parse_logs(receipt)):
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


async def _require_transaction(rpc: Rpc, hash_: str) -> Made:
    """Return a transaction whose receipt the node has given."""
    made = await ask_transaction(rpc, hash_)
    if made is None:
        raise RpcError(f"The node has the receipt of {hash_} but not the transaction.", code=0)
    return made


def _make_same_call(one: object, other: EvmTransaction) -> bool:
    return isinstance(one, EvmTransaction) and (one.to, one.data) == (other.to, other.data)


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


def _allowance(returned: bytes) -> int:
    try:
        return decode_uint256(returned)
    except ValueError as error:
        raise NodeError(
            f"The allowance could not be read: {error}.", hint="Name another node and run it again to go on."
        ) from error
