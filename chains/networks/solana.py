"""Solana as data: the production network and devnet."""

from __future__ import annotations

from typing import Final

from chains.types import Chain, Token

SOLANA: Final = Chain(
    name="solana",
    title="Solana",
    family="solana",
    caip2="solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp",
    rpc_url="https://api.mainnet-beta.solana.com",
    native_symbol="SOL",
    native_decimals=9,
    statement_chain_id="1",
    genesis_hash="5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d",
    tokens=(
        Token("USDC", "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v", 6),
        Token("USDT", "Es9vMFrzaCERmJfrF4H2FYD4KCoNkY11McCe8BenwNYB", 6),
    ),
)

SOLANA_DEVNET: Final = Chain(
    name="solana-devnet",
    title="Solana devnet",
    family="solana",
    caip2="solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1",
    rpc_url="https://api.devnet.solana.com",
    native_symbol="SOL",
    native_decimals=9,
    statement_chain_id="1",
    genesis_hash="EtWTRABZaYq6iMfeYKouRu166VU2xqa1wcaWoxPkrZBG",
    tokens=(Token("USDC", "4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU", 6),),
    testnet=True,
)
