"""Wallets: keys in files and in the environment, and wallets elsewhere that sign and send by themselves.

Each is a `chains.types.Wallet`. Every signature is verified from its bytes before it leaves the wallet.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chains.wallets.evm import EvmKeyWallet
    from chains.wallets.files import write_secret_file
    from chains.wallets.sending import SendingWallet
    from chains.wallets.solana import SolanaKeyWallet
    from chains.wallets.sources import load_wallet

__all__ = ["EvmKeyWallet", "SendingWallet", "SolanaKeyWallet", "load_wallet", "write_secret_file"]

_HOMES = {
    "EvmKeyWallet": "chains.wallets.evm",
    "SendingWallet": "chains.wallets.sending",
    "SolanaKeyWallet": "chains.wallets.solana",
    "load_wallet": "chains.wallets.sources",
    "write_secret_file": "chains.wallets.files",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
