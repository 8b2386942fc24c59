"""The byte strings a Solana wallet may sign for one text: the text itself, or the text in an off-chain envelope.

Layouts, each after the 16 bytes `\\xffsolana offchain` and a version byte, for one signer:

    v0         application domain (32), format (1), count of signers (1), signers (32 each), length (u16, little
               endian), text. Anza's proposal "Off-chain message signing", solana-sdk from 3.0, Ledger Live, Kit.
    v0 legacy  format (1), length (u16), text: solana-sdk and CLI before 3.0, Ledger's Solana app before 1.8.
    v1         count of signers (1), signers, text: sRFC 38, Kit. Firmware of Ledger from before the final text puts a
               length (u16) in front of the text, so that both are tried.

Confirmed against the proposal (agave docs), solana-sdk `offchain-message`, Kit `offchain-messages` and LedgerHQ's
device-sdk-ts and ledger-live. A v0 application domain is any 32 bytes of the asking program's choice; only the default
of all of these, zeros, is tried. Where format 0 ends and 1 begins differs as well (whether a line feed is plain ASCII),
so each format that may hold the text is tried.

An envelope signed for one text never passes for another text: what stands between the readings (keys, counts, formats)
is outside the grammar of a statement, which is parsed from the whole text (chains/ownership.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_SIGNING_DOMAIN: Final = b"\xffsolana offchain"
_NO_APPLICATION: Final = bytes(32)
_LIMITED: Final = 1232  # formats 0 and 1: preamble and text together
_LONGEST: Final = 65535


def candidates(text: bytes, signer: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield each method and the bytes a wallet of the key `signer` signs by it, in a fixed order, raw first."""
    yield "ed25519-raw", text
    if not 0 < len(text) <= _LONGEST:
        return
    length = len(text).to_bytes(2, "little")
    one_signer = b"\x01" + signer
    v0, v1 = _SIGNING_DOMAIN + b"\x00", _SIGNING_DOMAIN + b"\x01"
    for format_ in _formats(text):
        payload = v0 + _NO_APPLICATION + format_ + one_signer + length + text
        if _fits(format_, payload):
            yield "ed25519-offchain-v0", payload
    for format_ in _formats(text):
        payload = v0 + format_ + length + text
        if _fits(format_, payload):
            yield "ed25519-offchain-v0-legacy", payload
    yield "ed25519-offchain-v1", v1 + one_signer + text
    yield "ed25519-offchain-v1", v1 + one_signer + length + text


def _formats(text: bytes) -> Iterator[bytes]:
    """Yield the message formats that may hold a UTF-8 text: 0 restricted ASCII, 1 limited UTF-8, 2 extended UTF-8."""
    if all(0x20 <= byte <= 0x7E or byte == 0x0A for byte in text):
        yield b"\x00"
    yield b"\x01"
    yield b"\x02"


def _fits(format_: bytes, payload: bytes) -> bool:
    return len(payload) <= (_LONGEST if format_ == b"\x02" else _LIMITED)
