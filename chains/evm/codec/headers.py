"""Block headers: their hash recomputed from the fields that a node gives, so that every field is bound to the hash."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
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

_HEX: Final = re.compile(r"0x[0-9a-fA-F]*", re.ASCII)

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
    ("blockAccessListHash", _data),
    ("slotNumber", _quantity),
)

# How many of the fields a header has: before London, London (EIP-1559), Shanghai (EIP-4895), Cancun (EIP-4844 and
# EIP-4788), Prague (EIP-7685), and what comes next (EIP-7928 and EIP-7843).
_COUNTS: Final = (15, 16, 17, 20, 21, 22, 23)

# What nodes say of a block beside its header.
_NO_FIELDS: Final = frozenset({"hash", "size", "totalDifficulty", "transactions", "uncles", "withdrawals"})
_MOST_UNKNOWN: Final = 6

# A header that is not bound to its hash keeps none of what would be proved under them.
ROOTS: Final = ("stateRoot", "transactionsRoot", "receiptsRoot")


def hash_header(block: Mapping[str, Any]) -> str:
    """Return the hash of a block's header, computed from the fields of a JSON-RPC block that are known (rule 22).

    A field is part of the header if and only if the node gives it. Raises `NodeError` for nonsense in a field, and
    `ContradictionError` if the fields given are not those of any fork.
    """
    given = [name for name, _ in _FIELDS if block.get(name) is not None]
    fields = _FIELDS[: len(given)]
    if len(given) not in _COUNTS or given != [name for name, _ in fields]:
        missing = next(name for name, _ in _FIELDS if block.get(name) is None)
        raise _not_reproducible(block, f"its fields are those of no fork, for {missing} is missing")
    return _hash(encode(name, block[name]) for name, encode in fields)


def check_header(block: Mapping[str, Any]) -> Block:
    """Return number and hash of a JSON-RPC block.

    Raises `ContradictionError` if its header's fields are all known and hash to something else, and `NodeError` for
    nonsense in a field. Of a header with other fields beside them only `is_reproduced` tells whether it hashes to that.
    """
    named = parse_hash("a block's hash", block.get("hash"))
    if not _unknown_fields(block):
        computed = hash_header(block)
        if computed != named:
            raise _not_reproducible(block, f"its fields hash to {computed}, not to {named}")
    return Block(number=parse_quantity("a block's number", block.get("number")), hash=named)


def is_reproduced(block: Mapping[str, Any]) -> bool:
    """Return whether the fields of a JSON-RPC block that `check_header` accepts hash to the block's hash.

    Fields that are not known are tried in the order given, each left out, as data and as a quantity; only an equal hash
    counts. Where none is equal a fork may have changed what a header is: nothing can be proved under the hash then.
    """
    unknown = _unknown_fields(block)
    if not unknown:
        return True
    named = parse_hash("a block's hash", block.get("hash"))
    known = [encode(name, block[name]) for name, encode in _FIELDS if block.get(name) is not None]
    return any(_hash([*known, *more]) == named for more in _guesses(unknown))


def _hash(fields: Iterable[bytes]) -> str:
    return "0x" + keccak256(encode_list(list(fields))).hex()


def _unknown_fields(block: Mapping[str, Any]) -> list[str]:
    """Return the values beside the known fields that could be one of a header: hexadecimal text."""
    known = {name for name, _ in _FIELDS} | _NO_FIELDS
    return [
        value
        for name, value in block.items()
        if name not in known and isinstance(value, str) and _HEX.fullmatch(value) is not None
    ]


def _guesses(unknown: Sequence[str]) -> Iterator[list[bytes]]:
    """Yield what a header may hold after the fields that are known, each value left out, as data, as a quantity."""
    if len(unknown) > _MOST_UNKNOWN:
        return
    for each in product(*([None, *_readings(value)] for value in unknown)):
        yield [field for field in each if field is not None]


def _readings(value: str) -> list[bytes]:
    digits = value[2:]
    as_data = [encode_bytes(bytes.fromhex(digits))] if len(digits) % 2 == 0 else []
    return list(dict.fromkeys([*as_data, encode_integer(int(digits or "0", 16))]))


def _not_reproducible(block: Mapping[str, Any], why: str) -> ContradictionError:
    return ContradictionError(
        f"The header of block {str(block.get('number'))[:20]} is not reproducible: {why}.",
        hint="Either the node lies, or the chain has had a fork whose header fields this version does not know.",
        expected=str(block.get("hash"))[:66],
    )
