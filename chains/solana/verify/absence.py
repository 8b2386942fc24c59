"""What became of a transaction that a node does not serve: nothing of it is a failure, null is not "no" (rule 16)."""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING, Final

from chains.claims import ApprovalCheck, ApprovalClaim, Finding, State
from chains.errors import NodeError, RpcError, SignatureMismatchError
from chains.rpc import Rpc
from chains.solana.answers import account_data, nonsense, take, why_open
from chains.solana.verify.findings import note_finality
from chains.solana.verify.inclusion import LEVELS, get_status, has_known_version, nonce_account, verify_transaction
from chains.types import Block

if TYPE_CHECKING:
    from solders.message import VersionedMessage

_NONCE_SIZE: Final = 80


async def explain_absence(claim: ApprovalClaim, rpc: Rpc, head: Block) -> ApprovalCheck:
    """Return what is known of a transaction that a node does not serve; its verdict is always UNDETERMINED.

    With the signed bytes of the claim it is told whether the transaction can still land, and with the block that is
    said to have held it whether that block is gone.
    """
    finality = None
    try:
        reached, status = await get_status(rpc, claim.transaction)
        if status is not None:
            level = status.get("confirmationStatus")
            finality = level if level in LEVELS else None
            state: State | None = "pending" if finality == "processed" else None
            message = "The node knows the transaction and does not serve it yet: ask again, or ask another node."
        elif reached < max(head.number, claim.block.number if claim.block else 0):
            state, message = None, f"The node is behind, at slot {reached}, and does not know the transaction yet."
        else:
            state, message = await _explain_unknown(claim, rpc)
    except NodeError as error:
        state, message = None, f"Whether the transaction is known could not be found out: {why_open(error)}"
    finding = Finding("transaction", "UNDETERMINED", message, expected=claim.transaction)
    known = () if finality is None else (note_finality(finality),)
    return ApprovalCheck(findings=(finding, *known), state=state, head=head, finality=finality)


async def _explain_unknown(claim: ApprovalClaim, rpc: Rpc) -> tuple[State | None, str]:
    """Return what is known of a transaction that no history of the node holds, and in words."""
    unknown = "The node does not know the transaction, in its history as far as that reaches"
    if claim.block is not None:
        gone, words = await _ask_block(claim, claim.block.number, rpc)
        unknown = f"{unknown}, and {words}"
        if gone:
            return "reorganised", f"{unknown}."
    if claim.raw is None:
        return None, f"{unknown}. That is no failure: it may not have been sent, or be older than that history."
    message = _read_bytes(claim.raw, claim.transaction)
    if isinstance(message, str):
        return None, unknown + message
    nonce = nonce_account(message)
    state, words = await (_ask_blockhash(message, rpc) if nonce is None else _ask_nonce(message, nonce, rpc))
    return state, unknown + words


def _read_bytes(raw: str, transaction: str) -> VersionedMessage | str:
    """Return the message in the signed bytes of a claim, or the words why they say nothing of the transaction."""
    try:
        signed = b64decode(raw, validate=True)
        if not has_known_version(signed):
            return "; its signed bytes are of a version that this toolkit does not know: upgrade it."
        return verify_transaction(signed, transaction)
    except ValueError:
        return ", and the signed bytes of the claim are not base64."
    except SignatureMismatchError as error:
        return f", and the signed bytes of the claim do not belong to it: {error.message}"


async def _ask_nonce(message: VersionedMessage, nonce: str, rpc: Rpc) -> tuple[State, str]:
    """Return whether a transaction with a durable nonce can still land, and in words."""
    answer = await rpc.request("getAccountInfo", [nonce, {"encoding": "base64", "commitment": "confirmed"}])
    account = take(answer, dict).get("value")
    data = account_data(account) if account is not None else b""
    if len(data) == _NONCE_SIZE and data[40:72] == bytes(message.recent_blockhash):
        return "pending", ". It has a durable nonce that is still unused: it can land at any time."
    return "dropped", ", and its durable nonce was used or is gone: it can never land."


async def _ask_blockhash(message: VersionedMessage, rpc: Rpc) -> tuple[State, str]:
    """Return whether a transaction with a blockhash that expires can still land, and in words."""
    # A bank that is not final yet may know a blockhash that the finalized one does not, and the other way round.
    for commitment in ("processed", "finalized"):
        answer = await rpc.request("isBlockhashValid", [str(message.recent_blockhash), {"commitment": commitment}])
        valid = take(answer, dict).get("value")
        if not isinstance(valid, bool):
            raise nonsense(answer)
        if valid:
            return "pending", ". It is signed and its blockhash is still valid: it can still land."
    return "dropped", (
        ", and its blockhash is not valid any more: it cannot land now. That it never landed is not proved: the node's "
        "history may not reach that far back."
    )


async def _ask_block(claim: ApprovalClaim, slot: int, rpc: Rpc) -> tuple[bool, str]:
    """Return whether the block that is said to have held the transaction is there without it, and in words."""
    config = {
        "transactionDetails": "signatures",
        "rewards": False,
        "maxSupportedTransactionVersion": 0,
        "commitment": "confirmed",
    }
    try:
        block = await rpc.request("getBlock", [slot, config])
    except RpcError as error:
        # "Skipped, or missing": the node does not tell which, so this shows nothing.
        return False, f"its block at slot {slot} cannot be had ({error.message})"
    if block is None:
        return False, f"its block at slot {slot} cannot be had"
    gone = claim.transaction not in take(block, list, "signatures")
    return gone, f"the block at slot {slot}, said to have held it, {'does not hold' if gone else 'lists'} it"
