"""Findings about an approval: what was claimed, beside what transaction, logs and the state after it say. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from chains.claims import (
    NEEDS_NOBODY,
    ApprovalClaim,
    Basis,
    Finding,
    FindingVerdict,
    Method,
    check_amount,
    satisfies,
    show_amount,
)
from chains.evm.codec.approval_logs import (
    ApprovalLog,
    Execution,
    Pair,
    Walk,
    approval_of,
    name_carrier,
    operation_failed,
    read_direct,
)

_MEANS: Final = {
    "permit": "by a signed permit (EIP-2612)",
    "increase-allowance": "by increaseAllowance",
    "decrease-allowance": "by decreaseAllowance",
    "safe": "by a Safe transaction of the owner",
    "erc4337": "by a user operation of the owner (ERC-4337)",
    "eip7702": "by the code that the owner's account delegates to (EIP-7702)",
    "batch": "by a call of the owner's contract wallet",
    "contract": "by a contract that the transaction called",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a transaction did to the pair of a claim.

    `authorised` is what it approved in base units, None where it approved nothing; `log` is the last approval among its
    logs.
    """

    findings: tuple[Finding, ...]
    method: Method | None = None
    via: str | None = None
    authorised: int | None = None
    log: ApprovalLog | None = None


@dataclass(frozen=True, slots=True)
class Bases:
    """What the findings on a transaction rest on: `held` is that its block holds it and its logs, `logged` that a log
    of it is an approval and not that of a spend."""

    held: Basis
    logged: Basis


def check_status(status: int, held: Basis) -> Finding:
    """Return whether the transaction succeeded (attack A1)."""
    if status == 1:
        return Finding("status", "VERIFIED", "The transaction succeeded.", "1", "1", held)
    message = "The transaction failed: whatever its calldata says, it approved nothing."
    return Finding("status", "REFUTED", message, "1", "0", held)


def is_direct(pair: Pair, execution: Execution, own: Sequence[ApprovalLog]) -> bool:
    """Return whether a transaction is itself a call of `approve`, of this token or of none that logs anything here."""
    return read_direct(execution.transaction) is not None and (execution.transaction.to == pair.token or not own)


def find_outcome(
    claim: ApprovalClaim, pair: Pair, execution: Execution, walked: Walk, bases: Bases, *, delegated: bool
) -> Outcome:
    """Return what a transaction that succeeded approved: by its calldata, else by its logs."""
    own = [log for log in walked.approvals if log.transaction == execution.transaction.hash]
    direct = read_direct(execution.transaction)
    if direct is not None and is_direct(pair, execution, own):
        return _find_direct(claim, pair, execution, own, bases.held, *direct)
    return _find_logged(claim, pair, execution, own, bases, delegated=delegated)


def _find_direct(
    claim: ApprovalClaim,
    pair: Pair,
    execution: Execution,
    own: Sequence[ApprovalLog],
    held: Basis,
    spender: str,
    amount: int,
    too_many: int,
) -> Outcome:
    transaction = execution.transaction
    fits = (transaction.to, transaction.sender, spender) == (pair.token, pair.owner, pair.spender)
    log = own[-1] if own and fits else None
    # What the signed bytes say needs nobody; that nothing else in the transaction approved anything takes its logs.
    shown = NEEDS_NOBODY if transaction.to == pair.token else held
    if log is not None:
        # A token may cap what it is told; then the log says what counts.
        amount = log.value
    flagged = f" Its calldata has {too_many} bytes too many, which the token ignores." if too_many else ""
    message = "The transaction itself calls approve and nothing else (direct form)." + flagged
    findings = (
        Finding("approval", "VERIFIED", message, basis=shown),
        _match("token", "the token approved", pair.token, str(transaction.to), shown),
        _match("owner", "the signer of the approval", pair.owner, transaction.sender, shown),
        _match("spender", "the spender approved", pair.spender, spender, shown),
        check_amount(claim, amount, shown if log is None else held),
    )
    return Outcome(findings, "direct", None, amount if fits else None, log)


def check_effect(outcome: Outcome, before: int | None, after: int | str | None, held: Basis) -> Finding | None:
    """Return whether a direct approval of which the token logs nothing did anything: EIP-20 requires the log.

    `before` and `after` are the allowances around its block, None or a text where they could not be read. None where
    there is a log, or the change shows it.
    """
    if outcome.log is not None or outcome.authorised is None or outcome.method != "direct":
        return None
    if before is None or not isinstance(after, int):
        message = "The token logs no approval, and whether its allowance changed could not be read."
        return Finding("effect", "UNDETERMINED", message)
    if before == after:
        message = "The token logs no approval (EIP-20) and its allowance is what it was before: nothing was approved."
        return Finding("effect", "REFUTED", message, found=str(after), basis=held)
    return None


def _find_logged(
    claim: ApprovalClaim,
    pair: Pair,
    execution: Execution,
    own: Sequence[ApprovalLog],
    bases: Bases,
    *,
    delegated: bool,
) -> Outcome:
    if not own:
        return Outcome(tuple(_explain_no_approval(pair, execution, bases.held)))
    basis = bases.logged
    last = next((log for log in reversed(own) if log.kind != "spend"), None)
    if last is None:
        message = (
            "The Approval log of this transaction is that of a spend: the spender moved tokens of the owner, and the "
            f"log says what remains of an allowance made earlier: {show_amount(claim, own[-1].value)}. The "
            "owner approved nothing here."
        )
        return Outcome((Finding("spend-log", "REFUTED", message, found=str(own[-1].value), basis=basis),))
    if last.kind == "unclear":
        message = (
            "The Approval log of this transaction goes together with a transfer of the owner's tokens or a call of the "
            "spender, and cannot be told from that of a spend, so it is not accepted as an approval. Approve in a "
            "transaction that pays nothing."
        )
        return Outcome((Finding("spend-log", "UNDETERMINED", message, found=str(last.value)),), "logs")
    via = name_carrier(pair, execution, last.position, delegated=delegated)
    said = f"The token's log says that the owner approved, {_MEANS[via]} (method logs, {via})."
    findings = [
        Finding("approval", "VERIFIED", said, basis=basis),
        _match("token", "the token that logged", pair.token, pair.token, basis),
        _match("owner", "the owner of the approval", pair.owner, pair.owner, basis),
        _match("spender", "the spender approved", pair.spender, pair.spender, basis),
        check_amount(claim, last.value, basis),
    ]
    before = [log.value for log in own if log.kind == "approval" and log.position < last.position]
    if not satisfies(claim, last.value) and any(satisfies(claim, value) for value in before):
        findings.append(_overruled(claim, claim.amount, last.value, "later in the same transaction", basis))
    return Outcome(tuple(findings), "logs", via, last.value, last)


def _explain_no_approval(pair: Pair, execution: Execution, held: Basis) -> list[Finding]:
    """Say what a transaction approved instead, if anything (attacks A3, A4 and A8)."""
    found: dict[str, Finding] = {}
    for log in execution.logs:
        if (approval := approval_of(log)) is None:
            continue
        other, _ = approval
        same = (other.token == pair.token, other.owner == pair.owner, other.spender == pair.spender)
        if same == (False, True, True):
            found.setdefault(
                "token", _match("token", "the contract that logged the approval", pair.token, other.token, held)
            )
        elif same == (True, True, False):
            found.setdefault("spender", _match("spender", "the spender approved", pair.spender, other.spender, held))
        elif same == (True, False, True):
            found.setdefault("owner", _match("owner", "the owner who approved", pair.owner, other.owner, held))
    if found:
        return list(found.values())
    if operation_failed(pair.owner, execution.logs):
        why = "The owner's wallet logs that the call it was to make failed, although the transaction succeeded."
    else:
        why = (
            "The transaction is no call of approve and has no log of the token that names this owner and this spender."
        )
    return [Finding("approval", "REFUTED", f"{why} Nothing was approved.", basis=held)]


def check_last(claim: ApprovalClaim, outcome: Outcome, walked: Walk, bases: Bases, *, complete: bool) -> Finding | None:
    """Return whether a later approval of the same block replaced this one (attack A6); None where that is unknown."""
    if outcome.log is None or not complete or any(each.rule == "last-approval" for each in outcome.findings):
        return None
    last = later_approval(outcome, walked)
    if last is None or last.value == outcome.authorised:
        message = "It is the last approval of this owner and spender in its block."
        return Finding("last-approval", "VERIFIED", message, basis=bases.held)
    if last.kind == "unclear":
        message = f"{last.transaction} of the same block logs another amount, by an approval or by a spend."
        return Finding("last-approval", "UNDETERMINED", message, str(outcome.authorised), str(last.value))
    where = f"later in the same block, in {last.transaction}"
    return _overruled(claim, outcome.authorised or 0, last.value, where, bases.logged)


def later_approval(outcome: Outcome, walked: Walk) -> ApprovalLog | None:
    """Return the last log of the block, after that of the approval, that is not one of a spend; None if none is."""
    if outcome.log is None:
        return None
    at = walked.approvals.index(outcome.log)
    return next((log for log in reversed(walked.approvals[at + 1 :]) if log.kind != "spend"), None)


def _overruled(claim: ApprovalClaim, earlier: int, last: int, where: str, basis: Basis) -> Finding:
    message = (
        f"It approved {show_amount(claim, earlier)}, and {where} the owner approved "
        f"{show_amount(claim, last)}: the last approval counts."
    )
    return Finding("last-approval", "REFUTED", message, str(earlier), str(last), basis)


def check_post_state(
    claim: ApprovalClaim, outcome: Outcome, walked: Walk, answer: int | str | None, basis: Basis, *, complete: bool
) -> Finding:
    """Compare the allowance at the end of the block with what the approvals and spends in it leave (rules 12 and 15).

    `answer` is what the token says, None if it answers no number, or a text that says why it could not be asked;
    `basis` is what that rests on. Where calldata and log of a direct approval show it, a node's word that agrees adds
    nothing.
    """
    needed = outcome.method == "logs" or outcome.log is None
    if isinstance(answer, str):
        if needed:
            message = f"The allowance at the end of the block could not be read ({answer}); without it this approval "
            return Finding("post-state", "UNDETERMINED", message + "cannot be accepted.")
        message = f"The allowance at the end of the block could not be read ({answer}); calldata and log of the "
        return Finding("post-state", "NOTED", message + "approval show it all the same.")
    authorised = outcome.authorised or 0
    expected = authorised
    if complete and outcome.log is not None and walked.allowance is not None:
        expected = walked.allowance
    if answer is None:
        message = (
            f"{claim.token.address} answers no allowance on {claim.chain.title}: it is not the contract of a token."
        )
        return Finding("post-state", "REFUTED", message, expected=str(expected))
    shown = show_amount(claim, answer)
    agrees: FindingVerdict = "NOTED" if basis.word and not needed else "VERIFIED"
    said = (str(expected), str(answer), basis)
    if answer == authorised:
        return Finding(
            "post-state", agrees, f"At the end of its block the allowance is what was approved: {shown}.", *said
        )
    if answer == expected or (answer < expected and complete and expected - answer <= walked.moved):
        message = f"At the end of its block the allowance is {shown}, as what followed it in the block left it."
        return Finding("post-state", agrees, message, *said)
    if not complete:
        message = f"At the end of its block the allowance is {shown}; what else the block did to it is not known."
        return Finding("post-state", "UNDETERMINED", message, *said)
    message = (
        f"At the end of its block the allowance is {shown}, and what the block's logs leave is "
        f"{show_amount(claim, expected)}: the approval did not take effect as it is logged."
    )
    return Finding("post-state", "REFUTED", message, *said)


def check_decimals(claim: ApprovalClaim, found: int | None, block: int) -> Finding:
    """Compare the decimals that the claim's amounts are read with against the token's own at a block (attack A11).

    Of a token that is pinned or data of its network nobody needs to be asked; what a node says of it all the same is
    its word.
    """
    token = claim.token
    known = next((each for each in claim.chain.tokens if each.address == token.address), None)
    expected = str(token.decimals)
    if known is not None and known.decimals != token.decimals:
        message = f"The token has {known.decimals} decimals, not {expected}: amounts would be wrong by powers of ten."
        return Finding("decimals", "REFUTED", message, expected, str(known.decimals), NEEDS_NOBODY)
    if found is not None and found != token.decimals:
        message = f"The token has {found} decimals, not {expected}: amounts would be wrong by powers of ten."
        return Finding("decimals", "REFUTED", message, expected, str(found))
    if known is not None or claim.token_pinned:
        where = "as is known of it" if known is not None else "as it is pinned"
        return Finding(
            "decimals", "VERIFIED", f"The token has {expected} decimals, {where}.", expected, expected, NEEDS_NOBODY
        )
    if found is None:
        message = f"{token.address} does not say how many decimals it has; amounts are read with {expected}."
        return Finding("decimals", "UNDETERMINED", message, expected=expected)
    return Finding("decimals", "VERIFIED", f"The token has {found} decimals at block {block}.", expected, str(found))


def _match(rule: str, what: str, expected: str, found: str, basis: Basis) -> Finding:
    if expected == found:
        return Finding(rule, "VERIFIED", f"{what[0].upper()}{what[1:]} is {found}.", expected, found, basis)
    message = f"{what[0].upper()}{what[1:]} is {found}, and the claim says {expected}."
    return Finding(rule, "REFUTED", message, expected, found, basis)
