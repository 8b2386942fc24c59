"""Amounts: human units outside (`Decimal`), base units inside (`int`), never a float and never rounded."""

from __future__ import annotations

import re
from decimal import Context, Decimal, Inexact
from typing import Final

from chains.errors import InvalidAmountError
from chains.types import Family

MAX_UINT256: Final = 2**256 - 1
MAX_UINT64: Final = 2**64 - 1

_LARGEST: Final[dict[Family, int]] = {"evm": MAX_UINT256, "solana": MAX_UINT64}
# Some tokens count unlimited allowances down, so "unlimited" is a threshold and not the largest number.
_UNLIMITED_FROM: Final[dict[Family, int]] = {"evm": 2**255, "solana": 2**63}

# A plain decimal in ASCII: no sign, exponent, space or separator.
_PLAIN_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII)
_LONGEST: Final = 160
# 2^256 has 78 digits; `Inexact` trapped, so that nothing is ever rounded in silence.
_EXACT: Final = Context(prec=400, traps=[Inexact])


def parse_amount(text: str) -> Decimal:
    """Return the amount a person wrote, in human units.

    Accepts digits with at most one decimal point (`5000`, `0.50`) and nothing else.
    Raises `InvalidAmountError` for signs, exponents, spaces, separators, hex, other digits, NaN and infinity.
    """
    if len(text) > _LONGEST or not _PLAIN_NUMBER.fullmatch(text):
        shown = text if len(text) <= 40 else text[:40] + "…"
        raise InvalidAmountError(
            f"{shown!r} is not an amount.",
            hint="Write digits with at most one decimal point, in whole tokens: 5000 or 0.50.",
            found=text,
        )
    return Decimal(text)


def to_base_units(amount: Decimal, decimals: int, *, largest: int = MAX_UINT256) -> int:
    """Return `amount` (human units) in base units.

    Raises `InvalidAmountError` if it is negative or not finite, has more than `decimals` decimals, or exceeds
    `largest` base units. Nothing is rounded.
    """
    if not amount.is_finite() or amount.is_signed():
        raise InvalidAmountError(
            f"{amount} is not an amount.", hint="An amount is a finite number, zero or greater.", found=str(amount)
        )
    if amount.adjusted() > 100:
        raise InvalidAmountError("The amount is larger than the network can hold.", found=str(amount))
    scaled = amount.scaleb(decimals, context=_EXACT)
    if scaled != scaled.to_integral_value():
        raise InvalidAmountError(
            f"{amount} has more than {decimals} decimals.",
            hint=f"This token has {decimals} decimals; nothing is rounded, so write the exact amount.",
            expected=decimals,
            found=str(amount),
        )
    base_units = int(scaled)
    if base_units > largest:
        raise InvalidAmountError(
            f"{amount} is larger than the network can hold.",
            hint=f"The largest amount of this token is {format_amount(largest, decimals)}.",
            expected=largest,
            found=base_units,
        )
    return base_units


def format_amount(base_units: int, decimals: int) -> str:
    """Return base units in human units as plain digits, without an exponent and without trailing zeros."""
    text = f"{Decimal(base_units).scaleb(-decimals, context=_EXACT):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def largest_amount(family: Family) -> int:
    """Return the largest allowance the networks of a family can hold, in base units."""
    return _LARGEST[family]


def is_unlimited(family: Family, amount: int) -> bool:
    """Return whether an allowance in base units counts as unlimited: a threshold, not equality with the maximum."""
    return amount >= _UNLIMITED_FROM[family]
