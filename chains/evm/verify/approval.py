"""Checking an EVM approval by its transaction hash: what it did at its own block, and what became of it since.

The verdict is about the claim at the block of its transaction; what came later is its `state` (attack A7). Questions
are asked one after the other and nothing but the answers decides, so that a transcript leads to the same result.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from chains.claims import Amounts, ApprovalCheck, ApprovalClaim, Finding, State, show_amount
from chains.errors import InputError, NodeError, RpcError
from chains.evm.addresses import delegate_in, parse_address
from chains.evm.answers import parse_data, parse_hash, parse_object, parse_quantity
from chains.evm.blocks import check_lineage, get_header
from chains.evm.codec.approval_logs import Execution, Pair, Walk, needs_allowance_before, parse_logs, walk
from chains.evm.codec.transactions import DEPOSIT, DecodedTransaction, decode_transaction, encode_transaction
from chains.evm.simulation import at_block
from chains.evm.verify.absence import explain_absence, explain_off_chain, explain_pending, wrong_chain
from chains.evm.verify.allowance_proof import Reading
from chains.evm.verify.finality import get_finality
from chains.evm.verify.findings import (
    Outcome,
    check_decimals,
    check_last,
    check_post_state,
    check_status,
    find_outcome,
    later_approval,
)
from chains.evm.verify.history import History, describe_state, find_state, get_history
from chains.evm.verify.inclusion import Inclusion, OffChain, get_inclusion, read_transaction
from chains.evm.verify.proofs import Proofs, describe_proofs, list_unproved, prove_approval
from chains.evm.verify.token_state import TokenState, get_allowance, get_token_state
from chains.rpc import Rpc
from chains.types import Block

_HASH: Final = re.compile(r"0x[0-9a-f]{64}", re.ASCII)
_RAW: Final = re.compile(r"0x(?:[0-9a-fA-F]{2})+", re.ASCII)


async def check_approval(claim: ApprovalClaim, rpc: Rpc, head: Block) -> ApprovalCheck:
    """Return what one node's answers say of an approval, with the state at block `head.number` as "now".

    Raises `InputError` for a claim that is none, `ContradictionError` if the answers contradict each other, so that
    none of them counts, and `NodeError` if the node could not be asked.
    """
    pair, signed = _read_claim(claim)
    answer = await rpc.request("eth_getTransactionByHash", [claim.transaction])
    now, header = await get_header(rpc, hex(head.number))
    if answer is None:
        return await explain_absence(claim, signed, rpc, now)
    raw, transaction = read_transaction(claim.transaction, answer)
    findings = [_check_chain(claim, transaction)]
    fields = parse_object("eth_getTransactionByHash", answer)
    if fields.get("blockNumber") is None:
        return explain_pending(claim, findings, now)
    inclusion = await get_inclusion(rpc, claim.transaction, fields)
    if isinstance(inclusion, OffChain):
        return explain_off_chain(claim, findings, inclusion, now)
    check_lineage([(inclusion.block, inclusion.header), (now, header)])
    return await _check_included(_Case(claim, pair, rpc, raw, transaction, inclusion, now, header), findings)


@dataclass(frozen=True, slots=True)
class _Case:
    """What is known of a mined transaction before it is checked; `head` and `header` are those of "now"."""

    claim: ApprovalClaim
    pair: Pair
    rpc: Rpc
    raw: bytes
    transaction: DecodedTransaction
    inclusion: Inclusion
    head: Block
    header: Mapping[str, Any]


def _read_claim(claim: ApprovalClaim) -> tuple[Pair, DecodedTransaction | None]:
    """Return the pair that is claimed, and what the claimed bytes say; raises `InputError` if they are others."""
    if claim.chain.chain_id is None:
        raise InputError(f"{claim.chain.title} is no EVM network.")
    if not _HASH.fullmatch(claim.transaction):
        raise InputError(
            f"{claim.transaction[:80]!r} is no transaction hash.",
            hint="Give 0x and 64 lower-case hexadecimal digits. The id that wallet_sendCalls returns (EIP-5792) is "
            "another thing: ask the wallet for the hash of the transaction.",
        )
    if not 0 <= claim.amount < 2**256:
        raise InputError("The amount does not fit into 256 bits.", found=str(claim.amount)[:100])
    pair = Pair(*(parse_address(text) for text in (claim.token.address, claim.owner, claim.spender)))
    if claim.raw is None:
        return pair, None
    try:
        signed = decode_transaction(bytes.fromhex(claim.raw[2:]) if _RAW.fullmatch(claim.raw) else b"")
    except NodeError as error:
        raise InputError(f"The bytes given for {claim.transaction} are no transaction: {error.message}") from error
    if signed.hash != claim.transaction:
        raise InputError(
            f"The bytes given for {claim.transaction} are those of {signed.hash}.",
            hint="Give the signed bytes of the transaction itself, or none.",
            expected=claim.transaction,
            found=signed.hash,
        )
    return pair, signed


def _check_chain(claim: ApprovalClaim, transaction: DecodedTransaction) -> Finding:
    """Compare the chain that the signature names (EIP-155) with the claimed one (attack A2)."""
    expected = str(claim.chain.chain_id)
    if transaction.chain_id is None:
        why = "is a deposit from another chain" if transaction.type == DEPOSIT else "names no chain in its signature"
        return Finding(
            "chain",
            "VERIFIED",
            f"The transaction {why} (EIP-155): the same bytes may be valid on other chains. It is checked as one of "
            f"{claim.chain.title} because a block there holds it.",
            expected=expected,
        )
    if transaction.chain_id != claim.chain.chain_id:
        return wrong_chain(claim, transaction)
    return Finding("chain", "VERIFIED", f"The transaction is signed for {claim.chain.title}.", expected, expected)


async def _check_included(case: _Case, findings: list[Finding]) -> ApprovalCheck:
    """Check a transaction that is in a block: at that block first, then what became of it."""
    inclusion = case.inclusion
    status = parse_quantity("a receipt's status", inclusion.receipt.get("status"))
    findings += [_describe_inclusion(inclusion), check_status(status)]
    outcome, walked, after, post = Outcome(()), None, None, None
    if status == 1:
        outcome, walked = await _find_outcome(case)
        findings += outcome.findings
        if outcome.authorised is not None:
            after = await _ask_allowance(case)
            last = check_last(case.claim, outcome, walked, complete=inclusion.proved)
            post = check_post_state(case.claim, outcome, walked, after, complete=inclusion.proved)
            findings += [post] if last is None else [last, post]
    level, finding = await get_finality(case.rpc, case.claim.chain, inclusion.block)
    findings.append(finding)

    now = await _ask_now(case, findings)
    left = after if isinstance(after, int) else None
    state = await _check_state(case, outcome, walked, left, now, findings)
    reading = Reading(case.head, case.header, None if now is None else now.allowance)
    proofs = await prove_approval(case.rpc, case.pair, inclusion, walked, left, reading)
    proved, amounts = False, Amounts(outcome.authorised)
    if now is not None:
        missing = list_unproved(outcome, walked, post, now, case.claim.token, proofs)
        findings.append(describe_proofs(case.head.number, proofs.now, missing))
        proved = inclusion.proved and proofs.now.proved and not missing
        amounts = Amounts(outcome.authorised, now.allowance, now.balance, now.spendable)
    return ApprovalCheck(
        findings=tuple(findings),
        method=outcome.method,
        via=outcome.via,
        state=state,
        amounts=amounts,
        blocked=() if now is None else now.blocked,
        included=inclusion.block,
        head=case.head,
        finality=level,
        proved=proved,
        facts=_facts(case, amounts),
        exhibits=_exhibits(case, outcome, proofs),
    )


def _describe_inclusion(inclusion: Inclusion) -> Finding:
    block = inclusion.block
    how = "its receipt and its bytes are proved under that hash"
    if not inclusion.proved:
        how = f"that it is in there rests on the word of the node ({inclusion.problem})"
    message = f"Block {block.number} of the chain, {block.hash}, holds the transaction; {how}."
    return Finding("inclusion", "VERIFIED", message, found=block.hash)


async def _find_outcome(case: _Case) -> tuple[Outcome, Walk]:
    """Return what the transaction approved, and what its block did to the pair."""
    own, executions = _read_block(case)
    delegated = await _is_delegated(case)
    before: int | None = None
    # Where the rest of the block is not known, what the transaction found is not what the block before left.
    if case.inclusion.proved and needs_allowance_before(case.pair, executions):
        header = case.inclusion.header
        parent = Block(case.inclusion.block.number - 1, parse_hash("a block's parentHash", header["parentHash"]))
        try:
            before = await get_allowance(case.rpc, case.pair, parent)
        except RpcError:
            # Without the state before it a log beside a transfer is not accepted.
            before = None
    walked = walk(case.pair, executions, before, delegated=delegated)
    otherwise = walk(case.pair, executions, before, delegated=not delegated)
    walked = replace(walked, hinges_on_code=walked != otherwise)
    return find_outcome(case.claim, case.pair, own, walked, delegated=delegated), walked


def _read_block(case: _Case) -> tuple[Execution, list[Execution]]:
    """Return the transaction, and those of its block that left logs of the token, in block order, itself included."""
    own = Execution(case.transaction, parse_logs(case.inclusion.receipt))
    executions = []
    token = case.pair.token.lower()
    pairs = zip(case.inclusion.transactions, case.inclusion.receipts, strict=True)
    for fields, receipt in pairs:
        if str(fields.get("hash")).lower() == case.claim.transaction:
            executions.append(own)
            continue
        logs = parse_logs(receipt)
        if any(log.address == token for log in logs):
            executions.append(Execution(decode_transaction(encode_transaction(fields)), logs))
    return own, executions


async def _is_delegated(case: _Case) -> bool:
    """Return whether the owner's account ran the code of another one in that block (EIP-7702)."""
    try:
        answer = await case.rpc.request("eth_getCode", [case.pair.owner, at_block(case.inclusion.block)])
    except RpcError:
        return False
    return delegate_in(parse_data("eth_getCode", answer)) is not None


async def _ask_allowance(case: _Case) -> int | str | None:
    """Return the allowance at the end of the transaction's block, None if there is none, or why it cannot be read."""
    try:
        return await get_allowance(case.rpc, case.pair, case.inclusion.block)
    except RpcError as error:
        return error.message


async def _ask_now(case: _Case, findings: list[Finding]) -> TokenState | None:
    """Return what the token says now, and say what bars a spend; None where the node cannot be asked."""
    try:
        now = await get_token_state(case.rpc, case.pair, case.head)
    except RpcError as error:
        message = f"What the token says at block {case.head.number} could not be read ({error.message})."
        findings.append(Finding("state", "UNDETERMINED", message))
        return None
    findings.append(check_decimals(case.claim.token, now.decimals))
    if now.blocked:
        message = f"WARNING: nothing can be spent at block {case.head.number}: {', '.join(now.blocked)}."
    elif now.spendable is None:
        message = f"What the spender could take at block {case.head.number} is not known. {now.unasked}".strip()
    else:
        message = f"The spender could take {show_amount(case.claim, now.spendable)} at block {case.head.number}."
    findings.append(Finding("spendable", "VERIFIED", message))
    return now


async def _check_state(
    case: _Case,
    outcome: Outcome,
    walked: Walk | None,
    after: int | None,
    now: TokenState | None,
    findings: list[Finding],
) -> State | None:
    """Return what has become of the approval, and say it; None where there was none or it cannot be told."""
    authorised = outcome.authorised
    if authorised is None or walked is None or now is None:
        return None
    since = case.inclusion.block.number
    if now.allowance is None or case.head.number < since:
        why = f"block {case.head.number} is before its block {since}" if now.allowance is not None else "none answered"
        findings.append(Finding("state", "UNDETERMINED", f"The allowance now cannot be compared: {why}."))
        return None
    history = History()
    if now.allowance != authorised:
        history = await get_history(case.rpc, case.pair, since, case.head.number, after)
        if history.approval is None:
            history = replace(history, approval=later_approval(outcome, walked))
    state = find_state(case.claim.amount, authorised, now.allowance, history)
    message = describe_state(state, case.claim, authorised, now.allowance, history)
    findings.append(Finding("state", "VERIFIED", f"At block {case.head.number}: {message}"))
    return state


def _facts(case: _Case, amounts: Amounts) -> dict[str, str]:
    """Return the raw values that honest nodes must agree on."""
    facts = {
        "included": case.inclusion.block.hash,
        "transaction": case.transaction.hash,
        "receipts-root": str(case.inclusion.header["receiptsRoot"]).lower(),
        "head": case.head.hash,
        "state-root": str(case.header["stateRoot"]).lower(),
    }
    values = {"allowance": amounts.remaining, "balance": amounts.balance}
    return facts | {name: str(value) for name, value in values.items() if value is not None}


def _exhibits(case: _Case, outcome: Outcome, proofs: Proofs) -> dict[str, Any]:
    """Return the evidence as JSON."""
    inclusion = case.inclusion
    exhibits: dict[str, Any] = {
        "transaction": "0x" + case.raw.hex(),
        "receipt": inclusion.receipt,
        "included": inclusion.header,
        "head": case.header,
        "transactions_root": inclusion.header["transactionsRoot"],
        "receipts_root": inclusion.header["receiptsRoot"],
        "slot": proofs.now.as_json(),
        "proof": proofs.now.proof,
    }
    if outcome.log is not None:
        exhibits["log"] = inclusion.receipt["logs"][outcome.log.position]
    if inclusion.block != case.head:
        exhibits |= {"slot_at_included": proofs.then.as_json(), "proof_at_included": proofs.then.proof}
    if proofs.before.proof is not None:
        exhibits |= {"slot_before": proofs.before.as_json(), "proof_before": proofs.before.proof}
    return exhibits
