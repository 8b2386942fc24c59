"""The public vectors of SIWE and Wycheproof against our checks; where we differ, a table says which and why."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from needs import NO_VECTORS, VECTORS
from solders.pubkey import Pubkey
from solders.signature import Signature

from chains import get_chain
from chains.claims import Expectations, OwnershipCheck, OwnershipClaim
from chains.errors import SignatureMismatchError
from chains.evm.addresses import keccak256, to_checksum_address
from chains.evm.codec.signatures import recover_address
from chains.family import check_ownership
from chains.ownership import parse_time
from chains.rpc.transcript import run_offline
from chains.solana.messages import verify_signature

# The vectors without a moment of their own mean "now", between 2022 and 2100.
NOW = datetime(2026, 1, 1, tzinfo=UTC)

pytestmark = pytest.mark.skipif(not VECTORS.exists(), reason=NO_VECTORS)


def read(name: str) -> dict[str, Any]:
    file = VECTORS / name
    vectors: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return vectors


# Sign-In with Ethereum

SIWE_POSITIVE = read("siwe_verification_positive.json")
SIWE_NEGATIVE = read("siwe_verification_negative.json")

# The rules that refute each negative vector.
REFUTED_BY = {
    "expired message": ["time"],
    "domain binding": ["domain"],
    "custom time": ["time"],
    "custom nonce": ["nonce"],
    "malformed signature": ["signature"],
    "wrong signature": ["signature"],
    "not yet valid": ["time"],
    # Its signature is over another text than its fields make, so that it is refuted twice.
    "invalid issuedAt": ["statement", "signature"],
    "invalid notBefore": ["statement"],
    "invalid expirationTime": ["statement"],
}

# Where we say something else than the vectors of valid messages, the rule that refutes and why.
DIFFERENCES = {
    # Issued in 2022, judged in 2020: ERC-4361 only says that `Issued At` is a time, and rule 26 wants it not to lie in
    # the future, because a statement can otherwise be made to be used later.
    "expired message": "time",
}
# Accepted by both, but labelled: the platform takes the canonical bytes only (rule 28).
NORMALISED = {"recovery byte starting at 0": "v-0-or-1"}


def siwe_text(vector: Mapping[str, Any]) -> str:
    """Return the text that was signed, whatever its fields hold: line by line as ERC-4361 has it."""
    lines = [
        f"{vector['domain']} wants you to sign in with your Ethereum account:",
        vector["address"],
        "",
        vector["statement"],
        "",
        f"URI: {vector['uri']}",
        f"Version: {vector['version']}",
        f"Chain ID: {vector['chainId']}",
        f"Nonce: {vector['nonce']}",
        f"Issued At: {vector['issuedAt']}",
    ]
    if "expirationTime" in vector:
        lines.append(f"Expiration Time: {vector['expirationTime']}")
    if "notBefore" in vector:
        lines.append(f"Not Before: {vector['notBefore']}")
    return "\n".join(lines)


def check_siwe(vector: Mapping[str, Any]) -> OwnershipCheck:
    expected = Expectations(
        domain=vector.get("domainBinding", vector["domain"]),
        uri=vector["uri"],
        nonce=vector.get("matchNonce", vector["nonce"]),
        at=parse_time(vector["time"]) if "time" in vector else NOW,
    )
    claim = OwnershipClaim(get_chain("ethereum"), vector["address"], siwe_text(vector), vector["signature"], expected)
    return run_offline(check_ownership(claim))


def refuted_by(check: OwnershipCheck) -> list[str]:
    return [finding.rule for finding in check.findings if finding.verdict != "VERIFIED"]


@pytest.mark.parametrize("title", SIWE_POSITIVE)
def test_the_valid_messages_of_siwe_are_verified_save_for_the_differences_named(title: str) -> None:
    check = check_siwe(SIWE_POSITIVE[title])
    assert refuted_by(check) == ([DIFFERENCES[title]] if title in DIFFERENCES else [])
    assert (check.method, check.normalised) == ("eoa-ecdsa", NORMALISED.get(title))


@pytest.mark.parametrize("title", SIWE_NEGATIVE)
def test_the_invalid_messages_of_siwe_are_refuted_by_what_is_wrong_and_nothing_else(title: str) -> None:
    assert refuted_by(check_siwe(SIWE_NEGATIVE[title])) == REFUTED_BY[title]


def test_each_difference_is_one_of_a_vector() -> None:
    assert DIFFERENCES.keys() | NORMALISED.keys() <= SIWE_POSITIVE.keys()
    assert REFUTED_BY.keys() == SIWE_NEGATIVE.keys()


# Wycheproof: ECDSA on secp256k1 with low s, as Bitcoin and Ethereum want it

# These test the DER encoding, which Ethereum does not have: where the strict reader below refuses one of them, nothing
# of ours is reached.
ENCODING_FLAGS = {
    "BerEncodedSignature",
    "InvalidEncoding",
    "InvalidTypesInSignature",
    "ModifiedSignature",
    "ModifiedInteger",
    "IntegerOverflow",
    "InvalidSignature",
    "RangeCheck",
}
ENCODING_TESTS = {358}  # "s is larger than n", written as a negative number of three bytes
# Valid, and refused by us: the point k*G has an x beyond the order of the curve, so that r is x minus the order. To
# recover its key takes the parities 2 and 3, which neither EIP-191 wallets nor the EVM's ecrecover have (v is 27 or
# 28). A wallet meets such a point with a probability of 2^-128.
NOT_RECOVERABLE = {346}
ECDSA = [
    (group["publicKey"]["uncompressed"], case)
    for group in read("wycheproof_ecdsa_secp256k1_sha256_bitcoin.json").get("testGroups", [])
    for case in group["tests"]
]


def read_der(signature: bytes) -> tuple[int, int] | None:
    """Return r and s of a strict DER encoding of two non-negative integers, or None."""

    def integer(at: int) -> tuple[int, int] | None:
        if len(signature) < at + 3 or signature[at] != 2 or signature[at + 1] > 0x7F:
            return None
        end = at + 2 + signature[at + 1]
        digits = signature[at + 2 : end]
        if len(signature) < end or not digits or digits[0] > 0x7F:
            return None
        if len(digits) > 1 and digits[0] == 0 and digits[1] < 0x80:
            return None
        return int.from_bytes(digits), end

    if len(signature) < 2 or signature[0] != 0x30 or signature[1] != len(signature) - 2 or signature[1] > 0x7F:
        return None
    r = integer(2)
    s = None if r is None else integer(r[1])
    return (r[0], s[0]) if r is not None and s is not None and s[1] == len(signature) else None


def recovers(public_key: str, case: Mapping[str, Any]) -> bool:
    """Return whether one of the two parities recovers the address of the vector's key."""
    numbers = read_der(bytes.fromhex(case["sig"]))
    if numbers is None:
        return False
    owner = to_checksum_address(keccak256(bytes.fromhex(public_key)[1:])[12:])
    digest = hashlib.sha256(bytes.fromhex(case["msg"])).digest()
    for parity in (0, 1):
        try:
            if recover_address(digest, parity, *numbers) == owner:
                return True
        except SignatureMismatchError:
            continue
    return False


def test_the_wycheproof_vectors_of_secp256k1_are_judged_as_wycheproof_says() -> None:
    differ = {case["tcId"] for key, case in ECDSA if recovers(key, case) != (case["result"] == "valid")}
    assert len(ECDSA) == 463
    assert differ == NOT_RECOVERABLE


def test_the_vectors_that_reach_our_code_are_not_only_those_of_the_encoding() -> None:
    unreached = [case for _, case in ECDSA if read_der(bytes.fromhex(case["sig"])) is None]
    assert {
        flag for case in unreached if case["tcId"] not in ENCODING_TESTS for flag in case["flags"]
    } <= ENCODING_FLAGS
    assert {case["result"] for case in unreached} == {"invalid"}
    assert len(ECDSA) - len(unreached) > 200


# Wycheproof: Ed25519


def test_the_wycheproof_vectors_of_ed25519_are_judged_as_wycheproof_says() -> None:
    whole = 0
    judged = 0
    for group in read("wycheproof_ed25519.json")["testGroups"]:
        owner = str(Pubkey.from_bytes(bytes.fromhex(group["publicKey"]["pk"])))
        for case in group["tests"]:
            message, raw = bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"])
            signature = str(Signature.from_bytes(raw)) if len(raw) == 64 else raw.hex()
            judged += 1
            try:
                verify_signature(owner, message, signature)
                valid = True
            except SignatureMismatchError:
                valid = False
            assert valid == (case["result"] == "valid"), case
            try:
                text = message.decode()
            except UnicodeDecodeError:
                continue
            # As a claim: the text is no statement, and whether the owner signed it is said all the same.
            expected = Expectations(None, None, None, NOW)
            check = run_offline(check_ownership(OwnershipClaim(get_chain("solana"), owner, text, signature, expected)))
            assert (check.method == "ed25519-raw") == valid, case
            whole += 1
    assert (judged, whole > 50) == (151, True)
