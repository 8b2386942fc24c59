"""EVM addresses: read strictly, spelt with the EIP-55 checksum."""

from __future__ import annotations

import re
from typing import Final

from sha3 import keccak_256  # type: ignore[import-untyped]

from chains.errors import InvalidAddressError, quotable

ZERO_ADDRESS: Final = "0x" + "0" * 40

_HEX_ADDRESS: Final = re.compile(r"0[xX][0-9a-fA-F]{40}", re.ASCII)
_BASE58: Final = re.compile(r"[1-9A-HJ-NP-Za-km-z]{32,44}", re.ASCII)

# EIP-55: a letter is a capital where the digest of all digits has 8 or more.
_CAPITAL_MARKS: Final = bytes.maketrans(b"0123456789abcdef", bytes(8) + b"\x40" * 8)

# EIP-7702: the code of an account that runs another's code is this and the address of the other.
_DELEGATION: Final = bytes.fromhex("ef0100")
DELEGATED_CODE_SIZE: Final = len(_DELEGATION) + 20


def keccak256(data: bytes) -> bytes:
    """Return the Keccak-256 digest of `data` (the pre-standard padding that Ethereum uses, not SHA3-256)."""
    digest: bytes = keccak_256(data).digest()
    return digest


def to_checksum_address(address: bytes) -> str:
    """Return 20 address bytes in the mixed-case spelling of EIP-55."""
    lower = address.hex().encode()
    marks = keccak256(lower)[:20].hex().encode().translate(_CAPITAL_MARKS)
    # For all 40 at once: a letter has the bit 0x40 and a digit has not, and without its bit 0x20 a letter is a capital.
    capitals = int.from_bytes(lower) & int.from_bytes(marks)
    return "0x" + (int.from_bytes(lower) ^ capitals >> 1).to_bytes(40).decode()


def delegate_in(code: bytes) -> str | None:
    """Return the contract (EIP-55) whose code an account with this code runs (EIP-7702), None if it runs its own."""
    if len(code) == DELEGATED_CODE_SIZE and code.startswith(_DELEGATION):
        return to_checksum_address(code[len(_DELEGATION) :])
    return None


def parse_address(text: str) -> str:
    """Return the EIP-55 spelling of an address that somebody gave.

    All-lower-case and all-upper-case digits carry no checksum and are accepted; mixed case must match EIP-55.
    Raises `InvalidAddressError` for everything else: other lengths, other characters, names, Solana addresses.
    """
    if not _HEX_ADDRESS.fullmatch(text):
        raise InvalidAddressError(
            _explain(text), hint="Give 0x followed by 40 hexadecimal digits.", found=quotable(text)
        )
    digits = text[2:]
    address = to_checksum_address(bytes.fromhex(digits))
    if digits not in {digits.lower(), digits.upper(), address[2:]}:
        raise InvalidAddressError(
            f"{text} fails its checksum (EIP-55): at least one character was mistyped or changed.",
            hint="Copy the address again from its source; do not correct it by hand.",
            expected=address,
            found=text,
        )
    return address


def _explain(text: str) -> str:
    shown = repr(quotable(text))
    if re.fullmatch(r"[0-9a-fA-F]{40}", text, re.ASCII):
        return f"{shown} lacks the leading 0x."
    if text[:2].lower() == "0x":
        if re.fullmatch(r"[0-9a-fA-F]*", text[2:], re.ASCII):
            return f"{shown} is not an address: it has {len(text) - 2} hexadecimal digits instead of 40."
        return f"{shown} is not an address: it holds characters that are not hexadecimal digits."
    if "." in text:
        return f"{shown} is a name, not an address; names are not resolved here."
    if _BASE58.fullmatch(text):
        return f"{shown} is a Solana address; this network needs an Ethereum address."
    return f"{shown} is not an Ethereum address."
