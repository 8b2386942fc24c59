"""Block headers: their hash recomputed from the fields that a node gives, so that every field is bound to the hash."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from chains.errors import ContradictionError
from chains.evm.addresses import keccak256
from chains.evm.answers import parse_data, parse_hash, parse_quantity
from chains.evm.codec.rlp import encode_bytes, encode_integer, encode_list
from chains.types import Block


def _data(name: str, answer: object) -> bytes:
    return encode_bytes(parse_data(f"a header's {name}", answer))


def _quantity(name: str, answer: object) -> bytes:
    return encode_integer(parse_quantity(f"a header's {name}", answer))


_Encoder = Callable[[str, object], bytes]

# In the order of the RLP. Lengths need no check here: another length is another hash.
_FIELDS: Final[tuple[tuple[str, _Encoder], ...]] = (
    ("parentHash", _data),
    ("sha3Uncles", _data),
    ("miner", _data),
    ("stateRoot", _data),
    ("transactionsRoot", _data),
    ("receiptsRoot", _data),
    ("logsBloom", _data),
    ("difficulty", _quantity),
    ("number", _quantity),
    ("gasLimit", _quantity),
    ("gasUsed", _quantity),
    ("timestamp", _quantity),
    ("extraData", _data),
    ("mixHash", _data),
    ("nonce", _data),
    ("baseFeePerGas", _quantity),
    ("withdrawalsRoot", _data),
    ("blobGasUsed", _quantity),
    ("excessBlobGas", _quantity),
    ("parentBeaconBlockRoot", _data),
    ("requestsHash", _data),
)

# How many of the fields a header has: before London, London (EIP-1559), Shanghai (EIP-4895), Cancun (EIP-4844 and
# EIP-4788), Prague (EIP-7685).
_COUNTS: Final = (15, 16, 17, 20, 21)


def hash_header(block: Mapping[str, Any]) -> str:
    """Return the hash of a block's header, computed from the fields of a JSON-RPC block (rule 22).

    A field is part of the header if and only if the node gives it. Raises `NodeError` for nonsense in a field, and
    `ContradictionError` if the fields given are not those of any fork.
    """
    given = [name for name, _ in _FIELDS if block.get(name) is not None]
    fields = _FIELDS[: len(given)]
    if len(given) not in _COUNTS or given != [name for name, _ in fields]:
        missing = next(name for name, _ in _FIELDS if block.get(name) is None)
        raise _not_reproducible(block, f"its fields are those of no fork, for {missing} is missing")
    return "0x" + keccak256(encode_list([encode(name, block[name]) for name, encode in fields])).hex()


def check_header(block: Mapping[str, Any]) -> Block:
    """Return number and hash of a JSON-RPC block whose header fields are those that its hash commits to.

    Raises `ContradictionError` if they are not, and `NodeError` for nonsense in a field.
    """
    named = parse_hash("a block's hash", block.get("hash"))
    computed = hash_header(block)
    if computed != named:
        raise _not_reproducible(block, f"its fields hash to {computed}, not to {named}")
    return Block(number=parse_quantity("a block's number", block["number"]), hash=named)


def _not_reproducible(block: Mapping[str, Any], why: str) -> ContradictionError:
    return ContradictionError(
        f"The header of block {str(block.get('number'))[:20]} is not reproducible: {why}.",
        hint="Either the node lies, or the chain has had a fork whose header fields this version does not know.",
        expected=str(block.get("hash"))[:66],
    )
