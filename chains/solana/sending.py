"""Broadcasting signed bytes, and what is believed of a node that answers with an error: the chain, not the words.

The signature is known before anything is sent, so that after an error the chain is asked whether it has the
transaction. A new wording belongs into `read_refusal` only where it names a reason why the bytes are NOT taken.
Everything else is on its way, and waiting for it decides.
"""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from chains.errors import (
    ChainError,
    ContradictionError,
    NodeError,
    NodeUnreachableError,
    NoGasError,
    RpcError,
    WillRevertError,
)
from chains.rpc import Rpc
from chains.solana.answers import METHOD_NOT_FOUND
from chains.solana.transactions import describe_error, parse_wire
from chains.solana.verify.inclusion import get_status
from chains.types import SignedTransaction

Kind: TypeAlias = Literal["has it", "blockhash unknown", "no gas", "would fail", "rejected", "not served"]

_INVALID_PARAMS: Final = -32602
_SIGNATURE_VERIFICATION_FAILURE: Final = -32003  # JSON_RPC_SERVER_ERROR_TRANSACTION_SIGNATURE_VERIFICATION_FAILURE

# `TransactionError` of the Solana SDK by the names and in the words of its `Display`; every other one would fail.
_NAMES: Final[dict[str, Kind]] = {
    "AlreadyProcessed": "has it",
    "BlockhashNotFound": "blockhash unknown",
    "AccountNotFound": "no gas",
    "InsufficientFundsForFee": "no gas",
    "InsufficientFundsForRent": "no gas",
    "SignatureFailure": "rejected",
    "SanitizeFailure": "rejected",
}
_WORDINGS: Final[tuple[tuple[Kind, str], ...]] = (
    ("has it", r"already ?(been )?(processed|known|received|submitted)|already (exists|in)\b|\bduplicate"),
    ("blockhash unknown", r"blockhash ?not ?found|blockhash (has )?expired"),
    ("no gas", r"insufficient ?funds ?for ?(fee|rent)|no record of a prior credit|insufficient lamports"),
    ("rejected", r"signature verification|signature ?failure|failed to (sanitize|deserialize)|too large"),
)
_FAILED_INSTRUCTION: Final = re.compile(
    r"error processing instruction (\d+): (?:custom program error: 0x([0-9a-f]+)|(.+))"
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a node says of bytes that it was sent, and the reason as it gives it."""

    kind: Kind
    reason: Any


def read_refusal(error: RpcError) -> Refusal | None:
    """Return what an error answer to `sendTransaction` says of the bytes, or None for words we do not know.

    `data.err`, where the node gives one, is believed before the code, and the code before the words.

    | a node says, for example                            | that is             | if the chain lacks the bytes |
    |-----------------------------------------------------|---------------------|------------------------------|
    | AlreadyProcessed; has already been processed        | "has it"            | on its way                   |
    | BlockhashNotFound; Blockhash not found              | "blockhash unknown" | on its way, or expired       |
    | InsufficientFundsForFee; no record of a prior ...   | "no gas"            | `NoGasError`                 |
    | any other `err`; Error processing Instruction 1 ... | "would fail"        | `WillRevertError`            |
    | code -32003: the signature; code -32602             | "rejected"          | `RpcError`                   |
    | code -32601: method not found                       | "not served"        | `RpcError`                   |
    | anything else, in whatever language                 | None                | on its way                   |
    """
    given = error.data.get("err") if isinstance(error.data, dict) else None
    if given:
        name = next(iter(given)) if isinstance(given, dict) else given
        return Refusal(_NAMES.get(str(name), "would fail"), given)
    said = error.message.lower()
    kind = next((kind for kind, wording in _WORDINGS if re.search(wording, said)), None)
    if kind in {"has it", "blockhash unknown"}:
        return Refusal(kind, error.message)
    if error.code == METHOD_NOT_FOUND:
        return Refusal("not served", error.message)
    if error.code in {_SIGNATURE_VERIFICATION_FAILURE, _INVALID_PARAMS}:
        return Refusal("rejected", error.message)
    if kind is not None:
        return Refusal(kind, error.message)
    failed = _FAILED_INSTRUCTION.search(said)
    if failed is None:
        return None
    index, code, words = failed.groups()
    return Refusal("would fail", words or {"InstructionError": [int(index), {"Custom": int(code, 16)}]})


async def send(rpc: Rpc, signed: SignedTransaction) -> None:
    """Broadcast after a preflight; returns if the chain has the bytes or may still take them, and again is harmless.

    Raises `NoGasError`, `WillRevertError` or `RpcError` where the node named the reason why it does not take them and
    the chain does not show them, and `ContradictionError` for another signature. A blockhash that the node does not
    know is left to the waiting: the node may be behind, or the transaction expired.
    """
    try:
        answer = await _broadcast(rpc, signed, preflight=True)
    except NodeUnreachableError:
        if await is_on_chain(rpc, signed.hash):
            return
        raise
    except RpcError as error:
        if await is_on_chain(rpc, signed.hash):
            return
        problem = _explain(signed, error)
        if problem is None:
            return
        raise problem from error
    if isinstance(answer, str) and answer and answer != signed.hash:
        raise ContradictionError(
            "The node took the transaction under another signature than its own bytes have.",
            expected=signed.hash,
            found=answer,
        )


async def send_again(rpc: Rpc, signed: SignedTransaction) -> str:
    """Send the same bytes again; return the node's refusal, which decides nothing: status and block height do."""
    try:
        await _broadcast(rpc, signed, preflight=False)
    except RpcError as error:
        refusal = read_refusal(error)
        return "" if refusal is not None and refusal.kind == "has it" else error.message
    except NodeUnreachableError as error:
        return error.message
    return ""


async def is_on_chain(rpc: Rpc, signature: str) -> bool | None:
    """Return whether the node knows a transaction, however old; None if that could not be asked."""
    try:
        _slot, status = await get_status(rpc, signature)
    except NodeError:
        # A node that went away, or keeps no history: this is not "no".
        return None
    return status is not None


async def _broadcast(rpc: Rpc, signed: SignedTransaction, *, preflight: bool) -> Any:
    config = {
        "encoding": "base64",
        "skipPreflight": not preflight,
        "preflightCommitment": "confirmed",
        "maxRetries": 0,
    }
    return await rpc.request("sendTransaction", [signed.raw, config])


def _explain(signed: SignedTransaction, error: RpcError) -> ChainError | None:
    """Return the error for a refusal that names its reason, or None where the transaction may be on its way."""
    refusal = read_refusal(error)
    if refusal is None or refusal.kind in {"has it", "blockhash unknown"}:
        return None
    _signatures, message = parse_wire(b64decode(signed.raw))
    said = describe_error(refusal.reason, message).rstrip(". ")
    if refusal.kind == "no gas":
        return NoGasError(
            f"The owner cannot pay the network's fee: {said}.",
            hint="Nothing was approved and nothing was paid. Send some SOL to the owner's address, then run it again "
            "to go on.",
            found=refusal.reason,
            transaction_hash=signed.hash,
        )
    if refusal.kind == "would fail":
        return WillRevertError(
            f"The network refused the transaction beforehand: {said}.",
            hint="It was not sent and cost nothing. Plan the approval again to see what changed.",
            found=refusal.reason,
            transaction_hash=signed.hash,
        )
    return RpcError(
        f"The node does not take the transaction: {said}.",
        code=error.code,
        data=error.data,
        hint="Nothing was approved and nothing is lost. Name another node and run it again to go on.",
    )
