"""Signed texts of Solana wallets: what may be signed, and what counts as a signature."""

from __future__ import annotations

import json
from base64 import b64decode
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from needs import need_vectors
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import Message, MessageV0, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature

from chains.errors import ChainError, InvalidAddressError, InvalidStatementError, SignatureMismatchError
from chains.family import message_request, signature_scheme, verify_ownership
from chains.solana.addresses import TOKEN_PROGRAM
from chains.solana.approve import build_approve
from chains.solana.messages import refuse_if_transaction, verify_message, verify_signature
from chains.types import OwnershipSignature

WALLET = Keypair.from_seed(bytes(range(32)))
OWNER = str(WALLET.pubkey())
TEXT = f"""metamask.app.link wants you to sign in with your Solana account:
{OWNER}

Prove address ownership

URI: https://metamask.app.link
Version: 1
Chain ID: 1
Nonce: 5f8a9b2c4d3e1a7b9c6d8e2f
Issued At: 2026-01-01T00:00:00.000Z"""
APPROVAL = build_approve(TOKEN_PROGRAM, OWNER, OWNER, OWNER, 1)


def sign(text: str, wallet: Keypair = WALLET) -> str:
    return str(wallet.sign_message(text.encode()))


def test_the_signature_of_a_statement_is_accepted() -> None:
    assert signature_scheme("solana") == "ed25519"
    verify_ownership("solana", OWNER, OwnershipSignature(TEXT, sign(TEXT), "ed25519"))


def test_a_request_holds_the_text_and_the_same_bytes() -> None:
    request = message_request("solana", OWNER, TEXT)
    assert (request["method"], request["message"], request["address"]) == ("signMessage", TEXT, OWNER)
    assert b64decode(str(request["message_base64"])) == TEXT.encode()


def test_another_text_another_owner_and_another_spelling_are_refused() -> None:
    with pytest.raises(SignatureMismatchError, match="did not sign"):
        verify_message(OWNER, TEXT + "\n", sign(TEXT))
    with pytest.raises(SignatureMismatchError, match="did not sign"):
        verify_message(str(Keypair().pubkey()), TEXT, sign(TEXT))
    with pytest.raises(SignatureMismatchError, match="did not sign"):
        verify_message(OWNER, TEXT + "\ud800", sign(TEXT))
    for signature in (
        "",
        "1" * 63,
        "1" * 65,
        sign(TEXT) + "1",
        sign(TEXT)[1:],
        bytes(64).hex(),
        "0x00",
        " " + sign(TEXT),
    ):
        with pytest.raises(SignatureMismatchError):
            verify_message(OWNER, TEXT, signature)
    with pytest.raises(InvalidAddressError):
        verify_message("0x3a11a86Cf218C448bE519728cd3Ac5c741FB3424", TEXT, sign(TEXT))


def test_a_signature_is_judged_by_its_64_bytes_and_not_by_the_length_of_its_text() -> None:
    # Leading zero bytes make the base58 text shorter than the 87 characters that the platform's pattern wants.
    with pytest.raises(SignatureMismatchError, match="did not sign"):
        verify_message(OWNER, TEXT, "1" * 64)
    with pytest.raises(SignatureMismatchError, match="not 64 bytes"):
        verify_message(OWNER, TEXT, "z" * 88)


def test_the_wycheproof_vectors_are_judged_as_wycheproof_says() -> None:
    judged = 0
    for group in json.loads(need_vectors("wycheproof_ed25519.json").read_text())["testGroups"]:
        owner = str(Pubkey.from_bytes(bytes.fromhex(group["publicKey"]["pk"])))
        for case in group["tests"]:
            message, raw = bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"])
            text = str(Signature.from_bytes(raw)) if len(raw) == 64 else raw.hex()
            judged += 1
            if case["result"] == "valid":
                verify_signature(owner, message, text)
            else:
                with pytest.raises(SignatureMismatchError):
                    verify_signature(owner, message, text)
    assert judged > 100


IDENTITY = (1).to_bytes(32, "little")
SMALL_ORDER_KEYS = [
    IDENTITY,
    bytes(32),
    bytes(31) + b"\x80",
    (2**255 - 19 + 1).to_bytes(32, "little"),
    (2**255 - 19).to_bytes(32, "little"),
    (2**255 - 20).to_bytes(32, "little"),
    IDENTITY[:31] + b"\x80",
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
]


@pytest.mark.parametrize("key", SMALL_ORDER_KEYS, ids=lambda key: key.hex()[:8])
def test_no_signature_made_without_a_key_is_accepted_for_a_small_order_key(key: bytes) -> None:
    owner = str(Pubkey.from_bytes(key))
    for commitment in SMALL_ORDER_KEYS:
        forged = str(Signature.from_bytes(commitment + bytes(32)))
        for number in range(40):
            with pytest.raises(SignatureMismatchError):
                verify_message(owner, f"message {number}", forged)


def test_a_signature_with_the_group_order_added_to_s_is_refused() -> None:
    raw = bytes(WALLET.sign_message(TEXT.encode()))
    order = 2**252 + 27742317777372353535851937790883648493
    malleated = raw[:32] + (int.from_bytes(raw[32:], "little") + order).to_bytes(32, "little")
    with pytest.raises(SignatureMismatchError):
        verify_message(OWNER, TEXT, str(Signature.from_bytes(malleated)))


@pytest.mark.parametrize(
    "message",
    [
        bytes(Message.new_with_blockhash([APPROVAL], WALLET.pubkey(), Hash.default())),
        to_bytes_versioned(MessageV0.try_compile(WALLET.pubkey(), [APPROVAL], [], Hash.default())),
        b"\x81" + bytes(200),
        b"\xffsolana offchain" + bytes(20) + b"text",
        "é starts beyond ASCII".encode(),
        b"text \x80 that is not UTF-8",
        b"carriage\r\nreturn",
        b"tab\tbed",
        b"a bell \x07",
        b"zero \x00",
        "turned \u202e round".encode(),
        "zero\u200bwidth".encode(),
        b"",
    ],
    ids=lambda message: message[:12].hex(),
)
def test_what_could_be_a_transaction_or_cannot_be_seen_is_never_signed(message: bytes) -> None:
    with pytest.raises(InvalidStatementError):
        refuse_if_transaction(message)


def test_a_transaction_made_of_printable_characters_alone_is_still_a_transaction() -> None:
    # 33 signers and accounts whose keys, blockhash and data are spaces: every byte can be seen.
    legacy = b"!  !" + b" " * 33 * 32 + b" " * 32 + b" " + b"   " * 2000
    assert legacy.decode().isprintable()
    with pytest.raises(InvalidStatementError):
        refuse_if_transaction(legacy)


def test_readable_text_of_any_language_may_be_signed() -> None:
    for text in (TEXT, "Prove wallet ownership for delegation", "Größe, 所有者, владелец"):
        refuse_if_transaction(text.encode())


@given(st.text(max_size=200))
def test_no_text_raises_anything_but_our_errors(text: str) -> None:
    for attempt in (lambda: message_request("solana", OWNER, text), lambda: verify_message(OWNER, text, text)):
        with suppress(ChainError):
            attempt()


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_our_errors(data: bytes) -> None:
    with suppress(InvalidStatementError):
        refuse_if_transaction(data)
