"""A wallet elsewhere that signs and sends by itself: a browser wallet, a phone behind WalletConnect, a device."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final

from chains.errors import SignatureMismatchError, WalletRefusedError
from chains.evm.addresses import parse_address
from chains.family import message_request, signature_scheme, transaction_request, verify_ownership
from chains.types import Family, OwnershipSignature, SentTransaction, UnsignedTransaction
from chains.wallets.keys import encode_text

_EVM_HASH: Final = re.compile(r"0x[0-9a-fA-F]{64}")
_USER_REJECTED: Final = 4001  # EIP-1193


class SendingWallet:
    """A wallet that is asked through `ask` and broadcasts its transactions itself.

    `ask` gets one dictionary, exactly what `chains.family.transaction_request` or `message_request` returns, and
    returns the transaction's hash (Solana: its base58 signature), or the signature of the text. If the person says no
    it raises `WalletRefusedError`, or its wallet's own error with `code` 4001 (EIP-1193), which becomes one.
    """

    __slots__ = ("_ask", "address", "family", "sends")

    def __init__(self, address: str, family: Family, ask: Callable[[dict[str, object]], Awaitable[str]]) -> None:
        if family == "evm":
            # Browser wallets name their accounts in lower case; Solana has one spelling only.
            address = parse_address(address)
        self.address = address
        self.family = family
        self.sends = True
        self._ask = ask

    def __repr__(self) -> str:
        return f"<SendingWallet {self.address}>"

    async def authorise(self, transaction: UnsignedTransaction) -> SentTransaction:
        """Return the hash of the transaction that the wallet signed and sent.

        Raises `WalletRefusedError` on a no, and `SignatureMismatchError` if the answer is not a transaction's hash.
        """
        if transaction.kind != self.family or transaction.sender != self.address:
            raise WalletRefusedError(
                f"This wallet is {self.address}, and the transaction is one of {transaction.sender}.",
                hint="Use the wallet of the owner.",
                expected=transaction.sender,
                found=self.address,
            )
        return read_hash(self.family, await self._ask_for(transaction_request(transaction)))

    async def sign_message(self, message: str) -> str:
        """Return the wallet's signature of a text, verified from its bytes; raises `WalletRefusedError` on a no."""
        encode_text(message)
        signature = await self._ask_for(message_request(self.family, self.address, message))
        scheme = signature_scheme(self.family)
        verify_ownership(self.family, self.address, OwnershipSignature(message, signature, scheme))
        return signature

    async def _ask_for(self, request: dict[str, object]) -> str:
        try:
            return await self._ask(request)
        except Exception as error:
            if getattr(error, "code", None) == _USER_REJECTED:
                raise WalletRefusedError(
                    "The wallet refused: its user said no.", hint="Nothing was signed. Try again to ask once more."
                ) from error
            raise


def read_hash(family: Family, answer: str) -> SentTransaction:
    """Return the transaction whose hash, or base58 signature, a wallet answered; raises `SignatureMismatchError`."""
    return SentTransaction(_read_evm_hash(answer) if family == "evm" else _read_solana_hash(answer))


def _read_evm_hash(answer: str) -> str:
    if not _EVM_HASH.fullmatch(answer):
        raise _not_a_hash(answer, "0x and 64 hexadecimal digits", "The id of an EIP-5792 bundle is not a hash. ")
    return answer.lower()


def _read_solana_hash(answer: str) -> str:
    from solders.signature import Signature

    try:
        return str(Signature.from_string(answer))
    except ValueError:
        raise _not_a_hash(answer, "base58 of 64 bytes", "") from None


def _not_a_hash(answer: str, expected: str, note: str) -> SignatureMismatchError:
    shown = answer if len(answer) <= 80 else answer[:80] + "…"
    return SignatureMismatchError(
        f"The wallet answered {shown!r}, which is not the hash of a transaction. {note}It may have sent one.",
        hint="Look in the wallet for the transaction it sent, before anything is signed again.",
        expected=expected,
        found=shown,
    )
