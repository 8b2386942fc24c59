"""Transaction receipts: the bytes that a block's `receiptsRoot` commits to, made again from JSON-RPC fields.

The root commits to type, status, cumulative gas and the address, topics and data of the logs, in block order. It does
not commit to what else a node adds: hashes, indexes, `from`, `to`, `gasUsed`, `contractAddress`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from chains.errors import ContradictionError, NodeError
from chains.evm.addresses import keccak256
from chains.evm.answers import nonsense, parse_data, parse_list, parse_object, parse_quantity
from chains.evm.codec.rlp import encode_bytes, encode_integer, encode_list
from chains.evm.codec.trie import ordered_trie_root

_LEGACY: Final = 0
_DEPOSIT: Final = 0x7E
_KNOWN_TYPES: Final = frozenset({_LEGACY, 1, 2, 3, 4, _DEPOSIT})
_BLOOM_BYTES: Final = 256

_Log: TypeAlias = tuple[bytes, list[bytes], bytes]
"""Address, topics and data."""


def logs_bloom(logs: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the 256-byte bloom filter of JSON-RPC logs (Yellow Paper, section 4.3.1); raises `NodeError`."""
    return _bloom([_read_log(log) for log in logs], {})


def encode_receipt(receipt: Mapping[str, Any]) -> bytes:
    """Return the consensus bytes of a JSON-RPC receipt (EIP-2718), with the bloom computed from its logs.

    An OP Stack deposit (0x7e) ends in its nonce and version from Canyon on. Raises `ContradictionError` if the receipt
    shows another bloom than its logs have, and `NodeError` for nonsense or a type that this version does not know.
    """
    return _encode_receipt(receipt, {})


def receipts_root(receipts: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the root of a block's receipts, given all of them in block order; raises as `encode_receipt` does."""
    bits: dict[bytes, int] = {}
    return ordered_trie_root([_encode_receipt(parse_object("a receipt", receipt), bits) for receipt in receipts])


def _encode_receipt(receipt: Mapping[str, Any], bits: dict[bytes, int]) -> bytes:
    # Nodes older than EIP-2718 give no type.
    kind = _LEGACY if receipt.get("type") is None else parse_quantity("a receipt's type", receipt["type"])
    if kind not in _KNOWN_TYPES:
        raise NodeError(
            f"A receipt is of type {kind:#x}, which this version does not know.",
            hint="The block cannot be checked by this version. Update it and run it again.",
        )
    logs = [_read_log(log) for log in parse_list("a receipt's logs", receipt.get("logs"))]
    bloom = _bloom(logs, bits)
    if str(receipt.get("logsBloom")).lower() != "0x" + bloom.hex():
        raise ContradictionError(
            "A receipt's bloom filter is not that of its logs.",
            found=str(receipt.get("transactionHash"))[:66],
        )
    fields = [
        _outcome(receipt),
        _encode_quantity("cumulativeGasUsed", receipt),
        encode_bytes(bloom),
        encode_list(_encode_log(*log) for log in logs),
    ]
    # From Regolith to Canyon receipts had a nonce that the root left out; the version came with Canyon.
    if kind == _DEPOSIT and receipt.get("depositReceiptVersion") is not None:
        fields += [_encode_quantity(name, receipt) for name in ("depositNonce", "depositReceiptVersion")]
    body = encode_list(fields)
    return body if kind == _LEGACY else bytes((kind,)) + body


def _outcome(receipt: Mapping[str, Any]) -> bytes:
    """Return the status (EIP-658), or the state root that stood in its place before Byzantium."""
    if receipt.get("status") is None and receipt.get("root") is not None:
        return encode_bytes(parse_data("a receipt's root", receipt["root"]))
    status = parse_quantity("a receipt's status", receipt.get("status"))
    if status > 1:
        raise nonsense("a receipt's status", status)
    return encode_integer(status)


def _encode_quantity(name: str, receipt: Mapping[str, Any]) -> bytes:
    return encode_integer(parse_quantity(f"a receipt's {name}", receipt.get(name)))


def _read_log(answer: object) -> _Log:
    log = parse_object("a log", answer)
    topics = [parse_data("a log's topic", topic) for topic in parse_list("a log's topics", log.get("topics"))]
    return parse_data("a log's address", log.get("address")), topics, parse_data("a log's data", log.get("data"))


def _encode_log(address: bytes, topics: list[bytes], data: bytes) -> bytes:
    return encode_list((encode_bytes(address), encode_list(map(encode_bytes, topics)), encode_bytes(data)))


def _bloom(logs: Sequence[_Log], bits: dict[bytes, int]) -> bytes:
    """Return the bloom filter of logs; `bits` keeps what each address and topic sets, which recur within a block."""
    bloom = 0
    for address, topics, _ in logs:
        for entry in (address, *topics):
            if entry not in bits:
                bits[entry] = _bloom_bits(entry)
            bloom |= bits[entry]
    return bloom.to_bytes(_BLOOM_BYTES, "big")


def _bloom_bits(entry: bytes) -> int:
    digest = keccak256(entry)
    low, middle, high = (int.from_bytes(digest[at : at + 2], "big") % (8 * _BLOOM_BYTES) for at in (0, 2, 4))
    return 1 << low | 1 << middle | 1 << high
