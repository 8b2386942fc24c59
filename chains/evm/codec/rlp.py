"""RLP (Yellow Paper, appendix B) of bytes and nested lists of bytes: encoded, and decoded strictly.

Several times faster than the general library, and safe with bytes from outside: that one needs time in the square of
their nesting, 11 s for 138 kB, and other libraries of this field raise the recursion limit that would stop it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias, Union

Item: TypeAlias = Union[bytes, "list[Item]"]

# Transactions nest four lists; nodes of a trie, embedded in each other while shorter than 32 bytes, fewer than 32.
_DEEPEST: Final = 32


def encode(item: Item) -> bytes:
    """Return the RLP of a byte string or of nested lists of byte strings."""
    return encode_bytes(item) if isinstance(item, bytes) else encode_list(map(encode, item))


def encode_bytes(data: bytes) -> bytes:
    """Return the RLP of a byte string."""
    if len(data) == 1 and data[0] < 0x80:
        return data
    return _prefix(len(data), 0x80) + data


def encode_integer(number: int) -> bytes:
    """Return the RLP of a non-negative integer."""
    return encode_bytes(integer_bytes(number))


def encode_list(encoded_items: Iterable[bytes]) -> bytes:
    """Return the RLP of a list whose items are RLP already."""
    payload = b"".join(encoded_items)
    return _prefix(len(payload), 0xC0) + payload


def integer_bytes(number: int) -> bytes:
    """Return the byte string that stands for an integer: big-endian without leading zeros, so that 0 is empty."""
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _prefix(length: int, offset: int) -> bytes:
    if length < 56:
        return bytes((offset + length,))
    size = integer_bytes(length)
    return bytes((offset + 55 + len(size),)) + size


def decode(data: bytes) -> Any:
    """Return the `Item` whose one canonical encoding these bytes are; raises `ValueError` if they are none."""
    item, end = _read(data, 0, len(data), _DEEPEST)
    if end != len(data):
        raise ValueError("bytes are left over")
    return item


def _read(data: bytes, start: int, limit: int, depth: int) -> tuple[Item, int]:
    """Return the item that begins at `start` and ends at `limit` at the latest, and where it ends."""
    if start >= limit:
        raise ValueError("an item is missing")
    prefix = data[start]
    if prefix < 0x80:
        return data[start : start + 1], start + 1
    is_list = prefix >= 0xC0
    begin, size = start + 1, prefix - (0xC0 if is_list else 0x80)
    if size > 55:
        begin += size - 55
        size = int.from_bytes(data[start + 1 : begin], "big")
        if size < 56 or data[start + 1] == 0:
            raise ValueError("a length is not written in the shortest way")
    end = begin + size
    if end > limit:
        raise ValueError("an item is longer than what it is part of")
    if not is_list:
        if size == 1 and data[begin] < 0x80:
            raise ValueError("a byte is not written in the shortest way")
        return data[begin:end], end
    if not depth:
        raise ValueError("lists are nested too deeply")
    items: list[Item] = []
    while begin < end:
        item, begin = _read(data, begin, end, depth - 1)
        items.append(item)
    return items, end
