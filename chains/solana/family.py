"""Solana behind the names that every family offers (see `chains.family`)."""

from __future__ import annotations

from typing import Final

from chains.amounts import MAX_UINT64
from chains.solana.addresses import parse_address
from chains.solana.checks import UNLIMITED_THRESHOLD
from chains.solana.messages import SCHEME, message_request, verify_message
from chains.solana.transactions import signed_from_raw, signing_request, verify_signed
from chains.types import Chain, Node

LARGEST_AMOUNT: Final = MAX_UINT64


def open_node(chain: Chain, rpc_url: str) -> Node:
    """Return the door to a Solana network at `rpc_url`."""
    from chains.rpc import HttpRpc
    from chains.solana.node import SolanaNode

    return SolanaNode(chain, HttpRpc(rpc_url))


__all__ = [
    "LARGEST_AMOUNT",
    "SCHEME",
    "UNLIMITED_THRESHOLD",
    "message_request",
    "open_node",
    "parse_address",
    "signed_from_raw",
    "signing_request",
    "verify_message",
    "verify_signed",
]
