"""Base and its test network Base Sepolia, as data."""

from __future__ import annotations

from typing import Final

from chains.types import AllowanceLayout, Chain, FeePolicy, Token

_GWEI: Final = 10**9

# These bound the fee of the rollup itself; the sequencer charges the cost of its Ethereum data on top of it. A chain of
# the OP Stack sets by itself how far its base fee may rise in a block of two seconds: (6 - 1) / 250 with the parameters
# of Canyon, and since Holocene whatever its operator sets; a twenty-fifth leaves room for that. A minute is 30 blocks.
_FEES: Final = FeePolicy(
    method="fee_history",
    tip_floor=_GWEI // 1000,
    tip_cap=_GWEI,
    max_fee_cap=20 * _GWEI,
    base_fee_rise=(1, 25),
    rising_blocks=30,
)

BASE: Final = Chain(
    name="base",
    title="Base",
    family="evm",
    caip2="eip155:8453",
    rpc_url="https://mainnet.base.org",
    native_symbol="ETH",
    native_decimals=18,
    statement_chain_id="8453",
    chain_id=8453,
    tokens=(
        Token("USDC", "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913", 6),
        Token("USDT", "0xfde4C96c8593536E31F229EA8f37b2ADa2699bb2", 6),
        Token("aUSDC", "0x4e65fE4DbA92790696d040ac24Aa414708F5c0AB", 6),
        Token("WETH", "0x4200000000000000000000000000000000000006", 18),
    ),
    # circlefin/stablecoin-evm, test/helpers/storageSlots.behavior.ts.
    allowance_layouts=(AllowanceLayout("0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913", 10),),
    fees=_FEES,
)

BASE_SEPOLIA: Final = Chain(
    name="base-sepolia",
    title="Base Sepolia",
    family="evm",
    caip2="eip155:84532",
    rpc_url="https://sepolia.base.org",
    native_symbol="ETH",
    native_decimals=18,
    statement_chain_id="84532",
    chain_id=84532,
    fees=_FEES,
    testnet=True,
)
