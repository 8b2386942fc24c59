"""From broadcast to proof: waiting for the state of the chain, and naming whatever else happened.

What a node serves of a transaction is read by the one reader that checks its signatures; that it landed, and what the
token account holds since, is the word of the node. An approval counts at `confirmed`, which a supermajority voted for.
What failed or can never land is told at `finalized` alone, because another one is made then.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from chains.errors import (
    NodeError,
    RpcError,
    SignatureMismatchError,
    TransactionExpiredError,
    TransactionPendingError,
    TransactionRevertedError,
    UnexpectedAllowanceError,
)
from chains.rpc import Rpc
from chains.solana.accounts import get_owner_accounts
from chains.solana.answers import take, take_slot, why_unknown
from chains.solana.sending import send_again
from chains.solana.transactions import check_message, decode_message, describe_error, read_token_instructions
from chains.solana.verify.inclusion import Inclusion, get_status, get_transaction, read_inclusion
from chains.types import (
    AllowanceIntent,
    ApproveStep,
    Chain,
    SentTransaction,
    Settlement,
    SignedTransaction,
    SolanaFee,
    SolanaTransaction,
)

if TYPE_CHECKING:
    from solders.message import VersionedMessage

_BLOCKHASH_LIFETIME: Final = 150  # blocks; MAX_PROCESSING_AGE of the runtime
_BLOCK_TIME: Final = timedelta(seconds=0.4)  # DEFAULT_MS_PER_SLOT of the runtime
_BLOCK_NOT_AVAILABLE: Final = -32004  # JSON_RPC_SERVER_ERROR_BLOCK_NOT_AVAILABLE
_BLOCK_ATTEMPTS: Final = 25
_RESEND_AFTER: Final = 2.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 1.0
_HISTORY: Final = 25  # transactions of a token account looked through for an approval


async def settle(
    rpc: Rpc,
    chain: Chain,
    intent: AllowanceIntent,
    step: ApproveStep,
    unsigned: SolanaTransaction,
    sent: SignedTransaction | SentTransaction,
    timeout: float,  # noqa: ASYNC109 - the wait ends with an error that names the transaction
) -> Settlement:
    """Wait until the transaction is confirmed and the state holds the amount; re-send the same bytes until then.

    `timeout` is in seconds. Raises `TransactionRevertedError`, `TransactionExpiredError` (only once no fork can take it
    any more), `TransactionPendingError` or `UnexpectedAllowanceError`, and `SignatureMismatchError` if a sending wallet
    gave the signature of another transaction.
    """
    check_message(b64decode(unsigned.message), intent, step.amount)
    clock = asyncio.get_running_loop().time
    deadline = clock() + timeout
    last_height = await _last_valid_height(rpc, unsigned, sent)
    retry_at, pause, refusal = clock() + _RESEND_AFTER, _FIRST_PAUSE, ""
    while True:
        _slot, status = await get_status(rpc, sent.hash)
        if status is not None and _is_settled(status):
            slot = take_slot(status, "slot")
            await _require_success(rpc, unsigned, sent, status.get("err"))
            return await _get_settlement(rpc, chain, intent, step, unsigned, sent.hash, slot)
        if status is None and clock() >= min(retry_at, deadline):
            await _require_not_expired(rpc, sent.hash, last_height, refusal)
            if isinstance(sent, SignedTransaction):
                refusal = await send_again(rpc, sent)
            retry_at = clock() + _RESEND_AFTER
        if clock() >= deadline:
            why = f" The node would not take it again: {refusal}" if refusal else ""
            raise TransactionPendingError(
                f"The transaction has not settled within {timeout:g} seconds; it may still take effect.{why}",
                hint="Nothing is lost: run it again to go on waiting. Do not sign another one meanwhile.",
                found=refusal or None,
                transaction_hash=sent.hash,
            )
        await asyncio.sleep(min(pause, max(deadline - clock(), 0)))
        pause = min(pause * 1.5, _LONGEST_PAUSE)


async def find_approval(
    rpc: Rpc, intent: AllowanceIntent, step: ApproveStep, unsigned: SolanaTransaction
) -> str | None:
    """Return the newest successful transaction that made this approval since it was prepared, or None.

    A wallet that sends by itself may have changed the blockhash and the fee or added instructions of its own, so the
    same approval in a later block counts too. Raises `NodeError` if a transaction could not be read: whether the
    approval was made is then not known.
    """
    source = check_message(b64decode(unsigned.message), intent, step.amount).instructions[0].source
    listed = await rpc.request("getSignaturesForAddress", [source, {"limit": _HISTORY, "commitment": "confirmed"}])
    unread: NodeError | None = None
    for entry in take(listed, list):
        if take(entry, dict).get("err") is not None:
            continue
        try:
            landed = await _get_landed(rpc, take(entry, str, "signature"))
        except NodeError as error:
            why_unknown(error)
            unread = error
            continue
        if landed.error is None and _makes_approval(landed.message, unsigned):
            if await _is_newer(rpc, landed, unsigned):
                return landed.signature
            break
    if unread is not None:
        raise unread
    return None


async def can_land(rpc: Rpc, unsigned: SolanaTransaction) -> bool:
    """Return whether a fork can still take this transaction: the finalized height has not passed its last one."""
    _slot, height = await _get_final_height(rpc)
    return height <= unsigned.last_valid_block_height


async def get_time_left(rpc: Rpc, unsigned: SolanaTransaction) -> timedelta:
    """Return about how long a fork can still take this transaction, by the block height at `finalized`."""
    _slot, height = await _get_final_height(rpc)
    return max(0, unsigned.last_valid_block_height + 1 - height) * _BLOCK_TIME


async def explain_no_replacement(rpc: Rpc, unsigned: SolanaTransaction) -> TransactionPendingError:
    """Return the error that says until about when a transaction can land: no other takes its place."""
    left = await get_time_left(rpc, unsigned)
    if left:
        return TransactionPendingError(
            f"No other transaction can take the place of one on Solana: this one can land for about "
            f"{left.total_seconds():.0f} more seconds.",
            hint=f"Nothing is lost. Wait {left.total_seconds():.0f} seconds, then run it again: it has landed by then, "
            "or never can and another one is safe.",
            expected=unsigned.last_valid_block_height,
        )
    return TransactionPendingError(
        "No other transaction can take the place of one on Solana, and this one can land no more; whether it did is "
        "not known yet.",
        hint="Nothing is lost. Run it again to go on waiting, which tells what became of it.",
        expected=unsigned.last_valid_block_height,
    )


def _is_settled(status: dict[str, Any]) -> bool:
    """Return whether a status is decided: success at `confirmed`, failure at `finalized`.

    A transaction that failed may still succeed in another fork, and what failed is made anew.
    """
    level = status.get("confirmationStatus")
    return level == "finalized" or (level == "confirmed" and status.get("err") is None)


async def _last_valid_height(rpc: Rpc, unsigned: SolanaTransaction, sent: SignedTransaction | SentTransaction) -> int:
    """Return the last block height at which the transaction can land.

    A wallet that sends by itself may have put in a newer blockhash, but none that is newer than now.
    """
    if isinstance(sent, SignedTransaction):
        return unsigned.last_valid_block_height
    answer = await rpc.request("getLatestBlockhash", [{"commitment": "processed"}])
    return max(unsigned.last_valid_block_height, take(answer, int, "value", "lastValidBlockHeight"))


async def _require_not_expired(rpc: Rpc, signature: str, last_height: int, refusal: str) -> None:
    """Raise `TransactionExpiredError` if no fork can take the transaction any more and none has.

    The height at `finalized` and its slot come from one answer, and the status must be of a node that has seen that
    slot: behind one URL there may be several nodes, and one that is behind knows nothing.
    """
    final_slot, height = await _get_final_height(rpc)
    if height <= last_height:
        return
    reached, status = await get_status(rpc, signature)
    if status is not None:
        return
    if reached < final_slot:
        raise NodeError(
            "The node is behind and cannot say whether the transaction was taken.",
            hint="Nothing was lost. Run it again in a minute, or name another node.",
            expected=final_slot,
            found=reached,
        )
    raise TransactionExpiredError(
        "The transaction was not taken by the network in time, and can never be taken now.",
        hint="Nothing was approved and nothing was paid. Build it anew and sign again.",
        found=refusal or None,
        transaction_hash=signature,
    )


async def _get_final_height(rpc: Rpc) -> tuple[int, int]:
    """Return the newest finalized slot and its block height."""
    epoch = await rpc.request("getEpochInfo", [{"commitment": "finalized"}])
    return take_slot(epoch, "absoluteSlot"), take(epoch, int, "blockHeight")


async def _require_success(
    rpc: Rpc, unsigned: SolanaTransaction, sent: SignedTransaction | SentTransaction, error: Any
) -> None:
    """Raise unless a settled transaction is the approval that was asked for and succeeded.

    What a wallet sent by itself is read back, with its signatures checked; of our own bytes we know what they do.
    """
    message = b64decode(unsigned.message)
    if isinstance(sent, SentTransaction):
        landed = await _get_landed(rpc, sent.hash)
        if not _makes_approval(landed.message, unsigned) or not await _is_newer(rpc, landed, unsigned):
            raise SignatureMismatchError(
                f"The transaction {sent.hash} is not the approval that the wallet was asked for.",
                hint="Nothing is lost. Take the signature of the approval from the wallet and run it again with that.",
                found=sent.hash,
            )
        message = landed.signed_bytes
    if error is not None:
        raise TransactionRevertedError(
            f"The transaction failed: {describe_error(error, message)}.",
            hint="Its fee is paid and nothing was approved. Plan the approval again to see what changed.",
            found=error,
            transaction_hash=sent.hash,
        )


async def _get_settlement(
    rpc: Rpc,
    chain: Chain,
    intent: AllowanceIntent,
    step: ApproveStep,
    unsigned: SolanaTransaction,
    signature: str,
    slot: int,
) -> Settlement:
    accounts = await get_owner_accounts(rpc, chain, intent.token, intent.owner, "confirmed", min_slot=slot)
    state = accounts.to_state(intent.spender)
    # The state is newer than the transaction: part of the allowance may have been spent since. A Solana transaction
    # that succeeded did what its message says, which was checked.
    if state.allowance != step.amount and not 0 < state.allowance < step.amount:
        raise UnexpectedAllowanceError(
            f"The transaction succeeded, but the allowance is {state.allowance} base units, not {step.amount}.",
            hint="It was changed or spent since. Check the wallet's recent transactions before you approve again.",
            expected=step.amount,
            found=state.allowance,
            transaction_hash=signature,
        )
    return Settlement(
        hash=signature,
        block=state.block,
        allowance=state.allowance,
        fee_paid=await _get_fee_paid(rpc, signature, unsigned.fee),
        finality="confirmed",
    )


async def _get_fee_paid(rpc: Rpc, signature: str, planned: SolanaFee) -> int:
    """Return the fee in lamports without rent, or its planned maximum where the node does not serve it."""
    try:
        landed = await _get_landed(rpc, signature)
    except NodeError as error:
        why_unknown(error)
        fee = None
    else:
        fee = (landed.meta or {}).get("fee")
    return fee if isinstance(fee, int) else planned.max_cost - planned.rent_lamports


async def _get_landed(rpc: Rpc, signature: str) -> Inclusion:
    """Return a transaction that the node has listed, its signatures checked; raise `NodeError` if it is not served."""
    answer = await get_transaction(rpc, signature)
    if answer is None:
        raise RpcError(f"The node lists the transaction {signature} but does not serve it.", code=0)
    return read_inclusion(answer, signature)


async def _is_newer(rpc: Rpc, landed: Inclusion, unsigned: SolanaTransaction) -> bool:
    """Return whether a transaction was made after `unsigned` was prepared."""
    if str(landed.message.recent_blockhash) == unsigned.blockhash:
        return True
    return await _get_height(rpc, landed.slot) > unsigned.last_valid_block_height - _BLOCKHASH_LIFETIME


async def _get_height(rpc: Rpc, slot: int) -> int:
    """Return the block height of a slot; a block that was confirmed just now is not served by every node at once."""
    config = {
        "transactionDetails": "none",
        "rewards": False,
        "maxSupportedTransactionVersion": 0,
        "commitment": "confirmed",
    }
    for _ in range(_BLOCK_ATTEMPTS):
        try:
            block = await rpc.request("getBlock", [slot, config])
        except RpcError as error:
            if error.code != _BLOCK_NOT_AVAILABLE:
                raise
            block = None
        if block is not None:
            return take(block, int, "blockHeight")
        await asyncio.sleep(_BLOCK_TIME.total_seconds())
    raise NodeError(
        f"The node does not serve the block of slot {slot}, which it says is confirmed.",
        hint="Nothing was lost. Run it again in a minute, or name another node.",
    )


def _makes_approval(message: VersionedMessage, unsigned: SolanaTransaction) -> bool:
    """Return whether a message holds the approval of `unsigned`, whatever else a wallet put in."""
    shown = decode_message(b64decode(unsigned.message)).instructions
    try:
        return read_token_instructions(message, shown[0].source) == shown
    except SignatureMismatchError:
        return False
