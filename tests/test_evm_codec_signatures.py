"""EIP-191 signatures of texts: one spelling is accepted, every malleable or foreign one is refused."""

from __future__ import annotations

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from hypothesis import given, settings
from hypothesis import strategies as st

from chains.errors import InvalidStatementError, SignatureMismatchError
from chains.evm.codec.signatures import (
    SECP256K1_ORDER,
    message_digest,
    message_request,
    parse_signature,
    recover_address,
    recover_signer,
    verify_message,
)

KEY = "0x" + "4c" * 32
OWNER = Account.from_key(KEY).address
MESSAGE = "metamask.app.link wants you to sign in with your Ethereum account:\nünïcode ✓"

FIXTURE = (
    "metamask.app.link wants you to sign in with your Ethereum account:\n"
    "0x3a11a86Cf218C448bE519728cd3Ac5c741FB3424\n\n"
    "Prove address ownership\n\n"
    "URI: https://metamask.app.link\nVersion: 1\nChain ID: 59144\nNonce: 5f8a9b2c4d3e1a7b9c6d8e2f\n"
    "Issued At: 2026-01-01T00:00:00.000Z\nExpiration Time: 2026-01-01T00:02:00.000Z"
)


def sign(message: str, key: str = KEY) -> str:
    return "0x" + Account.sign_message(encode_defunct(text=message), key).signature.hex()


def split(signature: str) -> tuple[int, int, int]:
    data = bytes.fromhex(signature[2:])
    return int.from_bytes(data[:32], "big"), int.from_bytes(data[32:64], "big"), data[64]


def join(r: int, s: int, v: int) -> str:
    return "0x" + (r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([v])).hex()


def test_the_digest_of_the_reference_message_is_the_one_other_implementations_compute() -> None:
    assert len(FIXTURE.encode()) == 303
    assert message_digest(FIXTURE).hex() == "4af27568746cb6e62e6f5f0918cdf7b5aeacd920c582bfbc1a39e26459d225f5"


def test_a_signature_of_the_owner_is_accepted() -> None:
    verify_message(OWNER, MESSAGE, sign(MESSAGE))


@settings(max_examples=10, deadline=None)
@given(st.text())
def test_a_text_that_looks_like_hex_is_signed_as_text(message: str) -> None:
    message = "0x68656c6c6f" + message
    verify_message(OWNER, message, sign(message))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, SECP256K1_ORDER - 1), st.binary(max_size=40))
def test_the_signer_is_the_one_another_implementation_signed_with(key: int, body: bytes) -> None:
    account = Account.from_key(key.to_bytes(32))
    made = account.unsafe_sign_hash(message_digest(body.hex()))
    signature = bytes(made.signature)
    assert parse_signature("0x" + signature.hex()) == signature
    assert recover_signer(message_digest(body.hex()), signature) == bytes.fromhex(account.address[2:])
    assert recover_address(message_digest(body.hex()), made.v - 27, made.r, made.s) == account.address


@pytest.mark.parametrize(("r", "s"), [(2**256, 1), (1, 2**256), (2**300, 2**300)])
def test_numbers_that_do_not_fit_into_32_bytes_are_out_of_range(r: int, s: int) -> None:
    with pytest.raises(SignatureMismatchError, match="range"):
        recover_address(bytes(32), 0, r, s)


def test_a_text_with_half_a_surrogate_pair_has_no_digest() -> None:
    with pytest.raises(InvalidStatementError, match="UTF-8"):
        message_digest("half \ud800")


def test_another_text_is_refused() -> None:
    with pytest.raises(SignatureMismatchError, match="signed by"):
        verify_message(OWNER, MESSAGE + " ", sign(MESSAGE))


def test_another_signer_is_refused_and_both_addresses_are_shown() -> None:
    other = "0x" + "5d" * 32
    with pytest.raises(SignatureMismatchError) as caught:
        verify_message(OWNER, MESSAGE, sign(MESSAGE, other))
    assert (caught.value.expected, caught.value.found) == (OWNER, Account.from_key(other).address)


def test_the_high_s_twin_is_refused() -> None:
    r, s, v = split(sign(MESSAGE))
    with pytest.raises(SignatureMismatchError, match="upper half"):
        verify_message(OWNER, MESSAGE, join(r, SECP256K1_ORDER - s, 55 - v))


@pytest.mark.parametrize("shift", [-27, 8, 35])
def test_other_spellings_of_v_are_refused(shift: int) -> None:
    r, s, v = split(sign(MESSAGE))
    with pytest.raises(SignatureMismatchError, match="27 or 28"):
        verify_message(OWNER, MESSAGE, join(r, s, v + shift))


@pytest.mark.parametrize(
    ("r", "s"), [(0, 1), (1, 0), (SECP256K1_ORDER, 1), (1, SECP256K1_ORDER), (2**256 - 1, 2**256 - 1)]
)
def test_r_and_s_outside_the_curve_are_refused(r: int, s: int) -> None:
    with pytest.raises(SignatureMismatchError, match="range"):
        verify_message(OWNER, MESSAGE, join(r, s, 27))


def test_an_r_that_is_no_point_of_the_curve_is_refused() -> None:
    _, s, v = split(sign(MESSAGE))
    with pytest.raises(SignatureMismatchError):
        verify_message(OWNER, MESSAGE, join(5, s, v))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[2:],
        lambda text: text[:-2],
        lambda text: text + "00",
        lambda text: "0X" + text[2:],
        lambda text: text[:-1] + "g",
        lambda text: text + "\n",
        lambda text: "",
    ],
)
def test_anything_but_0x_and_130_digits_is_refused(spoil: object) -> None:
    assert callable(spoil)
    with pytest.raises(SignatureMismatchError, match="130"):
        verify_message(OWNER, MESSAGE, spoil(sign(MESSAGE)))


def test_a_wallet_app_is_handed_the_text_as_bytes_and_the_owner() -> None:
    request = message_request(OWNER, MESSAGE)
    assert request["method"] == "personal_sign"
    params = request["params"]
    assert isinstance(params, list)
    assert bytes.fromhex(params[0][2:]).decode() == MESSAGE
    assert params[1] == OWNER
