"""RLP, compared with the library of the field: one encoding of each item is accepted, and every other refused."""

from __future__ import annotations

from typing import Any

import pytest
import rlp
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chains.evm.codec.rlp import decode, encode, encode_bytes, encode_integer, encode_list

LENGTHS = (0, 1, 2, 31, 32, 55, 56, 57, 255, 256, 257)
ITEMS = st.recursive(st.binary(max_size=70), lambda inner: st.lists(inner, max_size=20), max_leaves=30)


@pytest.mark.parametrize("length", LENGTHS)
def test_bytes_and_lists_of_every_length_class_are_encoded_as_the_library_does(length: int) -> None:
    for item in (b"\x7f" * length, b"\x80" * length, [b"\x7f"] * length, [[]] * length):
        assert encode(item) == rlp.encode(item)
        assert decode(encode(item)) == item


@pytest.mark.parametrize("length", [65_535, 65_536])
def test_long_bytes_are_encoded_as_the_library_does(length: int) -> None:
    assert encode(b"a" * length) == rlp.encode(b"a" * length)
    assert decode(encode(b"a" * length)) == b"a" * length


@settings(max_examples=150, deadline=None)
@given(ITEMS)
def test_any_item_is_encoded_as_the_library_does_and_read_back(item: Any) -> None:
    assert encode(item) == rlp.encode(item)
    assert decode(encode(item)) == item


@pytest.mark.parametrize("number", [0, 1, 127, 128, 255, 256, 2**64 - 1, 2**256 - 1])
def test_integers_have_no_leading_zeros(number: int) -> None:
    assert encode_integer(number) == rlp.encode(number)


def test_a_list_is_made_of_items_that_are_encoded_already() -> None:
    assert encode_list([encode_bytes(b"cat"), encode_list([])]) == rlp.encode([b"cat", []])


@settings(max_examples=150, deadline=None)
@given(ITEMS, st.integers(0), st.integers(0, 255), st.integers(0))
def test_damaged_bytes_are_read_as_the_library_reads_them_or_refused(item: Any, at: int, byte: int, cut: int) -> None:
    data = bytearray(rlp.encode(item))
    data[at % len(data)] = byte
    compare(bytes(data))
    compare(bytes(data[: cut % len(data)]))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([b"", b"\x81", b"\xb8", b"\xb9", b"\xbf", b"\xc1", b"\xc2", b"\xf8", b"\xff"]), st.binary())
@example(b"\x81", b"\x7f")
@example(b"\xb8", b"\x37" + b"a" * 55)
@example(b"\xf8", b"\x00")
@example(b"\xb9", b"\x00\x38" + b"a" * 56)
@example(b"\xff", b"\xff" * 8)
def test_random_bytes_are_read_as_the_library_reads_them_or_refused(prefix: bytes, data: bytes) -> None:
    compare(prefix + data)


def compare(data: bytes) -> None:
    try:
        expected = rlp.decode(data)
    except rlp.exceptions.RLPException:
        with pytest.raises(ValueError, match=r"."):
            decode(data)
    else:
        assert decode(data) == expected


def test_nesting_beyond_what_any_chain_has_is_refused_at_once() -> None:
    data = b""
    for _ in range(40_000):
        data = rlp.codec.length_prefix(len(data), 0xC0) + data
    with pytest.raises(ValueError, match="nested too deeply"):
        decode(data)
