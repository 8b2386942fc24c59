"""What the wallets that hold a private key have in common: they show their address, and never their key."""

from __future__ import annotations

from typing import NoReturn

from chains.errors import InvalidStatementError, WalletRefusedError


class KeyWallet:
    """A wallet that holds a private key in memory and signs without asking; it never broadcasts.

    Python cannot wipe the key from memory: whoever can read this process's memory has the key.
    """

    __slots__ = ("address", "derivation_path")

    address: str
    derivation_path: str | None
    """The path below the mnemonic's root, or None if the key did not come from a mnemonic."""
    sends: bool = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {getattr(self, 'address', 'without a key')}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A wallet holds a private key: it is never pickled, copied or sent to another process.")

    def _refuse_other_owner(self, sender: str) -> None:
        if sender != self.address:
            raise WalletRefusedError(
                f"This wallet is {self.address}, and the transaction is one of {sender}.",
                hint="Use the wallet of the owner.",
                expected=sender,
                found=self.address,
            )


def encode_text(message: str) -> bytes:
    """Return a text in UTF-8, as it is signed; raises `InvalidStatementError` if it is not Unicode text."""
    try:
        return message.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidStatementError(f"The message is not Unicode text: {error.reason}.") from error
