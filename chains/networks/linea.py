"""Linea and its test network Linea Sepolia, as data."""

from __future__ import annotations

from typing import Final

from chains.types import M0_ALLOWANCES, OPENZEPPELIN_5_ALLOWANCES, AllowanceLayout, Chain, FeePolicy, Token

_GWEI: Final = 10**9

# The base fee is 7 wei and the tip pays for the data, so Linea itself says what it must be (docs.linea.build); its
# example is 0.07 gwei. The floor matters where a node does not serve linea_estimateGas. A multiple of 7 wei is no
# headroom: what moves is the tip that the sequencer takes at least, below which a transaction waits for ever. A quarter
# more than is asked for outlasts an ordinary move; it is paid, so it is no more than that.
_FEES: Final = FeePolicy(
    method="linea_estimateGas",
    tip_floor=_GWEI * 3 // 100,
    tip_cap=5 * _GWEI,
    max_fee_cap=10 * _GWEI,
    tip_headroom=25,
)

LINEA: Final = Chain(
    name="linea",
    title="Linea",
    family="evm",
    caip2="eip155:59144",
    rpc_url="https://rpc.linea.build",
    native_symbol="ETH",
    native_decimals=18,
    statement_chain_id="59144",
    chain_id=59144,
    tokens=(
        Token("USDC", "0x176211869cA2b568f2A7D4EE941E073a821EE1ff", 6),
        Token("USDT", "0xA219439258ca9da29E9Cc4cE5596924745e12B93", 6),
        Token("WETH", "0xe5D7C2a44FfDDf6b295A15c148167daaAf5Cf34f", 18),
        Token("EURe", "0x3ff47c5Bf409C86533FE1f4907524d304062428D", 18),
        Token("GBPe", "0x3Bce82cf1A2bc357F956dd494713Fe11DC54780f", 18),
        Token("aUSDC", "0x374D7860c4f2f604De0191298dD393703Cce84f3", 6),
        Token("mUSD", "0xacA92E438df0B2401fF60dA7E4337B687a2435DA", 6),
        Token("amUSD", "0x61B19879F4033c2b5682a969cccC9141e022823c", 6),
    ),
    allowance_layouts=(
        # circlefin/stablecoin-evm, test/helpers/storageSlots.behavior.ts.
        AllowanceLayout("0x176211869cA2b568f2A7D4EE941E073a821EE1ff", 10),
        AllowanceLayout("0xacA92E438df0B2401fF60dA7E4337B687a2435DA", M0_ALLOWANCES),
        # monerium/smart-contracts, src/Token.sol: OpenZeppelin 5's ERC20Upgradeable.
        AllowanceLayout("0x3ff47c5Bf409C86533FE1f4907524d304062428D", OPENZEPPELIN_5_ALLOWANCES),
        AllowanceLayout("0x3Bce82cf1A2bc357F956dd494713Fe11DC54780f", OPENZEPPELIN_5_ALLOWANCES),
    ),
    fees=_FEES,
)

LINEA_SEPOLIA: Final = Chain(
    name="linea-sepolia",
    title="Linea Sepolia",
    family="evm",
    caip2="eip155:59141",
    rpc_url="https://rpc.sepolia.linea.build",
    native_symbol="ETH",
    native_decimals=18,
    statement_chain_id="59141",
    chain_id=59141,
    fees=_FEES,
    testnet=True,
)
