"""Signed transactions checked by their bytes, and what a node says of their execution."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from chains.errors import ContradictionError, InputError, NodeError, RpcError, SignatureMismatchError
from chains.rpc import Rpc
from chains.solana.addresses import SYSTEM_PROGRAM, read_signature
from chains.solana.answers import data_bytes, nonsense, take, take_slot, why_open
from chains.solana.transactions import parse_wire, read_message

if TYPE_CHECKING:
    from solders.message import VersionedMessage

_UNSUPPORTED_VERSION: Final = -32015
LEVELS: Final = ("processed", "confirmed", "finalized")
_VERSIONED: Final = 0x80
_USED: Final = ("err", "innerInstructions", "loadedAddresses", "preTokenBalances", "postTokenBalances")
_ADVANCE_NONCE: Final = (4).to_bytes(4, "little")  # SystemInstruction::AdvanceNonceAccount


@dataclass(frozen=True, slots=True)
class Inclusion:
    """A transaction as a node serves it, its signatures checked: `meta` is the node's word, None where it has none."""

    signature: str
    raw: bytes
    message: VersionedMessage
    slot: int
    meta: dict[str, Any] | None

    @property
    def error(self) -> Any:
        """The error with which it failed, as the node gives it, or None."""
        return None if self.meta is None else self.meta.get("err")

    @property
    def signed_bytes(self) -> bytes:
        """The bytes of the message, over which the signatures are."""
        return self.raw[1 + 64 * self.raw[0] :]

    @property
    def evidence(self) -> dict[str, Any]:
        """The signed bytes and what of the node's account of its execution a check uses, as JSON."""
        meta = self.meta or {}
        said = {name: json.loads(as_json(meta.get(name))) for name in _USED}
        return {"raw": b64encode(self.raw).decode(), "slot": self.slot, "meta": said}


def as_json(value: Any) -> str:
    """Return a value of an answer as canonical JSON text, its decimals as strings."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def require_signature(text: str) -> None:
    """Raise `InputError` unless the text is a transaction's signature: 64 bytes in their only spelling in base58."""
    if read_signature(text) is None:
        raise InputError(
            f"{text[:20]!r} is not the signature of a Solana transaction.",
            hint="A Solana transaction is named by 86 to 88 letters and digits (base58), as explorers show it.",
            found=text[:100],
        )


async def get_transaction(rpc: Rpc, signature: str) -> dict[str, Any] | None:
    """Return the node's answer for a confirmed transaction, or None if it does not know it; raise `NodeError`."""
    config = {"encoding": "base64", "commitment": "confirmed", "maxSupportedTransactionVersion": 0}
    try:
        answer = await rpc.request("getTransaction", [signature, config])
    except RpcError as error:
        if error.code == _UNSUPPORTED_VERSION:
            raise unknown_version() from error
        raise
    return None if answer is None else take(answer, dict)


async def get_finality(rpc: Rpc, landed: Inclusion) -> str:
    """Return `processed`, `confirmed` or `finalized`; `confirmed`, at which it was served, where the node says no more.

    Raises `ContradictionError` if the node says something else of the transaction than before; how it spells an error
    is no difference, only whether there is one.
    """
    try:
        _slot, status = await get_status(rpc, landed.signature)
        slot = None if status is None else take_slot(status, "slot")
    except NodeError as error:
        why_open(error)
        return "confirmed"
    level = None if status is None else status.get("confirmationStatus")
    if status is None or level not in LEVELS:
        return "confirmed"
    failed = landed.meta is not None and (status.get("err") is None) != (landed.error is None)
    if level != "processed" and (failed or slot != landed.slot):
        raise ContradictionError(
            "The node says of one transaction that it landed in two slots, or that it failed and did not.",
            expected=f"slot {landed.slot}, error {as_json(landed.error)}",
            found=f"slot {slot}, error {as_json(status.get('err'))}",
        )
    return str(level)


async def get_status(rpc: Rpc, signature: str) -> tuple[int, dict[str, Any] | None]:
    """Return the slot the node has reached, and the status of a signature, None where its history has none."""
    answer = await rpc.request("getSignatureStatuses", [[signature], {"searchTransactionHistory": True}])
    statuses = take(answer, list, "value")
    if len(statuses) != 1:
        raise nonsense(answer)
    return take_slot(answer, "context", "slot"), None if statuses[0] is None else take(statuses[0], dict)


def has_known_version(raw: bytes) -> bool:
    """Return whether signed bytes are a legacy or v0 transaction, the versions that this toolkit reads.

    From v1 on (SIMD-0385) the message comes first, so that the first byte is the version.
    """
    first = raw[0] if raw else 0
    start = 1 + 64 * first
    return first < _VERSIONED and (first == 0 or len(raw) <= start or raw[start] <= _VERSIONED)


def unknown_version() -> NodeError:
    """Return the error for a transaction of a newer version, which must never pass for one that is not there (A42)."""
    return NodeError(
        "The transaction is of a version that this toolkit does not know: upgrade it and check again.",
        hint="Upgrade delegation-toolkit. Nothing is said about the transaction itself.",
    )


def verify_transaction(raw: bytes, signature: str) -> VersionedMessage:
    """Return the message of a signed transaction whose first signature is `signature`.

    Raises `SignatureMismatchError` unless every required signer signed exactly these message bytes (Ed25519, strictly:
    no small-order keys, no malleated S).
    """
    from solders.message import to_bytes_versioned
    from solders.signature import Signature

    signatures, signed = parse_wire(raw)
    message = read_message(signed)
    required, keys = message.header.num_required_signatures, message.account_keys
    if to_bytes_versioned(message) != signed or len(signatures) != required or required > len(keys):
        raise SignatureMismatchError("These bytes are not one signed Solana transaction.", found=raw[:100].hex())
    first = str(Signature.from_bytes(signatures[0]))
    if first != signature:
        raise SignatureMismatchError("These bytes are those of another transaction.", expected=signature, found=first)
    for key, one in zip(keys, signatures, strict=False):
        if not Signature.from_bytes(one).verify(key, signed):
            raise SignatureMismatchError(f"The signature of {key} is not over these bytes.", expected=str(key))
    return message


def read_inclusion(answer: dict[str, Any], signature: str) -> Inclusion:
    """Return the transaction in a node's answer.

    Raises `ContradictionError` if its bytes are not what `signature` signed, and `NodeError` if there are none or they
    are of a version that is not known.
    """
    raw = data_bytes(take(answer, list, "transaction"))
    if not has_known_version(raw):
        raise unknown_version()
    try:
        message = verify_transaction(raw, signature)
    except SignatureMismatchError as error:
        raise ContradictionError(
            f"The node serves bytes that were never signed as {signature}: {error.message}",
            expected=error.expected or signature,
            found=error.found,
        ) from error
    meta = answer.get("meta")
    return Inclusion(signature, raw, message, take_slot(answer, "slot"), None if meta is None else take(meta, dict))


def signers_of(message: VersionedMessage) -> tuple[str, ...]:
    """Return the addresses that signed a message."""
    return tuple(str(key) for key in message.account_keys[: message.header.num_required_signatures])


def nonce_account(message: VersionedMessage) -> str | None:
    """Return the nonce account of a durable-nonce transaction, None where it has a blockhash that expires.

    Such a transaction begins with `AdvanceNonceAccount` (`get_durable_nonce` of the Solana SDK).
    """
    keys, instructions = message.account_keys, message.instructions
    if not instructions:
        return None
    first = instructions[0]
    positions = [first.program_id_index, *first.accounts[:1]]
    if len(positions) < 2 or any(position >= len(keys) for position in positions):
        return None
    if str(keys[positions[0]]) != SYSTEM_PROGRAM or bytes(first.data)[:4] != _ADVANCE_NONCE:
        return None
    return str(keys[positions[1]])
