"""Signed transactions as bytes: encoded from JSON-RPC fields, and decoded with their sender recovered.

Types: legacy (with and without EIP-155), 1 (EIP-2930), 2 (EIP-1559), 3 (EIP-4844), 4 (EIP-7702), and the unsigned
deposits of the OP Stack, 0x7e. Any other type is a `NodeError`: this version does not know it and says nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from chains.errors import ContradictionError, NodeError, SignatureMismatchError
from chains.evm.addresses import keccak256, to_checksum_address
from chains.evm.answers import nonsense, parse_data, parse_hash, parse_list, parse_object, parse_quantity
from chains.evm.codec.rlp import Item, decode, encode, integer_bytes
from chains.evm.codec.signatures import recover_address
from chains.evm.codec.trie import ordered_trie_root

_LEGACY: Final = 0
_SET_CODE: Final = 4
DEPOSIT: Final = 0x7E
"""The type of a deposit on the OP Stack."""
_AUTHORIZATION_MAGIC: Final = b"\x05"

_FEES: Final = ("maxPriorityFeePerGas", "maxFeePerGas", "gas")
_CALL: Final = ("to", "value", "input")
_SIGNATURE: Final = ("yParity", "r", "s")
_AUTHORIZATION: Final = ("chainId", "address", "nonce", *_SIGNATURE)

# The fields of each type in the order of its RLP, named as JSON-RPC names them. A legacy transaction has v instead of
# the parity.
_FIELDS: Final[Mapping[int, tuple[str, ...]]] = {
    _LEGACY: ("nonce", "gasPrice", "gas", *_CALL, "v", "r", "s"),
    1: ("chainId", "nonce", "gasPrice", "gas", *_CALL, "accessList", *_SIGNATURE),
    2: ("chainId", "nonce", *_FEES, *_CALL, "accessList", *_SIGNATURE),
    3: ("chainId", "nonce", *_FEES, *_CALL, "accessList", "maxFeePerBlobGas", "blobVersionedHashes", *_SIGNATURE),
    _SET_CODE: ("chainId", "nonce", *_FEES, *_CALL, "accessList", "authorizationList", *_SIGNATURE),
    DEPOSIT: ("sourceHash", "from", "to", "mint", "value", "gas", "isSystemTx", "input"),
}

# How many bytes these fields have; what is not listed here and is no list is an integer.
_SIZES: Final = {"sourceHash": {32}, "from": {20}, "to": {0, 20}, "address": {20}, "storageKey": {32}, "blobHash": {32}}
_NO_CREATION: Final = frozenset({3, _SET_CODE})


@dataclass(frozen=True, slots=True)
class DecodedTransaction:
    """What the bytes of a transaction say; `value` is in wei, addresses are EIP-55.

    `chain_id` is None where the bytes name no chain: a legacy transaction without EIP-155, which anybody can replay on
    every chain, and a deposit. `sender` is recovered from the signature; a deposit has none and names it.
    `authorities` signed EIP-7702 authorizations that are good for this chain, whether or not they took effect.
    """

    type: int
    hash: str
    chain_id: int | None
    nonce: int
    to: str | None
    value: int
    data: bytes
    sender: str
    authorities: tuple[str, ...] = ()


def encode_transaction(transaction: Mapping[str, Any]) -> bytes:
    """Return the bytes of a JSON-RPC transaction, as they were signed and as its block's `transactionsRoot` has them.

    Raises `NodeError` for nonsense or a type that this version does not know, and `ContradictionError` if it gives its
    parity twice and differently.
    """
    # Nodes older than EIP-2718 give no type.
    kind = _LEGACY if transaction.get("type") is None else parse_quantity("a transaction's type", transaction["type"])
    if kind not in _FIELDS:
        raise _unknown_type(kind)
    body = encode([_read_field(name, transaction) for name in _FIELDS[kind]])
    return body if kind == _LEGACY else bytes((kind,)) + body


def transactions_root(transactions: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the root of a block's transactions, given all of them in block order.

    Raises `ContradictionError` if the fields of one hash to something else than its `hash`, and otherwise as
    `encode_transaction` does.
    """
    encoded = []
    for answer in transactions:
        transaction = parse_object("a block's transaction", answer)
        raw = encode_transaction(transaction)
        named = parse_hash("a transaction's hash", transaction.get("hash"))
        computed = "0x" + keccak256(raw).hex()
        if computed != named:
            raise ContradictionError(
                f"The fields that the node gives for transaction {named} are those of another, {computed}.",
                expected=named,
                found=computed,
            )
        encoded.append(raw)
    return ordered_trie_root(encoded)


def decode_transaction(raw: bytes) -> DecodedTransaction:
    """Return what the bytes of a transaction say, with its sender recovered from the signature.

    Strict: one encoding of a transaction is accepted and every other refused. Raises `ContradictionError` for malformed
    bytes and for a signature that no key can have made, and `NodeError` for a type that this version does not know.
    """
    kind, body = (raw[0], raw[1:]) if raw and raw[0] < 0x80 else (_LEGACY, raw)
    if kind not in _FIELDS or raw[:1] == b"\0":
        raise _unknown_type(kind)
    items = _decode_list(body)
    names = _FIELDS[kind]
    if len(items) != len(names):
        raise _malformed(f"it has {len(items)} fields instead of {len(names)}")
    for name, item in zip(names, items, strict=True):
        _check_item(name, item)
    fields = dict(zip(names, items, strict=True))
    if kind in _NO_CREATION and not fields["to"]:
        raise _malformed(f"it has no recipient, which type {kind} must have")

    chain_id = _integer(fields["chainId"]) if "chainId" in fields else None
    if kind == DEPOSIT:
        sender = to_checksum_address(fields["from"])
    elif kind == _LEGACY:
        chain_id, sender = _legacy_signer(items)
    else:
        sender = _signer(raw[:1] + encode(items[:-3]), *map(_integer, items[-3:]))
    return DecodedTransaction(
        type=kind,
        hash="0x" + keccak256(raw).hex(),
        chain_id=chain_id,
        nonce=_integer(fields.get("nonce", b"")),
        to=to_checksum_address(fields["to"]) if fields["to"] else None,
        value=_integer(fields["value"]),
        data=fields["input"],
        sender=sender,
        authorities=_authorities(fields.get("authorizationList", []), chain_id),
    )


def _legacy_signer(items: list[Any]) -> tuple[int | None, str]:
    """Return the chain that a legacy transaction names and its signer; EIP-155 has v = 35 + parity + 2 * chain id."""
    v, r, s = map(_integer, items[-3:])
    if v in {27, 28}:
        return None, _signer(encode(items[:-3]), v - 27, r, s)
    if v < 35:
        raise _malformed(f"its v is {v}")
    chain_id, parity = divmod(v - 35, 2)
    return chain_id, _signer(encode([*items[:-3], integer_bytes(chain_id), b"", b""]), parity, r, s)


def _signer(signed: bytes, parity: int, r: int, s: int) -> str:
    if parity > 1:
        raise _malformed(f"the parity of its signature is {parity}")
    try:
        return recover_address(keccak256(signed), parity, r, s)
    except SignatureMismatchError as error:
        raise _malformed("no key can have made its signature") from error


def _authorities(authorizations: list[list[bytes]], chain_id: int | None) -> tuple[str, ...]:
    """Return who signed authorizations for this chain or for all.

    The chain skips one that is for another chain or that nobody can have signed; the transaction is valid all the same
    (EIP-7702).
    """
    found = []
    for items in authorizations:
        if _integer(items[0]) not in {0, chain_id}:
            continue
        try:
            found.append(_signer(_AUTHORIZATION_MAGIC + encode(list(items[:3])), *map(_integer, items[3:])))
        except ContradictionError:
            continue
    return tuple(found)


def _read_field(name: str, answer: Mapping[str, Any]) -> Item:
    """Return what stands in the RLP for a field of a JSON-RPC transaction or authorization."""
    value = answer.get(name)
    what = f"a transaction's {name}"
    if name in {"to", "mint"} and value is None:
        return b""
    if name == "input" or name in _SIZES:
        return parse_data(what, value)
    if name == "isSystemTx":
        if not isinstance(value, bool | None):
            raise nonsense(what, value)
        return integer_bytes(1 if value else 0)
    if name == "accessList":
        return [
            [_read_field("address", entry), _read_hashes("storageKeys", entry)] for entry in _read_objects(name, value)
        ]
    if name == "blobVersionedHashes":
        return _read_hashes(name, answer)
    if name == "authorizationList":
        return [[_read_field(field, entry) for field in _AUTHORIZATION] for entry in _read_objects(name, value)]
    if name == "yParity":
        return integer_bytes(_read_parity(answer))
    return integer_bytes(parse_quantity(what, value))


def _read_parity(answer: Mapping[str, Any]) -> int:
    """Return the parity of a signature, which nodes give as `yParity`, as `v`, or twice."""
    given = [answer[name] for name in ("yParity", "v") if answer.get(name) is not None]
    parities = {parse_quantity("a signature's parity", parity) for parity in given or [None]}
    if len(parities) > 1:
        raise ContradictionError(
            "The node gives yParity and v of a transaction, and they differ.",
            found=given,
        )
    return parities.pop()


def _read_objects(name: str, answer: object) -> list[Mapping[str, Any]]:
    what = f"a transaction's {name}"
    return [parse_object(what, entry) for entry in parse_list(what, answer)]


def _read_hashes(name: str, answer: Mapping[str, Any]) -> list[Item]:
    what = f"a transaction's {name}"
    return [parse_data(what, entry) for entry in parse_list(what, answer.get(name))]


def _decode_list(encoded: bytes) -> list[Any]:
    try:
        items = decode(encoded)
    except ValueError as error:
        raise _malformed(f"they are not RLP, {error}") from error
    if not isinstance(items, list):
        raise _malformed("they are not a list of fields")
    return items


def _check_item(name: str, item: Any) -> None:
    """Raise `ContradictionError` unless an item of the RLP has the shape of this field."""
    if name == "accessList":
        for address, keys in _check_entries(name, item, 2):
            _check_bytes("address", address)
            for key in _check_list(name, keys):
                _check_bytes("storageKey", key)
    elif name == "blobVersionedHashes":
        for blob in _check_list(name, item):
            _check_bytes("blobHash", blob)
    elif name == "authorizationList":
        for entry in _check_entries(name, item, len(_AUTHORIZATION)):
            for field, value in zip(_AUTHORIZATION, entry, strict=True):
                _check_bytes(field, value)
    else:
        _check_bytes(name, item)


def _check_bytes(name: str, item: Any) -> None:
    """Raise `ContradictionError` unless an item is a string of bytes of the size, or an integer, that the field has."""
    if not isinstance(item, bytes):
        raise _malformed(f"{name} is a list")
    if name in _SIZES:
        if len(item) not in _SIZES[name]:
            raise _malformed(f"{name} has {len(item)} bytes")
    elif name == "isSystemTx":
        if item not in {b"", b"\1"}:
            raise _malformed("isSystemTx is neither true nor false")
    elif name != "input" and (len(item) > 32 or item[:1] == b"\0"):
        raise _malformed(f"{name} has leading zeros or more than 32 bytes")


def _check_entries(name: str, item: Any, length: int) -> list[list[Any]]:
    for entry in _check_list(name, item):
        if len(_check_list(name, entry)) != length:
            raise _malformed(f"an entry of {name} has {len(entry)} fields")
    return _check_list(name, item)


def _check_list(name: str, item: Any) -> list[Any]:
    if isinstance(item, list):
        return item
    raise _malformed(f"{name} is no list")


def _integer(item: bytes) -> int:
    return int.from_bytes(item, "big")


def _malformed(why: str) -> ContradictionError:
    return ContradictionError(
        f"These bytes are no transaction: {why}.",
    )


def _unknown_type(kind: int) -> NodeError:
    return NodeError(
        f"A transaction is of type {kind:#x}, which this version does not know.",
        hint="It cannot be checked by this version. Update it and run it again.",
    )
