"""EVM addresses are read strictly and spelt with the EIP-55 checksum."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chains.errors import InvalidAddressError
from chains.evm.addresses import ZERO_ADDRESS, keccak256, parse_address

# The examples of EIP-55.
EIP_55 = [
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
    "0xde709f2102306220921060314715629080e2fb77",
    "0x27b1fdb04752bbc536007a920d24acb045561c26",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
]


def test_keccak_is_the_one_of_ethereum_and_not_sha3() -> None:
    assert keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


@pytest.mark.parametrize("address", EIP_55)
def test_the_examples_of_eip_55_are_accepted_in_every_unambiguous_spelling(address: str) -> None:
    digits = address[2:]
    assert {parse_address("0x" + spelling) for spelling in (digits, digits.lower(), digits.upper())} == {address}
    assert parse_address("0X" + digits.upper()) == address


def test_the_address_of_the_platforms_documents_gets_its_checksum() -> None:
    assert parse_address("0x3a11a86cf218c448be519728cd3ac5c741fb3424") == "0x3a11a86Cf218C448bE519728cd3Ac5c741FB3424"


def test_a_wrong_checksum_is_refused_and_both_spellings_are_shown() -> None:
    wrong = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1Beaed"
    with pytest.raises(InvalidAddressError, match="checksum") as caught:
        parse_address(wrong)
    assert caught.value.found == wrong
    assert caught.value.expected == "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"


def test_the_zero_address_is_an_address() -> None:
    assert parse_address(ZERO_ADDRESS) == ZERO_ADDRESS


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not an Ethereum address"),
        ("0x", "0 hexadecimal digits"),
        ("0x" + "1" * 39, "39 hexadecimal digits"),
        ("0x" + "1" * 41, "41 hexadecimal digits"),
        ("1" * 40, "lacks the leading 0x"),
        ("0x" + "g" * 40, "not hexadecimal"),
        ("0x" + "1" * 38 + "\uff11\uff11", "not hexadecimal"),
        (" 0x" + "1" * 40, "not an Ethereum address"),
        ("0x" + "1" * 40 + "\n", "not hexadecimal"),
        ("vitalik.eth", "a name"),
        ("EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v", "Solana"),
    ],
)
def test_everything_else_is_refused_and_says_what_it_is(text: str, says: str) -> None:
    with pytest.raises(InvalidAddressError, match=says):
        parse_address(text)


@settings(deadline=None)
@given(st.one_of(st.text(), st.from_regex(r"0x[0-9a-fA-F]{40}", fullmatch=True)))
def test_any_text_is_an_address_or_refused_and_reading_twice_changes_nothing(text: str) -> None:
    try:
        address = parse_address(text)
    except InvalidAddressError:
        return
    assert parse_address(address) == address
    assert address.lower() == text.lower()
