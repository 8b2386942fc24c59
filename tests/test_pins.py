"""Pins: a changed spender or token stops the line, whoever made the change."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from chains.types import Token
from delegation.errors import InvalidRequestError, PinMismatchError
from delegation.journal import Journal, open_journal
from delegation.pins import Asset, Pins

USDC = Token("usdc", "0x176211869cA2b568f2A7D4EE941E073a821EE1ff", 6)
SPENDER = "0x9dd23A4a0845f10d65D293776B792af1131c7B30"
US_SPENDER = "0xA90b298d05C2667dDC64e2A4e17111357c215dD2"
THIEF = "0x9dd23A4a0845f10D65D293776B792af1131C7B31"
PRODUCTION = Asset(network="linea", environment="production", token=USDC, spender=SPENDER)
STAGING = Asset(network="linea", environment="staging", token=replace(USDC, address=THIEF), spender=THIEF)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = open_journal(tmp_path / "journal.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def production(journal: Journal) -> Pins:
    return Pins(journal, "https://api.baanx.com", "international")


@pytest.fixture
def tenant(journal: Journal) -> Pins:
    return Pins(journal, "https://card.example.com", "international")


def test_the_known_production_values_agree(production: Pins) -> None:
    production.require(PRODUCTION)


def test_a19_another_spender_in_production_stops_the_line_and_shows_both(production: Pins) -> None:
    with pytest.raises(PinMismatchError) as caught:
        production.require(replace(PRODUCTION, spender=THIEF))
    assert (caught.value.expected, caught.value.found) == (SPENDER, THIEF)
    assert SPENDER in caught.value.message
    assert THIEF in caught.value.message


def test_another_token_in_production_stops_the_line(production: Pins) -> None:
    with pytest.raises(PinMismatchError, match="token/usdc"):
        production.require(replace(PRODUCTION, token=replace(USDC, address=THIEF)))


def test_other_decimals_in_production_stop_the_line(production: Pins) -> None:
    with pytest.raises(PinMismatchError, match="token/usdc"):
        production.require(replace(PRODUCTION, token=replace(USDC, decimals=18)))


def test_a20_the_spender_of_another_region_stops_the_line(journal: Journal) -> None:
    with pytest.raises(PinMismatchError):
        Pins(journal, "https://api.baanx.com", "us").require(PRODUCTION)
    Pins(journal, "https://api.baanx.com", "us").require(replace(PRODUCTION, spender=US_SPENDER))


def test_the_production_host_cannot_escape_the_built_in_values_by_naming_another_environment(production: Pins) -> None:
    with pytest.raises(PinMismatchError):
        production.require(STAGING)


def test_the_first_agreed_plan_pins_what_is_not_built_in(tenant: Pins) -> None:
    tenant.require(STAGING)
    tenant.pin(STAGING)
    tenant.require(STAGING)
    with pytest.raises(PinMismatchError, match="first-use"):
        tenant.require(replace(STAGING, spender=SPENDER))


def test_a_change_is_accepted_only_by_trusting_it(tenant: Pins) -> None:
    tenant.pin(STAGING)
    changed = replace(STAGING, spender=SPENDER)
    tenant.pin(changed)
    with pytest.raises(PinMismatchError):
        tenant.require(changed)
    tenant.trust(changed)
    tenant.require(changed)


def test_one_platforms_pins_say_nothing_of_anothers(tenant: Pins, journal: Journal) -> None:
    tenant.pin(STAGING)
    Pins(journal, "https://other.example.com", "international").require(replace(STAGING, spender=SPENDER))


def test_without_the_platform_the_pinned_values_can_be_had(production: Pins, tenant: Pins) -> None:
    assert production.pinned_asset("linea", "usdc").spender == SPENDER
    tenant.pin(STAGING)
    assert tenant.pinned_asset("linea", "usdc").token == STAGING.token
    with pytest.raises(InvalidRequestError, match="chain_only"):
        tenant.pinned_asset("base", "usdc")
