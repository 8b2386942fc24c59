"""What an approval that has settled is worth now: whether the chain still holds it, and what became of it since."""

from __future__ import annotations

import asyncio
from typing import Final

from chains.errors import NodeError, RpcError
from chains.evm.addresses import parse_address
from chains.evm.answers import parse_hash, parse_object, parse_quantity
from chains.evm.codec.approval_logs import Pair
from chains.evm.verify.finality import levels_of
from chains.evm.verify.history import History, find_state, get_history
from chains.evm.watch import is_canonical
from chains.rpc import Rpc
from chains.types import AllowanceIntent, AllowanceState, Block, Chain, Review, Settlement, State

# The servers behind one URL can be a block apart: how long a block that is not there yet is waited for, in seconds.
_LAG_PAUSES: Final = (0.25, 0.5, 1.0)


async def is_still_canonical(rpc: Rpc, settlement: Settlement) -> bool:
    """Return whether the settled block is part of the chain now; raise `NodeError` if the node is behind it.

    The state of a block is fixed by its hash, so that what was read there once need not be read again.
    """
    for pause in (*_LAG_PAUSES, None):
        canonical = await is_canonical(rpc, settlement.block)
        if canonical is not None:
            return canonical
        if pause is not None:
            await asyncio.sleep(pause)
    # The chain has grown shorter, or the node is behind.
    answer = await rpc.request("eth_getTransactionReceipt", [settlement.hash])
    if answer is None:
        return False
    receipt = parse_object("eth_getTransactionReceipt", answer)
    if receipt.get("blockHash") is None or parse_hash("blockHash", receipt["blockHash"]) != settlement.block.hash:
        return False
    raise NodeError(
        f"The node is behind: it does not have block {settlement.block.number} yet, in which the approval took effect.",
        hint="Nothing was lost. Run it again in a minute, or name another node.",
        expected=settlement.block.number,
    )


async def make_review(
    rpc: Rpc, chain: Chain, intent: AllowanceIntent, settlement: Settlement, now: AllowanceState
) -> Review:
    """Return what a settled approval whose block is canonical is worth; `now` is the state at a block not before it."""
    level = await _get_level(rpc, chain, settlement.block)
    return Review(True, level, await _get_state(rpc, intent, settlement, now), now)


async def _get_state(rpc: Rpc, intent: AllowanceIntent, settlement: Settlement, now: AllowanceState) -> State | None:
    """Return what became of the approval, None where the logs would have to tell and cannot."""
    approved, history = settlement.allowance, History()
    if now.allowance != approved:
        pair = Pair(*(parse_address(text) for text in (intent.token.address, intent.owner, intent.spender)))
        history = await get_history(rpc, pair, settlement.block.number, now.block.number, approved)
    return find_state(approved, approved, approved, now.allowance, history).state


async def _get_level(rpc: Rpc, chain: Chain, block: Block) -> str:
    """Return the finality that a canonical block has reached, by the node's word."""
    tags, level = levels_of(chain)
    for tag, name in tags.items():
        try:
            answer = await rpc.request("eth_getBlockByNumber", [tag, False])
        except RpcError:
            # Linea's nodes, for one, do not know every tag; a level that is not told is not reached.
            continue
        if answer is None:
            continue
        if block.number <= parse_quantity("number", parse_object("eth_getBlockByNumber", answer).get("number")):
            return name
    return level
