"""An allowance proved under a block's state root: the slot is found, then its Merkle proof is checked (tier T2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chains.errors import ContradictionError, RpcError
from chains.evm.answers import parse_data, parse_object
from chains.evm.codec.approval_logs import Pair
from chains.evm.codec.state_proofs import prove_answer
from chains.evm.simulation import at_block
from chains.evm.verify.allowance_slot import SlotRecord, find_slot, get_implementation, has_value
from chains.rpc import Rpc
from chains.types import Block


@dataclass(frozen=True, slots=True)
class AllowanceProof:
    """Whether an allowance is proved at one block: where it is kept, the node's proof, or why there is none.

    `allowance` is what the proof proves to be in the slot, in base units; None where there is no proof.
    """

    proved: bool
    allowance: int | None = None
    slot: SlotRecord | None = None
    proof: Mapping[str, Any] | None = None
    problem: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the slot as JSON, with the problem where there is one."""
        slot: dict[str, Any] = {} if self.slot is None else dict(self.slot.as_json())
        return slot | ({"problem": self.problem} if self.problem else {})


@dataclass(frozen=True, slots=True)
class Reading:
    """The allowance that a node says there is at a block, None where it says none, and that block's header."""

    block: Block
    header: Mapping[str, Any]
    allowance: int | None


async def prove_readings(rpc: Rpc, pair: Pair, readings: Sequence[Reading]) -> tuple[AllowanceProof, ...]:
    """Return the proof of each reading, or why it cannot be proved; raises as `prove_allowance` does."""
    proofs: dict[tuple[Block, int | None], AllowanceProof] = {}
    known: SlotRecord | None = None
    for reading in readings:
        # A node that says two numbers of one block has to prove both.
        key = (reading.block, reading.allowance)
        if key in proofs:
            continue
        proof = AllowanceProof(proved=False, problem="the allowance is not known")
        if reading.allowance is not None:
            proof = await prove_allowance(rpc, pair, reading.block, reading.header, reading.allowance, known)
        proofs[key], known = proof, known or proof.slot
    return confirm_zeros([proofs[reading.block, reading.allowance] for reading in readings])


def confirm_zeros(proofs: Sequence[AllowanceProof]) -> tuple[AllowanceProof, ...]:
    """Return proofs of one pair, without those of a zero in a layout that none of them shows to hold a number.

    Nearly every slot is empty, and which one the token reads is the word of the node: a lie about that makes a genuine
    proof of zero (attack A16). No lie makes a number appear in a slot that the formula gives for the pair.
    """
    layouts = {(each.slot.base, each.slot.order) for each in proofs if each.proved and each.slot and each.allowance}
    return tuple(
        replace(each, proved=False, problem="nothing shows that its slot, which is empty, is where the token keeps it")
        if each.proved and each.slot and not each.allowance and (each.slot.base, each.slot.order) not in layouts
        else each
        for each in proofs
    )


async def prove_allowance(
    rpc: Rpc, pair: Pair, block: Block, header: Mapping[str, Any], allowance: int, known: SlotRecord | None = None
) -> AllowanceProof:
    """Return the proof that storage holds `allowance` at `block`, or why it cannot be proved.

    `known` is the slot at another block: it counts only while the same code runs (rule 21, attack A21). Raises
    `ContradictionError` if the proof fails or proves another number (attacks A15 and A16).
    """
    slot, problem = await _reuse(rpc, pair, block, allowance, known)
    if slot is None and not problem:
        slot, problem = await find_slot(rpc, pair, block, allowance)
    if slot is None:
        return AllowanceProof(proved=False, problem=problem)
    try:
        answer = await _get_proof(rpc, pair.token, slot.slot, block)
    except RpcError as error:
        return AllowanceProof(proved=False, slot=slot, problem=f"the node does not serve the proof: {error.message}")
    proof = parse_object("eth_getProof", answer)
    state_root = parse_data("a block's stateRoot", header["stateRoot"])
    _, (value,) = prove_answer(state_root, proof, pair.token, [slot.key])
    if value != allowance:
        raise ContradictionError(
            f"The node says that the allowance is {allowance} at block {block.number}, and its proof says {value}.",
            expected=value,
            found=allowance,
        )
    return AllowanceProof(proved=True, allowance=allowance, slot=slot, proof=proof)


async def _reuse(
    rpc: Rpc, pair: Pair, block: Block, allowance: int, known: SlotRecord | None
) -> tuple[SlotRecord | None, str]:
    if known is None:
        return None, ""
    try:
        if await get_implementation(rpc, pair.token, block) != (known.implementation, known.code_hash):
            return None, ""
        if await has_value(rpc, pair.token, known, block, allowance):
            return known, ""
    except RpcError as error:
        return None, f"the node does not serve the state of block {block.number}: {error.message}"
    return None, "the slot holds another number than the token answers"


async def _get_proof(rpc: Rpc, token: str, slot: str, block: Block) -> Any:
    """Ask by hash, so that a chain that changes meanwhile is not taken for a lie; some nodes take numbers only."""
    try:
        return await rpc.request("eth_getProof", [token, [slot], at_block(block)])
    except RpcError:
        return await rpc.request("eth_getProof", [token, [slot], hex(block.number)])
