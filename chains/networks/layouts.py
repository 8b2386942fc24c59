"""Bases of allowance mappings that several tokens share (ERC-7201: a namespace has a root of its own)."""

from __future__ import annotations

from typing import Final

OPENZEPPELIN_5_ALLOWANCES: Final = 0x52C63247E1F47DB19D5CE0460030C497F067CA4CEBF71BA98EEADABE20BACE00 + 1
"""`openzeppelin.storage.ERC20`: balances at its root, allowances after them (OpenZeppelin 5, ERC20Upgradeable)."""

M0_ALLOWANCES: Final = 0xCBBE23EFB65C1EABA394256C463812C20ABDB5376E247EBA1D0E1E92054DA100
"""The root under which M0's ERC20ExtendedUpgradeable keeps them (m0-foundation/mUSD)."""
