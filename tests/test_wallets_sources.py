"""Where keys come from: every kind of file, told by its content, and every file that must not be used."""

from __future__ import annotations

import hmac
import json
import os
import struct
from collections.abc import Callable
from hashlib import pbkdf2_hmac
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from solders.keypair import Keypair

from chains.errors import KeyFileError
from chains.types import Family
from chains.wallets import EvmKeyWallet, SolanaKeyWallet, load_wallet, write_secret_file

EVM_KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
EVM_ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
KEYPAIR = Keypair.from_seed(bytes(range(32)))
SOLANA_ADDRESS = str(KEYPAIR.pubkey())
JUNK = "test test test test test test test test test test test junk"
ABANDON = "abandon " * 11 + "about"

# The test vectors of the Web3 Secret Storage definition; the password is "testpassword".
KEYSTORE_ADDRESS = "0x008AeEda4D805471dF9b2A5B0f38A0C3bCBA786b"
PBKDF2_KEYSTORE: dict[str, Any] = {
    "crypto": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
        "kdf": "pbkdf2",
        "kdfparams": {
            "c": 262144,
            "dklen": 32,
            "prf": "hmac-sha256",
            "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd",
        },
        "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2",
    },
    "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
    "version": 3,
}
SCRYPT_KEYSTORE: dict[str, Any] = {
    "crypto": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "83dbcc02d8ccb40e466191a123791e0e"},
        "ciphertext": "d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c",
        "kdf": "scrypt",
        "kdfparams": {
            "dklen": 32,
            "n": 262144,
            "p": 8,
            "r": 1,
            "salt": "ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19",
        },
        "mac": "2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097",
    },
    "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
    "version": 3,
}

Write = Callable[[str], str]


@pytest.fixture(name="write")
def _write(tmp_path: Path) -> Write:
    """Return a function that writes a key file and returns its path."""

    def write(text: str) -> str:
        write_secret_file(tmp_path / "key", text, overwrite=True)
        return str(tmp_path / "key")

    return write


def never_asked() -> str:
    pytest.fail("the password was asked for")


def refusal(source: str, **arguments: Any) -> KeyFileError:
    """Return the error with which a source is refused."""
    with pytest.raises(KeyFileError) as refused:
        load_wallet(source, **arguments)
    return refused.value


def changed(keystore: dict[str, Any], place: str, value: object) -> str:
    """Return a keystore's text with one value at a dotted place changed, or left out for None."""
    document = json.loads(json.dumps(keystore))
    *parents, name = place.split(".")
    parent = document
    for step in parents:
        parent = parent[step]
    if value is None:
        del parent[name]
    else:
        parent[name] = value
    return json.dumps(document)


# What a file may hold


@pytest.mark.parametrize("text", [EVM_KEY, "0x" + EVM_KEY, EVM_KEY.upper(), f"\n  {EVM_KEY}\r\n"])
def test_an_evm_key_is_64_hex_digits(write: Write, text: str) -> None:
    wallet = load_wallet(write(text))
    assert (wallet.address, wallet.family, wallet.derivation_path) == (EVM_ADDRESS, "evm", None)
    assert not wallet.sends


def test_a_solana_key_is_base58_of_64_bytes(write: Write) -> None:
    wallet = load_wallet(write(str(KEYPAIR)))
    assert (wallet.address, wallet.family) == (SOLANA_ADDRESS, "solana")


def test_an_id_json_is_the_array_that_solana_keygen_writes(write: Write) -> None:
    assert load_wallet(write(json.dumps(list(bytes(KEYPAIR))))).address == SOLANA_ADDRESS


@pytest.mark.parametrize("keystore", [PBKDF2_KEYSTORE, SCRYPT_KEYSTORE], ids=["pbkdf2", "scrypt"])
def test_the_public_keystore_vectors_open(write: Write, keystore: dict[str, Any]) -> None:
    wallet = load_wallet(write(json.dumps(keystore)), password=lambda: "testpassword")
    assert wallet.address == KEYSTORE_ADDRESS


def test_an_old_keystore_that_writes_crypto_with_a_capital_opens(write: Write) -> None:
    old = {"Crypto" if name == "crypto" else name: value for name, value in PBKDF2_KEYSTORE.items()}
    assert load_wallet(write(json.dumps(old)), password=lambda: "testpassword").address == KEYSTORE_ADDRESS


def test_a_keystore_made_by_eth_account_opens(write: Write) -> None:
    keystore = Account.encrypt(bytes.fromhex(EVM_KEY), "pässword", kdf="pbkdf2", iterations=20_000)
    assert load_wallet(write(json.dumps(keystore)), password=lambda: "pässword").address == EVM_ADDRESS


@pytest.mark.parametrize(
    ("words", "family", "address"),
    [
        (JUNK, "evm", EVM_ADDRESS),
        (ABANDON, "evm", "0x9858EfFD232B4033E47d90003D41EC34EcaEda94"),
        (JUNK, "solana", "oeYf6KAJkLYhBuR8CiGc6L4D4Xtfepr85fuDgA9kq96"),
        (ABANDON, "solana", "HAgk14JpMQLgt6rVgv7cBQFJWFto5Dqxi472uT3DKpqk"),
    ],
)
def test_a_mnemonic_has_the_address_that_the_usual_wallets_show(
    write: Write, words: str, family: Family, address: str
) -> None:
    wallet = load_wallet(write(words), family=family)
    assert wallet.address == address
    assert wallet.derivation_path == {"evm": "m/44'/60'/0'/0/0", "solana": "m/44'/501'/0'/0'"}[family]


def test_words_may_stand_on_several_lines(write: Write) -> None:
    assert load_wallet(write(JUNK.replace(" ", "\n", 6) + "\n"), family="evm").address == EVM_ADDRESS


def test_a_path_after_the_source_chooses_another_key_of_the_mnemonic(write: Write) -> None:
    wallet = load_wallet(write(JUNK) + "#m/44'/60'/0'/0/1", family="evm")
    assert wallet.address == "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
    assert wallet.derivation_path == "m/44'/60'/0'/0/1"


def slip10(seed: bytes, path: list[int]) -> bytes:
    """Return the Ed25519 seed below `path`, every step hardened (SLIP-10)."""
    digest = hmac.digest(b"ed25519 seed", seed, "sha512")
    for step in path:
        digest = hmac.digest(digest[32:], b"\0" + digest[:32] + struct.pack(">I", step | 1 << 31), "sha512")
    return digest[:32]


def test_solana_keys_are_derived_as_slip_10_says(write: Write) -> None:
    # SLIP-10, test vector 2 for ed25519, holds the derivation above to the standard.
    vector = bytes.fromhex(
        "fffcf9f6f3f0edeae7e4e1dedbd8d5d2cfccc9c6c3c0bdbab7b4b1aeaba8a5a2"
        "9f9c999693908d8a8784817e7b7875726f6c696663605d5a5754514e4b484542"
    )
    assert slip10(vector, []).hex() == "171cb88b1b3c1db25add599712e36245d75bc65a1a5c9e18d76f9f2b1eab4012"
    assert slip10(vector, [0, 2147483647, 1]).hex() == (
        "3757c7577170179c7868353ada796c839135b3d30554bbb74a4b1e4a5a58505c"
    )
    seed = pbkdf2_hmac("sha512", JUNK.encode(), b"mnemonic", 2048)
    source = write(JUNK)
    for path in ([44, 501, 0], [44, 501, 7, 0], [0], [2147483647, 1]):
        suffix = "#m/" + "/".join(f"{step}'" for step in path)
        expected = str(Keypair.from_seed(slip10(seed, path)).pubkey())
        assert load_wallet(source + suffix, family="solana").address == expected


@pytest.mark.parametrize(
    ("family", "path"),
    [
        ("solana", "m/44'/501'/0'/0"),
        ("evm", "m/44'/60'/0'/0/2147483648"),
        ("evm", "m/44'//0"),
        ("evm", "m/"),
        ("evm", "m/044'"),
    ],
)
def test_a_malformed_derivation_path_is_refused(write: Write, family: Family, path: str) -> None:
    assert "derivation path" in refusal(f"{write(JUNK)}#{path}", family=family).message


def test_a_derivation_path_for_a_plain_key_is_refused(write: Write) -> None:
    assert "no mnemonic" in refusal(f"{write(EVM_KEY)}#m/44'/60'/0'/0/1").message


def test_a_mnemonic_without_a_network_is_refused(write: Write) -> None:
    assert "network" in refusal(write(JUNK)).hint


@pytest.mark.parametrize("words", [JUNK.replace("junk", "test"), JUNK.replace("junk", "junkk"), JUNK.upper()])
def test_words_that_do_not_check_are_refused(write: Write, words: str) -> None:
    assert "mnemonic" in refusal(write(words), family="evm").message


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "hello",
        EVM_KEY[:-1],
        EVM_KEY + "0",
        "0x",
        SOLANA_ADDRESS,
        JUNK + " test",
        str(KEYPAIR)[:-2],
        "null",
        "12",
    ],
)
def test_a_file_that_holds_no_key_is_refused(write: Write, text: str) -> None:
    assert "does not hold a key" in refusal(write(text), family="evm").message


@pytest.mark.parametrize("text", ["0" * 64, "f" * 64])
def test_a_number_outside_the_curve_is_refused(write: Write, text: str) -> None:
    assert "not a private key" in refusal(write(text)).message


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "[",
        "[1, 2, 3]",
        json.dumps([1] * 64),
        json.dumps([*bytes(KEYPAIR)[:32], *bytes(Keypair())[32:]]),
        json.dumps([*bytes(KEYPAIR)[:63], 256]),
        json.dumps([*bytes(KEYPAIR)[:63], -1]),
        json.dumps([*bytes(KEYPAIR)[:63], True]),
        json.dumps([*bytes(KEYPAIR)[:63], "1"]),
        json.dumps([*bytes(KEYPAIR)[:63], 1.0]),
        json.dumps([*bytes(KEYPAIR), 1]),
        "[" * 20_000,
    ],
)
def test_an_id_json_that_is_not_one_key_is_refused(write: Write, text: str) -> None:
    assert "not a Solana key" in refusal(write(text)).message


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (EVM_KEY, "key"),
        (str(KEYPAIR), "key"),
        (json.dumps(list(bytes(KEYPAIR))), "id"),
        (JUNK, "mnemonic"),
        (json.dumps(PBKDF2_KEYSTORE), "keystore"),
    ],
)
def test_a_named_kind_is_demanded(write: Write, text: str, kind: str) -> None:
    path = write(text)
    family: Family | None = "evm" if kind == "mnemonic" else None
    wallet = load_wallet(f"{kind}:{path}", family=family, password=lambda: "testpassword")
    assert wallet.address in {EVM_ADDRESS, SOLANA_ADDRESS, KEYSTORE_ADDRESS}
    for other in {"key", "id", "mnemonic", "keystore"} - {kind}:
        assert "does not hold" in refusal(f"{other}:{path}", family="evm", password=never_asked).message


def test_a_key_of_another_kind_of_network_is_refused(write: Write) -> None:
    assert "needs one of Solana" in refusal(write(EVM_KEY), family="solana").message
    assert "needs one of EVM networks" in refusal(write(str(KEYPAIR)), family="evm").message


def test_the_home_directory_may_be_written_as_a_tilde(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(EVM_KEY)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_wallet("~/key").address == EVM_ADDRESS


@pytest.mark.parametrize("text", [EVM_KEY, f" {EVM_KEY}\n", JUNK])
def test_a_key_may_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("OWNER_KEY", text)
    assert load_wallet("env:OWNER_KEY", family="evm").address == EVM_ADDRESS


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OWNER_KEY", raising=False)
    assert "OWNER_KEY is not set" in refusal("env:OWNER_KEY").message
    assert "not the name of a variable" in refusal("env:not a name").message


# Keystores that must not be opened (A44)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("crypto.kdfparams.n", 2),
        ("crypto.kdfparams.n", 1),
        ("crypto.kdfparams.n", 0),
        ("crypto.kdfparams.n", -262144),
        ("crypto.kdfparams.n", 2**30),
        ("crypto.kdfparams.n", 2**200),
        ("crypto.kdfparams.n", 262143),
        ("crypto.kdfparams.n", "262144"),
        ("crypto.kdfparams.n", 262144.0),
        ("crypto.kdfparams.n", True),
        ("crypto.kdfparams.n", None),
        ("crypto.kdfparams.r", 2**20),
        ("crypto.kdfparams.p", 2**20),
        ("crypto.kdfparams.p", 0),
        ("crypto.kdfparams.dklen", 16),
        ("crypto.kdfparams.dklen", 2**31),
        ("crypto.kdfparams.salt", "xyz"),
        ("crypto.kdfparams.salt", None),
        ("crypto.kdfparams", None),
        ("crypto.kdf", "argon2"),
        ("crypto.kdf", "pbkdf2"),
        ("crypto.cipher", "aes-256-gcm"),
        ("crypto.cipherparams", None),
        ("crypto.cipherparams.iv", "00"),
        ("crypto.ciphertext", ""),
        ("crypto.ciphertext", "00" * 33),
        ("crypto.mac", None),
        ("crypto.mac", 7),
        ("crypto", []),
        ("crypto", None),
        ("version", 4),
        ("version", "3"),
        ("address", "0x1234"),
        ("address", 5),
    ],
)
def test_a44_a_malformed_or_absurd_keystore_is_refused_before_the_password_is_asked(
    write: Write, place: str, value: object
) -> None:
    error = refusal(write(changed(SCRYPT_KEYSTORE, place, value)), password=never_asked)
    assert error.message.startswith("This is not a usable keystore: its ")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("crypto.kdfparams.c", 1),
        ("crypto.kdfparams.c", 2**40),
        ("crypto.kdfparams.c", None),
        ("crypto.kdfparams.prf", "hmac-md5"),
    ],
)
def test_a44_absurd_pbkdf2_parameters_are_refused_before_the_password_is_asked(
    write: Write, place: str, value: object
) -> None:
    refusal(write(changed(PBKDF2_KEYSTORE, place, value)), password=never_asked)


@pytest.mark.parametrize("text", ["{", "{}", "{]", '{"a":' * 12_000])
def test_a44_json_that_is_no_keystore_is_refused(write: Write, text: str) -> None:
    assert "keystore" in refusal(write(text), password=never_asked).message


def test_a44_a_wrong_password_and_a_wrong_mac_are_refused(write: Write) -> None:
    assert "password is wrong" in refusal(write(json.dumps(PBKDF2_KEYSTORE)), password=lambda: "Testpassword").message
    damaged = changed(PBKDF2_KEYSTORE, "crypto.mac", "00" * 32)
    assert "MAC" in refusal(write(damaged), password=lambda: "testpassword").message


def test_a44_a_keystore_that_names_another_address_is_refused(write: Write) -> None:
    error = refusal(write(changed(PBKDF2_KEYSTORE, "address", EVM_ADDRESS)), password=lambda: "testpassword")
    assert KEYSTORE_ADDRESS in error.message


@pytest.mark.parametrize("address", [KEYSTORE_ADDRESS, KEYSTORE_ADDRESS.lower()[2:]])
def test_a_keystore_that_names_its_own_address_opens(write: Write, address: str) -> None:
    keystore = changed(PBKDF2_KEYSTORE, "address", address)
    assert load_wallet(write(keystore), password=lambda: "testpassword").address == KEYSTORE_ADDRESS


def test_a_keystore_without_a_way_to_ask_for_its_password_is_refused(write: Write) -> None:
    assert "password" in refusal(write(json.dumps(PBKDF2_KEYSTORE))).message


# Files that must not be used (A44)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o610, 0o601, 0o602])
def test_a44_a_key_file_open_to_others_is_refused_with_the_command_that_mends_it(write: Write, mode: int) -> None:
    path = write(EVM_KEY)
    os.chmod(path, mode)
    error = refusal(path)
    assert "other users" in error.message
    assert error.hint == f"chmod 600 {path}"


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_key_file_of_ours_alone_is_read(write: Write, mode: int) -> None:
    path = write(EVM_KEY)
    os.chmod(path, mode)
    assert load_wallet(path).address == EVM_ADDRESS


def test_a44_a_symbolic_link_is_refused(write: Write, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(write(EVM_KEY))
    assert "symbolic link" in refusal(str(link)).message


def test_a_directory_a_pipe_and_a_device_are_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    for path in (str(tmp_path), str(pipe), "/dev/null"):
        assert "not a regular file" in refusal(path).message


def test_a_key_file_of_another_user_is_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(EVM_KEY)
    somebody_else = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: somebody_else)
    assert "another user" in refusal(path).message


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    assert "No such file" in refusal(str(tmp_path / "absent")).message
    assert "No wallet was named" in refusal("").message


def test_a_file_that_is_too_large_or_not_text_is_refused(write: Write, tmp_path: Path) -> None:
    assert "larger" in refusal(write("a" * 70_000)).message
    write("")
    (tmp_path / "key").write_bytes(b"\xff\xfe" + bytes(KEYPAIR))
    assert "not a text file" in refusal(str(tmp_path / "key")).message


@pytest.mark.parametrize("prefix", ["", "key:", "mnemonic:", "id:", "env:", "keystore:"])
@pytest.mark.parametrize(
    "secret",
    [
        EVM_KEY,
        "0x" + EVM_KEY,
        EVM_KEY[:-1],
        str(KEYPAIR),
        JUNK,
        JUNK + "#m/44'/60'/0'/0/1",
        json.dumps(list(bytes(KEYPAIR))),
        json.dumps(PBKDF2_KEYSTORE),
    ],
)
def test_a_key_in_the_place_of_its_file_is_refused_and_not_repeated(prefix: str, secret: str) -> None:
    error = refusal(prefix + secret)
    assert "A key is never named, only where it is kept" in error.message
    for piece in (EVM_KEY[:12], str(KEYPAIR)[:12], "junk", "5318b4d5"):
        assert piece not in str(error)


# Writing


def test_a_secret_file_is_written_for_us_alone_and_nothing_else_is_left(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        write_secret_file(tmp_path / "profile", "söcret")
    finally:
        os.umask(old)
    assert (tmp_path / "profile").read_text(encoding="utf-8") == "söcret"
    assert (tmp_path / "profile").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["profile"]


def test_a_secret_file_is_not_overwritten_unasked(tmp_path: Path) -> None:
    write_secret_file(tmp_path / "key", "first")
    with pytest.raises(FileExistsError):
        write_secret_file(tmp_path / "key", "second")
    assert (tmp_path / "key").read_text() == "first"
    write_secret_file(tmp_path / "key", "third", overwrite=True)
    assert (tmp_path / "key").read_text() == "third"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_overwriting_replaces_a_link_and_not_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("theirs")
    (tmp_path / "key").symlink_to(tmp_path / "target")
    write_secret_file(tmp_path / "key", "ours", overwrite=True)
    assert (tmp_path / "target").read_text() == "theirs"
    assert not (tmp_path / "key").is_symlink()


def test_the_wallets_are_of_the_two_kinds_of_networks(write: Write) -> None:
    assert isinstance(load_wallet(write(EVM_KEY)), EvmKeyWallet)
    assert isinstance(load_wallet(write(str(KEYPAIR))), SolanaKeyWallet)
