"""Fees of Solana transactions: compute units and their price, as pure rules with bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

SIGNATURE_LAMPORTS: Final = 5_000
"""The base fee of a transaction with one signature."""

SIMULATED_LIMIT: Final = 200_000
"""Compute units allowed in a simulation: several times what creating a token account and approving takes."""

PRICE_FLOOR: Final = 10_000
"""The fixed price of the shipping client, in micro-lamports per compute unit: far below a cent for an approval."""

PRICE_CAP: Final = 2_000_000

_PERCENTILE: Final = 75
_LIMIT_MARGIN: Final = 300


def choose_price(recent: Sequence[int], cap: int | None) -> int:
    """Return a price in micro-lamports per compute unit from the recent fees of the accounts that are written.

    The node gives for each slot the lowest fee that was accepted, often 0: a high percentile, between floor and cap.
    `cap` replaces the built-in cap, and wins over the floor.
    """
    ordered = sorted(recent)
    percentile = ordered[(len(ordered) - 1) * _PERCENTILE // 100] if ordered else 0
    return min(max(percentile, PRICE_FLOOR), PRICE_CAP if cap is None else cap)


def choose_limit(units_consumed: int) -> int:
    """Return the compute unit limit for a transaction whose simulation consumed `units_consumed`: a fifth more."""
    return -(-units_consumed * 6 // 5) + _LIMIT_MARGIN
