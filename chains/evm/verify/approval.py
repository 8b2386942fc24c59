"""Checking an EVM approval by its transaction hash: what it did at its own block, and what became of it since.

The verdict is about the claim at the block of its transaction; what came later is its `state` (attack A7). Questions
are asked one after the other and nothing but the answers decides, so that a transcript leads to the same result.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from chains.claims import (
    NEEDS_NOBODY,
    NODES_WORD,
    Amounts,
    ApprovalCheck,
    ApprovalClaim,
    Basis,
    Finding,
    FindingVerdict,
    State,
    proved_under,
    show_amount,
)
from chains.errors import InputError, NodeError, RpcError
from chains.evm.addresses import delegate_in, parse_address
from chains.evm.answers import parse_object, parse_quantity
from chains.evm.blocks import Found, check_lineage, get_header, get_parent
from chains.evm.codec.approval_logs import (
    Execution,
    Pair,
    Walk,
    approved_value,
    needs_allowance_before,
    parse_logs,
    read_direct,
    walk,
)
from chains.evm.codec.transactions import DEPOSIT, DecodedTransaction, decode_transaction, encode_transaction
from chains.evm.verify.absence import explain_absence, explain_off_chain, explain_pending, wrong_chain
from chains.evm.verify.account_code import get_code
from chains.evm.verify.allowance_proof import prove_allowance
from chains.evm.verify.finality import get_finality
from chains.evm.verify.findings import (
    Bases,
    Outcome,
    check_decimals,
    check_effect,
    check_last,
    check_post_state,
    check_status,
    find_outcome,
    later_approval,
)
from chains.evm.verify.history import Became, History, describe_state, find_state, get_history
from chains.evm.verify.inclusion import Inclusion, OffChain, get_inclusion, read_transaction
from chains.evm.verify.token_state import TokenState, get_allowance, get_token_state, read_decimals
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
            "NOTED",
            f"The transaction {why} (EIP-155): the same bytes may be valid on other chains. It is checked as one of "
            f"{claim.chain.title} because a block there holds it.",
            expected=expected,
        )
    if transaction.chain_id != claim.chain.chain_id:
        return wrong_chain(claim, transaction)
    message = f"The transaction is signed for {claim.chain.title}."
    return Finding("chain", "VERIFIED", message, expected, expected, NEEDS_NOBODY)


async def _check_included(case: _Case, findings: list[Finding]) -> ApprovalCheck:
    """Check a transaction that is in a block: at that block first, then what became of it."""
    inclusion = case.inclusion
    status = parse_quantity("a receipt's status", inclusion.receipt.get("status"))
    findings += [*_describe_inclusion(inclusion), check_status(status, inclusion.basis)]
    outcome, walked, after = Outcome(()), None, _Allowance()
    exhibits: dict[str, Any] = {}
    if status == 1:
        outcome, walked, after = await _check_outcome(case, findings, exhibits)
    decimals, block = await read_decimals(case.rpc, case.pair.token, inclusion.block, case.head)
    findings.append(check_decimals(case.claim, decimals, block.number))
    level, finding = await get_finality(case.rpc, case.claim.chain, inclusion.block)
    findings.append(finding)

    now = await _ask_now(case, findings, exhibits)
    state = await _check_state(case, outcome, walked, after, now, findings)
    token = now.token
    amounts = Amounts(outcome.authorised)
    if token is not None:
        amounts = Amounts(outcome.authorised, token.allowance, token.balance, token.spendable)
    return ApprovalCheck(
        findings=tuple(findings),
        method=outcome.method,
        via=outcome.via,
        state=state,
        amounts=amounts,
        blocked=() if token is None else token.blocked,
        included=inclusion.block,
        head=case.head,
        finality=level,
        exhibits=_exhibits(case, outcome) | exhibits,
    )


def _describe_inclusion(inclusion: Inclusion) -> list[Finding]:
    block = inclusion.block
    message = f"Block {block.number} of the chain, {block.hash}, holds the transaction."
    found = [Finding("inclusion", "VERIFIED", message, found=block.hash, basis=inclusion.basis)]
    if not inclusion.proved:
        why = f"That it is in there with this receipt is not proved: {inclusion.problem}."
        found.append(Finding("inclusion-proof", "NOTED", why))
    return found


@dataclass(frozen=True, slots=True)
class _Allowance:
    """An allowance as it was read at a block, None if there is none or a text that says why it could not be read, and
    what that rests on."""

    value: int | str | None = None
    basis: Basis = NODES_WORD

    @property
    def number(self) -> int | None:
        """The allowance in base units, None where it is not known."""
        return self.value if isinstance(self.value, int) else None


async def _check_outcome(
    case: _Case, findings: list[Finding], exhibits: dict[str, Any]
) -> tuple[Outcome, Walk, _Allowance]:
    """Say what the transaction approved, and return it with what its block did to the pair and left."""
    inclusion = case.inclusion
    own, executions = _read_block(case)
    code, code_basis = await _get_owner_code(case)
    delegated = delegate_in(code) is not None
    logged = parse_logs(inclusion.receipt)
    logs_nothing = read_direct(case.transaction) is not None and not any(
        approved_value(case.pair, log) is not None for log in logged
    )
    before, after = _Allowance(), _Allowance()
    # Where the rest of the block is not known, what the transaction found is not what the block before left.
    if inclusion.proved and (logs_nothing or needs_allowance_before(case.pair, executions)):
        before = await _ask_before(case, exhibits)
    if logs_nothing or any(approved_value(case.pair, log) is not None for log in logged):
        included = (inclusion.block, inclusion.header)
        after = await _ask_allowance(case, included, exhibits, "at_included")
    last = after.number if inclusion.proved else None
    walked = walk(case.pair, executions, before.number, last, delegated=delegated)
    otherwise = walk(case.pair, executions, before.number, last, delegated=not delegated)
    kinds = inclusion.basis
    if walked.before is not None:
        kinds &= before.basis
    if walked.is_silent:
        kinds &= after.basis
    if walked.approvals != otherwise.approvals:
        kinds &= code_basis
    bases = Bases(inclusion.basis, kinds)
    outcome = find_outcome(case.claim, case.pair, own, walked, bases, delegated=delegated)
    findings += outcome.findings
    if outcome.authorised is not None:
        complete = inclusion.proved
        effect = check_effect(outcome, before.number, after.value, inclusion.basis & before.basis & after.basis)
        basis = inclusion.basis & after.basis
        checks = (
            effect,
            check_last(case.claim, outcome, walked, bases, complete=complete),
            check_post_state(case.claim, outcome, walked, after.value, basis, complete=complete),
        )
        findings += [each for each in checks if each is not None]
    return outcome, walked, after


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


async def _get_owner_code(case: _Case) -> tuple[bytes, Basis]:
    """Return the code that the owner's account ran in that block (EIP-7702), none where it cannot be asked."""
    try:
        code = await get_code(case.rpc, case.pair.owner, (case.inclusion.block, case.inclusion.header))
    except RpcError:
        return b"", NODES_WORD
    return code.code, code.basis


async def _ask_before(case: _Case, exhibits: dict[str, Any]) -> _Allowance:
    """Return the allowance that the block before left, whose hash the transaction's block names."""
    parent = await get_parent(case.rpc, case.inclusion.header)
    if parent is None:
        return _Allowance("the node does not show the block before it")
    before = await _ask_allowance(case, parent, exhibits, "before")
    # The hash of the parent is bound by that of the transaction's block.
    return before if before.basis.word else replace(before, basis=proved_under(case.inclusion.block))


async def _ask_allowance(case: _Case, found: Found, exhibits: dict[str, Any], where: str) -> _Allowance:
    """Return the allowance at a block with its proof, or why it cannot be read."""
    try:
        allowance = await get_allowance(case.rpc, case.pair, found[0])
    except RpcError as error:
        return _Allowance(error.message)
    if allowance is None:
        return _Allowance()
    return _Allowance(allowance, await _prove(case, found, allowance, exhibits, where))


async def _prove(case: _Case, found: Found, allowance: int, exhibits: dict[str, Any], where: str) -> Basis:
    proof = await prove_allowance(case.rpc, case.claim.chain, case.pair, found, allowance)
    exhibits |= {f"slot_{where}": proof.as_json()} | ({} if proof.proof is None else {f"proof_{where}": proof.proof})
    return proof.basis


@dataclass(frozen=True, slots=True)
class _Now:
    """What the token says now, None where the node cannot be asked, and what its allowance rests on."""

    token: TokenState | None
    basis: Basis = NODES_WORD

    @property
    def allowance(self) -> int | None:
        """The allowance in base units, None where it is not known."""
        return None if self.token is None else self.token.allowance


async def _ask_now(case: _Case, findings: list[Finding], exhibits: dict[str, Any]) -> _Now:
    """Return what the token says now, and say it, and what bars a spend."""
    at = f"At block {case.head.number}"
    try:
        token = await get_token_state(case.rpc, case.pair, case.head)
    except RpcError as error:
        message = f"What the token says at block {case.head.number} could not be read ({error.message})."
        findings.append(_present("allowance", "UNDETERMINED", message))
        return _Now(None)
    if token.allowance is None:
        findings.append(_present("allowance", "UNDETERMINED", f"{at} the token answers no allowance."))
        return _Now(token)
    basis = await _prove(case, (case.head, case.header), token.allowance, exhibits, "now")
    message = f"{at} the allowance is {show_amount(case.claim, token.allowance)}."
    findings.append(_present("allowance", "VERIFIED", message, str(token.allowance), basis))
    if token.balance is not None:
        message = f"{at} the owner has {show_amount(case.claim, token.balance)}."
        findings.append(_present("balance", "NOTED", message, str(token.balance)))
    if token.blocked:
        barred = ", ".join(token.blocked)
        message = f"WARNING: nothing can be spent at block {case.head.number}: {barred}."
        findings.append(_present("blocked", "NOTED", message, barred))
    if token.spendable is None:
        message = f"What the spender could take at block {case.head.number} is not known. {token.unasked}".strip()
        findings.append(_present("spendable", "NOTED", message))
    else:
        message = f"The spender could take {show_amount(case.claim, token.spendable)} at block {case.head.number}."
        findings.append(_present("spendable", "NOTED", message, str(token.spendable)))
    return _Now(token, basis)


def _present(
    rule: str, verdict: FindingVerdict, message: str, found: str | None = None, basis: Basis = NODES_WORD
) -> Finding:
    return Finding(rule, verdict, message, found=found, basis=basis, about="present")


async def _check_state(
    case: _Case, outcome: Outcome, walked: Walk | None, after: _Allowance, now: _Now, findings: list[Finding]
) -> State | None:
    """Return what has become of the approval, and say it; None where there was none or it cannot be told."""
    authorised = outcome.authorised
    if authorised is None or walked is None:
        return None
    since, head = case.inclusion.block.number, case.head.number
    if now.allowance is None or head < since:
        why = f"block {head} is before its block {since}" if now.allowance is not None else "it is not known"
        message = f"The allowance now cannot be compared: {why}."
        findings += [_present(rule, "UNDETERMINED", message) for rule in ("state", "still-active")]
        return None
    history = History()
    if now.allowance != authorised:
        history = await get_history(case.rpc, case.pair, since, head, after.number)
        if history.approval is None:
            history = replace(history, approval=later_approval(outcome, walked))
    left = authorised if after.number is None else min(authorised, after.number)
    became = find_state(case.claim.amount, authorised, left, now.allowance, history)
    message = f"At block {head}: {describe_state(became.state, case.claim, authorised, now.allowance, history)}"
    # What only logs tell rests on the node, which can leave some out.
    basis = now.basis if became.by_amount else NODES_WORD
    found = became.state or "unknown"
    findings.append(_present("state", "VERIFIED" if became.state else "UNDETERMINED", message, found, basis))
    findings.append(_check_active(case, now, became, basis))
    return became.state


def _check_active(case: _Case, now: _Now, became: Became, basis: Basis) -> Finding:
    """Return whether the approval still stands; an allowance that is gone shows that it does not, without any log."""
    allowance, rule = now.allowance or 0, "still-active"
    stands = ("active", "reduced") if case.claim.amount else ("revoked",)
    if case.claim.amount and not allowance:
        message = f"Nothing is left of it at block {case.head.number}."
        return _present(rule, "REFUTED", message, "0", now.basis)
    if became.state is None:
        message = f"Whether it still stands at block {case.head.number} is not known: less is left, and why is not."
        return _present(rule, "UNDETERMINED", message, str(allowance))
    if became.state in stands:
        return _present(rule, "VERIFIED", f"It still stands at block {case.head.number}.", str(allowance), basis)
    message = f"It does not stand any more at block {case.head.number}: it is {became.state}."
    return _present(rule, "REFUTED", message, str(allowance), basis)


def _exhibits(case: _Case, outcome: Outcome) -> dict[str, Any]:
    """Return the evidence of the transaction as JSON."""
    inclusion = case.inclusion
    exhibits: dict[str, Any] = {
        "transaction": "0x" + case.raw.hex(),
        "receipt": inclusion.receipt,
        "included": inclusion.header,
        "head": case.header,
    }
    if outcome.log is not None:
        exhibits["log"] = inclusion.receipt["logs"][outcome.log.position]
    return exhibits
