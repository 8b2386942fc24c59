"""Web3 Secret Storage version 3: a private key of the EVM networks encrypted with a password."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from chains.errors import KeyFileError
from chains.json_text import decode_json
from chains.wallets.evm import EvmKeyWallet

_HEX: Final = re.compile(r"(?:0x)?(?:[0-9a-fA-F]{2})*")
_ADDRESS: Final = re.compile(r"(?:0x)?[0-9a-fA-F]{40}")

# Weaker than these protects nothing, and stronger would stop this machine (attack A44). Keystores in use begin at
# scrypt n=2^12, r=8, p=6 (geth --lightkdf); new ones ought to have 2^18 or more (rule 38).
_SCRYPT_LEAST_WORK: Final = 2**15  # n*r
_SCRYPT_MOST_MEMORY: Final = 2**30  # 128*n*r bytes
_SCRYPT_MOST_WORK: Final = 2**24  # n*r*p
_PBKDF2_ITERATIONS: Final = range(10_000, 10_000_001)


def is_keystore(text: str) -> bool:
    """Return whether a text is meant as a keystore."""
    return text.startswith("{")


def open_keystore(text: str, password: Callable[[], str] | None) -> EvmKeyWallet:
    """Return the wallet of a keystore; `password` is called once, after everything else has been checked.

    Raises `KeyFileError` if the keystore is malformed, its key derivation is absurdly weak or costly, the password is
    wrong, or the key is not the one of its `address` field.
    """
    keystore = _read(text)
    if password is None:
        raise KeyFileError("The keystore needs its password.", hint="Give the password when asked for it.")
    from eth_account import Account

    try:
        private_key = bytes(Account.decrypt(keystore, password()))
    except ValueError:
        private_key = None
    if private_key is None:
        raise KeyFileError(
            "The keystore does not open: the password is wrong, or the file is damaged (its MAC does not match).",
            hint="Try the password again.",
        )
    wallet = EvmKeyWallet(private_key)
    del private_key  # not in the locals of a traceback
    claimed = keystore.get("address")
    if claimed is not None and wallet.address[2:].lower() != claimed.lower().removeprefix("0x"):
        raise KeyFileError(
            f"The keystore says that it holds the key of 0x{claimed.lower().removeprefix('0x')}, but holds that of "
            f"{wallet.address}.",
            hint="The file was altered or damaged; restore it from a copy.",
            expected=claimed,
            found=wallet.address,
        )
    return wallet


def _read(text: str) -> dict[str, Any]:
    """Return the keystore with its top-level names in lower case; some old programs wrote `Crypto`."""
    try:
        document = decode_json(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        _refuse("it is not a JSON object")
    keystore = {name.lower(): value for name, value in document.items()}
    if keystore.get("version") != 3:
        _refuse("its version is not 3")
    crypto = _mapping(keystore, "crypto")
    _check_cipher(crypto)
    _check_key_derivation(crypto)
    address = keystore.get("address")
    if address is not None and not (isinstance(address, str) and _ADDRESS.fullmatch(address)):
        _refuse("its address is malformed")
    return keystore


def _check_cipher(crypto: Mapping[str, Any]) -> None:
    if crypto.get("cipher") != "aes-128-ctr":
        _refuse("its cipher is not aes-128-ctr")
    _hex(crypto, "ciphertext", 32)
    _hex(crypto, "mac", 32)
    _hex(_mapping(crypto, "cipherparams"), "iv", 16)


def _check_key_derivation(crypto: Mapping[str, Any]) -> None:
    parameters = _mapping(crypto, "kdfparams")
    _hex(parameters, "salt", None)
    if _number(parameters, "dklen") != 32:
        _refuse("its dklen is not 32")
    if crypto.get("kdf") == "scrypt":
        _check_scrypt(*(_number(parameters, name) for name in "nrp"))
    elif crypto.get("kdf") == "pbkdf2":
        if parameters.get("prf") != "hmac-sha256" or _number(parameters, "c") not in _PBKDF2_ITERATIONS:
            _refuse("its PBKDF2 parameters are not hmac-sha256 with a sane number of iterations")
    else:
        _refuse("its kdf is neither scrypt nor pbkdf2")


def _check_scrypt(n: int, r: int, p: int) -> None:
    weak = n * r < _SCRYPT_LEAST_WORK
    costly = 128 * n * r > _SCRYPT_MOST_MEMORY or n * r * p > _SCRYPT_MOST_WORK
    if n & (n - 1) or weak or costly:
        _refuse("its scrypt parameters n, r and p are absurd")


def _mapping(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = parent.get(name)
    if not isinstance(value, dict):
        _refuse(f"its {name} is missing")
    return value


def _hex(parent: Mapping[str, Any], name: str, length: int | None) -> None:
    value = parent.get(name)
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        _refuse(f"its {name} is not hexadecimal")
    if length is not None and len(value.removeprefix("0x")) != 2 * length:
        _refuse(f"its {name} is not {length} bytes long")


def _number(parent: Mapping[str, Any], name: str) -> int:
    value = parent.get(name)
    if type(value) is not int or value < 1:
        _refuse(f"its {name} is not a positive integer")
    return value


def _refuse(reason: str) -> NoReturn:
    raise KeyFileError(f"This is not a usable keystore: {reason}.", hint="Use a Web3 Secret Storage file of version 3.")
