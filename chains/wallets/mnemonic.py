"""Keys from a BIP-39 mnemonic: BIP-32 for the EVM networks, SLIP-10 for Solana."""

from __future__ import annotations

import re
from typing import Final

from chains.errors import KeyFileError
from chains.types import Family
from chains.wallets.evm import EvmKeyWallet
from chains.wallets.solana import SolanaKeyWallet

DEFAULT_PATHS: Final[dict[Family, str]] = {"evm": "m/44'/60'/0'/0/0", "solana": "m/44'/501'/0'/0'"}

_WORD_COUNTS: Final = (12, 15, 18, 21, 24)
_STEP: Final = r"(?:0|[1-9][0-9]{0,9})"
_PATHS: Final[dict[Family, re.Pattern[str]]] = {
    "evm": re.compile(rf"m(?:/{_STEP}'?){{1,10}}"),
    # SLIP-10 knows only hardened steps for Ed25519; the library would harden the others in silence.
    "solana": re.compile(rf"m(?:/{_STEP}'){{1,10}}"),
}


def is_mnemonic(text: str) -> bool:
    """Return whether a text has a mnemonic's number of words."""
    return len(text.split()) in _WORD_COUNTS


def open_mnemonic(text: str, family: Family, path: str | None = None) -> EvmKeyWallet | SolanaKeyWallet:
    """Return the wallet at a path below a mnemonic, without passphrase; the wallet names its path.

    The default paths are those of the usual wallets; other programs derive other addresses from the same words, so
    show the path and the address. Raises `KeyFileError` for words that are no mnemonic and for a malformed path.
    """
    path = path or DEFAULT_PATHS[family]
    if not _PATHS[family].fullmatch(path) or any(int(step) >= 2**31 for step in re.findall(r"[0-9]+", path)):
        raise KeyFileError(
            f"{path!r} is not a derivation path of this kind of network.",
            hint=f"Write it like {DEFAULT_PATHS[family]}; on Solana every step ends in '.",
        )
    seed = _seed(text)
    if seed is None:
        raise KeyFileError(
            "These words are not a mnemonic: a word is unknown, or the last one does not check the others (BIP-39).",
            hint="Compare each word and their order with your copy.",
        )
    if family == "evm":
        from eth_account.hdaccount import key_from_seed

        return EvmKeyWallet(key_from_seed(seed, path), derivation_path=path)
    from solders.keypair import Keypair

    return SolanaKeyWallet(bytes(Keypair.from_seed_and_derivation_path(seed, path)), derivation_path=path)


def _seed(text: str) -> bytes | None:
    from eth_account.hdaccount import seed_from_mnemonic
    from eth_utils.exceptions import ValidationError

    try:
        return seed_from_mnemonic(" ".join(text.split()), "")
    except ValidationError:
        return None  # its message holds the words
