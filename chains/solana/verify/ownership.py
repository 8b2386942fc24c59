"""Ownership of Solana accounts: what a statement and its Ed25519 signature establish; no node is needed."""

from __future__ import annotations

from typing import Final

from chains.claims import Finding, OwnershipCheck, OwnershipClaim
from chains.solana.addresses import NEVER_A_DELEGATE, has_key, parse_address, read_signature
from chains.solana.verify.offchain_messages import candidates
from chains.statement_check import check_statement

_RAW: Final = "ed25519-raw"
# Base58 of 64 bytes has at most 88 characters.
_LONGEST_SIGNATURE: Final = 88

# Edwards25519 (RFC 8032 section 5.1): the field's prime, and the y of the points whose order divides 8, up to sign.
_PRIME: Final = 2**255 - 19
_ORDER_8_Y: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER_Y: Final = frozenset({0, 1, _PRIME - 1, _ORDER_8_Y, _PRIME - _ORDER_8_Y})

_NAMES: Final = {
    _RAW: "as raw Ed25519 over the text",
    "ed25519-offchain-v0": "in an off-chain envelope of version 0",
    "ed25519-offchain-v0-legacy": "in an off-chain envelope of the old version 0, without domain and signers",
    "ed25519-offchain-v1": "in an off-chain envelope of version 1",
}


def check_ownership(claim: OwnershipClaim) -> OwnershipCheck:
    """Return what is established of a signed statement.

    The signature may be over the raw text or over any of its off-chain envelopes; `method` says which (attack A33).
    Raises `InvalidAddressError` and `InputError` for a claim that cannot be used.
    """
    owner = parse_address(claim.owner)
    findings, not_checked = check_statement(claim, owner)
    finding, method = _check_signature(owner, claim.message, claim.signature)
    return OwnershipCheck(
        findings=(*findings, finding),
        method=method,
        not_checked=not_checked,
        facts={"signature": finding.verdict, "method": method or "none"},
    )


def _check_signature(owner: str, message: str, text: str) -> tuple[Finding, str | None]:
    """Return the finding on a signature, and the method that fits it."""
    from solders.pubkey import Pubkey

    key = Pubkey.from_string(owner)
    if problem := _key_problem(owner, bytes(key)):
        return _refuted(f"Nobody can hold the key of {owner}: {problem}. A signature for it proves nothing.")
    signature = read_signature(text)
    if signature is None:
        why = "The signature is not 64 bytes in base58."
        if len(text) > _LONGEST_SIGNATURE:
            why += " If it is the signed envelope that a hardware wallet gave, the 64 bytes after its first are meant."
        return _refuted(why)
    try:
        body = message.encode()
    except UnicodeEncodeError:
        return _refuted("The text cannot be written in UTF-8: it has half of a surrogate pair.")
    for method, payload in candidates(body, bytes(key)):
        if signature.verify(key, payload):
            said = f"The key of {owner} signed exactly this text, {_NAMES[method]}."
            if method != _RAW:
                said += " Many who ask for a signature take raw ones only: expect this one to be refused there."
            return Finding("signature", "VERIFIED", said), method
    return _refuted(f"The key of {owner} signed neither this text nor an off-chain envelope of it.")


def _refuted(message: str) -> tuple[Finding, None]:
    return Finding("signature", "REFUTED", message), None


def _key_problem(owner: str, key: bytes) -> str:
    """Return why nobody can hold the key of an address, or nothing (attack A31; rule 30)."""
    y = int.from_bytes(key, "little") & (2**255 - 1)
    if owner in NEVER_A_DELEGATE:
        return "it is a program, or another well-known address"
    if y >= _PRIME:
        return "it is not the canonical encoding of a point"
    if y in _SMALL_ORDER_Y:
        return "it is a point of small order, for which signatures can be made without a key"
    if not has_key(owner):
        return "it is not a point of the curve, as the addresses of programs are not"
    return ""
