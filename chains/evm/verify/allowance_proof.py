"""An allowance proved under a block's state root: at a slot that is known, by its Merkle proof (tier T2 and T3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from chains.claims import NODES_WORD, Basis, proved_under
from chains.errors import ContradictionError
from chains.evm.blocks import Found
from chains.evm.codec.approval_logs import Pair
from chains.evm.verify.account_code import NotProvedError, prove_account_at
from chains.evm.verify.allowance_slot import KnownCode, Layout, allowance_slot, find_layout, word_of
from chains.rpc import Rpc
from chains.types import Chain


@dataclass(frozen=True, slots=True)
class AllowanceProof:
    """What an allowance at a block rests on: a proof, with where it is kept, or the node's word, and why."""

    basis: Basis
    layout: Layout | None = None
    slot: str | None = None
    proof: Mapping[str, Any] | None = None
    problem: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return where it is kept as JSON, with the problem where there is one."""
        kept: dict[str, Any] = {"slot": self.slot} if self.slot is not None else {}
        kept |= {} if self.layout is None else self.layout.as_json()
        return kept | ({"problem": self.problem} if self.problem else {})


async def prove_allowance(
    rpc: Rpc, chain: Chain, pair: Pair, found: Found, allowance: int, known: KnownCode | None = None
) -> AllowanceProof:
    """Return what it rests on that a token allows `allowance` base units at a block.

    Raises `ContradictionError` if a proof fails, or proves another number for code that is known (attacks A15, A16).
    """
    try:
        layout = await find_layout(rpc, chain, pair.token, found, known)
        slot = allowance_slot(pair.owner, pair.spender, layout.base)
        slots = [slot, *(word_of(number) for number in layout.empty_slots)]
        _, proof, (value, *others) = await prove_account_at(rpc, pair.token, found, slots)
    except NotProvedError as error:
        return AllowanceProof(NODES_WORD, problem=error.reason)
    kept = AllowanceProof(NODES_WORD, layout, "0x" + slot.hex())
    if any(others):
        return replace(kept, problem="the token forwards to another contract")
    if value == allowance:
        return replace(kept, basis=proved_under(found[0]), proof=proof)
    if not layout.code:
        # The token may have been upgraded to another layout than the one that is data here.
        return replace(kept, problem="the slot that is known for this token holds another number")
    raise ContradictionError(
        f"The node says that the allowance is {allowance} at block {found[0].number}, and its proof says {value}.",
        expected=value,
        found=allowance,
    )
