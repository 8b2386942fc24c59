"""Amounts are exact: what is not a plain decimal number, or does not fit, is refused and never rounded."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.amounts import MAX_UINT64, MAX_UINT256, format_amount, parse_amount, to_base_units
from chains.errors import InvalidAmountError


@pytest.mark.parametrize(
    "text",
    [
        "1e3", " 5", "5 ", "5,000", "-1", "+1", "-0", "NaN", "inf", "0x5",
        "\uff15", "\u0663", "", ".", ".5", "5.", "1_000",
        "1.2.3", "10" * 100, "5\n",
    ],
)  # fmt: skip
def test_a45_text_that_is_not_a_plain_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidAmountError):
        parse_amount(text)


def test_a_plain_number_is_taken_exactly() -> None:
    assert parse_amount("5000.50") == Decimal("5000.50")


def test_more_decimals_than_the_token_has_are_refused_and_not_rounded() -> None:
    with pytest.raises(InvalidAmountError, match="more than 6 decimals"):
        to_base_units(Decimal("1.0000001"), 6)


def test_trailing_zeros_beyond_the_decimals_change_nothing() -> None:
    assert to_base_units(Decimal("1.00000000"), 6) == 1_000_000


def test_an_amount_of_eighteen_decimals_keeps_its_last_digit() -> None:
    assert to_base_units(Decimal("5000.000000000000000001"), 18) == 5000 * 10**18 + 1


@pytest.mark.parametrize(("largest", "decimals"), [(MAX_UINT64, 6), (MAX_UINT256, 18)])
def test_the_largest_amount_fits_and_one_more_does_not(largest: int, decimals: int) -> None:
    amount = Decimal(format_amount(largest, decimals))
    assert to_base_units(amount, decimals, largest=largest) == largest
    with pytest.raises(InvalidAmountError, match="larger than the network can hold"):
        to_base_units(Decimal(format_amount(largest + 1, decimals)), decimals, largest=largest)


@pytest.mark.parametrize("amount", [Decimal("NaN"), Decimal("Infinity"), Decimal(-1), Decimal("-0"), Decimal("1e4000")])
def test_a_decimal_that_is_no_amount_is_refused(amount: Decimal) -> None:
    with pytest.raises(InvalidAmountError):
        to_base_units(amount, 6)


@given(st.integers(min_value=0, max_value=MAX_UINT256), st.integers(min_value=0, max_value=24))
def test_formatting_and_parsing_are_each_others_inverse(base_units: int, decimals: int) -> None:
    assert to_base_units(parse_amount(format_amount(base_units, decimals)), decimals) == base_units


@given(st.text())
def test_any_text_is_either_an_amount_or_refused_in_words(text: str) -> None:
    try:
        amount = parse_amount(text)
    except InvalidAmountError as error:
        refusal = error
    else:
        assert amount >= 0
        return
    assert refusal.hint
