"""Calldata of ERC-20 is written exactly; what tokens answer is read as the field has to."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chains.errors import InvalidAmountError, NodeError, RpcError
from chains.evm.addresses import keccak256, to_checksum_address
from chains.evm.answers import parse_data, parse_hash, parse_list, parse_object, parse_quantity, revert_data
from chains.evm.codec.erc20 import (
    ALLOWANCE,
    APPROVAL_TOPIC,
    APPROVE,
    BALANCE_OF,
    DECIMALS,
    accepts_approve,
    decode_approve,
    decode_revert,
    decode_uint256,
    encode_allowance,
    encode_approve,
    encode_balance_of,
    encode_decimals,
)
from chains.evm.simulation import parse_program_answer

LINEA_SPENDER = "0x9dd23A4a0845f10d65D293776B792af1131c7B30"
OWNER = "0x3a11a86Cf218C448bE519728cd3Ac5c741FB3424"


def test_selectors_and_topic_are_the_hashes_of_their_signatures() -> None:
    assert keccak256(b"approve(address,uint256)")[:4] == APPROVE
    assert keccak256(b"allowance(address,address)")[:4] == ALLOWANCE
    assert keccak256(b"balanceOf(address)")[:4] == BALANCE_OF
    assert keccak256(b"decimals()")[:4] == DECIMALS
    assert "0x" + keccak256(b"Approval(address,address,uint256)").hex() == APPROVAL_TOPIC


def test_an_approve_of_5000_usdc_is_the_calldata_of_the_shipping_client() -> None:
    assert encode_approve(LINEA_SPENDER, 5000 * 10**6).hex() == (
        "095ea7b30000000000000000000000009dd23a4a0845f10d65d293776b792af1131c7b30"
        "000000000000000000000000000000000000000000000000000000012a05f200"
    )


def test_the_platforms_largest_limit_is_the_calldata_of_the_shipping_client() -> None:
    assert encode_approve(LINEA_SPENDER, 2199023255551 * 10**6).hex().endswith("0" * 48 + "1e847ffffff0bdc0")
    assert encode_approve(LINEA_SPENDER, 2199023255551 * 10**18).hex().endswith("1bc16d674eba1f494c589c0000")


def test_reading_calls_hold_their_addresses_as_words() -> None:
    assert encode_decimals().hex() == "313ce567"
    assert encode_balance_of(OWNER).hex() == "70a08231" + "0" * 24 + OWNER[2:].lower()
    assert encode_allowance(OWNER, LINEA_SPENDER).hex() == (
        "dd62ed3e" + "0" * 24 + OWNER[2:].lower() + "0" * 24 + LINEA_SPENDER[2:].lower()
    )


@pytest.mark.parametrize("amount", [-1, 2**256])
def test_an_amount_that_does_not_fit_is_refused(amount: int) -> None:
    with pytest.raises(InvalidAmountError):
        encode_approve(LINEA_SPENDER, amount)


@settings(deadline=None)
@given(st.binary(min_size=20, max_size=20), st.integers(min_value=0, max_value=2**256 - 1))
def test_what_is_written_is_read_back(spender: bytes, amount: int) -> None:
    address = to_checksum_address(spender)
    assert decode_approve(encode_approve(address, amount)) == (address, amount)


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_calldata_is_read_only_if_writing_it_again_gives_the_same_bytes(data: bytes) -> None:
    try:
        spender, amount = decode_approve(data)
    except ValueError:
        return
    assert encode_approve(spender, amount) == data


@pytest.mark.parametrize("position", range(4, 16))
def test_dirt_before_the_address_is_refused(position: int) -> None:
    data = bytearray(encode_approve(LINEA_SPENDER, 1))
    data[position] = 1
    with pytest.raises(ValueError, match="address word"):
        decode_approve(bytes(data))


@pytest.mark.parametrize("data", [b"", encode_approve(LINEA_SPENDER, 1)[:-1], encode_approve(LINEA_SPENDER, 1) + b"\0"])
def test_a_wrong_length_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="68 bytes"):
        decode_approve(data)


def test_another_selector_is_refused() -> None:
    with pytest.raises(ValueError, match="selector"):
        decode_approve(ALLOWANCE + encode_approve(LINEA_SPENDER, 1)[4:])


@pytest.mark.parametrize(
    ("returned", "accepted"),
    [
        (b"", True),
        ((1).to_bytes(32, "big"), True),
        (bytes(32), False),
        ((2).to_bytes(32, "big"), False),
        (b"\x01", False),
        ((1).to_bytes(32, "big") + bytes(32), False),
    ],
)
def test_an_approve_succeeds_by_returning_nothing_or_true_and_never_false(returned: bytes, accepted: bool) -> None:
    assert accepts_approve(returned) is accepted


def test_an_empty_answer_is_not_the_number_zero() -> None:
    with pytest.raises(ValueError, match="0"):
        decode_uint256(b"")


def _error_string(text: bytes) -> bytes:
    return bytes.fromhex("08c379a0") + (32).to_bytes(32, "big") + len(text).to_bytes(32, "big") + text


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the contract gave no reason"),
        (_error_string(b"Pausable: paused"), "Pausable: paused"),
        (_error_string(b"\x1b[2Jhidden"), "�[2Jhidden"),
        (bytes.fromhex("4e487b71") + (0x11).to_bytes(32, "big"), "panic 0x11: arithmetic overflow or underflow"),
        (bytes.fromhex("deadbeef"), "custom error 0xdeadbeef"),
        (bytes.fromhex("deadbeef01"), "custom error 0xdeadbeef with data 0x01"),
        (b"\x01", "unreadable reason 0x01"),
    ],
)
def test_the_reason_of_a_revert_is_given_in_words(data: bytes, says: str) -> None:
    assert decode_revert(data) == says


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(lambda body: bytes.fromhex("08c379a0") + body)))
def test_any_bytes_have_a_reason_that_is_safe_to_print(data: bytes) -> None:
    reason = decode_revert(data)
    assert reason
    assert reason.isprintable()


@pytest.mark.parametrize(
    ("error", "data"),
    [
        (RpcError("execution reverted", code=3, data="0xdeadbeef"), b"\xde\xad\xbe\xef"),
        (RpcError("Execution reverted", code=-32000, data=None), b""),
        (RpcError("VM execution error.", code=-32015, data="Reverted 0x01"), b"\x01"),
        (RpcError("execution reverted", code=3, data={"data": "0x02"}), b"\x02"),
        (RpcError("execution reverted", code=3, data="0xzz"), b""),
        (RpcError("header not found", code=-32000), None),
    ],
)
def test_a_revert_is_told_from_a_node_that_could_not_answer(error: RpcError, data: bytes | None) -> None:
    assert revert_data(error) == data


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.from_regex(r"0x[0-9a-fA-F]*", fullmatch=True),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)
@given(JSON)
def test_any_answer_of_a_node_is_understood_or_is_a_node_error(answer: object) -> None:
    for parse in (parse_quantity, parse_data, parse_hash, parse_object, parse_list):
        with suppress(NodeError):
            parse("anything", answer)


@settings(deadline=None)
@given(st.binary(max_size=1000), st.integers(min_value=0, max_value=3))
def test_an_answer_of_another_length_is_not_taken_for_that_of_our_program(answer: bytes, calls: int) -> None:
    results = parse_program_answer(answer, calls=calls)
    assert (results is None) == (len(answer) != 64 + 320 * calls)
