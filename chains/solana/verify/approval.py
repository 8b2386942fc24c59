"""Checking a claimed approval on Solana: by one transaction, an owner made a delegate of a spender for an amount.

What the owner signed is proved by the bytes alone. That it landed, and what the token account holds now, is the word of
the node that was asked: there is no state proof that could be checked here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from chains.amounts import MAX_UINT64
from chains.claims import Amounts, ApprovalCheck, ApprovalClaim, Finding
from chains.errors import InputError, InvalidAmountError, NodeError
from chains.rpc import Rpc
from chains.solana.accounts import Accounts, get_accounts
from chains.solana.addresses import parse_address
from chains.solana.answers import why_open, why_unknown
from chains.solana.token import TokenAccount
from chains.solana.verify.absence import explain_absence
from chains.solana.verify.findings import (
    Act,
    check_allowance,
    check_amount,
    check_decimals,
    check_inclusion,
    check_instruction,
    check_nonce,
    check_owner,
    check_signatures,
    check_spender,
    check_status,
    check_still_active,
    check_token,
    choose_act,
    explain_no_approval,
    note_finality,
    note_holdings,
    note_state,
    warn_of_mint,
)
from chains.solana.verify.history import ApprovalState, allowance_left, find_state, is_theirs
from chains.solana.verify.inclusion import Inclusion, get_finality, get_transaction, read_inclusion, require_signature
from chains.solana.verify.instructions import Outcome, find_outcomes, read_holdings, walk
from chains.types import Block

_MOST_DECIMALS: Final = 255


async def check_approval(claim: ApprovalClaim, rpc: Rpc, head: Block) -> ApprovalCheck:
    """Return what one node's answers say of an approval, with the state at a slot not before `head.number` as "now".

    Raises `InputError` for a claim that cannot be one, `ContradictionError` if the answers contradict each other or the
    signatures, and `NodeError` if the node could not be asked for the transaction. What else it does not answer, for
    whatever reason, is left open, and takes nothing from what the transaction shows.
    """
    _require_claim(claim)
    try:
        answer = await get_transaction(rpc, claim.transaction)
        landed = None if answer is None else read_inclusion(answer, claim.transaction)
    except NodeError as error:
        unread = Finding("transaction", "UNDETERMINED", why_unknown(error), expected=claim.transaction)
        return ApprovalCheck(findings=(unread,), head=head)
    if landed is None:
        return await explain_absence(claim, rpc, head)
    finality = await get_finality(rpc, landed)
    seen = _Seen(landed, finality, head)
    status = check_status(landed)
    seen.findings += [check_signatures(landed), *check_nonce(landed), note_finality(finality), status]
    if status.verdict != "VERIFIED" or landed.meta is None:
        return seen.to_check()
    try:
        calls = walk(landed.message, landed.meta)
        holdings = read_holdings(landed.message, landed.meta)
    except NodeError as error:
        seen.findings.append(Finding("approval", "UNDETERMINED", why_unknown(error)))
        return seen.to_check()
    outcomes = find_outcomes(calls)
    if not outcomes:
        seen.findings.append(explain_no_approval(claim, landed, calls))
        return seen.to_check()
    now = await _read_now(claim, rpc, seen, outcomes)
    act = choose_act(claim, landed, outcomes, holdings)
    account, problem = _account_of(act, now)
    token = check_token(claim, act, account)
    seen.findings += [
        check_instruction(claim, landed, act),
        token,
        *check_decimals(claim, act, now.accounts, now.problem),
        check_owner(claim, landed, act, now.accounts, now.problem),
        check_spender(claim, act),
        check_amount(claim, act),
    ]
    last = act.outcome.last
    seen.rest = {"method": "instruction", "via": last.via, "amounts": Amounts(authorised=last.amount)}
    if last.authority == claim.owner and token.verdict != "REFUTED":
        await _check_present(claim, rpc, seen, act.outcome, now.accounts, account, problem)
    return seen.to_check()


@dataclass(slots=True)
class _Seen:
    """What has been established so far of a transaction that a node serves."""

    landed: Inclusion
    finality: str
    head: Block
    findings: list[Finding] = field(default_factory=list)
    exhibits: dict[str, Any] = field(default_factory=dict)
    rest: dict[str, Any] = field(default_factory=dict)

    def to_check(self) -> ApprovalCheck:
        landed = self.landed
        return ApprovalCheck(
            findings=(check_inclusion(landed), *self.findings),
            included=Block(landed.slot, ""),
            head=self.head,
            finality=self.finality,
            exhibits={"transaction": landed.evidence} | self.exhibits,
            **self.rest,
        )


@dataclass(frozen=True, slots=True)
class _Now:
    """The accounts as they are now, or why they could not be read."""

    accounts: Accounts | None
    problem: str = ""


async def _read_now(claim: ApprovalClaim, rpc: Rpc, seen: _Seen, outcomes: Iterable[str]) -> _Now:
    """Return the accounts that a claim is about, as they are at one slot not before the transaction and the head."""
    wanted = list(dict.fromkeys([claim.token.address, claim.owner, *outcomes]))
    try:
        accounts = await get_accounts(rpc, wanted, max(seen.landed.slot, seen.head.number))
    except NodeError as error:
        return _Now(None, why_open(error))
    seen.head = Block(accounts.slot, "")
    seen.exhibits["accounts"] = accounts.evidence
    return _Now(accounts)


def _account_of(act: Act, now: _Now) -> tuple[TokenAccount | None, str]:
    """Return the token account as it is now, None if it is gone, and why it could not be read, if it could not."""
    if now.accounts is None:
        return None, now.problem
    try:
        return now.accounts.token_account(act.outcome.source), ""
    except NodeError as error:
        return None, why_open(error)


async def _check_present(
    claim: ApprovalClaim,
    rpc: Rpc,
    seen: _Seen,
    outcome: Outcome,
    accounts: Accounts | None,
    account: TokenAccount | None,
    problem: str,
) -> None:
    """Add what is allowed now, and what became of the approval; none of it is about the claim itself."""
    if accounts is None or problem:
        unread = ApprovalState(None, "What became of it is not known: the account could not be read.")
        seen.findings += [
            check_allowance(claim, None, problem),
            note_state(unread),
            check_still_active(claim, None, unread),
        ]
        return
    became = await find_state(claim, outcome, account, rpc)
    if became.since is not None:
        seen.exhibits["since"] = became.since.evidence
    held = account if account is not None and is_theirs(claim, account) else None
    remaining, balance = allowance_left(claim, account), held.amount if held is not None else 0
    warnings, extensions = warn_of_mint(claim, accounts)
    frozen = held is not None and held.is_frozen
    blocked = (*(("frozen",) if frozen else ()), *extensions)
    spendable = 0 if frozen else None if extensions else min(remaining, balance)
    seen.findings += [
        *warnings,
        check_allowance(claim, remaining),
        *note_holdings(claim, balance, spendable, blocked),
        note_state(became),
        check_still_active(claim, remaining, became),
    ]
    seen.rest |= {
        "state": became.state,
        "amounts": Amounts(outcome.last.amount, remaining, balance, spendable),
        "blocked": blocked,
    }


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
