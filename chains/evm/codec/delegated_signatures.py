"""Signatures that bring an EIP-7702 authorisation with them (ERC-8010, a draft), read from their bytes.

Layout: the signature itself, then the ABI encoding of `((uint256 chainId, address delegation, uint256 nonce, uint8
yParity, uint256 r, uint256 s), address to, bytes data)`, its length as one word, and the suffix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from chains.errors import SignatureMismatchError
from chains.evm.addresses import keccak256, to_checksum_address
from chains.evm.codec.rlp import encode_bytes, encode_integer, encode_list
from chains.evm.codec.signatures import recover_signer

SUFFIX: Final = bytes.fromhex("8010" * 16)
_AUTHORISATION_MAGIC: Final = b"\x05"  # EIP-7702
_HEAD: Final = 8 * 32


@dataclass(frozen=True, slots=True)
class DelegatedSignature:
    """A signature of an account that is to run the code of `delegate`, as `signer` authorised by its key.

    `chain_id` is 0 for every chain; `nonce` is the one that the account must have. `data` is sent to `initialiser`
    first, unless it is empty.
    """

    signature: bytes
    delegate: str
    chain_id: int
    nonce: int
    signer: str
    initialiser: str
    data: bytes


def read_delegated(wrapped: bytes) -> DelegatedSignature:
    """Return what a wrapped signature holds; raises `SignatureMismatchError` if it is not wrapped so."""
    body = wrapped[: -len(SUFFIX)]
    length = int.from_bytes(body[-32:], "big")
    body = body[:-32]
    if not wrapped.endswith(SUFFIX) or not _HEAD <= length <= len(body):
        raise _unreadable()
    signature, suffix = body[: len(body) - length], body[len(body) - length :]
    words = [suffix[at : at + 32] for at in range(0, _HEAD, 32)]
    numbers = [int.from_bytes(word, "big") for word in words]
    chain_id, _, nonce, parity, _, _, _, offset = numbers
    size = suffix[offset : offset + 32]
    start, end = offset + 32, offset + 32 + int.from_bytes(size, "big")
    addresses = (words[1], words[6])
    if parity > 1 or any(any(word[:12]) for word in addresses) or offset < _HEAD or len(size) < 32 or end > len(suffix):
        raise _unreadable()
    delegate, initialiser = (word[12:] for word in addresses)
    message = encode_list([encode_integer(chain_id), encode_bytes(delegate), encode_integer(nonce)])
    digest = keccak256(_AUTHORISATION_MAGIC + message)
    signer = recover_signer(digest, words[4] + words[5] + bytes([27 + parity]))
    return DelegatedSignature(
        signature,
        to_checksum_address(delegate),
        chain_id,
        nonce,
        to_checksum_address(signer),
        to_checksum_address(initialiser),
        suffix[start:end],
    )


def _unreadable() -> SignatureMismatchError:
    return SignatureMismatchError("The wrapping of the signature (ERC-8010) cannot be read.")
