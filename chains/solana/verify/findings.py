"""The rules by which a claimed approval is checked: pure functions from what was read to findings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from chains.claims import ApprovalClaim, Finding, Verdict
from chains.errors import ContradictionError, NodeError, TokenRefusedError
from chains.solana.accounts import Accounts
from chains.solana.addresses import TOKEN_PROGRAMS, get_associated_token_address, has_key
from chains.solana.token import TokenAccount, decode_mint, decode_multisig
from chains.solana.transactions import describe_error
from chains.solana.verify.inclusion import Inclusion, nonce_account, signers_of
from chains.solana.verify.instructions import Call, Outcome, read_token_call

_APPROVE_TAGS: Final = (b"\x04", b"\x0d")
_VIA: Final = {
    "top-level": "an instruction of the signed message itself",
    "batch": "inside a batch of the signed message itself",
    "inner": "called by another program: the node says so, the signature does not cover it",
}


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
    )


def check_nonce(landed: Inclusion) -> list[Finding]:
    """Flag a transaction with a durable nonce, which may have been signed long before it landed (attack A41)."""
    nonce = nonce_account(landed.message)
    if nonce is None:
        return []
    return [
        Finding(
            "durable-nonce",
            "VERIFIED",
            "WARNING: the transaction uses a durable nonce, so that it never expired: it may have been signed long "
            "before it landed, and somebody may have held it back until then.",
            found=nonce,
        )
    ]


def check_status(landed: Inclusion) -> Finding:
    """Check whether the transaction succeeded; a failed one with perfect instructions approves nothing (A1)."""
    if landed.meta is None:
        return Finding("status", "UNDETERMINED", "The node does not say whether the transaction succeeded.")
    if landed.error is None:
        return Finding("status", "VERIFIED", "The transaction succeeded, as the node says.")
    what = describe_error(landed.error, landed.signed_bytes)
    return Finding("status", "REFUTED", f"The transaction failed and approved nothing: {what[:200]}.", found=what[:200])


def explain_no_approval(claim: ApprovalClaim, calls: Iterable[Call]) -> Finding:
    """Say why a transaction that touches no delegate at all approves nothing; looking alike is not enough (A35)."""
    calls = list(calls)
    if any(done is not None and done.kind == "unknown" for done in map(read_token_call, calls)):
        message = "The transaction holds an instruction of a token program that this toolkit does not know: upgrade it."
        return Finding("approval", "UNDETERMINED", message)
    alike = [call.program for call in calls if call.data[:1] in _APPROVE_TAGS and claim.spender in call.accounts]
    if alike:
        message = f"What looks like an approval is an instruction of {alike[0]}, which is no token program."
        return Finding("approval", "REFUTED", message, expected=" or ".join(TOKEN_PROGRAMS), found=alike[0])
    return Finding("approval", "REFUTED", "The transaction holds no instruction that approves or revokes anything.")


def choose_outcome(claim: ApprovalClaim, outcomes: Mapping[str, Outcome], accounts: Accounts | None) -> Outcome:
    """Return what the transaction did to the token account that the claim is most likely about."""

    def likeness(outcome: Outcome) -> tuple[bool, bool, bool]:
        return (
            _mint_of(claim, outcome, _account_or_none(accounts, outcome.source)) == claim.token.address,
            outcome.last.authority == claim.owner,
            claim.spender in [approval.delegate for approval in outcome.approvals],
        )

    return max(outcomes.values(), key=likeness)


def _account_or_none(accounts: Accounts | None, source: str) -> TokenAccount | None:
    try:
        return None if accounts is None else accounts.token_account(source)
    except NodeError:
        return None  # said in the findings if this is the account that is chosen


def _is_associated(claim: ApprovalClaim, outcome: Outcome) -> bool:
    return outcome.source == get_associated_token_address(claim.owner, claim.token.address, outcome.last.program)


def _mint_of(claim: ApprovalClaim, outcome: Outcome, account: TokenAccount | None) -> str | None:
    """Return the mint that an approval was for, as far as it can be told."""
    if outcome.last.mint is not None:
        return outcome.last.mint
    if account is not None:
        return account.mint
    return claim.token.address if _is_associated(claim, outcome) else None


def check_instruction(
    claim: ApprovalClaim, landed: Inclusion, outcome: Outcome, account: TokenAccount | None
) -> Finding:
    """Check whether the transaction's last word on the account is an approval (A6, A34), and how it was given."""
    last = outcome.last
    if outcome.unknown is not None:
        message = "A later instruction on the account is one that this toolkit does not know: upgrade it."
        return Finding("approval", "UNDETERMINED", message)
    if claim.amount and outcome.approval is None:
        message = "The transaction itself takes it back: the last effective instruction on the account wins."
        return Finding("approval", "REFUTED", message, expected="approve", found=last.kind)
    meant = [one for one in outcome.approvals[:-1] if (one.delegate, one.amount) == (claim.spender, claim.amount)]
    if claim.amount and meant and (last.delegate, last.amount) != (claim.spender, claim.amount):
        return Finding(
            "approval",
            "REFUTED",
            "A later instruction of the transaction replaces the approval: the last effective one wins.",
            expected=f"{claim.amount} for {claim.spender}",
            found=f"{last.amount} for {last.delegate}",
        )
    message = f"The transaction's last word on the token account {outcome.source} is {last.kind}, {_VIA[last.via]}."
    if last.surplus:
        message += f" It has {last.surplus} bytes more than the program reads, which wallets do not write."
    if getattr(landed.message, "address_table_lookups", None):
        message += " The transaction uses address tables, whose addresses are the node's word."
    if last.via == "inner" and claim.amount and (account is None or account.delegate != claim.spender):
        return Finding("approval", "UNDETERMINED", f"{message} Nothing in the account confirms it now.")
    return Finding("approval", "VERIFIED", message, found=last.kind)


def check_token(
    claim: ApprovalClaim, outcome: Outcome, accounts: Accounts | None, account: TokenAccount | None, problem: str
) -> Finding:
    """Check whether the account is one of the claimed token, by the mint's address and never by a name (A3)."""
    mint = claim.token.address
    # What the instruction names was checked by the program; the account may have been opened again for another mint.
    found = outcome.last.mint or (account.mint if account is not None else mint)
    program = accounts.program_of(mint) if accounts is not None else None
    if found != mint:
        message = "The approval is for another token than the one claimed."
        return Finding("token", "REFUTED", message, expected=mint, found=found)
    if program is not None and program != outcome.last.program:
        message = "The approval was made with another program than the one the token belongs to."
        return Finding("token", "REFUTED", message, expected=program, found=outcome.last.program)
    if _is_associated(claim, outcome):
        message = "The account's address is that of the owner's associated account for the claimed mint."
        return Finding("token", "VERIFIED", message, expected=mint, found=mint)
    stands = account is not None and account.delegate == outcome.last.delegate
    if outcome.last.mint is not None or stands:
        message = "The token account is one of the claimed mint, but NOT the owner's associated account for it, where "
        message += "wallets and indexers look: it may be empty."
        return Finding("token", "VERIFIED", message, expected=mint, found=mint)
    # Its owner may have closed it since and opened it again, at the same address, for another mint.
    message = problem or "The approval does not name its mint, and the account's address does not tell which it had."
    return Finding("token", "UNDETERMINED", message, expected=mint)


def check_mint(claim: ApprovalClaim, accounts: Accounts | None, problem: str) -> list[Finding]:
    """Check the mint: that it is one, with the claimed decimals, and no extension makes allowances unsafe (A39)."""
    token = claim.token
    if accounts is None:
        return [Finding("mint", "UNDETERMINED", f"The mint could not be read: {problem}", expected=token.address)]
    program = accounts.program_of(token.address)
    if program is None:
        return [Finding("mint", "REFUTED", "There is no account at the token's address.", expected=token.address)]
    try:
        mint = decode_mint(program, accounts.data_of(token.address))
    except TokenRefusedError:
        message = "The token's address is not a mint of SPL Token or Token-2022."
        return [Finding("mint", "REFUTED", message, expected=token.address, found=program)]
    safe = Finding("mint", "VERIFIED", "The token is a mint without extensions that make allowances unsafe.")
    if mint.refused_extensions:
        names = ", ".join(mint.refused_extensions)
        message = (
            f"The mint has extensions with which its issuer can take or block tokens whatever is approved: {names}."
        )
        safe = Finding("mint", "REFUTED", message, found=names)
    right = mint.decimals == token.decimals
    return [
        safe,
        Finding(
            "decimals",
            "VERIFIED" if right else "REFUTED",
            f"The mint has {mint.decimals} decimals." + ("" if right else " Amounts would be off by powers of ten."),
            expected=str(token.decimals),
            found=str(mint.decimals),
        ),
    ]


def check_owner(
    claim: ApprovalClaim,
    landed: Inclusion,
    outcome: Outcome,
    accounts: Accounts | None,
    account: TokenAccount | None,
    problem: str,
) -> Finding:
    """Check whether the claimed owner gave the approval and still owns the account (A8, A36).

    Raises `ContradictionError` if nobody signed for an owner whose signature the token program demands.
    """
    last, owner = outcome.last, claim.owner
    if last.authority != owner:
        message = "Somebody else than the claimed owner gave it."
        return Finding("owner", "REFUTED", message, expected=owner, found=last.authority)
    if account is not None and account.owner != owner:
        message = "The token account belongs to somebody else: its ownership was given away (SetAuthority)."
        return Finding("owner", "REFUTED", message, expected=owner, found=account.owner)
    signers = signers_of(landed.message)
    if owner in signers:
        message = "The owner signed it, and is the owner of the token account."
        if account is None:
            message = "The owner signed it; the token account is not there to be asked now."
        return Finding("owner", "VERIFIED", message, expected=owner, found=owner)
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


def check_spender(claim: ApprovalClaim, outcome: Outcome) -> Finding:
    """Check the delegate, compared in full and never by its ends (A4)."""
    found = outcome.last.delegate
    if found is None:
        verdict: Verdict = "REFUTED" if claim.amount else "VERIFIED"
        message = "The transaction leaves the account without any delegate."
        return Finding("spender", verdict, message, expected=claim.spender, found="none")
    right = found == claim.spender
    message = (
        "The delegate is the claimed spender." if right else "The delegate is ANOTHER address than the one claimed."
    )
    return Finding("spender", "VERIFIED" if right else "REFUTED", message, expected=claim.spender, found=found)
