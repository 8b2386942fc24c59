"""Where a wallet's key comes from: a file or an environment variable, never the name of the wallet itself."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from chains.errors import KeyFileError
from chains.json_text import decode_json
from chains.types import Family
from chains.wallets.evm import HEX_KEY, EvmKeyWallet
from chains.wallets.files import read_secret_file
from chains.wallets.keystore import is_keystore, open_keystore
from chains.wallets.mnemonic import is_mnemonic, open_mnemonic
from chains.wallets.solana import SolanaKeyWallet

_SOURCE: Final = re.compile(
    r"(?:(?P<kind>key|keystore|mnemonic|id|env):)?(?P<place>.+?)(?:#(?P<path>m/[0-9/']*))?", re.DOTALL
)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Keys, and keys with a few characters lost; no path to a file looks like this.
_LOOKS_SECRET: Final = re.compile(r"(?:0x)?[0-9a-fA-F]{60,}|[1-9A-HJ-NP-Za-km-z]{80,}|\s*[\[{].*", re.DOTALL)
_MANY_WORDS: Final = 10

_HOLDS: Final = {
    "key": "a private key (64 hexadecimal digits, or base58 of a Solana key)",
    "keystore": "a keystore of version 3",
    "mnemonic": "a mnemonic",
    "id": "a Solana id.json",
}


def load_wallet(
    source: str, *, family: Family | None = None, password: Callable[[], str] | None = None
) -> EvmKeyWallet | SolanaKeyWallet:
    """Return the wallet of a source.

    A source is a path, whose content tells what it is; `key:`, `keystore:`, `mnemonic:` or `id:` before a path demands
    that content; `env:NAME` reads a private key, keystore, id.json or mnemonic from the environment. For a mnemonic
    `#m/…` at the end chooses another derivation path, and `family` is needed. `password` is called for a keystore.

    Raises `KeyFileError` if the source is itself a secret, if the file is not a regular file of ours that nobody else
    can read, if it holds no key, or if the key is not one of `family`. No secret is in the error or its traceback.
    """
    try:
        return _load(source, family, password)
    except KeyFileError as error:
        # The frames below here have secrets among their locals, which some traceback printers show (attack A43).
        failure = error.with_traceback(None)
    failure.__context__ = None
    raise failure


def _load(source: str, family: Family | None, password: Callable[[], str] | None) -> EvmKeyWallet | SolanaKeyWallet:
    match = _SOURCE.fullmatch(source)
    if match is None:
        raise KeyFileError("No wallet was named.", hint="Name a key file, or env:NAME.")
    kind, place, path = match["kind"], match["place"], match["path"]
    if _LOOKS_SECRET.fullmatch(place) or len(place.split()) >= _MANY_WORDS:
        raise KeyFileError(
            "This looks like a key itself. A key is never named, only where it is kept: other programs can read what a "
            "program is called with, and shells keep it.",
            hint="Put the key into a file with mode 0600 and name the file. Consider this key as known to others.",
        )
    if kind == "env":
        name, text = f"The environment variable {place}", _read_variable(place)
    else:
        name, text = f"The key file {place}", read_secret_file(Path(place).expanduser())
    text = text.strip()
    found = _recognise(text)
    if found is None or (kind in _HOLDS and kind != found):
        raise KeyFileError(
            f"{name} does not hold {_HOLDS.get(kind, 'a key that can be read')}.",
            hint="A source is " + ", or ".join(_HOLDS.values()) + ".",
        )
    if path is not None and found != "mnemonic":
        raise KeyFileError(f"{name} holds no mnemonic, so it has no derivation path.", hint="Leave out the #m/… part.")
    wallet = _open(found, text, name, family, path, password)
    if family is not None and wallet.family != family:
        networks = {"evm": "EVM networks", "solana": "Solana"}
        raise KeyFileError(
            f"{name} holds a key of {networks[wallet.family]}, and this needs one of {networks[family]}.",
            hint="Name the wallet of the owner on this network.",
            expected=family,
            found=wallet.family,
        )
    return wallet


def _read_variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise KeyFileError("What follows env: is not the name of a variable.", hint="Write env:NAME.")
    text = os.environ.get(name, "")
    if not text.strip():
        raise KeyFileError(f"The environment variable {name} is not set.", hint=f"Set {name}, or name a key file.")
    return text


def holds_key(text: str) -> bool:
    """Return whether a text is what a key file holds, for where somebody names one by mistake."""
    text = text.strip()
    kind = _recognise(text)
    if kind != "id":
        return kind is not None
    try:
        # Other texts begin with a bracket too, such as a statement whose domain is an IPv6 address.
        return isinstance(decode_json(text), list)
    except ValueError:
        return False


def _recognise(text: str) -> str | None:
    if is_keystore(text):
        return "keystore"
    if text.startswith("["):
        return "id"
    if HEX_KEY.fullmatch(text) or _is_base58_of_64_bytes(text):
        return "key"
    return "mnemonic" if is_mnemonic(text) else None


def _is_base58_of_64_bytes(text: str) -> bool:
    if not 64 <= len(text) <= 88:
        return False
    from solders.signature import Signature

    try:
        Signature.from_string(text)
    except ValueError:
        return False
    return True


def _open(
    kind: str, text: str, name: str, family: Family | None, path: str | None, password: Callable[[], str] | None
) -> EvmKeyWallet | SolanaKeyWallet:
    if kind == "keystore":
        return open_keystore(text, password)
    if kind == "id":
        return SolanaKeyWallet(_read_id_json(text))
    if kind == "key":
        return EvmKeyWallet(text) if HEX_KEY.fullmatch(text) else SolanaKeyWallet(text)
    if family is None:
        raise KeyFileError(
            f"{name} holds a mnemonic, which has a key for every kind of network.", hint="Name the network as well."
        )
    return open_mnemonic(text, family, path)


def _read_id_json(text: str) -> bytes:
    """Return the 64 bytes that `solana-keygen` writes as a JSON array; empty if they are not there."""
    try:
        numbers = decode_json(text)
        if all(type(number) is int for number in numbers):
            return bytes(numbers)
    except (ValueError, RecursionError):
        pass
    return b""
