"""An approved amount beside the claimed one; pure, and the same for every family (attacks A10 and A12)."""

from __future__ import annotations

from chains.amounts import format_amount
from chains.claims import ApprovalClaim, Finding
from chains.family import is_unlimited


def show_amount(claim: ApprovalClaim, amount: int) -> str:
    """Return base units of the claim's token in human units and as they are; what counts as unlimited says so."""
    unlimited = is_unlimited(claim.chain.family, amount)
    human = "unlimited" if unlimited else f"{format_amount(amount, claim.token.decimals)} {claim.token.symbol}"
    return f"{human} ({amount} base units)"


def satisfies(claim: ApprovalClaim, approved: int) -> bool:
    """Return whether an approved amount, in base units, is what was claimed: "unlimited" is a threshold (rule 5)."""
    family = claim.chain.family
    return approved == claim.amount or (is_unlimited(family, claim.amount) and is_unlimited(family, approved))


def check_amount(claim: ApprovalClaim, approved: int) -> Finding:
    """Return the finding on an approved amount, in base units."""
    expected, found = str(claim.amount), str(approved)
    if satisfies(claim, approved):
        message = f"The approval is for {show_amount(claim, approved)}, as claimed."
        return Finding("amount", "VERIFIED", message, expected, found)
    message = f"Claimed is {show_amount(claim, claim.amount)}; approved is {show_amount(claim, approved)}."
    scale = 10**claim.token.decimals
    if claim.amount == approved * scale or approved == claim.amount * scale:
        message += f" They differ by exactly the token's {claim.token.decimals} decimals."
        message += " Whole tokens were taken for base units."
    return Finding("amount", "REFUTED", message, expected, found)
