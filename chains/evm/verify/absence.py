"""What can be said of a transaction that no block of the chain holds: pending, dropped, replaced, reorganised, unknown.

"Not found" alone says nothing: the node may be behind, may have dropped old transactions, or may have been given what
is no transaction hash at all (attacks A17, A18 and A49).
"""

from __future__ import annotations

from typing import Final

from chains.claims import NEEDS_NOBODY, ApprovalCheck, ApprovalClaim, Finding, State
from chains.errors import RpcError
from chains.evm.answers import parse_hash, parse_list, parse_object
from chains.evm.blocks import find_block
from chains.evm.codec.approval_logs import USER_OPERATION_TOPIC
from chains.evm.codec.transactions import DecodedTransaction
from chains.evm.nonces import find_user_of_nonce, get_nonce
from chains.evm.verify.inclusion import OffChain
from chains.rpc import Rpc
from chains.types import Block

_USER_OPERATION_WINDOW: Final = 10_000


def explain_pending(claim: ApprovalClaim, findings: list[Finding], head: Block) -> ApprovalCheck:
    """Return the check of a transaction that the node knows and no block holds yet."""
    message = (
        f"The node knows the transaction {claim.transaction}, and no block holds it yet: it may still land, be "
        "replaced or be dropped. Verify it again later."
    )
    return _undetermined(findings, Finding("inclusion", "UNDETERMINED", message), "pending", head)


def explain_off_chain(claim: ApprovalClaim, findings: list[Finding], at: OffChain, head: Block) -> ApprovalCheck:
    """Return the check of a transaction whose block is not part of the chain any more (attack A17)."""
    finding = Finding(
        "inclusion",
        "UNDETERMINED",
        f"The block {at.block.number} that held {claim.transaction} is not part of the chain any more: the approval "
        "does not count, unless the transaction lands again. Do not approve anew before its nonce is used; verify it "
        "again.",
        expected=at.block.hash,
        found=at.now.hash,
    )
    return _undetermined(findings, finding, "reorganised", head)


async def explain_absence(
    claim: ApprovalClaim, signed: DecodedTransaction | None, rpc: Rpc, head: Block
) -> ApprovalCheck:
    """Return the check of a transaction that the node does not know; `signed` is what its bytes say, where known.

    REFUTED only where it can never land: it is signed for another chain, or its nonce is used up.
    """
    if signed is not None and signed.chain_id not in {None, claim.chain.chain_id}:
        return ApprovalCheck((wrong_chain(claim, signed),), head=head)
    found = None if claim.block is None else await find_block(rpc, hex(claim.block.number))
    if found is not None and found[0] == claim.block:
        if claim.transaction in parse_list("a block's transactions", found[1].get("transactions")):
            message = (
                f"Block {claim.block.number} holds {claim.transaction}, and the node does not find it by its hash: it "
                "keeps no index so far back. Name another node."
            )
            return _undetermined([], Finding("inclusion", "UNDETERMINED", message), None, head)
        found = None
    # Now `found` is another block in the place of the one that is said to have held it.
    before = "" if found is None else f"Block {found[0].number} that held it was reorganised away. "
    if signed is not None:
        return await _explain_by_nonce(claim, signed, rpc, head, before)
    if claim.block is not None and found is not None:
        finding = Finding(
            "inclusion",
            "UNDETERMINED",
            f"{before}The chain has another block there, and the node does not know {claim.transaction} now: it may "
            "land again for as long as its nonce is free. Do not approve anew before you know; verify it again.",
            expected=claim.block.hash,
            found=found[0].hash,
        )
        return _undetermined([], finding, "reorganised", head)
    operation = await _find_user_operation(rpc, claim.transaction, head)
    if operation is not None:
        message = (
            f"{claim.transaction} is no transaction hash but the hash of an ERC-4337 user operation. The transaction "
            f"that carried it is {operation}: verify that one."
        )
        finding = Finding("inclusion", "UNDETERMINED", message, expected=operation, found=claim.transaction)
        return _undetermined([], finding, None, head)
    message = (
        f"The node does not know {claim.transaction}. It may be behind or have dropped old transactions; the "
        f"transaction may be on another network than {claim.chain.title}, or dropped; or this is no transaction hash "
        "but the id of a bundle of calls (EIP-5792) or of a user operation (ERC-4337): ask the wallet for the hash of "
        "the transaction."
    )
    return _undetermined([], Finding("inclusion", "UNDETERMINED", message), None, head)


def wrong_chain(claim: ApprovalClaim, signed: DecodedTransaction) -> Finding:
    """Return the finding for a transaction that is signed for another chain (attack A2)."""
    return Finding(
        "chain",
        "REFUTED",
        f"The transaction is signed for chain {signed.chain_id}, and {claim.chain.title} is chain "
        f"{claim.chain.chain_id} (EIP-155): it approves nothing there.",
        expected=str(claim.chain.chain_id),
        found=str(signed.chain_id),
        basis=NEEDS_NOBODY,
    )


async def _explain_by_nonce(
    claim: ApprovalClaim, signed: DecodedTransaction, rpc: Rpc, head: Block, before: str
) -> ApprovalCheck:
    """Decide by the sender's nonce, which every transaction of an account uses up once (attack A18)."""
    count = await get_nonce(rpc, signed.sender, hex(head.number))
    if count <= signed.nonce:
        state: State = "reorganised" if before else "dropped"
        message = (
            f"{before}No block holds {claim.transaction}, the node does not know it, and its nonce {signed.nonce} is "
            "free: it can still land if somebody broadcasts it again. Send the same bytes again or use up the nonce; "
            "do not approve anew with another nonce before."
        )
        return _undetermined([], Finding("inclusion", "UNDETERMINED", message), state, head)
    try:
        user = await find_user_of_nonce(rpc, signed.sender, signed.nonce, head.number)
    except RpcError as error:
        message = (
            f"{before}The node does not know {claim.transaction} and says that its nonce {signed.nonce} is used, but "
            f"not by what ({error.message}). Either another transaction replaced it, or the node keeps no index so far "
            "back. Name another node."
        )
        return _undetermined([], Finding("inclusion", "UNDETERMINED", message), None, head)
    if user is None:
        message = (
            f"{before}The node does not know {claim.transaction} and says that its nonce {signed.nonce} is used, and "
            "nothing in the block that it names uses it. Name another node."
        )
        return _undetermined([], Finding("inclusion", "UNDETERMINED", message), None, head)
    if user == claim.transaction:
        message = f"A block holds {claim.transaction}, and the node does not find it by its hash. Name another node."
        return _undetermined([], Finding("inclusion", "UNDETERMINED", message), None, head)
    finding = Finding(
        "inclusion",
        "REFUTED",
        f"{before}{claim.transaction} can never land: its nonce {signed.nonce} of {signed.sender} is used by the "
        f"transaction {user}.",
        expected=claim.transaction,
        found=user,
    )
    return ApprovalCheck((finding,), state="replaced", head=head)


async def _find_user_operation(rpc: Rpc, hash_: str, head: Block) -> str | None:
    """Return the transaction that carried an ERC-4337 user operation of this hash, None where none is found."""
    low = max(0, head.number - _USER_OPERATION_WINDOW)
    question = {"fromBlock": hex(low), "toBlock": hex(head.number), "topics": [USER_OPERATION_TOPIC, hash_]}
    try:
        logs = parse_list("eth_getLogs", await rpc.request("eth_getLogs", [question]))
    except RpcError:
        return None
    for log in logs:
        return parse_hash("a log's transactionHash", parse_object("a log", log).get("transactionHash"))
    return None


def _undetermined(
    findings: list[Finding],
    finding: Finding,
    state: State | None,
    head: Block,
) -> ApprovalCheck:
    return ApprovalCheck((*findings, finding), state=state, head=head)
