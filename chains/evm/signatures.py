"""EIP-191 signatures of texts: the digest, and verification that refuses every malleable or unusual form."""

from __future__ import annotations

import re
from typing import Final

from chains.errors import SignatureMismatchError
from chains.evm.addresses import keccak256

# SEC 2, section 2.4.1.
SECP256K1_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

_SIGNATURE: Final = re.compile(r"0x[0-9a-fA-F]{130}", re.ASCII)


def message_digest(message: str) -> bytes:
    """Return the digest that a wallet signs for a text: EIP-191 version 0x45, with the length in UTF-8 bytes."""
    body = message.encode()
    return keccak256(b"\x19Ethereum Signed Message:\n%d" % len(body) + body)


def recover_address(digest: bytes, parity: int, r: int, s: int) -> str:
    """Return the EIP-55 address whose key signed `digest`; `parity` is 0 or 1.

    Raises `SignatureMismatchError` if r or s is out of range, s is in the upper half (EIP-2), or no key fits.
    """
    from eth_keys.datatypes import Signature
    from eth_keys.exceptions import BadSignature
    from eth_utils.exceptions import ValidationError

    if not (0 < r < SECP256K1_ORDER and 0 < s < SECP256K1_ORDER):
        raise _refused("r or s is outside the range of the curve")
    if s > SECP256K1_ORDER // 2:
        raise _refused("s is in the upper half of the curve (EIP-2)")
    try:
        key = Signature(vrs=(parity, r, s)).recover_public_key_from_msg_hash(digest)
    except (BadSignature, ValidationError) as error:
        raise _refused("no key can have made it") from error
    address: str = key.to_checksum_address()
    return address


def verify_message(owner: str, message: str, signature: str) -> None:
    """Raise `SignatureMismatchError` unless `owner` (EIP-55) signed this text.

    Strict (rule 28): 0x and 65 bytes; r and s in range; s in the lower half of the curve (EIP-2); v 27 or 28. Other
    spellings of the same signature are refused, because the platform would be given something else than was checked.
    """
    if not _SIGNATURE.fullmatch(signature):
        raise _refused(f"it must be 0x and 130 hexadecimal digits, and has {len(signature)} characters")
    data = bytes.fromhex(signature[2:])
    r, s, v = int.from_bytes(data[:32], "big"), int.from_bytes(data[32:64], "big"), data[64]
    if v not in {27, 28}:
        raise _refused(f"its last byte v is {v} instead of 27 or 28")
    signer = recover_address(message_digest(message), v - 27, r, s)
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
