"""The rules by which a claimed approval is checked: pure functions from what was read to findings.

What the claim says is judged at its own transaction, by the signed bytes as far as they go and by what the node
recorded of that transaction. What the accounts hold now, whoever they belong to now, is a finding about the present: an
account that was given away, closed or opened again since says nothing about what was approved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from chains import claims
from chains.amounts import is_unlimited
from chains.claims import NEEDS_NOBODY, NODES_WORD, ApprovalClaim, Basis, Finding, Verdict, satisfies, show_amount
from chains.errors import ContradictionError, TokenRefusedError
from chains.solana.accounts import Accounts
from chains.solana.addresses import TOKEN_PROGRAMS, get_associated_token_address, has_key
from chains.solana.token import TokenAccount, decode_mint, decode_multisig
from chains.solana.transactions import describe_error
from chains.solana.verify.history import ApprovalState
from chains.solana.verify.inclusion import Inclusion, as_json, nonce_account, signers_of
from chains.solana.verify.instructions import Call, Holding, Outcome, needs_no_node, read_token_call

_APPROVE_TAGS: Final = (b"\x04", b"\x0d")
_VIA: Final = {
    "top-level": "an instruction of the signed message itself",
    "batch": "inside a batch of the signed message itself",
    "inner": "called by another program: the node says so, the signature does not cover it",
}
_UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Act:
    """What a transaction did to one token account, and what is known of it without asking what it holds now.

    `mint` is the mint of the account in the transaction, None where it cannot be told; it is `proven` where the signed
    instruction names it or the account's address is derived from it. `decimals` are those that the signed instruction
    or the node's record of the transaction gives the claimed mint. `basis` is what delegate, amount and authority rest
    on.
    """

    outcome: Outcome
    mint: str | None
    proven: bool
    decimals: int | None
    basis: Basis


def check_inclusion(landed: Inclusion) -> Finding:
    """Say where a transaction landed, which is the node's word."""
    message = f"The transaction is in slot {landed.slot}, as the node says."
    return Finding("transaction", "VERIFIED", message, found=str(landed.slot))


def check_signatures(landed: Inclusion) -> Finding:
    """Say what the signatures prove, which were checked when the transaction was read."""
    signers = signers_of(landed.message)
    return Finding(
        "signatures",
        "VERIFIED",
        f"The signature of {' and of '.join(signers)} is over exactly these bytes, checked here (Ed25519, strictly). "
        "It proves that the transaction was SIGNED, whatever a node says. It does not prove that it landed: that, and "
        "all that follows from it, rests on the nodes that were asked.",
        expected=landed.signature,
        found=landed.signature,
        basis=NEEDS_NOBODY,
    )


def check_nonce(landed: Inclusion) -> list[Finding]:
    """Flag a transaction with a durable nonce, which may have been signed long before it landed (attack A41)."""
    nonce = nonce_account(landed.message)
    if nonce is None:
        return []
    message = (
        "WARNING: the transaction uses a durable nonce, so that it never expired: it may have been signed long "
        "before it landed, and somebody may have held it back until then."
    )
    return [Finding("durable-nonce", "NOTED", message, found=nonce, basis=NEEDS_NOBODY)]


def note_finality(level: str) -> Finding:
    """Say how certain it is that a transaction stays, which is a label of the node's that nothing here proves."""
    message = f"The node calls the transaction {level}: that is the node's word."
    return Finding("finality", "NOTED", message, found=level)


def check_status(landed: Inclusion) -> Finding:
    """Check whether the transaction succeeded; a failed one with perfect instructions approves nothing (A1)."""
    if landed.meta is None:
        return Finding("status", "UNDETERMINED", "The node does not say whether the transaction succeeded.")
    if landed.error is None:
        return Finding("status", "VERIFIED", "The transaction succeeded, as the node says.", found="ok")
    what = describe_error(landed.error, landed.signed_bytes)
    message = f"The transaction failed and approved nothing: {what[:200]}."
    return Finding("status", "REFUTED", message, found=as_json(landed.error)[:200])


def explain_no_approval(claim: ApprovalClaim, landed: Inclusion, calls: Iterable[Call]) -> Finding:
    """Say why a transaction that touches no delegate at all approves nothing; looking alike is not enough (A35)."""
    calls = list(calls)
    if any(done is not None and done.kind == "unknown" for done in map(read_token_call, calls)):
        message = "The transaction holds an instruction of a token program that this toolkit does not know: upgrade it."
        return Finding("approval", "UNDETERMINED", message)
    basis = NEEDS_NOBODY if needs_no_node(landed.message) else NODES_WORD
    alike = [call.program for call in calls if call.data[:1] in _APPROVE_TAGS and claim.spender in call.accounts]
    if alike:
        message = f"What looks like an approval is an instruction of {alike[0]}, which is no token program."
        return Finding("approval", "REFUTED", message, " or ".join(TOKEN_PROGRAMS), alike[0], basis)
    message = "The transaction holds no instruction that approves or revokes anything."
    return Finding("approval", "REFUTED", message, basis=basis)


def choose_act(
    claim: ApprovalClaim, landed: Inclusion, outcomes: Mapping[str, Outcome], holdings: Mapping[str, Holding]
) -> Act:
    """Return what the transaction did to the token account that the claim is most likely about."""
    alone = needs_no_node(landed.message)
    of_mint = [held.decimals for held in holdings.values() if held.mint == claim.token.address]

    def read(outcome: Outcome) -> Act:
        last = outcome.last
        mint, proven = _mint_of(claim, outcome, holdings.get(outcome.source))
        decimals = last.decimals if last.mint == claim.token.address else next(iter(of_mint), None)
        # Which of several accounts is meant must follow from the bytes as well.
        certain = alone and last.via != "inner" and (proven or len(outcomes) == 1)
        return Act(outcome, mint, proven, decimals, NEEDS_NOBODY if certain else NODES_WORD)

    def likeness(act: Act) -> tuple[bool, bool, bool]:
        return (
            act.mint == claim.token.address,
            act.outcome.last.authority == claim.owner,
            claim.spender in [approval.delegate for approval in act.outcome.approvals],
        )

    return max(map(read, outcomes.values()), key=likeness)


def _is_associated(owner: str, mint: str, outcome: Outcome) -> bool:
    return outcome.source == get_associated_token_address(owner, mint, outcome.last.program)


def _mint_of(claim: ApprovalClaim, outcome: Outcome, held: Holding | None) -> tuple[str | None, bool]:
    """Return the mint of the account in the transaction, and whether nobody needs to be asked for it.

    The program checked the mint that an instruction names. An associated account can only ever have been opened for the
    mint that its address is derived from. For every other account there is what the node recorded.
    """
    if outcome.last.mint is not None:
        return outcome.last.mint, True
    if _is_associated(claim.owner, claim.token.address, outcome):
        return claim.token.address, True
    if held is None:
        return None, False
    return held.mint, _is_associated(outcome.last.authority, held.mint, outcome)


def check_instruction(claim: ApprovalClaim, landed: Inclusion, act: Act) -> Finding:
    """Check whether the transaction's last word on the account is an approval (A6, A34), and how it was given."""
    outcome, last = act.outcome, act.outcome.last
    if outcome.unknown is not None:
        message = "A later instruction on the account is one that this toolkit does not know: upgrade it."
        return Finding("approval", "UNDETERMINED", message)
    if claim.amount and outcome.approval is None:
        message = "The transaction itself takes it back: the last effective instruction on the account wins."
        return Finding("approval", "REFUTED", message, "approve", last.kind, act.basis)
    meant = [one for one in outcome.approvals[:-1] if (one.delegate, one.amount) == (claim.spender, claim.amount)]
    if claim.amount and meant and (last.delegate, last.amount) != (claim.spender, claim.amount):
        return Finding(
            "approval",
            "REFUTED",
            "A later instruction of the transaction replaces the approval: the last effective one wins.",
            expected=f"{claim.amount} for {claim.spender}",
            found=f"{last.amount} for {last.delegate}",
            basis=act.basis,
        )
    message = f"The transaction's last word on the token account {outcome.source} is {last.kind}, {_VIA[last.via]}."
    if last.surplus:
        message += f" It has {last.surplus} bytes more than the program reads, which wallets do not write."
    if getattr(landed.message, "address_table_lookups", None):
        message += " The transaction uses address tables, whose addresses are the node's word."
    return Finding("approval", "VERIFIED", message, found=last.kind, basis=act.basis)


def check_token(claim: ApprovalClaim, act: Act, account: TokenAccount | None) -> Finding:
    """Check whether the account was one of the claimed token, by the mint's address and never by a name (A3).

    `account` is what is at the address now. It may have been closed and opened again for another mint since, so that it
    only counts where the address itself is derived from its mint.
    """
    wanted, mint, proven, outcome = claim.token.address, act.mint, act.proven, act.outcome
    if mint is None and account is not None and _is_associated(outcome.last.authority, account.mint, outcome):
        mint, proven = account.mint, True
    if mint is None:
        message = (
            "The approval does not name its mint, the account's address does not tell which it had, and the node has "
            "no record of it."
        )
        return Finding("token", "UNDETERMINED", message, expected=wanted)
    basis = act.basis if proven else NODES_WORD
    if mint != wanted:
        message = "The approval is for another token than the one claimed."
        return Finding("token", "REFUTED", message, wanted, mint, basis)
    message = "The account's address is that of the owner's associated account for the claimed mint."
    if not _is_associated(claim.owner, wanted, outcome):
        message = "The token account is one of the claimed mint, but NOT the owner's associated account for it, where "
        message += "wallets and indexers look: it may be empty."
    return Finding("token", "VERIFIED", message, wanted, mint, basis)


def check_decimals(claim: ApprovalClaim, act: Act, accounts: Accounts | None, problem: str) -> list[Finding]:
    """Check the decimals that amounts are shown in; nobody is asked for those that are pinned or built in (A11).

    Else they are those of the transaction, which its signed instruction or the node's record of it gives, and only then
    those of the mint as it is now.
    """
    token = claim.token
    read, basis = act.decimals, act.basis if act.outcome.last.mint == token.address else NODES_WORD
    if read is None:
        read = _decimals_now(claim, accounts)
    if _is_pinned(claim):
        message = f"The token's decimals are pinned: {token.decimals}."
        pinned = Finding("decimals", "VERIFIED", message, str(token.decimals), str(token.decimals), NEEDS_NOBODY)
        if read in (None, token.decimals):
            return [pinned]
        message = f"WARNING: the node says that the mint has {read} decimals, which is not what is pinned."
        return [pinned, Finding("decimals-read", "NOTED", message, str(token.decimals), str(read))]
    if read is None:
        message = f"The token is not pinned, and its decimals could not be read. {problem}".rstrip()
        return [Finding("decimals", "UNDETERMINED", message, expected=str(token.decimals))]
    right = read == token.decimals
    message = f"The mint has {read} decimals." + ("" if right else " Amounts would be off by powers of ten.")
    verdict: Verdict = "VERIFIED" if right else "REFUTED"
    return [Finding("decimals", verdict, message, str(token.decimals), str(read), basis)]


def _is_pinned(claim: ApprovalClaim) -> bool:
    token = claim.token
    known = {(one.address, one.decimals) for one in claim.chain.tokens}
    return claim.token_pinned or (token.address, token.decimals) in known


def _decimals_now(claim: ApprovalClaim, accounts: Accounts | None) -> int | None:
    mint = claim.token.address
    program = None if accounts is None else accounts.program_of(mint)
    if accounts is None or program is None:
        return None
    try:
        return decode_mint(program, accounts.data_of(mint)).decimals
    except TokenRefusedError:
        return None


def check_owner(claim: ApprovalClaim, landed: Inclusion, act: Act, accounts: Accounts | None, problem: str) -> Finding:
    """Check whether the claimed owner gave the approval (A8); who owns the account now is its state (A36).

    Raises `ContradictionError` if nobody signed for an owner whose signature the token program demands.
    """
    last, owner = act.outcome.last, claim.owner
    if last.authority != owner:
        message = "Somebody else than the claimed owner gave it."
        return Finding("owner", "REFUTED", message, owner, last.authority, act.basis)
    signers = signers_of(landed.message)
    if owner in signers:
        message = "The owner signed it, and the token program takes an approval from an account's owner alone."
        return Finding("owner", "VERIFIED", message, owner, owner, act.basis)
    if accounts is None:
        message = f"The owner did not sign, and whether the owner is a multisig could not be read: {problem}"
        return Finding("owner", "UNDETERMINED", message, expected=owner)
    program = accounts.program_of(owner)
    multisig = decode_multisig(program, accounts.data_of(owner)) if program in TOKEN_PROGRAMS else None
    if multisig is not None and program == last.program:
        needed, members = multisig
        signed = [one for one in members if one in last.signers and (one in signers or last.via == "inner")]
        if len(set(signed)) >= needed:
            message = (
                f"The owner is a multisig, and {len(set(signed))} of its {len(members)} members signed ({needed})."
            )
            return Finding("owner", "VERIFIED", message, expected=owner, found=", ".join(signed))
    elif last.via == "inner" and not has_key(owner):
        message = "The owner is an address of a program, which signed for it: the node says so, no signature shows it."
        return Finding("owner", "VERIFIED", message, expected=owner, found=owner)
    raise ContradictionError(
        "The node says that the approval succeeded, but the signature that the token program demands is not there.",
        expected=owner,
        found=", ".join(signers),
    )


def check_spender(claim: ApprovalClaim, act: Act) -> Finding:
    """Check the delegate, compared in full and never by its ends (A4)."""
    found = act.outcome.last.delegate
    if found is None:
        verdict: Verdict = "REFUTED" if claim.amount else "VERIFIED"
        message = "The transaction leaves the account without any delegate."
        return Finding("spender", verdict, message, claim.spender, "none", act.basis)
    right = found == claim.spender
    message = (
        "The delegate is the claimed spender." if right else "The delegate is ANOTHER address than the one claimed."
    )
    return Finding("spender", "VERIFIED" if right else "REFUTED", message, claim.spender, found, act.basis)


def check_amount(claim: ApprovalClaim, act: Act) -> Finding:
    """Check the amount that the transaction leaves approved, in base units (A10, A12)."""
    return replace(claims.check_amount(claim, act.outcome.last.amount), basis=act.basis)


# The present


def warn_of_mint(claim: ApprovalClaim, accounts: Accounts) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Return what there is to say of the mint as it is now, and its extensions with which no allowance is safe (A39).

    They do not change what was approved. Whether such a token may be approved at all is for whoever makes an approval.
    """
    mint = claim.token.address
    program = accounts.program_of(mint)
    message = "There is no mint at the token's address now."
    try:
        names = () if program is None else decode_mint(program, accounts.data_of(mint)).refused_extensions
    except TokenRefusedError:
        return (Finding("mint", "NOTED", message, mint, program, about="present"),), ()
    if program is None:
        return (Finding("mint", "NOTED", message, mint, "none", about="present"),), ()
    if not names:
        return (), ()
    message = (
        "WARNING: the mint has extensions with which its issuer can take or block tokens whatever is approved: "
        f"{', '.join(names)}."
    )
    return (Finding("mint", "NOTED", message, found=", ".join(names), about="present"),), names


def check_allowance(claim: ApprovalClaim, remaining: int | None, problem: str = "") -> Finding:
    """Say what the spender can still be given by the owner's account, in base units; None where it was not read."""
    if remaining is None:
        message = f"The account as it is now could not be read: {problem}"
        return Finding("allowance", "UNDETERMINED", message, about="present")
    message = f"The owner's account allows the spender {show_amount(claim, remaining)} now."
    return Finding("allowance", "VERIFIED", message, found=str(remaining), about="present")


def note_holdings(claim: ApprovalClaim, balance: int, spendable: int | None, blocked: tuple[str, ...]) -> list[Finding]:
    """Say what the owner has, what of it the spender could take now, and what bars that, if anything does."""
    message = f"The owner's account holds {show_amount(claim, balance)}."
    found = [Finding("balance", "NOTED", message, found=str(balance), about="present")]
    message = "What the spender could take now is not known: extensions of the mint may bar it."
    if spendable is not None:
        message = f"The spender could take {show_amount(claim, spendable)} now."
    amount = _UNKNOWN if spendable is None else str(spendable)
    found.append(Finding("spendable", "NOTED", message, found=amount, about="present"))
    if blocked:
        message = f"What is allowed may not be there to be taken: {', '.join(blocked)}."
        found.append(Finding("blocked", "NOTED", message, found=",".join(blocked), about="present"))
    return found


def note_state(became: ApprovalState) -> Finding:
    """Say what has become of the approval, which explains the allowance and is neither a yes nor a no."""
    return Finding("state", "NOTED", became.message, found=became.state or _UNKNOWN, about="present")


def check_still_active(claim: ApprovalClaim, remaining: int | None, became: ApprovalState) -> Finding:
    """Check whether the approval still stands, by the allowance as it is now before anything else.

    Nothing left, more than was claimed, and exactly what was claimed need no history. Less than that stands where the
    spender's takings explain it, and is left open where the history that the node serves does not.
    """

    def say(verdict: Verdict, message: str) -> Finding:
        found = _UNKNOWN if remaining is None else str(remaining)
        return Finding("still-active", verdict, message, str(claim.amount), found, about="present")

    if remaining is None:
        return say("UNDETERMINED", "Whether it still stands cannot be told: the account could not be read.")
    if claim.amount == 0:
        if remaining:
            return say("REFUTED", "The revocation does not stand: the spender may take tokens again.")
        return say("VERIFIED", "The revocation stands: the spender may take nothing.")
    if remaining == 0:
        return say("REFUTED", "It does not stand: the spender may take nothing now.")
    if remaining > claim.amount and not is_unlimited("solana", claim.amount):
        return say("REFUTED", "It does not stand as it was claimed: the account now allows MORE.")
    if became.state in ("replaced", "revoked", "exceeds"):
        return say("REFUTED", "It does not stand: another approval has taken its place.")
    if satisfies(claim, remaining):
        return say("VERIFIED", "It stands: the account allows what was claimed.")
    if became.state in ("active", "reduced"):
        return say("VERIFIED", "It stands: what the spender took since explains what is left.")
    return say("UNDETERMINED", "Less is left than was claimed, and what took the rest cannot be told.")
