"""Give a card platform a bounded right to spend from a wallet whose keys stay yours, prove it, verify it, revoke it.

Start with `DelegationRequest`, `open_context` and `carry`, or with `delegate` where a script may block.
The names below are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chains.claims import Finding
    from delegation.approval import discard_request
    from delegation.audit.assets import claim_approval, find_claimed_asset
    from delegation.audit.claims import Claim, ClaimedApproval, ClaimedStatement, Terms
    from delegation.audit.evidence import verify_evidence, write_evidence
    from delegation.audit.nodes import examine
    from delegation.audit.quorum import judge
    from delegation.audit.report import Report, describe_report
    from delegation.blocking import delegate
    from delegation.context import Context, StatementTerms
    from delegation.errors import DelegationError, InvalidRequestError
    from delegation.flow import carry, new_delegation, preview
    from delegation.gateway.client import Gateway
    from delegation.journal import Journal, open_journal
    from delegation.models import Delegation, DelegationRequest, Plan, Proof, Verification, utc_now
    from delegation.plan import describe_plan
    from delegation.profile import Profile, load_profile, open_context, save_profile
    from delegation.signing import SigningRequest, answer, awaiting
    from delegation.submission import renew

_HOMES = {
    "Claim": "delegation.audit.claims",
    "ClaimedApproval": "delegation.audit.claims",
    "ClaimedStatement": "delegation.audit.claims",
    "Delegation": "delegation.models",
    "DelegationError": "delegation.errors",
    "DelegationRequest": "delegation.models",
    "Context": "delegation.context",
    "Finding": "chains.claims",
    "Gateway": "delegation.gateway.client",
    "InvalidRequestError": "delegation.errors",
    "Journal": "delegation.journal",
    "Plan": "delegation.models",
    "Profile": "delegation.profile",
    "Proof": "delegation.models",
    "Report": "delegation.audit.report",
    "SigningRequest": "delegation.signing",
    "StatementTerms": "delegation.context",
    "Terms": "delegation.audit.claims",
    "Verification": "delegation.models",
    "answer": "delegation.signing",
    "awaiting": "delegation.signing",
    "carry": "delegation.flow",
    "claim_approval": "delegation.audit.assets",
    "delegate": "delegation.blocking",
    "describe_plan": "delegation.plan",
    "describe_report": "delegation.audit.report",
    "examine": "delegation.audit.nodes",
    "find_claimed_asset": "delegation.audit.assets",
    "judge": "delegation.audit.quorum",
    "load_profile": "delegation.profile",
    "new_delegation": "delegation.flow",
    "open_context": "delegation.profile",
    "open_journal": "delegation.journal",
    "preview": "delegation.flow",
    "renew": "delegation.submission",
    "save_profile": "delegation.profile",
    "utc_now": "delegation.models",
    "verify_evidence": "delegation.audit.evidence",
    "discard_request": "delegation.approval",
    "write_evidence": "delegation.audit.evidence",
}

__all__ = [
    "Claim",
    "ClaimedApproval",
    "ClaimedStatement",
    "Context",
    "Delegation",
    "DelegationError",
    "DelegationRequest",
    "Finding",
    "Gateway",
    "InvalidRequestError",
    "Journal",
    "Plan",
    "Profile",
    "Proof",
    "Report",
    "SigningRequest",
    "StatementTerms",
    "Terms",
    "Verification",
    "answer",
    "awaiting",
    "carry",
    "claim_approval",
    "delegate",
    "describe_plan",
    "describe_report",
    "discard_request",
    "examine",
    "find_claimed_asset",
    "judge",
    "load_profile",
    "new_delegation",
    "open_context",
    "open_journal",
    "preview",
    "renew",
    "save_profile",
    "utc_now",
    "verify_evidence",
    "write_evidence",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that `import delegation` costs nearly nothing."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
