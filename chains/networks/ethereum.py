"""Ethereum and its test network Sepolia, as data."""

from __future__ import annotations

from typing import Final

from chains.types import M0_ALLOWANCES, AllowanceLayout, Chain, FeePolicy, Token

_GWEI: Final = 10**9

# A tip of 0.01 gwei is what blocks that are not full ask for; the caps bound what a lying or panicking node can cost.
# Ten full blocks on end, two minutes, raise the base fee to 3.25 times (EIP-1559): more would only ask for more coins.
_FEES: Final = FeePolicy(method="fee_history", tip_floor=_GWEI // 100, tip_cap=5 * _GWEI, max_fee_cap=300 * _GWEI)

# Reorganisations by one block happen, deeper ones are rare: one block on top tells a loser of such a race.
_SETTLE_DEPTH: Final = 2

ETHEREUM: Final = Chain(
    name="ethereum",
    title="Ethereum",
    family="evm",
    caip2="eip155:1",
    rpc_url="https://ethereum-rpc.publicnode.com",
    native_symbol="ETH",
    native_decimals=18,
    statement_chain_id="1",
    chain_id=1,
    settle_depth=_SETTLE_DEPTH,
    tokens=(
        Token("USDC", "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48", 6),
        Token("USDT", "0xdAC17F958D2ee523a2206206994597C13D831ec7", 6),
        Token("mUSD", "0xacA92E438df0B2401fF60dA7E4337B687a2435DA", 6),
    ),
    allowance_layouts=(
        # circlefin/stablecoin-evm, test/helpers/storageSlots.behavior.ts.
        AllowanceLayout("0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48", 10),
        # TetherToken, in the order of its contracts' variables; slot 10 is where it would forward to, once deprecated.
        AllowanceLayout("0xdAC17F958D2ee523a2206206994597C13D831ec7", 5, empty_slots=(10,)),
        AllowanceLayout("0xacA92E438df0B2401fF60dA7E4337B687a2435DA", M0_ALLOWANCES),
    ),
    fees=_FEES,
)

ETHEREUM_SEPOLIA: Final = Chain(
    name="ethereum-sepolia",
    title="Ethereum Sepolia",
    family="evm",
    caip2="eip155:11155111",
    rpc_url="https://ethereum-sepolia-rpc.publicnode.com",
    native_symbol="ETH",
    native_decimals=18,
    statement_chain_id="11155111",
    chain_id=11155111,
    settle_depth=_SETTLE_DEPTH,
    fees=_FEES,
    testnet=True,
)
