"""Ownership of Solana accounts: what a statement and its Ed25519 signature establish; no node is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from chains.claims import NEEDS_NOBODY, Finding, OwnershipCheck, OwnershipClaim
from chains.solana.addresses import NEVER_A_DELEGATE, has_key, parse_address
from chains.solana.verify.offchain_messages import Envelope, base58, candidates, read_envelope, read_signed
from chains.statement_check import check_statement

_RAW: Final = "ed25519-raw"

# Edwards25519 (RFC 8032 section 5.1): the field's prime, the group's order, and the y of the points whose order divides
# 8, up to sign.
_PRIME: Final = 2**255 - 19
_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
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

    The signature is 64 bytes, or a whole signed envelope, in base58 or base64. It may be over the raw text or over any
    of its off-chain envelopes; `method` says which (attack A33). An envelope is judged by its own bytes, whatever its
    application domain is and whoever else signs. 64 bytes alone do not say what they are over: where they fit neither
    the text nor an envelope of it for the owner alone and no application, it is UNDETERMINED whether they are over one
    with an application domain or several signers, unless no text at all can have this signature (attack A51).

    Raises `InvalidAddressError` and `InputError` for a claim that cannot be used.
    """
    owner = parse_address(claim.owner)
    findings, not_checked = check_statement(claim, owner)
    judged = _check_signature(owner, claim.message, claim.signature)
    return OwnershipCheck(
        findings=(*findings, judged.finding),
        method=judged.method,
        normalised=judged.normalised,
        not_checked=not_checked,
    )


@dataclass(frozen=True, slots=True)
class _Judged:
    """The finding on a signature, the method that fits it, and the departure from the usual spelling."""

    finding: Finding
    method: str | None = None
    normalised: str | None = None


def _check_signature(owner: str, message: str, text: str) -> _Judged:
    from solders.pubkey import Pubkey

    key = bytes(Pubkey.from_string(owner))
    if problem := _key_problem(owner, key):
        return _refuted(f"Nobody can hold the key of {owner}: {problem}. A signature for it proves nothing.")
    try:
        body = message.encode()
    except UnicodeEncodeError:
        return _refuted("The text cannot be written in UTF-8: it has half of a surrogate pair.")
    signed, normalised = read_signed(text)
    if isinstance(signed, Envelope):
        return _judge_envelope(owner, key, body, signed)
    if signed is not None:
        return _judge_signature(owner, key, body, signed, normalised)
    why = "The signature is not 64 bytes in base58"
    return _refuted(f"{why}, and no signed envelope of a text either (its signatures and what they are over).")


def _judge_signature(owner: str, key: bytes, body: bytes, signature: bytes, normalised: str | None) -> _Judged:
    """Return what 64 bytes alone show."""
    for method, payload in candidates(body, key):
        if _is_signed(key, payload, signature):
            return _accept(f"The key of {owner} signed exactly this text, {_NAMES[method]}.", method, normalised)
    if _fits_no_text(signature):
        return _refuted("No text at all has this signature: it is not one of strict Ed25519.")
    message = (
        f"The key of {owner} signed neither this text nor an off-chain envelope of it for this key alone and no "
        "application. Whether it signed an envelope with an application domain or several signers, 64 bytes do not "
        "tell: give the whole signed envelope (its signatures and what they are over, in base58 or base64)."
    )
    return _Judged(Finding("signature", "UNDETERMINED", message))


def _judge_envelope(owner: str, key: bytes, body: bytes, envelope: Envelope) -> _Judged:
    """Return what a signed envelope shows: its owner's signature over its own bytes, and the text in them."""
    if not any(_is_signed(key, envelope.content, signature) for signature in envelope.signatures):
        return _refuted(f"None of the signatures of the envelope is one of the key of {owner} over it.")
    readings = read_envelope(envelope)
    if readings is None:
        message = (
            "The owner signed an off-chain envelope of a version or format that this toolkit does not know: upgrade it."
        )
        return _Judged(Finding("signature", "UNDETERMINED", message))
    for reading in readings:
        if reading.text == body and (not reading.signers or key in reading.signers):
            said = f"The key of {owner} signed exactly this text, {_NAMES[reading.method]}"
            if any(reading.application):
                said += f" for the application {base58(reading.application)}"
            if len(reading.signers) > 1:
                said += f", as one of {len(reading.signers)} signers, of whom only this one was asked about"
            return _accept(f"{said}.", reading.method, None)
    return _refuted("The envelope is one of another text, or one of other signers.")


def _accept(said: str, method: str, normalised: str | None) -> _Judged:
    if method != _RAW:
        said += " Many who ask for a signature take raw ones only: expect this one to be refused there."
    if normalised is not None:
        said += " But it is written in base64: who asks for a signature wants base58."
    return _Judged(Finding("signature", "VERIFIED", said, basis=NEEDS_NOBODY), method, normalised)


def _refuted(message: str) -> _Judged:
    return _Judged(Finding("signature", "REFUTED", message, basis=NEEDS_NOBODY))


def _is_signed(key: bytes, payload: bytes, signature: bytes) -> bool:
    from solders.pubkey import Pubkey
    from solders.signature import Signature

    return Signature.from_bytes(signature).verify(Pubkey.from_bytes(key), payload)


def _fits_no_text(signature: bytes) -> bool:
    """Return whether strict Ed25519 takes this signature for no text: a wrong point R, or an S that is too large."""
    from solders.pubkey import Pubkey

    point, scalar = signature[:32], int.from_bytes(signature[32:], "little")
    return scalar >= _ORDER or bool(_point_problem(point)) or not Pubkey.from_bytes(point).is_on_curve()


def _key_problem(owner: str, key: bytes) -> str:
    """Return why nobody can hold the key of an address, or nothing (attack A31; rule 30)."""
    if owner in NEVER_A_DELEGATE:
        return "it is a program, or another well-known address"
    if problem := _point_problem(key):
        return problem
    if not has_key(owner):
        return "it is not a point of the curve, as the addresses of programs are not"
    return ""


def _point_problem(encoded: bytes) -> str:
    """Return what is wrong with the encoding of a point, or nothing; whether it is on the curve is not looked at."""
    y = int.from_bytes(encoded, "little") & (2**255 - 1)
    if y >= _PRIME:
        return "it is not the canonical encoding of a point"
    if y in _SMALL_ORDER_Y:
        return "it is a point of small order, for which signatures can be made without a key"
    return ""
