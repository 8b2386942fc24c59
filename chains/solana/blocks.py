"""The cluster a node answers for, and the slot whose state counts as now."""

from __future__ import annotations

from typing import Final

from chains.amounts import MAX_UINT64
from chains.errors import InputError, NodeError, RpcError, WrongChainError
from chains.rpc import Rpc
from chains.solana.answers import METHOD_NOT_FOUND, take_slot
from chains.types import Block, Chain

_COMMITMENTS: Final = {"latest": "confirmed", "safe": "confirmed", "finalized": "finalized"}


async def check_chain(chain: Chain, rpc: Rpc) -> None:
    """Raise `WrongChainError` unless the node's genesis hash is that of `chain`."""
    expected = chain.genesis_hash
    if expected is None:
        return
    try:
        found = await rpc.request("getGenesisHash")
    except RpcError as error:
        if error.code != METHOD_NOT_FOUND:
            raise
        found = "unknown to it"
    if found != expected:
        raise WrongChainError(
            f"The node is not one of {chain.title}: its genesis hash is {found}.",
            hint=f"Give the URL of a node of {chain.title}.",
            expected=expected,
            found=found,
        )


async def get_head(chain: Chain, rpc: Rpc, at: str) -> Block:
    """Return the slot whose state counts as now: that of `latest` or `safe` (confirmed), of `finalized`, or a number.

    Solana serves no old state, so a number N stands for the state as it is now, at a slot not before N. Raises
    `WrongChainError`, `InputError` for another `at`, and `NodeError`.
    """
    if at not in _COMMITMENTS and not (at.isascii() and at.isdigit() and len(at) <= 20 and int(at) <= MAX_UINT64):
        raise InputError(
            f"{at[:40]!r} is not a point of the chain.",
            hint="Say latest, safe, finalized or a slot as a number.",
            found=at[:100],
        )
    await check_chain(chain, rpc)
    commitment = _COMMITMENTS.get(at, "confirmed")
    slot = take_slot(await rpc.request("getSlot", [{"commitment": commitment}]))
    if at not in _COMMITMENTS and slot < int(at):
        raise NodeError(
            f"The node is behind: it has reached slot {slot}, not {at}.",
            hint="Nothing was lost. Try again in a minute, or name another node.",
            expected=int(at),
            found=slot,
        )
    return Block(slot if at in _COMMITMENTS else int(at), "")
