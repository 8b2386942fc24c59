"""A wallet that holds one Ed25519 key of Solana."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from chains.errors import KeyFileError, SigningError, WalletRefusedError
from chains.family import verify_ownership, verify_signed
from chains.types import Family, OwnershipSignature, SignedTransaction, SolanaTransaction, UnsignedTransaction
from chains.wallets.keys import KeyWallet, encode_text

if TYPE_CHECKING:
    from solders.keypair import Keypair


class SolanaKeyWallet(KeyWallet):
    """A Solana wallet in memory; `secret_key` is 64 bytes, seed and public key, or their base58 text.

    Raises `KeyFileError` if that is no key, or if its two halves do not belong together.
    """

    # str() of a solders Keypair is the base58 of the secret: it is never formatted here.
    __slots__ = ("_keypair",)

    family: Family = "solana"

    def __init__(self, secret_key: bytes | str, *, derivation_path: str | None = None) -> None:
        keypair = _keypair(secret_key)
        del secret_key  # not in the locals of a traceback
        if keypair is None:
            raise KeyFileError(
                "This is not a Solana key.",
                hint="Such a key is 64 bytes, 32 of a seed and 32 of the public key that belongs to it.",
            )
        self._keypair = keypair
        self.address = str(keypair.pubkey())
        self.derivation_path = derivation_path

    async def authorise(self, transaction: UnsignedTransaction) -> SignedTransaction:
        """Return the transaction with its one signature, verified from its bytes."""
        from chains.solana.transactions import attach_signature

        if not isinstance(transaction, SolanaTransaction):
            raise WalletRefusedError("This wallet signs for Solana, not for EVM networks.", hint="Use an EVM wallet.")
        self._refuse_other_owner(transaction.sender)
        try:
            message = base64.b64decode(transaction.message, validate=True)
        except ValueError as error:
            raise SigningError("The transaction is not base64.", hint="Nothing was signed.") from error
        signed = attach_signature(transaction, bytes(self._keypair.sign_message(message)))
        verify_signed(transaction, signed)
        return signed

    async def sign_message(self, message: str) -> str:
        """Return the raw Ed25519 signature of a text in UTF-8 as base58, verified from its bytes.

        A text that reads as a transaction is never signed: its signature would be the transaction's (attack A32).
        """
        from chains.solana.messages import refuse_if_transaction

        data = encode_text(message)
        refuse_if_transaction(data)
        signature = str(self._keypair.sign_message(data))
        verify_ownership("solana", self.address, OwnershipSignature(message, signature, "ed25519"))
        return signature


def is_keypair(text: str) -> bool:
    """Return whether a text is a Solana key in base58, and not a signature, which has as many bytes.

    The second half of a key is the public key of its first half.
    """
    return _keypair(text) is not None


def _keypair(secret_key: bytes | str) -> Keypair | None:
    from solders.keypair import Keypair
    from solders.signature import Signature

    try:
        if isinstance(secret_key, str):
            # A key and a signature are both base58 of 64 bytes; Keypair's own reader panics on bad text.
            secret_key = bytes(Signature.from_string(secret_key))
        return Keypair.from_bytes(secret_key)
    except ValueError:
        return None
