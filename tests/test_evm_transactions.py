"""Approve transactions: what a wallet is shown is what the signed bytes are checked against, field by field."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import rlp
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from chains import get_chain
from chains.errors import SignatureMismatchError
from chains.evm.addresses import keccak256
from chains.evm.codec.erc20 import decode_approve
from chains.evm.codec.signatures import SECP256K1_ORDER
from chains.evm.transactions import build_approve
from chains.family import transaction_request, verify_signed
from chains.types import EvmFee, SignedTransaction

KEY = "0x" + "4c" * 32
OWNER = Account.from_key(KEY).address
TOKEN = "0x176211869cA2b568f2A7D4EE941E073a821EE1ff"
SPENDER = "0x9dd23A4a0845f10d65D293776B792af1131c7B30"
OTHER = "0xA90b298d05C2667dDC64e2A4e17111357c215dD2"
FEE = EvmFee(gas_limit=60_000, max_fee_per_gas=100_000_000, max_priority_fee_per_gas=70_000_000)
UNSIGNED = build_approve(59144, TOKEN, OWNER, SPENDER, 5000 * 10**6, 7, FEE)


def fields(**changes: Any) -> dict[str, Any]:
    return {
        "type": 2,
        "chainId": UNSIGNED.chain_id,
        "nonce": UNSIGNED.nonce,
        "to": UNSIGNED.to,
        "value": 0,
        "data": UNSIGNED.data,
        "gas": FEE.gas_limit,
        "maxFeePerGas": FEE.max_fee_per_gas,
        "maxPriorityFeePerGas": FEE.max_priority_fee_per_gas,
    } | changes


def sign(transaction: dict[str, Any], key: str = KEY) -> SignedTransaction:
    signed = Account.sign_transaction(transaction, key)
    return SignedTransaction("0x" + signed.raw_transaction.hex(), "0x" + signed.hash.hex())


def repack(items: list[Any], prefix: bytes = b"\x02", suffix: bytes = b"") -> SignedTransaction:
    raw = prefix + rlp.encode(items) + suffix
    return SignedTransaction("0x" + raw.hex(), "0x" + keccak256(raw).hex())


def unpack(signed: SignedTransaction) -> list[Any]:
    return list(rlp.decode(bytes.fromhex(signed.raw[4:])))


def number(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def test_the_transaction_approves_and_does_nothing_else() -> None:
    assert decode_approve(bytes.fromhex(UNSIGNED.data[2:])) == (SPENDER, 5000 * 10**6)
    assert (UNSIGNED.to, UNSIGNED.sender) == (TOKEN, OWNER)


def test_what_another_implementation_signed_faithfully_is_accepted() -> None:
    verify_signed(UNSIGNED, sign(fields()))


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("chain id", {"chainId": 1}),
        ("nonce", {"nonce": 8}),
        ("max priority fee per gas", {"maxPriorityFeePerGas": 70_000_001}),
        ("max fee per gas", {"maxFeePerGas": 100_000_001}),
        ("gas limit", {"gas": 60_001}),
        ("to", {"to": OTHER}),
        ("value", {"value": 1}),
        ("data", {"data": build_approve(59144, TOKEN, OWNER, OTHER, 5000 * 10**6, 7, FEE).data}),
        ("data", {"data": build_approve(59144, TOKEN, OWNER, SPENDER, 2**256 - 1, 7, FEE).data}),
        ("data", {"data": UNSIGNED.data + "00"}),
        ("access list", {"accessList": [{"address": OTHER, "storageKeys": []}]}),
    ],
)
def test_a_change_of_any_field_is_refused_and_named(field: str, changes: dict[str, Any]) -> None:
    with pytest.raises(SignatureMismatchError, match=f": {field} is ") as caught:
        verify_signed(UNSIGNED, sign(fields(**changes)))
    assert caught.value.expected != caught.value.found
    assert caught.value.expected is not None


def test_another_key_is_refused_and_both_addresses_are_shown() -> None:
    other = "0x" + "5d" * 32
    with pytest.raises(SignatureMismatchError, match="signer") as caught:
        verify_signed(UNSIGNED, sign(fields(), other))
    assert (caught.value.expected, caught.value.found) == (OWNER, Account.from_key(other).address)


def test_another_transaction_type_is_refused() -> None:
    legacy = {key: fields()[key] for key in ("chainId", "nonce", "to", "value", "data", "gas")}
    with pytest.raises(SignatureMismatchError, match="type"):
        verify_signed(UNSIGNED, sign(legacy | {"gasPrice": 100_000_000}))


def test_a_hash_that_is_not_that_of_the_bytes_is_refused() -> None:
    with pytest.raises(SignatureMismatchError, match="hash"):
        verify_signed(UNSIGNED, replace(sign(fields()), hash="0x" + "11" * 32))


def test_the_high_s_twin_of_a_signature_is_refused() -> None:
    items = unpack(sign(fields()))
    items[9] = number(1 - int.from_bytes(items[9], "big"))
    items[11] = number(SECP256K1_ORDER - int.from_bytes(items[11], "big"))
    with pytest.raises(SignatureMismatchError, match="upper half"):
        verify_signed(UNSIGNED, repack(items))


@pytest.mark.parametrize(
    ("position", "value"),
    [
        (9, b"\x1b"),
        (9, [b""]),
        (10, b""),
        (10, b"\x00\x01"),
        (11, b"\x01" * 33),
        (11, []),
        (8, b""),
        (1, b"\x00\x07"),
    ],
)
def test_unusual_encodings_of_a_field_are_refused(position: int, value: Any) -> None:
    items = unpack(sign(fields()))
    items[position] = value
    with pytest.raises(SignatureMismatchError):
        verify_signed(UNSIGNED, repack(items))


def test_bytes_after_the_transaction_are_refused() -> None:
    with pytest.raises(SignatureMismatchError, match="encoding"):
        verify_signed(UNSIGNED, repack(unpack(sign(fields())), suffix=b"\0"))


def test_a_thirteenth_field_is_refused() -> None:
    with pytest.raises(SignatureMismatchError, match="12 fields"):
        verify_signed(UNSIGNED, repack([*unpack(sign(fields())), b""]))


def test_a_tip_above_the_maximum_fee_is_refused_though_it_was_shown() -> None:
    fee = replace(FEE, max_priority_fee_per_gas=FEE.max_fee_per_gas + 1)
    with pytest.raises(SignatureMismatchError, match="max priority fee"):
        verify_signed(replace(UNSIGNED, fee=fee), sign(fields(maxPriorityFeePerGas=fee.max_priority_fee_per_gas)))


def test_a_fee_above_the_networks_cap_is_refused_though_it_was_shown() -> None:
    policy = get_chain("linea").fees
    assert policy is not None
    fee = replace(FEE, max_fee_per_gas=policy.max_fee_cap + 1)
    with pytest.raises(SignatureMismatchError, match="max fee per gas"):
        verify_signed(replace(UNSIGNED, fee=fee), sign(fields(maxFeePerGas=fee.max_fee_per_gas)))


@pytest.mark.parametrize("raw", ["", "0x", "02", "0x0", "0x02", "0x02c0", "0x 02", "0x02" + "c1" * 5000, "0xzz"])
def test_bytes_that_are_no_transaction_are_refused(raw: str) -> None:
    with pytest.raises(SignatureMismatchError):
        verify_signed(UNSIGNED, SignedTransaction(raw, "0x" + "11" * 32))


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_without_another_error(data: bytes) -> None:
    with pytest.raises(SignatureMismatchError):
        verify_signed(UNSIGNED, SignedTransaction("0x02" + data.hex(), "0x" + "11" * 32))


@settings(deadline=None)
@given(st.data())
def test_one_changed_byte_anywhere_is_refused(data: st.DataObject) -> None:
    raw = bytearray.fromhex(sign(fields()).raw[2:])
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SignatureMismatchError):
        verify_signed(UNSIGNED, SignedTransaction("0x" + raw.hex(), "0x" + keccak256(raw).hex()))


def test_a_wallet_app_is_handed_every_field_in_minimal_hex() -> None:
    assert transaction_request(UNSIGNED) == {
        "method": "eth_sendTransaction",
        "params": [
            {
                "from": OWNER,
                "to": TOKEN,
                "value": "0x0",
                "data": UNSIGNED.data,
                "nonce": "0x7",
                "gas": "0xea60",
                "maxFeePerGas": "0x5f5e100",
                "maxPriorityFeePerGas": "0x42c1d80",
                "chainId": "0xe708",
                "type": "0x2",
            }
        ],
    }
