"""JSON from outside holds no floats, and cannot bring the process down."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.json_text import decode_json


def test_a_number_with_a_point_is_exact() -> None:
    assert decode_json(b'{"balance": 0.1}') == {"balance": Decimal("0.1")}


@pytest.mark.parametrize("text", ["[" * 80_000, '{"a":' * 80_000, '[{"a":' * 40_000 + "1"])
def test_nesting_that_would_end_the_process_is_refused(text: str) -> None:
    import eth_account

    assert eth_account  # it raises the recursion limit so far that the reader of the standard library would crash
    with pytest.raises(ValueError, match="nested too deeply"):
        decode_json(text)


@pytest.mark.parametrize("pair", [("[", "]"), ('{"a":', "}")], ids=["lists", "objects"])
def test_200_levels_are_read_and_one_more_is_refused(pair: tuple[str, str]) -> None:
    opened, closed = pair
    whole = "[" + opened * 199 + "1" + closed * 199 + ",[]]"
    assert decode_json(whole)
    with pytest.raises(ValueError, match="nested too deeply"):
        decode_json(f"[{whole}]")


def test_brackets_inside_of_texts_are_no_nesting() -> None:
    assert decode_json(b'["' + b"[" * 1000 + b'\\"{"]') == ["[" * 1000 + '"{']


@pytest.mark.parametrize("text", [b"NaN", b"[Infinity]", b"", b"{", b"\xff", b"1e99999999999999999999"])
def test_what_is_not_json_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the reader's own kinds of it
        decode_json(text)


@given(st.binary(max_size=300) | st.text(max_size=300))
def test_any_bytes_are_read_or_refused(content: bytes | str) -> None:
    try:
        decode_json(content)
    except ValueError:
        return
