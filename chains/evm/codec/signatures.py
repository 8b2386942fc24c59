"""EIP-191 signatures of texts: the digest, and verification that refuses every malleable or unusual form."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final

from chains.errors import InvalidStatementError, SignatureMismatchError
from chains.evm.addresses import keccak256, to_checksum_address

if TYPE_CHECKING:
    from coincurve import PublicKey

# SEC 2, section 2.4.1.
SECP256K1_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

# As 32 bytes each, big end first, numbers compare like their bytes.
_ZERO: Final = bytes(32)
_ORDER: Final = SECP256K1_ORDER.to_bytes(32, "big")
_HALF_ORDER: Final = (SECP256K1_ORDER // 2).to_bytes(32, "big")

_SIGNATURE: Final = re.compile(r"0x[0-9a-fA-F]{130}", re.ASCII)


def message_digest(message: str) -> bytes:
    """Return the digest that a wallet signs for a text: EIP-191 version 0x45, with the length in UTF-8 bytes.

    Raises `InvalidStatementError` for a text that has no bytes in UTF-8 (half of a surrogate pair), which no wallet can
    have signed.
    """
    try:
        body = message.encode()
    except UnicodeEncodeError as error:
        raise InvalidStatementError(
            f"The text cannot be written in UTF-8: character {error.start + 1} is half of a pair.",
            hint="Give exactly the text that was signed.",
        ) from error
    return keccak256(b"\x19Ethereum Signed Message:\n%d" % len(body) + body)


def parse_signature(signature: str) -> bytes:
    """Return the 65 bytes of a signature: r, s, and v, which is 27 or 28.

    Strict (rule 28): 0x and 130 digits; r and s in range; s in the lower half of the curve (EIP-2); v 27 or 28. Other
    spellings of the same signature are refused, because somebody else would be given something else than was checked.
    Raises `SignatureMismatchError`.
    """
    if not _SIGNATURE.fullmatch(signature):
        raise _refused(f"it must be 0x and 130 hexadecimal digits, and has {len(signature)} characters")
    data = bytes.fromhex(signature[2:])
    check_signature_bytes(data)
    return data


def check_signature_bytes(data: bytes) -> None:
    """Raise `SignatureMismatchError` unless 65 bytes are a canonical signature; see `parse_signature`."""
    if data[64] not in {27, 28}:
        raise _refused(f"its last byte v is {data[64]} instead of 27 or 28")
    if not (_ZERO < data[:32] < _ORDER and _ZERO < data[32:64] < _ORDER):
        raise _refused("r or s is outside the range of the curve")
    if data[32:64] > _HALF_ORDER:
        raise _refused("s is in the upper half of the curve (EIP-2)")


def canonical_signature(data: bytes) -> tuple[bytes, str | None]:
    """Return the 65 canonical bytes of a signature, and the name of the departure from them that was put right.

    `v-0-or-1` is a last byte of 0 or 1, as some hardware gives; `eip2098` are 64 bytes with the parity in the highest
    bit of s. None where there was nothing to put right. Raises `SignatureMismatchError` for everything else (rule 28).
    """
    normalised = None
    if len(data) == 64:
        data = data[:32] + bytes([data[32] & 0x7F]) + data[33:] + bytes([27 + (data[32] >> 7)])
        normalised = "eip2098"
    elif len(data) != 65:
        raise _refused(f"it has {len(data)} bytes instead of 65")
    elif data[64] < 2:
        data = data[:64] + bytes([27 + data[64]])
        normalised = "v-0-or-1"
    check_signature_bytes(data)
    return data, normalised


def recover_signer(digest: bytes, signature: bytes) -> bytes:
    """Return the 20 address bytes of the key that signed `digest`; `signature` is 65 canonical bytes.

    Raises `SignatureMismatchError` if no key fits.
    """
    recoverable = signature[:64] + (b"\0" if signature[64] == 27 else b"\1")
    try:
        key = _public_key_type().from_signature_and_message(recoverable, digest, hasher=None)
    except ValueError as error:
        raise _refused("no key can have made it") from error
    return keccak256(key.format(compressed=False)[1:])[12:]


@cache
def _public_key_type() -> type[PublicKey]:
    from coincurve import PublicKey

    return PublicKey


def recover_address(digest: bytes, parity: int, r: int, s: int) -> str:
    """Return the EIP-55 address whose key signed `digest`; `parity` is 0 or 1.

    Raises `SignatureMismatchError` if r or s is out of range, s is in the upper half (EIP-2), or no key fits.
    """
    try:
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([27 + parity])
    except OverflowError as error:
        raise _refused("r or s is outside the range of the curve") from error
    check_signature_bytes(signature)
    return to_checksum_address(recover_signer(digest, signature))


def verify_message(owner: str, message: str, signature: str) -> None:
    """Raise `SignatureMismatchError` unless `owner` (EIP-55) signed this text with a canonical signature."""
    signer = to_checksum_address(recover_signer(message_digest(message), parse_signature(signature)))
    if signer != owner:
        raise SignatureMismatchError(
            f"The ownership statement was signed by {signer} and not by {owner}.",
            hint="Sign with the key of the wallet that gives the allowance.",
            expected=owner,
            found=signer,
        )


def message_request(owner: str, message: str) -> dict[str, object]:
    """Return the EIP-1193 request by which a wallet signs this text."""
    return {"method": "personal_sign", "params": ["0x" + message.encode().hex(), owner]}


def _refused(why: str) -> SignatureMismatchError:
    return SignatureMismatchError(
        f"The signature cannot be used: {why}.", hint="Nothing was sent. Sign again with a wallet that follows EIP-191."
    )
