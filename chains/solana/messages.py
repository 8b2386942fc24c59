"""Signed messages of Solana wallets: raw Ed25519 over UTF-8 text, and never over what could be a transaction."""

from __future__ import annotations

from base64 import b64encode
from typing import Final

from chains.errors import InvalidStatementError, SignatureMismatchError
from chains.solana.addresses import parse_address, read_signature

SCHEME: Final = "ed25519"


def refuse_if_transaction(message: bytes) -> None:
    """Raise `InvalidStatementError` unless the bytes are plain text that can be nothing else.

    A raw signature over bytes that are a transaction message is the signature of that transaction: signing a text must
    not be a way to sign a transfer. Refused are bytes that parse as a transaction message of any version, a first byte
    from 0x80 on (versioned transactions and off-chain message envelopes), bytes that are not UTF-8, and every character
    that cannot be seen, except the line feed.
    """
    from solders.message import from_bytes_versioned

    reason = ""
    if not message or message[0] >= 0x80:
        reason = "it does not begin with a plain character"
    else:
        try:
            text = message.decode()
        except UnicodeDecodeError:
            reason = "it is not text in UTF-8"
        else:
            if not text.replace("\n", "").isprintable():
                reason = "it has characters that cannot be seen"
    if not reason:
        try:
            from_bytes_versioned(message)
        except ValueError:
            return
        reason = "it can be read as a Solana transaction"
    raise InvalidStatementError(
        f"This message must not be signed: {reason}.",
        hint="Nothing was signed. A statement is readable text; whoever asked for this may be after your tokens.",
        found=message[:200].hex(),
    )


def verify_message(owner: str, message: str, signature: str) -> None:
    """Raise `SignatureMismatchError` unless `owner` signed the UTF-8 bytes of this text; see `verify_signature`."""
    verify_signature(owner, message.encode(errors="surrogatepass"), signature)


def verify_signature(owner: str, message: bytes, signature: str) -> None:
    """Raise `SignatureMismatchError` unless `owner` signed these bytes; `signature` is base58 of 64 bytes of Ed25519.

    Strict (RFC 8032 and more): small-order keys, non-canonical encodings and S >= L are refused, so that a signature
    binds one key to one message. Raises `InvalidAddressError` for an owner that is not an address.
    """
    from solders.pubkey import Pubkey

    key = Pubkey.from_string(parse_address(owner))
    parsed = read_signature(signature)
    if parsed is None:
        raise SignatureMismatchError(
            "The signature is not 64 bytes in base58.",
            hint="A Solana wallet gives 64 bytes; encode them in base58, not in hex or base64.",
            found=signature[:200],
        )
    if not parsed.verify(key, message):
        raise SignatureMismatchError(
            f"{owner} did not sign this message.",
            hint="Sign exactly the message shown, with the key of this address, as raw Ed25519 over the text.",
            expected=owner,
            found=signature,
        )


def message_request(owner: str, message: str) -> dict[str, object]:
    """Return what a wallet app passes to its wallet to have a text signed (`signMessage` of the wallet standard).

    Raises `InvalidStatementError` for a text that must never be signed.
    """
    encoded = message.encode(errors="surrogatepass")
    refuse_if_transaction(encoded)
    return {
        "method": "signMessage",
        "message": message,
        "message_base64": b64encode(encoded).decode(),
        "address": owner,
    }
