"""Who signed on Solana: raw text and every off-chain envelope, and keys that nobody can hold."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solana_lab import base58
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.signature import Signature

from chains import get_chain
from chains.claims import NEEDS_NOBODY, Expectations, Finding, OwnershipCheck, OwnershipClaim, verdict_of
from chains.errors import ChainError, InvalidAddressError, InvalidStatementError
from chains.family import check_ownership
from chains.ownership import format_statement, make_statement
from chains.rpc.transcript import run_offline
from chains.solana.addresses import NEVER_A_DELEGATE, TOKEN_PROGRAM
from chains.solana.approve import build_approve
from chains.solana.messages import refuse_if_transaction
from chains.solana.verify.offchain_messages import candidates
from chains.wallets import SolanaKeyWallet

SOLANA = get_chain("solana")
WALLET = Keypair.from_seed(bytes(range(32)))
OWNER = str(WALLET.pubkey())
KEY = bytes(WALLET.pubkey())
NOW = datetime(2026, 1, 1, tzinfo=UTC)
EXPECTED = Expectations("card.example.com", None, "q+7/Zw==", NOW)
TEXT = format_statement(
    make_statement(SOLANA, OWNER, domain="card.example.com", nonce="q+7/Zw==", issued_at=NOW, lifetime=None)
)
BODY = TEXT.encode()
LENGTH = len(BODY).to_bytes(2, "little")
DOMAIN = b"\xffsolana offchain"

# Byte for byte, apart from the code under test.
ENVELOPES = {
    "v0, ASCII with line feeds (Ledger, Kit)": (
        "ed25519-offchain-v0",
        DOMAIN + b"\x00" + bytes(32) + b"\x00" + b"\x01" + KEY + LENGTH + BODY,
    ),
    "v0, UTF-8 (solana-sdk 3)": (
        "ed25519-offchain-v0",
        DOMAIN + b"\x00" + bytes(32) + b"\x01" + b"\x01" + KEY + LENGTH + BODY,
    ),
    "v0, extended UTF-8": (
        "ed25519-offchain-v0",
        DOMAIN + b"\x00" + bytes(32) + b"\x02" + b"\x01" + KEY + LENGTH + BODY,
    ),
    "v0 legacy, UTF-8 (solana-sdk before 3, Ledger before 1.8)": (
        "ed25519-offchain-v0-legacy",
        DOMAIN + b"\x00" + b"\x01" + LENGTH + BODY,
    ),
    "v0 legacy, ASCII": ("ed25519-offchain-v0-legacy", DOMAIN + b"\x00" + b"\x00" + LENGTH + BODY),
    "v1 (sRFC 38)": ("ed25519-offchain-v1", DOMAIN + b"\x01" + b"\x01" + KEY + BODY),
    "v1 with a length (Ledger before the final text)": (
        "ed25519-offchain-v1",
        DOMAIN + b"\x01" + b"\x01" + KEY + LENGTH + BODY,
    ),
}


def check(message: str, signature: str, owner: str = OWNER) -> OwnershipCheck:
    """Return what is established, without a network and an event loop."""
    return run_offline(check_ownership(OwnershipClaim(SOLANA, owner, message, signature, EXPECTED)))


def finding(result: OwnershipCheck) -> Finding:
    *_, signature = result.findings
    assert signature.rule == "signature"
    assert (signature.verdict == "VERIFIED") == (result.method is not None)
    # What was signed is shown by bytes alone; that it cannot be told needs no basis.
    assert signature.verdict == "UNDETERMINED" or signature.basis == NEEDS_NOBODY
    return signature


def sign(payload: bytes, wallet: Keypair = WALLET) -> str:
    return str(wallet.sign_message(payload))


async def test_what_our_own_wallet_signs_is_verified_as_raw() -> None:
    result = check(TEXT, await SolanaKeyWallet(bytes(WALLET)).sign_message(TEXT))
    assert verdict_of(result.findings) == "VERIFIED"
    assert (result.method, result.normalised, result.not_checked) == ("ed25519-raw", None, ())


def test_what_the_statement_says_and_who_signed_it_are_found_apart() -> None:
    result = check(TEXT, sign(b"another text"))
    assert [found.rule for found in result.findings if found.verdict != "VERIFIED"] == ["signature"]
    assert finding(result).verdict == "UNDETERMINED"
    other = str(Keypair.from_seed(bytes(32)).pubkey())
    result = check(TEXT, str(Keypair.from_seed(bytes(32)).sign_message(BODY)), other)
    assert [found.rule for found in result.findings if found.verdict == "REFUTED"] == ["address"]


@pytest.mark.parametrize("envelope", ENVELOPES)
def test_a33_a_signature_over_an_envelope_is_detected_and_labelled(envelope: str) -> None:
    method, payload = ENVELOPES[envelope]
    result = check(TEXT, sign(payload))
    assert verdict_of(result.findings) == "VERIFIED"
    assert result.method == method
    assert "take raw ones only" in finding(result).message


@pytest.mark.parametrize("envelope", ENVELOPES)
def test_a33_a_signature_of_another_text_or_signer_never_passes(envelope: str) -> None:
    _, payload = ENVELOPES[envelope]
    others = [payload[:-1] + b"x", payload + b"\n"]
    if KEY in payload:
        others.append(payload.replace(KEY, bytes(Keypair().pubkey()), 1))
    for other in others:
        assert finding(check(TEXT, sign(other))).verdict == "UNDETERMINED"
        # What it is over decides, once that is there.
        for encode in ENCODINGS.values():
            assert finding(check(TEXT, encode(sealed(other)))).verdict == "REFUTED"


def sealed(payload: bytes, *signers: Keypair | None) -> bytes:
    """Return a signed envelope as devices and Kit give it; None is a signer who has not signed yet."""
    signatures = [bytes(64) if one is None else bytes(one.sign_message(payload)) for one in signers or (WALLET,)]
    return bytes([len(signatures)]) + b"".join(signatures) + payload


ENCODINGS = {"base58": base58, "base64": lambda data: b64encode(data).decode()}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("envelope", ENVELOPES)
def test_a51_a_whole_signed_envelope_is_judged_by_its_own_bytes(envelope: str, encoding: str) -> None:
    method, payload = ENVELOPES[envelope]
    encode = ENCODINGS[encoding]
    result = check(TEXT, encode(sealed(payload)))
    assert (verdict_of(result.findings), result.method) == ("VERIFIED", method)
    assert "take raw ones only" in finding(result).message
    assert finding(check(TEXT, encode(sealed(payload, STRANGER)))).verdict == "REFUTED"
    assert finding(check(TEXT, encode(sealed(payload, None)))).verdict == "REFUTED"
    assert finding(check(TEXT + ".", encode(sealed(payload)))).verdict == "REFUTED"
    assert finding(check(TEXT, encode(sealed(payload) + b"."))).verdict == "REFUTED"


STRANGER = Keypair.from_seed(b"s" * 32)
SIGNERS = b"\x02" + bytes(STRANGER.pubkey()) + KEY
APPLICATION = b"a" * 32
BEYOND_64_BYTES = {
    "v0 with an application domain": (
        "ed25519-offchain-v0",
        DOMAIN + b"\x00" + APPLICATION + b"\x00" + b"\x01" + KEY + LENGTH + BODY,
    ),
    "v0 with two signers": ("ed25519-offchain-v0", DOMAIN + b"\x00" + bytes(32) + b"\x01" + SIGNERS + LENGTH + BODY),
    "v0 with both": ("ed25519-offchain-v0", DOMAIN + b"\x00" + APPLICATION + b"\x00" + SIGNERS + LENGTH + BODY),
    "v1 with two signers": ("ed25519-offchain-v1", DOMAIN + b"\x01" + SIGNERS + BODY),
    "v1 with two signers and a length": ("ed25519-offchain-v1", DOMAIN + b"\x01" + SIGNERS + LENGTH + BODY),
}


@pytest.mark.parametrize("envelope", BEYOND_64_BYTES)
def test_a51_an_application_domain_or_several_signers_are_verified_or_undetermined_with_the_reason(
    envelope: str,
) -> None:
    method, payload = BEYOND_64_BYTES[envelope]
    alone = finding(check(TEXT, sign(payload)))
    assert alone.verdict == "UNDETERMINED"
    assert "give the whole signed envelope" in alone.message
    signers = (STRANGER, WALLET) if SIGNERS in payload else (WALLET,)
    # The owner's signature is what counts: another may be missing, and a device gives its own alone.
    given = [signers, (WALLET,), tuple(one if one is WALLET else None for one in signers)]
    for encode in ENCODINGS.values():
        for those in given:
            result = check(TEXT, encode(sealed(payload, *those)))
            assert (verdict_of(result.findings), result.method) == ("VERIFIED", method)
            assert ("for the application" in finding(result).message) == (APPLICATION in payload)
            assert ("one of 2 signers" in finding(result).message) == (SIGNERS in payload)
        assert finding(check(TEXT, encode(sealed(payload, STRANGER)))).verdict == "REFUTED"
        # An owner who signs what names others only has not signed as one of them.
        named = payload.replace(KEY, bytes(Keypair.from_seed(b"t" * 32).pubkey()))
        assert finding(check(TEXT, encode(sealed(named, *signers)))).verdict == "REFUTED"


@pytest.mark.parametrize(
    "payload",
    [
        DOMAIN + b"\x02" + b"\x01" + KEY + BODY,
        DOMAIN + b"\x00" + bytes(32) + b"\x03" + b"\x01" + KEY + LENGTH + BODY,
        DOMAIN + b"\x00" + b"\x07" + LENGTH + BODY,
    ],
    ids=["version 2", "format 3", "format 7 of the old version"],
)
def test_a51_an_envelope_of_a_version_or_format_that_is_not_known_is_undetermined(payload: bytes) -> None:
    for encode in ENCODINGS.values():
        found = finding(check(TEXT, encode(sealed(payload))))
        assert found.verdict == "UNDETERMINED"
        assert "upgrade" in found.message
        assert finding(check(TEXT, encode(sealed(payload, STRANGER)))).verdict == "REFUTED"


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=150), st.sampled_from(sorted(ENVELOPES)), st.integers(17, 120))
def test_a51_no_other_bytes_that_the_owner_signs_are_an_envelope_of_the_text(
    junk: bytes, envelope: str, cut: int
) -> None:
    whole = ENVELOPES[envelope][1]
    for payload in (DOMAIN + junk, whole[:cut] + junk, whole[:cut] + junk + whole[cut:]):
        if payload not in {one for _, one in ENVELOPES.values()} and not payload.endswith(LENGTH + BODY):
            result = check(TEXT, ENCODINGS["base64"](sealed(payload)))
            # A v0 envelope may be for any application, and any envelope for more signers.
            assert finding(result).verdict in ("REFUTED", "UNDETERMINED") or payload.endswith(KEY + BODY), payload


def test_a_signature_in_base64_is_put_right_and_labelled() -> None:
    result = check(TEXT, b64encode(bytes(WALLET.sign_message(BODY))).decode())
    assert (verdict_of(result.findings), result.method, result.normalised) == ("VERIFIED", "ed25519-raw", "base64")
    assert "wants base58" in finding(result).message


def test_64_bytes_that_no_text_has_as_its_signature_are_refuted() -> None:
    raw = bytes(WALLET.sign_message(b"another text"))
    order = 2**252 + 27742317777372353535851937790883648493
    derived, _ = Pubkey.find_program_address([b"seed"], Pubkey.from_string(TOKEN_PROGRAM))
    for wrong in (
        raw[:32] + order.to_bytes(32, "little"),
        bytes(32) + raw[32:],
        bytes([1]) + bytes(31) + raw[32:],
        b"\xff" * 32 + raw[32:],
        bytes(derived) + raw[32:],
    ):
        found = finding(check(TEXT, str(Signature.from_bytes(wrong))))
        assert (found.verdict, "No text at all" in found.message) == ("REFUTED", True)
    assert finding(check(TEXT, str(Signature.from_bytes(raw)))).verdict == "UNDETERMINED"


@pytest.mark.parametrize(
    "payload",
    [
        DOMAIN + b"\x02" + b"\x01" + KEY + BODY,
        DOMAIN + b"\x00" + b"\x01" * 32 + b"\x00" + b"\x01" + KEY + LENGTH + BODY,
        DOMAIN + b"\x00" + bytes(32) + b"\x03" + b"\x01" + KEY + LENGTH + BODY,
        DOMAIN + b"\x00" + bytes(32) + b"\x00" + b"\x00" + LENGTH + BODY,
        DOMAIN + b"\x00" + bytes(32) + b"\x00" + b"\x01" + KEY + LENGTH[::-1] + BODY,
        b"\xffsolana offchaim" + b"\x01" + b"\x01" + KEY + BODY,
        DOMAIN + BODY,
        BODY + b"\n",
        hashlib.sha256(BODY).digest(),
    ],
    ids=[
        "version 2",
        "application domain",
        "format 3",
        "no signer",
        "big endian",
        "another signing domain",
        "bare signing domain",
        "line feed",
        "hash",
    ],
)
def test_a33_what_no_standard_describes_never_passes(payload: bytes) -> None:
    assert finding(check(TEXT, sign(payload))).verdict == "UNDETERMINED"


def test_a33_the_envelopes_have_the_published_hashes_of_the_solana_sdk() -> None:
    # offchain-message/src/lib.rs from 3.0 (a signer of zeros), and sdk/src/offchain_message.rs before.
    text = "Тестовое сообщение".encode()
    hashes = {str(Hash(hashlib.sha256(payload).digest())): method for method, payload in candidates(text, bytes(32))}
    assert hashes["E5tkTdEzcYTe5deSvw5jqzwPUEVBT83P4aHCYxjtzEW8"] == "ed25519-offchain-v0"
    assert hashes["6GXTveatZQLexkX4WeTpJ3E7uk1UojRXpKp43c4ArSun"] == "ed25519-offchain-v0-legacy"


@pytest.mark.parametrize(
    ("text", "methods"),
    [
        (b"", ["raw"]),
        (b"plain\ntext", ["raw", "v0", "v0", "v0", "v0-legacy", "v0-legacy", "v0-legacy", "v1", "v1"]),
        ("größer".encode(), ["raw", "v0", "v0", "v0-legacy", "v0-legacy", "v1", "v1"]),
        (b"x" * 1147, ["raw", "v0", "v0", "v0", "v0-legacy", "v0-legacy", "v0-legacy", "v1", "v1"]),
        (b"x" * 1148, ["raw", "v0", "v0-legacy", "v0-legacy", "v0-legacy", "v1", "v1"]),
        (b"x" * 1213, ["raw", "v0", "v0-legacy", "v1", "v1"]),
        (b"x" * 65450, ["raw", "v0", "v0-legacy", "v1", "v1"]),
        (b"x" * 65451, ["raw", "v0-legacy", "v1", "v1"]),
        (b"x" * 65536, ["raw"]),
    ],
    ids=lambda value: str(len(value)),
)
def test_each_envelope_is_tried_within_its_own_limits_and_in_one_order(text: bytes, methods: list[str]) -> None:
    tried = [method for method, _ in candidates(text, KEY)]
    short = [method.removeprefix("ed25519-").removeprefix("offchain-") for method in tried]
    assert short == methods
    assert list(candidates(text, KEY)) == list(candidates(text, KEY))


@given(st.binary(max_size=80))
def test_no_two_candidates_are_the_same_bytes(text: bytes) -> None:
    payloads = [payload for _, payload in candidates(text, KEY)]
    assert len(payloads) == len(set(payloads))


def test_a_text_that_is_no_statement_is_refuted_however_it_was_signed() -> None:
    # What a program with an application domain of its own could have had signed: read as the old envelope, this text.
    text = "card.example.com wants you to si" + "\x00\x01" + "k" * 32 + "\x08\x00" + "the rest"
    result = check(text, sign(DOMAIN + b"\x00" + b"\x01" + len(text).to_bytes(2, "little") + text.encode()))
    assert result.method == "ed25519-offchain-v0-legacy"
    assert [found.rule for found in result.findings if found.verdict == "REFUTED"] == ["statement"]


# A31

PRIME = 2**255 - 19
ORDER_8_Y = int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little")
SMALL_ORDER = [
    bytearray((y | sign << 255).to_bytes(32, "little"))
    for y in (0, 1, PRIME - 1, PRIME, PRIME + 1, ORDER_8_Y, PRIME - ORDER_8_Y)
    for sign in (0, 1)
]


@pytest.mark.parametrize("key", [bytes(key) for key in SMALL_ORDER], ids=lambda key: key.hex()[:6] + key.hex()[-2:])
def test_a31_a_key_of_small_order_proves_nothing_by_any_signature(key: bytes) -> None:
    owner = str(Pubkey.from_bytes(key))
    for commitment in SMALL_ORDER:
        found = finding(check(TEXT, str(Signature.from_bytes(bytes(commitment) + bytes(32))), owner))
        assert found.verdict == "REFUTED"
        assert "Nobody can hold the key" in found.message


def test_a31_the_points_of_order_8_are_those_of_the_curve() -> None:
    # -x^2 + y^2 = 1 + d x^2 y^2; a point of order 8 doubles to one with y = 0, that is x^2 = -y^2.
    d = -121665 * pow(121666, -1, PRIME) % PRIME
    y2 = pow(ORDER_8_Y, 2, PRIME)
    x2 = (y2 - 1) * pow(d * y2 + 1, -1, PRIME) % PRIME
    assert (x2 + y2) % PRIME == 0


@pytest.mark.parametrize("encoding", [PRIME + 2, 2**255 - 1, PRIME + 18])
def test_a31_a_key_that_is_not_canonical_proves_nothing(encoding: int) -> None:
    for sign_bit in (0, 1 << 255):
        owner = str(Pubkey.from_bytes((encoding | sign_bit).to_bytes(32, "little")))
        assert "Nobody can hold the key" in finding(check(TEXT, "1" * 64, owner)).message


def test_a31_the_addresses_of_programs_and_derived_addresses_have_no_key() -> None:
    derived, _ = Pubkey.find_program_address([b"seed"], Pubkey.from_string(TOKEN_PROGRAM))
    for owner in [*sorted(NEVER_A_DELEGATE), str(derived)]:
        assert "Nobody can hold the key" in finding(check(TEXT, "1" * 64, owner)).message


def test_a31_a_signature_with_the_group_order_added_to_s_is_refuted() -> None:
    raw = bytes(WALLET.sign_message(BODY))
    order = 2**252 + 27742317777372353535851937790883648493
    malleated = raw[:32] + (int.from_bytes(raw[32:], "little") + order).to_bytes(32, "little")
    assert finding(check(TEXT, str(Signature.from_bytes(malleated)))).verdict == "REFUTED"


# A32

APPROVAL = bytes(
    Message.new_with_blockhash(
        [build_approve(TOKEN_PROGRAM, OWNER, OWNER, OWNER, 2**64 - 1)], WALLET.pubkey(), Hash.default()
    )
)


async def test_a32_our_wallet_does_not_sign_a_text_that_is_a_transaction() -> None:
    with pytest.raises(InvalidStatementError, match="must not be signed"):
        refuse_if_transaction(APPROVAL)
    # A transaction all of whose bytes are visible characters, so that it is a text as well.
    visible = "!  !" + " " * 33 * 32 + " " * 32 + " " + "   " * 2000
    with pytest.raises(InvalidStatementError, match="can be read as a Solana transaction"):
        await SolanaKeyWallet(bytes(WALLET)).sign_message(visible)


def test_a32_a_signed_transaction_proves_no_statement() -> None:
    visible = "!  !" + " " * 33 * 32 + " " * 32 + " " + "   " * 2000
    result = check(visible, sign(visible.encode()))
    assert result.method == "ed25519-raw"
    assert [found.rule for found in result.findings if found.verdict == "REFUTED"] == ["statement"]


# Whatever the input


@pytest.mark.parametrize(
    "signature", ["", "1" * 63, "1" * 65, "0x" + "00" * 64, sign(BODY) + "1", " " + sign(BODY), "é"]
)
def test_a_signature_is_64_bytes_in_base58(signature: str) -> None:
    found = finding(check(TEXT, signature))
    assert found.verdict == "REFUTED"
    assert "64 bytes" in found.message


def test_a33_the_envelope_that_a_hardware_wallet_hands_out_is_named() -> None:
    assert "envelope" in finding(check(TEXT, "2" * 500)).message


def test_a_text_with_half_a_surrogate_pair_is_refuted_with_the_reason() -> None:
    assert "UTF-8" in finding(check(TEXT + "\ud800", sign(BODY))).message


def test_an_owner_of_another_network_is_bad_input() -> None:
    with pytest.raises(InvalidAddressError):
        check(TEXT, sign(BODY), "0x3a11a86Cf218C448bE519728cd3Ac5c741FB3424")


@settings(max_examples=60, deadline=None)
@given(
    message=st.text(max_size=30) | st.just(TEXT) | st.just(TEXT + "\ud800"),
    signature=st.text(max_size=20)
    | st.binary(min_size=64, max_size=64).map(lambda raw: str(Signature.from_bytes(raw))),
    owner=st.just(OWNER) | st.text(max_size=44) | st.binary(min_size=32, max_size=32).map(lambda raw: str(Pubkey(raw))),
)
def test_no_claim_ends_in_another_error(message: str, signature: str, owner: str) -> None:
    claim = OwnershipClaim(SOLANA, OWNER, message, signature, EXPECTED)
    try:
        result = run_offline(check_ownership(replace(claim, owner=owner)))
    except ChainError:
        assert owner != OWNER
    else:
        assert result.findings[-1].rule == "signature"
