"""What can be said of a transaction that no block of the chain holds: pending, dropped, replaced, reorganised, unknown.

"Not found" alone says nothing: the node may be behind, may have dropped old transactions, or may have been given what
is no transaction hash at all (attacks A17, A18 and A49).
"""

from __future__ import annotations

from typing import Final

from chains.claims import ApprovalCheck, ApprovalClaim, Finding, State
from chains.errors import ContradictionError, RpcError
from chains.evm.answers import parse_hash, parse_list, parse_object, parse_quantity
from chains.evm.approval_logs import USER_OPERATION_TOPIC
from chains.evm.encoded_transactions import (
    DEPOSIT,
    DecodedTransaction,
    decode_transaction,
    encode_transaction,
    transactions_root,
)
from chains.evm.headers import check_header
from chains.evm.inclusion import LYING, OffChain
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
    now = await _block_at(rpc, claim.block) if claim.block is not None else None
    if claim.block is not None and now == claim.block and await _lists(rpc, claim.block, claim.transaction):
        message = (
            f"Block {claim.block.number} holds {claim.transaction}, and the node does not find it by its hash: it "
            "keeps no index so far back. Name another node with --rpc."
        )
        return _undetermined([], Finding("transaction", "UNDETERMINED", message), None, head)
    gone = claim.block is not None and now is not None and now != claim.block
    before = f"Block {claim.block.number} that held it was reorganised away. " if claim.block and gone else ""
    if signed is not None:
        return await _explain_by_nonce(claim, signed, rpc, head, before)
    if claim.block is not None and now is not None and gone:
        finding = Finding(
            "inclusion",
            "UNDETERMINED",
            f"{before}The chain has another block there, and the node does not know {claim.transaction} now: it may "
            "land again for as long as its nonce is free. Do not approve anew before you know; verify it again.",
            expected=claim.block.hash,
            found=now.hash,
        )
        return _undetermined([], finding, "reorganised", head)
    operation = await _find_user_operation(rpc, claim.transaction, head)
    if operation is not None:
        message = (
            f"{claim.transaction} is no transaction hash but the hash of an ERC-4337 user operation. The transaction "
            f"that carried it is {operation}: verify that one."
        )
        finding = Finding("transaction", "UNDETERMINED", message, expected=operation, found=claim.transaction)
        return _undetermined([], finding, None, head)
    message = (
        f"The node does not know {claim.transaction}. It may be behind or have dropped old transactions; the "
        f"transaction may be on another network than {claim.chain.title}, or dropped; or this is no transaction hash "
        "but the id of a bundle of calls (EIP-5792) or of a user operation (ERC-4337): ask the wallet for the hash of "
        "the transaction."
    )
    return _undetermined([], Finding("transaction", "UNDETERMINED", message), None, head)


def wrong_chain(claim: ApprovalClaim, signed: DecodedTransaction) -> Finding:
    """Return the finding for a transaction that is signed for another chain (attack A2)."""
    return Finding(
        "chain",
        "REFUTED",
        f"The transaction is signed for chain {signed.chain_id}, and {claim.chain.title} is chain "
        f"{claim.chain.chain_id} (EIP-155): it approves nothing there.",
        expected=str(claim.chain.chain_id),
        found=str(signed.chain_id),
    )


async def _explain_by_nonce(
    claim: ApprovalClaim, signed: DecodedTransaction, rpc: Rpc, head: Block, before: str
) -> ApprovalCheck:
    """Decide by the sender's nonce, which every transaction of an account uses up once (attack A18)."""
    count = await _get_nonce(rpc, signed.sender, head.number)
    facts = {"head": head.hash, "nonce": str(count)}
    if count <= signed.nonce:
        state: State = "reorganised" if before else "dropped"
        message = (
            f"{before}No block holds {claim.transaction}, the node does not know it, and its nonce {signed.nonce} is "
            "free: it can still land if somebody broadcasts it again. Send the same bytes again or use up the nonce; "
            "do not approve anew with another nonce before."
        )
        return _undetermined([], Finding("inclusion", "UNDETERMINED", message), state, head, facts)
    try:
        user = await _find_user_of_nonce(rpc, signed, head)
    except RpcError as error:
        message = (
            f"{before}The node does not know {claim.transaction} and says that its nonce {signed.nonce} is used, but "
            f"not by what ({error.message}). Either another transaction replaced it, or the node keeps no index so far "
            "back. Name another node with --rpc."
        )
        return _undetermined([], Finding("inclusion", "UNDETERMINED", message), None, head, facts)
    if user is None:
        message = (
            f"{before}The node does not know {claim.transaction} and says that its nonce {signed.nonce} is used, and "
            "nothing in the block that it names uses it. Name another node with --rpc."
        )
        return _undetermined([], Finding("inclusion", "UNDETERMINED", message), None, head, facts)
    if user == claim.transaction:
        message = f"A block holds {claim.transaction}, and the node does not find it by its hash. Name another node."
        return _undetermined([], Finding("transaction", "UNDETERMINED", message), None, head, facts)
    finding = Finding(
        "inclusion",
        "REFUTED",
        f"{before}{claim.transaction} can never land: its nonce {signed.nonce} of {signed.sender} is used by the "
        f"transaction {user}.",
        expected=claim.transaction,
        found=user,
    )
    facts |= {"replaced-by": user}
    return ApprovalCheck((finding,), state="replaced", head=head, facts=facts)


async def _find_user_of_nonce(rpc: Rpc, signed: DecodedTransaction, head: Block) -> str | None:
    """Return the transaction that used the nonce; None if nothing in the block does; raises `RpcError`.

    A nonce is used up by a transaction of the account, by an authorization that it signed (EIP-7702), and on the OP
    Stack by its deposit.
    """
    # Newest blocks first, in growing steps, because many nodes keep the state of the newest ones only.
    low, high, step = head.number, head.number, 1
    while low > 0 and await _get_nonce(rpc, signed.sender, low) > signed.nonce:
        low, high, step = max(0, low - step), low, 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        if await _get_nonce(rpc, signed.sender, middle) > signed.nonce:
            high = middle
        else:
            low = middle
    answer = await rpc.request("eth_getBlockByNumber", [hex(high), True])
    block = parse_object("eth_getBlockByNumber", answer)
    transactions = parse_list("a block's transactions", block.get("transactions"))
    root = "0x" + transactions_root(transactions).hex()
    if (check_header(block).number, root) != (high, str(block["transactionsRoot"]).lower()):
        raise ContradictionError(f"The transactions of block {high} are not those of its header.", hint=LYING)
    for item in transactions:
        # `from` is the word of the node: a lie about it hides the transaction and does not show another one.
        if str(item.get("from")).lower() == signed.sender.lower() or item.get("authorizationList"):
            other = decode_transaction(encode_transaction(item))
            is_own = other.sender == signed.sender and (other.nonce == signed.nonce or other.type == DEPOSIT)
            if is_own or signed.sender in other.authorities:
                return other.hash
    return None


async def _get_nonce(rpc: Rpc, account: str, number: int) -> int:
    answer = await rpc.request("eth_getTransactionCount", [account, hex(number)])
    return parse_quantity("eth_getTransactionCount", answer)


async def _block_at(rpc: Rpc, block: Block) -> Block | None:
    """Return the block of the chain with the number of `block`; None where the node's chain ends before."""
    answer = await rpc.request("eth_getBlockByNumber", [hex(block.number), False])
    return None if answer is None else check_header(parse_object("eth_getBlockByNumber", answer))


async def _lists(rpc: Rpc, block: Block, hash_: str) -> bool:
    answer = await rpc.request("eth_getBlockByNumber", [hex(block.number), False])
    return hash_ in parse_list(
        "a block's transactions", parse_object("eth_getBlockByNumber", answer).get("transactions")
    )


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
    facts: dict[str, str] | None = None,
) -> ApprovalCheck:
    return ApprovalCheck((*findings, finding), state=state, head=head, facts=facts or {"head": head.hash})
