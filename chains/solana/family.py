"""Solana behind the names of `chains.family.FamilyModule`; the heavy parts are imported when they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chains.solana.addresses import parse_address
from chains.solana.messages import SCHEME, message_request, verify_message
from chains.solana.transactions import signed_from_raw, signing_request, verify_signed
from chains.types import Block, Chain, Node

if TYPE_CHECKING:
    from chains.claims import ApprovalCheck, ApprovalClaim, OwnershipCheck, OwnershipClaim
    from chains.rpc import Rpc


def open_rpc(rpc_url: str) -> Rpc:
    """Return a connection to http(s)://."""
    from chains.rpc import HttpRpc

    return HttpRpc(rpc_url)


def open_node(chain: Chain, rpc: Rpc) -> Node:
    """Return the door to a Solana network over a connection."""
    from chains.solana.node import SolanaNode

    return SolanaNode(chain, rpc)


async def get_decimals(rpc: Rpc, token: str) -> int:
    """Return the decimals of a mint; raises `TokenRefusedError` if the address is none."""
    from chains.errors import TokenRefusedError
    from chains.solana.answers import account_data, take
    from chains.solana.token import decode_mint

    answer = await rpc.request("getAccountInfo", [parse_address(token), {"encoding": "base64"}])
    account = take(answer, dict).get("value")
    if account is None:
        raise TokenRefusedError(
            f"There is no token at {token}.", hint="Check the network and the token's address.", found=token
        )
    return decode_mint(take(account, str, "owner"), account_data(account)).decimals


async def get_head(chain: Chain, rpc: Rpc, at: str) -> Block:
    """Return the slot that a node has reached at `latest` (confirmed) or `finalized`; its hash is empty."""
    from chains.solana.blocks import get_head as ask

    return await ask(chain, rpc, at)


async def check_approval(claim: ApprovalClaim, rpc: Rpc, head: Block) -> ApprovalCheck:
    """Return what a node's answers say of an approval, with the state at a slot not before `head.number` as "now"."""
    from chains.solana.verify.approval import check_approval as check

    return await check(claim, rpc, head)


async def check_ownership(claim: OwnershipClaim, _rpc: Rpc | None, _at: Block | None) -> OwnershipCheck:
    """Return what is established of a signed statement; no node is needed."""
    from chains.solana.verify.ownership import check_ownership as check

    return check(claim)


__all__ = [
    "SCHEME",
    "check_approval",
    "check_ownership",
    "get_decimals",
    "get_head",
    "message_request",
    "open_node",
    "open_rpc",
    "parse_address",
    "signed_from_raw",
    "signing_request",
    "verify_message",
    "verify_signed",
]
