"""No secret leaves a wallet: not by repr, text, log, pickle, exception or traceback (rule 38, attack A43)."""

from __future__ import annotations

import copy
import io
import json
import logging
import pickle
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from solders.keypair import Keypair

from chains.errors import ChainError
from chains.types import Family
from chains.wallets import EvmKeyWallet, SolanaKeyWallet, load_wallet, write_secret_file
from chains.wallets.keys import KeyWallet

EVM_KEY = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
KEYPAIR = Keypair.from_seed(b"planted seed of a solana key 123")
WORDS = "legal winner thank year wave sausage worth useful legal winner thank yellow"
PASSWORD = "planted-password-7"


def spellings(secret: bytes) -> list[str]:
    """Return the ways in which bytes end up in a text: hex, base58, decimal lists, and Python's own repr."""
    found = [secret.hex(), repr(secret)[2:-1], ", ".join(map(str, secret[:16])), ",".join(map(str, secret[:16]))]
    found.append(str(int.from_bytes(secret[:32], "big")))
    return found


PLANTED = [
    *spellings(bytes.fromhex(EVM_KEY)),
    *spellings(bytes(KEYPAIR)),
    *spellings(bytes(KEYPAIR)[:32]),
    str(KEYPAIR),
    "sausage",
    "yellow",
    PASSWORD,
]


def assert_clean(text: str) -> None:
    for secret in PLANTED:
        assert secret not in text, f"a secret stands in: {text[:200]}"


@pytest.fixture(name="wallet", params=["evm", "solana"])
def _wallet(request: pytest.FixtureRequest) -> KeyWallet:
    return EvmKeyWallet(EVM_KEY) if request.param == "evm" else SolanaKeyWallet(bytes(KEYPAIR))


def test_a_wallet_shows_its_address_and_nothing_else(wallet: KeyWallet) -> None:
    assert repr(wallet) == f"<{type(wallet).__name__} {wallet.address}>"
    for text in (str(wallet), f"{wallet}", f"{wallet!r}", format(wallet), f"{[wallet]}", str({"w": wallet})):
        assert wallet.address in text
        assert_clean(text)


def test_a_log_line_holds_no_key(wallet: KeyWallet) -> None:
    stream = io.StringIO()
    logger = logging.Logger("wallets")
    logger.addHandler(logging.StreamHandler(stream))
    logger.warning("signing with %s %r", wallet, wallet)
    assert wallet.address in stream.getvalue()
    assert_clean(stream.getvalue())


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_wallet_is_never_pickled(wallet: KeyWallet, protocol: int) -> None:
    with pytest.raises(TypeError, match="never pickled") as refused:
        pickle.dumps(wallet, protocol)
    assert_clean(str(refused.value))


def test_a_wallet_is_never_copied(wallet: KeyWallet) -> None:
    for make in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="never pickled"):
            make(wallet)


def test_a_wallet_has_no_dictionary_to_dump(wallet: KeyWallet) -> None:
    with pytest.raises(TypeError):
        vars(wallet)
    with pytest.raises(TypeError):
        json.dumps(wallet)


def report_of_failure(source: str, family: Family | None) -> str:
    """Return all that an error of `load_wallet` can be made to tell, with the locals of every frame."""
    try:
        load_wallet(source, family=family, password=lambda: PASSWORD)
    except ChainError as error:
        told = traceback.TracebackException.from_exception(error, capture_locals=True)
        chain: list[object] = [error.args, vars(error), error.__cause__, error.__context__]
        return "".join(told.format()) + repr(chain)
    raise AssertionError("the source was accepted")


def keystore(**changes: Any) -> str:
    document: dict[str, Any] = Account.encrypt(bytes.fromhex(EVM_KEY), PASSWORD, kdf="pbkdf2", iterations=10_000)
    return json.dumps({**document, **changes})


@pytest.mark.parametrize(
    ("text", "family"),
    [
        (EVM_KEY, "solana"),
        (EVM_KEY + "0", "evm"),
        ("x" + EVM_KEY, "evm"),
        ("f" * 32 + EVM_KEY[:32], "solana"),
        (str(KEYPAIR), "evm"),
        (str(KEYPAIR) + "1", "solana"),
        (str(KEYPAIR)[:-1] + "0", "solana"),
        (json.dumps(list(bytes(KEYPAIR))[:63]), "solana"),
        (json.dumps([*bytes(KEYPAIR)[:63], 999]), "solana"),
        (json.dumps(list(bytes(KEYPAIR)))[:-1], "solana"),
        (json.dumps(list(bytes(KEYPAIR)))[:-1] + ',"yellow"]', "solana"),
        (WORDS, None),
        (WORDS.replace("yellow", "sausage"), "evm"),
        (WORDS.replace("winner", "winnner"), "solana"),
        (WORDS + " yellow", "evm"),
        (keystore(address="0x" + "11" * 20), "evm"),
        (keystore(), "solana"),
        (keystore(version=EVM_KEY), "evm"),
        (keystore() + EVM_KEY, "evm"),
    ],
)
def test_a43_no_error_about_a_key_file_holds_its_content(text: str, family: Family | None, tmp_path: Path) -> None:
    write_secret_file(tmp_path / "key", text)
    report = report_of_failure(str(tmp_path / "key"), family)
    assert "KeyFileError" in report
    assert_clean(report)


def test_a43_no_error_about_a_file_that_is_not_text_holds_its_content(tmp_path: Path) -> None:
    write_secret_file(tmp_path / "key", "")
    (tmp_path / "key").write_bytes(b"\xff" + bytes(KEYPAIR) + EVM_KEY.encode())
    assert_clean(report_of_failure(str(tmp_path / "key"), None))


def test_a43_no_error_about_a_variable_holds_its_content(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWNER_KEY", "x" + EVM_KEY)
    assert_clean(report_of_failure("env:OWNER_KEY", "evm"))


def test_a43_no_error_of_a_wallet_made_from_a_bad_key_holds_it() -> None:
    for make, key in ((EvmKeyWallet, EVM_KEY + "0"), (SolanaKeyWallet, bytes(KEYPAIR)[:63])):
        with pytest.raises(ChainError) as refused:
            make(key)
        told = traceback.TracebackException.from_exception(refused.value, capture_locals=True)
        own = [frame for frame in told.stack if "wallets" in Path(frame.filename).parts]
        assert own
        assert_clean("".join(traceback.StackSummary.from_list(own).format()) + repr(refused.value.args))


def test_importing_the_wallets_imports_no_heavy_library() -> None:
    code = (
        "import sys, chains.wallets, chains.wallets.sources, chains.ownership\n"
        "heavy = {'eth_account', 'eth_keys', 'web3', 'solders', 'rlp', 'eth_utils', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_only_the_public_names_are_offered() -> None:
    import chains.wallets

    for name in chains.wallets.__all__:
        assert getattr(chains.wallets, name).__name__ == name
    with pytest.raises(AttributeError):
        _ = chains.wallets.absent
