"""The proofs of what a verdict on an approval rests on, and what of it nothing proves (tier T2, rules 20 and 21)."""

from __future__ import annotations

from dataclasses import dataclass

from chains.claims import Finding
from chains.errors import RpcError
from chains.evm.blocks import get_parent
from chains.evm.codec.approval_logs import Pair, Walk
from chains.evm.verify.allowance_proof import AllowanceProof, Reading, prove_readings
from chains.evm.verify.findings import Outcome
from chains.evm.verify.inclusion import Inclusion
from chains.evm.verify.token_state import TokenState, get_allowance
from chains.rpc import Rpc
from chains.types import Token

_NONE = AllowanceProof(proved=False, problem="the node does not show the block before it")


@dataclass(frozen=True, slots=True)
class Proofs:
    """The proofs of the allowance now, at the end of the transaction's block, and before that block."""

    now: AllowanceProof
    then: AllowanceProof
    before: AllowanceProof


async def prove_approval(
    rpc: Rpc, pair: Pair, inclusion: Inclusion, walked: Walk | None, after: int | None, now: Reading
) -> Proofs:
    """Return the proofs of an approval's allowances; `after` is the one at the end of its block, None if unknown.

    The block before is looked at where the outcome rests on it, and where a zero needs it to be proved. Raises
    `ContradictionError` if a proof fails or proves another number.
    """
    before = None if walked is None else walked.before
    readings = [now, Reading(inclusion.block, inclusion.header, after)]
    parent = await get_parent(rpc, inclusion.header) if before is not None or after == 0 else None
    if parent is not None:
        if before is None:
            try:
                before = await get_allowance(rpc, pair, parent[0])
            except RpcError:
                before = None
        readings.append(Reading(*parent, before))
    proofs = await prove_readings(rpc, pair, readings)
    return Proofs(*proofs, *[_NONE] * (3 - len(proofs)))


def list_unproved(
    outcome: Outcome, walked: Walk | None, post_state: Finding | None, now: TokenState, token: Token, proofs: Proofs
) -> list[str]:
    """Return what the verdict rests on besides the allowance now, and nothing proves."""
    missing = []
    # Where log and calldata of the approval are proved, a state after it that agrees adds nothing.
    is_needed = post_state is not None and (outcome.log is None or post_state.verdict != "VERIFIED")
    if (is_needed or outcome.method == "logs") and not proofs.then.proved:
        missing.append(f"what the allowance was at the end of its block is not proved ({proofs.then.problem})")
    if walked is not None and walked.before is not None and not proofs.before.proved:
        missing.append(f"what the allowance was before its block is not proved ({proofs.before.problem})")
    if walked is not None and walked.hinges_on_code:
        missing.append("whether the owner's account runs code (EIP-7702) is not proved")
    if now.decimals is not None and now.decimals != token.decimals:
        missing.append("what decimals the token has is not proved")
    return missing


def describe_proofs(block: int, now: AllowanceProof, missing: list[str]) -> Finding:
    """Return in words what is proved of the allowance at the block of "now", and what is not."""
    if now.proved:
        message = f"The allowance is proved under the state root of block {block}."
    else:
        message = f"The allowance rests on the word of the node, it is not proved: {now.problem}."
    if missing:
        message += f" The verdict also rests on the word of the node: {'; '.join(missing)}."
    return Finding("storage-proof", "VERIFIED", message)
