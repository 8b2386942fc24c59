"""What an approval that has settled is worth now: whether the chain still holds it, and what became of it since."""

from __future__ import annotations

import asyncio
from typing import Final

from chains.claims import ApprovalClaim
from chains.errors import NodeError
from chains.rpc import Rpc
from chains.solana.accounts import get_owner_accounts
from chains.solana.answers import take, take_slot
from chains.solana.verify.approval import check_approval
from chains.solana.verify.inclusion import LEVELS, get_status
from chains.types import AllowanceIntent, Block, Chain, Review, Settlement

_PAUSE: Final = 1.0  # seconds


async def review(
    rpc: Rpc,
    chain: Chain,
    intent: AllowanceIntent,
    settlement: Settlement,
    timeout: float,  # noqa: ASYNC109 - finality that is not reached in time is told, and is no error
) -> Review:
    """Return what a settled approval is worth now, after up to `timeout` seconds of waiting for `finalized`.

    Raises `NodeError` where the node is behind, or its history does not reach back: that it is not known is not "no".
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + timeout
    while True:
        level = await _get_level(rpc, settlement.hash)
        if level == LEVELS[-1] or clock() >= deadline:
            break
        await asyncio.sleep(min(_PAUSE, deadline - clock()))
    if level is None:
        await _require_gone(rpc, settlement)
        return Review(canonical=False, finality="reorganised", state="reorganised", now=None)
    accounts = await get_owner_accounts(
        rpc, chain, intent.token, intent.owner, "confirmed", min_slot=settlement.block.number
    )
    claim = ApprovalClaim(chain, settlement.hash, intent.token, intent.owner, intent.spender, intent.amount)
    check = await check_approval(claim, rpc, Block(accounts.slot, ""))
    return Review(canonical=True, finality=level, state=check.state, now=accounts.to_state(intent.spender))


async def _get_level(rpc: Rpc, signature: str) -> str | None:
    """Return the level at which a transaction is in the chain and succeeded, `confirmed` or more, else None."""
    _slot, status = await get_status(rpc, signature)
    if status is None or status.get("err") is not None:
        return None
    level = status.get("confirmationStatus")
    return str(level) if level in LEVELS[1:] else None


async def _require_gone(rpc: Rpc, settlement: Settlement) -> None:
    """Raise `NodeError` unless the node would know the settled transaction if the chain held it where it did.

    The finalized part of the chain must have passed the slot of the settlement, and the node's history must reach back
    to it.
    """
    slot = settlement.block.number
    reached = take_slot(await rpc.request("getSlot", [{"commitment": "finalized"}]))
    if reached < slot:
        raise NodeError(
            f"The node does not show {settlement.hash} and has not reached slot {slot} for good: whether the chain "
            "holds it cannot be said yet.",
            hint="Nothing was lost. Run it again in a minute, or name another node.",
            expected=slot,
            found=reached,
        )
    oldest = take(await rpc.request("getFirstAvailableBlock"), int)
    if oldest > slot:
        raise NodeError(
            f"The node keeps no history before slot {oldest}, and the approval took effect in slot {slot}.",
            hint="Nothing was lost. Name a node that keeps more history.",
            expected=slot,
            found=oldest,
        )
    # In this order: what the history took up meanwhile is found by the second question.
    if await _get_level(rpc, settlement.hash) is not None:
        raise NodeError(
            "The node has said two things of one transaction: that it has none, and that it has it.",
            hint="Nothing was lost. Run it again, or name another node.",
        )
