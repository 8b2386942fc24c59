"""What has become of an approval: the token account as it is now, and the transactions on it since."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from chains.amounts import is_unlimited
from chains.claims import ApprovalClaim, State, show_amount
from chains.errors import NodeError
from chains.rpc import Rpc
from chains.solana.answers import take, why_open
from chains.solana.token import TokenAccount
from chains.solana.verify.inclusion import Inclusion, get_transaction, read_inclusion
from chains.solana.verify.instructions import Outcome, TokenCall, read_token_call, walk

_HISTORY: Final = 25  # newer transactions of the token account that are read


@dataclass(frozen=True, slots=True)
class ApprovalState:
    """What has become of an approval, and why; `since` is the later transaction that shows it.

    `state` is None where it cannot be told, and where nothing was approved that something could become of.
    """

    state: State | None
    message: str
    since: Inclusion | None = None


async def find_state(claim: ApprovalClaim, outcome: Outcome, account: TokenAccount | None, rpc: Rpc) -> ApprovalState:
    """Return what has become of what a transaction did, from the account as it is now and, where needed, its history.

    A spent-out and a revoked allowance look the same in the account: only its history tells them apart (rule 36).
    """
    remaining = allowance_left(claim, account)
    became = (
        _by_holder(claim, account)
        or _by_claim(claim, outcome, account, remaining)
        or _by_delegate(claim, outcome, account, remaining)
        or _by_transaction(claim, outcome, remaining)
    )
    return became or await _follow(claim, outcome, remaining, rpc)


def allowance_left(claim: ApprovalClaim, account: TokenAccount | None) -> int:
    """Return what the claim's spender may still take of the owner's tokens, in base units."""
    return account.allowance_of(claim.spender) if account is not None and is_theirs(claim, account) else 0


def is_theirs(claim: ApprovalClaim, account: TokenAccount) -> bool:
    """Return whether an account as it is now still is one of the claim's owner and token."""
    return (account.owner, account.mint) == (claim.owner, claim.token.address)


def _by_holder(claim: ApprovalClaim, account: TokenAccount | None) -> ApprovalState | None:
    """Return what has become of an approval of an account that was given away, or opened again, since (A36)."""
    if account is None or is_theirs(claim, account):
        return None
    if account.owner != claim.owner:
        how = f"The account now belongs to {account.owner}, given away (SetAuthority) or closed and opened again"
    else:
        how = f"The account was closed and opened again for another token, {account.mint}"
    again = claim.amount and account.allowance_of(claim.spender)
    return ApprovalState("replaced" if again else "revoked", f"{how}, which ended what had been approved.")


def _by_claim(
    claim: ApprovalClaim, outcome: Outcome, account: TokenAccount | None, remaining: int
) -> ApprovalState | None:
    """Return what the claim alone makes of what is left: more than claimed, nothing as claimed, or nobody's."""
    if not is_unlimited("solana", claim.amount) and remaining > claim.amount:
        return ApprovalState(
            "exceeds", f"The account now allows {show_amount(claim, remaining)}, MORE than was claimed."
        )
    if claim.amount == 0:
        return ApprovalState("revoked", "The spender can take nothing from this account, as claimed.")
    if account is None:
        return ApprovalState("revoked", "The token account was closed, and its delegate went with it.")
    if claim.spender not in [approval.delegate for approval in outcome.approvals]:
        return ApprovalState(None, "The transaction approves nothing for this spender, so nothing became of it.")
    return None


def _by_delegate(
    claim: ApprovalClaim, outcome: Outcome, account: TokenAccount | None, remaining: int
) -> ApprovalState | None:
    """Return what the account's only delegate, and what is left to it, tell beside what was approved."""
    delegate = None if account is None else account.delegate
    if delegate is not None and delegate != claim.spender:
        return ApprovalState("replaced", f"The account's only delegate is now {delegate}.")
    if delegate is not None and remaining == 0:
        return ApprovalState("revoked", "An Approve of 0 took it back: the delegate is still named, with nothing left.")
    authorised = outcome.last.amount if outcome.last.delegate == claim.spender else 0
    if remaining and remaining == authorised:
        return ApprovalState("active", "The account allows exactly what the transaction approved.")
    if remaining > authorised:
        return ApprovalState(
            "replaced", f"A later approval of the same spender allows {show_amount(claim, remaining)}."
        )
    return None


def _by_transaction(claim: ApprovalClaim, outcome: Outcome, remaining: int) -> ApprovalState | None:
    """Return what the rest of the approving transaction itself did to the approval."""
    if outcome.last.amount == 0:
        return ApprovalState("revoked", f"The transaction itself took it back ({_named(outcome.last)}).")
    if outcome.last.delegate != claim.spender:
        return ApprovalState("replaced", f"The transaction itself approved {outcome.last.delegate} in its place.")
    if remaining == outcome.left:
        return ApprovalState("reduced", "The spender took it, or part of it, in the same transaction.")
    return None


@dataclass(slots=True)
class _Spends:
    """What of the approval is still unexplained after the spends that were found, and the newest of these."""

    missing: int
    newest: str = ""


async def _follow(claim: ApprovalClaim, outcome: Outcome, remaining: int, rpc: Rpc) -> ApprovalState:
    """Read the newer transactions of the token account, the newest first, until they explain what is left.

    Takings explain it only if they add up to exactly what is missing. A history that ends before, by whatever the node
    calls the reason, explains nothing.
    """
    spends = _Spends(outcome.left - remaining)
    problem = "its transactions since then do not explain it"
    try:
        config = {"limit": _HISTORY, "until": claim.transaction, "commitment": "confirmed"}
        listed = take(await rpc.request("getSignaturesForAddress", [outcome.source, config]), list)
        if len(listed) >= _HISTORY:
            problem = f"its {_HISTORY} newest transactions do not reach back to the approval"
        for entry in listed:
            if take(entry, dict).get("err") is None:
                seen = await _ask_later(rpc, take(entry, str, "signature"))
                became = _explain(claim, outcome.source, seen, spends, remaining)
                if became is not None:
                    return became
    except NodeError as error:
        problem = f"its history could not be read ({why_open(error)})"
    if remaining:
        left = f"{show_amount(claim, remaining)} are left. Whether the rest was spent, or a later approval was smaller,"
        return ApprovalState(None, f"{left} is not known: {problem}.")
    return ApprovalState(None, f"The account has no delegate. Whether it was spent or revoked is not known: {problem}.")


def _explain(
    claim: ApprovalClaim, source: str, seen: Inclusion, spends: _Spends, remaining: int
) -> ApprovalState | None:
    """Return what a later transaction shows, or None if older ones have to be read."""
    if seen.meta is None or seen.error is not None:
        raise NodeError(f"the node lists {seen.signature} as successful and does not serve it so")
    for done in reversed([read_token_call(call) for call in walk(seen.message, seen.meta)]):
        if done is None or done.to_itself:
            continue
        if done.kind == "unknown" and source in done.signers:
            raise NodeError(f"the transaction {seen.signature} holds an instruction that this toolkit does not know")
        if done.source == source:
            if done.kind != "spend":
                return _explain_change(claim, done, seen)
            became = _explain_spend(claim, done, seen, spends, remaining)
            if became is not None:
                return became
    return None


def _explain_spend(
    claim: ApprovalClaim, done: TokenCall, seen: Inclusion, spends: _Spends, remaining: int
) -> ApprovalState | None:
    """Return what a later spend shows, or None if older transactions have to be read."""
    if done.authority != claim.spender:
        if done.authority == claim.owner:
            return None  # the owner's own transfers leave the allowance alone
        return ApprovalState("replaced", f"Another delegate, {done.authority}, spent in {seen.signature}.", seen)
    spends.missing -= done.amount
    spends.newest = spends.newest or seen.signature
    if spends.missing:
        return None
    how = "the rest" if remaining else "all of it"
    return ApprovalState("reduced", f"The spender took {how}, last in {spends.newest}.", seen)


def _explain_change(claim: ApprovalClaim, done: TokenCall, seen: Inclusion) -> ApprovalState:
    """Return what a later instruction shows that set or cleared the delegate."""
    if done.delegate is not None and done.amount:
        what = f"an approval of {show_amount(claim, done.amount)} for {done.delegate}"
        return ApprovalState("replaced", f"It was followed by {what} in {seen.signature}.", seen)
    return ApprovalState("revoked", f"It was taken back by {_named(done)} in {seen.signature}.", seen)


async def _ask_later(rpc: Rpc, signature: str) -> Inclusion:
    answer = await get_transaction(rpc, signature)
    if answer is None:
        raise NodeError(f"the node lists {signature} and does not serve it")
    return read_inclusion(answer, signature)


def _named(done: TokenCall) -> str:
    names = {"revoke": "Revoke", "set_owner": "SetAuthority", "close": "CloseAccount"}
    return names.get(done.kind, "an Approve of 0")
