"""Give a card platform a bounded right to spend from a wallet whose keys stay yours, prove it, verify it, revoke it.

To give such a right, and to change or take it back (amount 0 revokes):

    load_profile, open_context   what a delegation needs from outside: platform, node, wallet, journal
    new_delegation, carry        a request, carried to the end of the line from wherever it stands
    delegate                     the same in one blocking call, for scripts
    preview, describe_plan       what would be done, in numbers and in words, before anything is signed
    awaiting, answer             what somebody else's wallet has to sign, and what it gave back
    renew, discard_request       a new token for an approval that stands; a transaction that never came back
    speed_up, cancel             a transaction that is stuck: at a higher fee, or its nonce used up by nothing
    abandon, carry_all           the end of what can do no harm any more; everything that is not finished

To check what somebody claims, or what you did yourself:

    verify_claim                 check an approval and its statement by asking nodes; a majority of operators must agree
    verify_with_evidence         the same, and a file from which it follows again
    verify_evidence              check such a file with no network at all
    verify_statement             check an ownership statement alone
    find_claimed_asset, claim_approval, describe_report   a claim from what a person says, and a report in words

Names are imported when they are first used, so that `import delegation` costs nearly nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from chains.claims import Finding as Finding
    from chains.errors import ToolkitError as ToolkitError
    from delegation.abandonment import abandon as abandon
    from delegation.approval import discard_request as discard_request
    from delegation.audit.assets import claim_approval as claim_approval
    from delegation.audit.assets import find_claimed_asset as find_claimed_asset
    from delegation.audit.claims import Claim as Claim
    from delegation.audit.claims import ClaimedApproval as ClaimedApproval
    from delegation.audit.claims import ClaimedStatement as ClaimedStatement
    from delegation.audit.evidence import verify_evidence as verify_evidence
    from delegation.audit.policy import Policy as Policy
    from delegation.audit.report import Report as Report
    from delegation.audit.report import describe_report as describe_report
    from delegation.audit.verify import verify_claim as verify_claim
    from delegation.audit.verify import verify_statement as verify_statement
    from delegation.audit.verify import verify_with_evidence as verify_with_evidence
    from delegation.blocking import delegate as delegate
    from delegation.context import Context as Context
    from delegation.context import Replacement as Replacement
    from delegation.context import StatementTerms as StatementTerms
    from delegation.errors import DelegationError as DelegationError
    from delegation.errors import InvalidRequestError as InvalidRequestError
    from delegation.flow import carry as carry
    from delegation.flow import new_delegation as new_delegation
    from delegation.flow import preview as preview
    from delegation.gateway.client import Gateway as Gateway
    from delegation.journal import Journal as Journal
    from delegation.journal import open_journal as open_journal
    from delegation.models import Delegation as Delegation
    from delegation.models import DelegationRequest as DelegationRequest
    from delegation.models import Plan as Plan
    from delegation.models import Proof as Proof
    from delegation.models import Verification as Verification
    from delegation.models import utc_now as utc_now
    from delegation.plan import describe_plan as describe_plan
    from delegation.profile import Profile as Profile
    from delegation.profile import load_profile as load_profile
    from delegation.profile import open_context as open_context
    from delegation.profile import save_profile as save_profile
    from delegation.replacement import cancel as cancel
    from delegation.replacement import speed_up as speed_up
    from delegation.signing import SigningRequest as SigningRequest
    from delegation.signing import answer as answer
    from delegation.signing import awaiting as awaiting
    from delegation.submission import renew as renew
    from delegation.unfinished import Outcome as Outcome
    from delegation.unfinished import carry_all as carry_all

_HOMES: Final = {
    "load_profile": "delegation.profile",
    "open_context": "delegation.profile",
    "DelegationRequest": "delegation.models",
    "new_delegation": "delegation.flow",
    "carry": "delegation.flow",
    "delegate": "delegation.blocking",
    "preview": "delegation.flow",
    "describe_plan": "delegation.plan",
    "awaiting": "delegation.signing",
    "answer": "delegation.signing",
    "renew": "delegation.submission",
    "discard_request": "delegation.approval",
    "speed_up": "delegation.replacement",
    "cancel": "delegation.replacement",
    "abandon": "delegation.abandonment",
    "carry_all": "delegation.unfinished",
    "verify_claim": "delegation.audit.verify",
    "verify_with_evidence": "delegation.audit.verify",
    "verify_evidence": "delegation.audit.evidence",
    "verify_statement": "delegation.audit.verify",
    "find_claimed_asset": "delegation.audit.assets",
    "claim_approval": "delegation.audit.assets",
    "describe_report": "delegation.audit.report",
    "Claim": "delegation.audit.claims",
    "ClaimedApproval": "delegation.audit.claims",
    "ClaimedStatement": "delegation.audit.claims",
    "Context": "delegation.context",
    "Delegation": "delegation.models",
    "ToolkitError": "chains.errors",
    "DelegationError": "delegation.errors",
    "Finding": "chains.claims",
    "Gateway": "delegation.gateway.client",
    "InvalidRequestError": "delegation.errors",
    "Journal": "delegation.journal",
    "Outcome": "delegation.unfinished",
    "Plan": "delegation.models",
    "Policy": "delegation.audit.policy",
    "Profile": "delegation.profile",
    "Proof": "delegation.models",
    "Replacement": "delegation.context",
    "Report": "delegation.audit.report",
    "SigningRequest": "delegation.signing",
    "StatementTerms": "delegation.context",
    "Verification": "delegation.models",
    "open_journal": "delegation.journal",
    "save_profile": "delegation.profile",
    "utc_now": "delegation.models",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
