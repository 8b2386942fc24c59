"""What a Solana wallet may sign for one text: the text itself, or the text in an off-chain envelope.

Layouts, each after the 16 bytes `\\xffsolana offchain` and a version byte:

    v0         application domain (32), format (1), count of signers (1), signers (32 each), length (u16, little
               endian), text. Anza's proposal "Off-chain message signing", solana-sdk from 3.0, Ledger Live, Kit.
    v0 legacy  format (1), length (u16), text: solana-sdk and CLI before 3.0, Ledger's Solana app before 1.8.
    v1         count of signers (1), signers, text: sRFC 38, Kit. Firmware of Ledger from before the final text puts a
               length (u16) in front of the text, so that both are tried.

Confirmed against the proposal (agave docs), solana-sdk `offchain-message`, Kit `offchain-messages` and LedgerHQ's
device-sdk-ts and ledger-live.

A signature alone, 64 bytes, is tried over the text and over the envelopes whose other fields are known: the owner is
the one signer, and a v0 application domain (any 32 bytes of the asking program's choice) is zeros, the default of all
of these. Where format 0 ends and 1 begins differs (whether a line feed is plain ASCII), so each format that may hold
the text is tried. With other domains and signers the whole signed envelope is needed, which is what Ledger's devices
and Kit's `OffchainMessageEnvelope` give: count of signatures (1), signatures (64 each, zeros where one is still
missing), and the bytes that they are over.

An envelope signed for one text never passes for another text: what stands between the readings (keys, counts, formats)
is outside the grammar of a statement, which is parsed from the whole text (chains/ownership.py).
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from chains.errors import NodeError
from chains.solana.addresses import read_signature
from chains.solana.answers import base58_bytes

_SIGNING_DOMAIN: Final = b"\xffsolana offchain"
_NO_APPLICATION: Final = bytes(32)
_LIMITED: Final = 1232  # formats 0 and 1: preamble and text together
_LONGEST: Final = 65535
_KEY: Final = 32
_SIGNATURE: Final = 64
_FORMATS: Final = (0, 1, 2)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A signed envelope: its signatures, and the bytes that they are over."""

    signatures: tuple[bytes, ...]
    content: bytes


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read what is signed by an envelope; the old layout names no signers and no application."""

    method: str
    text: bytes
    signers: tuple[bytes, ...] = ()
    application: bytes = b""


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


def read_signed(text: str) -> tuple[bytes | Envelope | None, str | None]:
    """Return what a text holds in base58 or base64: 64 bytes of a signature, a signed envelope, or None for neither.

    With it the label `base64` for 64 bytes in base64, because a signature is written in base58.
    """
    signature = read_signature(text)
    if signature is not None:
        return bytes(signature), None
    in_base64 = _from_base64(text)
    for raw in (_from_base58(text), in_base64):
        envelope = None if raw is None else _split(raw)
        if envelope is not None:
            return envelope, None
    return (in_base64, "base64") if in_base64 is not None and len(in_base64) == _SIGNATURE else (None, None)


def read_envelope(envelope: Envelope) -> list[Reading] | None:
    """Return each way to read what an envelope's signatures are over, None for a version or format not known here.

    There is none where the bytes do not have the layout of their version. A v1 text may begin with what looks like a
    length, so that there can be two. There need not be as many signatures as signers: a device gives its own alone.
    """
    content, start = envelope.content, len(_SIGNING_DOMAIN) + 1
    version, rest = content[start - 1 : start], content[start:]
    if version == b"\x01":
        signers, text = _take_signers(rest)
        texts = [text, text[2:]] if _has_length(text) else [text]
        return [Reading("ed25519-offchain-v1", one, signers) for one in texts if signers]
    if version != b"\x00":
        return None
    readings = []
    application, format_, after = rest[:_KEY], rest[_KEY : _KEY + 1], rest[_KEY + 1 :]
    signers, text = _take_signers(after)
    is_current = bool(signers) and _has_length(text)
    if is_current and format_[0] in _FORMATS:
        readings.append(Reading("ed25519-offchain-v0", text[2:], signers, application))
    is_legacy = _has_length(rest[1:])
    if is_legacy and rest[0] in _FORMATS:
        readings.append(Reading("ed25519-offchain-v0-legacy", rest[3:]))
    return None if not readings and (is_current or is_legacy) else readings


def base58(data: bytes) -> str:
    """Return 32 bytes as Solana writes them."""
    from solders.pubkey import Pubkey

    return str(Pubkey.from_bytes(data))


def _split(raw: bytes) -> Envelope | None:
    """Return the envelope that bytes are, None unless signatures and then the signing domain are there."""
    count = raw[0] if raw else 0
    content = raw[1 + _SIGNATURE * count :]
    if not count or not content.startswith(_SIGNING_DOMAIN):
        return None
    starts = range(1, 1 + _SIGNATURE * count, _SIGNATURE)
    return Envelope(tuple(raw[start : start + _SIGNATURE] for start in starts), content)


def _take_signers(data: bytes) -> tuple[tuple[bytes, ...], bytes]:
    """Return the keys at the front of bytes, counted by the first, and what follows; no keys if they are not there."""
    count = data[0] if data else 0
    end = 1 + _KEY * count
    if not count or len(data) < end:
        return (), b""
    return tuple(data[start : start + _KEY] for start in range(1, end, _KEY)), data[end:]


def _has_length(data: bytes) -> bool:
    """Return whether bytes are a length and a text of it, which is not empty."""
    return len(data) > 2 and int.from_bytes(data[:2], "little") == len(data) - 2


def _from_base58(text: str) -> bytes | None:
    try:
        return base58_bytes(text)
    except NodeError:
        return None


def _from_base64(text: str) -> bytes | None:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        return None
