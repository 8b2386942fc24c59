"""Checking a claimed approval on Solana: by one transaction, an owner made a delegate of a spender for an amount.

What the owner signed is proved by the bytes alone. That it landed, and what the token account holds now, is the word of
the node that was asked: there is no state proof that could be checked here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from chains.amounts import MAX_UINT64
from chains.claims import Amounts, ApprovalCheck, ApprovalClaim, Finding, Verdict, check_amount
from chains.errors import InputError, InvalidAmountError, NodeError
from chains.rpc import Rpc
from chains.solana.accounts import Accounts, get_accounts
from chains.solana.addresses import parse_address
from chains.solana.answers import why_unknown
from chains.solana.token import TokenAccount
from chains.solana.verify.absence import explain_absence
from chains.solana.verify.findings import (
    check_instruction,
    check_mint,
    check_nonce,
    check_owner,
    check_signatures,
    check_spender,
    check_status,
    check_token,
    choose_outcome,
    explain_no_approval,
)
from chains.solana.verify.history import find_state
from chains.solana.verify.inclusion import (
    Inclusion,
    as_json,
    get_finality,
    get_transaction,
    read_inclusion,
    require_signature,
)
from chains.solana.verify.instructions import Outcome, find_outcomes, walk
from chains.types import Block

_MOST_DECIMALS: Final = 255


async def check_approval(claim: ApprovalClaim, rpc: Rpc, head: Block) -> ApprovalCheck:
    """Return what one node's answers say of an approval, with the state at a slot not before `head.number` as "now".

    Raises `InputError` for a claim that cannot be one, `ContradictionError` if the answers contradict each other or the
    signatures, and `NodeError` if the node could not be asked.
    """
    _require_claim(claim)
    try:
        answer = await get_transaction(rpc, claim.transaction)
        landed = None if answer is None else read_inclusion(answer, claim.transaction)
    except NodeError as error:
        unread = Finding("transaction", "UNDETERMINED", why_unknown(error), expected=claim.transaction)
        return ApprovalCheck(findings=(unread,), head=head, facts={"transaction": claim.transaction})
    if landed is None:
        return await explain_absence(claim, rpc, head)
    seen = _Seen(landed, await get_finality(rpc, landed), head)
    seen.findings += [check_signatures(landed), *check_nonce(landed), check_status(landed)]
    if seen.findings[-1].verdict != "VERIFIED" or landed.meta is None:
        return seen.to_check()
    try:
        calls = walk(landed.message, landed.meta)
    except NodeError as error:
        seen.findings.append(Finding("approval", "UNDETERMINED", why_unknown(error)))
        return seen.to_check()
    outcomes = find_outcomes(calls)
    if not outcomes:
        seen.findings.append(explain_no_approval(claim, calls))
        return seen.to_check()
    await _check_accounts(claim, rpc, seen, outcomes)
    return seen.to_check()


@dataclass(slots=True)
class _Seen:
    """What has been established so far of a transaction that a node serves."""

    landed: Inclusion
    finality: str
    head: Block
    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    exhibits: dict[str, Any] = field(default_factory=dict)
    rest: dict[str, Any] = field(default_factory=dict)

    def to_check(self) -> ApprovalCheck:
        landed = self.landed
        message = f"The node holds the transaction, in slot {landed.slot}."
        served = Finding("transaction", "VERIFIED", message, expected=landed.signature, found=landed.signature)
        status = "unknown" if landed.meta is None else "ok" if landed.error is None else as_json(landed.error)
        facts = {"transaction": landed.signature, "slot": str(landed.slot), "status": status}
        return ApprovalCheck(
            findings=(served, *self.findings),
            included=Block(landed.slot, ""),
            head=self.head,
            finality=self.finality,
            facts=facts | self.facts,
            exhibits={"transaction": landed.evidence} | self.exhibits,
            **self.rest,
        )


async def _check_accounts(claim: ApprovalClaim, rpc: Rpc, seen: _Seen, outcomes: dict[str, Outcome]) -> None:
    """Hold what the transaction did against the claim and against the accounts as they are now."""
    accounts: Accounts | None = None
    account: TokenAccount | None = None
    problem = ""
    try:
        wanted = list(dict.fromkeys([claim.token.address, claim.owner, *outcomes]))
        accounts = await get_accounts(rpc, wanted, max(seen.landed.slot, seen.head.number))
    except NodeError as error:
        problem = why_unknown(error)
    outcome = choose_outcome(claim, outcomes, accounts)
    if accounts is not None:
        seen.head = Block(accounts.slot, "")
        seen.exhibits["accounts"] = accounts.evidence
        try:
            account = accounts.token_account(outcome.source)
        except NodeError as error:
            problem = why_unknown(error)
    seen.findings += [
        check_instruction(claim, seen.landed, outcome, account),
        check_token(claim, outcome, accounts, account, problem),
        *check_mint(claim, accounts, problem),
        check_owner(claim, seen.landed, outcome, accounts, account, problem),
        check_spender(claim, outcome),
        check_amount(claim, outcome.last.amount),
    ]
    seen.rest = {"method": "instruction", "via": outcome.last.via, "amounts": Amounts(authorised=outcome.last.amount)}
    seen.facts["source"] = outcome.source
    if problem:
        seen.findings.append(Finding("state", "UNDETERMINED", f"The account as it is now could not be read: {problem}"))
        return
    became = await find_state(claim, outcome, account, rpc)
    read = "" if accounts is None else f" Read at slot {accounts.slot}, {accounts.commitment}."
    verdict: Verdict = "UNDETERMINED" if became.unknown else "VERIFIED"
    seen.findings.append(Finding("state", verdict, became.message + read, found=became.state))
    if became.since is not None:
        seen.exhibits["since"] = became.since.evidence
    if became.state is not None or became.unknown:
        held = account if account is not None and account.owner == claim.owner else None
        seen.rest |= {
            "state": became.state,
            "amounts": _amounts(claim, outcome, held),
            "blocked": ("frozen",) if held is not None and held.is_frozen else (),
        }
    seen.facts |= {
        "delegate": account.delegate or "none" if account is not None else "none",
        "allowance": str(account.allowance_of(claim.spender) if account is not None else 0),
        "balance": str(account.amount if account is not None else 0),
        "owner": account.owner if account is not None else "none",
        "mint": account.mint if account is not None else "none",
    }


def _amounts(claim: ApprovalClaim, outcome: Outcome, account: TokenAccount | None) -> Amounts:
    remaining = account.allowance_of(claim.spender) if account is not None else 0
    balance = account.amount if account is not None else 0
    frozen = account is not None and account.is_frozen
    return Amounts(
        authorised=outcome.last.amount,
        remaining=remaining,
        balance=balance,
        spendable=0 if frozen else min(remaining, balance),
    )


def _require_claim(claim: ApprovalClaim) -> None:
    """Raise `InputError` unless the claim has the form of one about Solana."""
    require_signature(claim.transaction)
    for address in (claim.token.address, claim.owner, claim.spender):
        parse_address(address)
    if not 0 <= claim.amount <= MAX_UINT64:
        raise InvalidAmountError("The amount is larger than Solana can hold.", expected=MAX_UINT64, found=claim.amount)
    if not 0 <= claim.token.decimals <= _MOST_DECIMALS:
        raise InputError(
            "A Solana token has between 0 and 255 decimals.", hint="Check the token.", found=claim.token.decimals
        )
