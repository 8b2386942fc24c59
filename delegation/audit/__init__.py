"""Claims checked on chain: by a quorum of operators, with evidence that anybody can check again offline.

    verify_claim          check a claim by asking nodes, under a policy
    verify_with_evidence  the same, and the file from which it follows again
    verify_evidence       check such a file, with no network at all
    verify_statement      check an ownership statement alone
    describe_report       a report in words
    find_claimed_asset    which token and which spender a claim is about, from the pins
    claim_approval        what somebody says that an owner approved
    claim_of              what a delegation of the journal says

Names are imported when they are first used: whoever only reads evidence loads neither a client of the platform nor a
journal, and opens nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from chains.claims import Expectations as Expectations
    from chains.claims import Finding as Finding
    from chains.claims import OwnershipClaim as OwnershipClaim
    from delegation.audit.assets import ClaimedAsset as ClaimedAsset
    from delegation.audit.assets import claim_approval as claim_approval
    from delegation.audit.assets import find_claimed_asset as find_claimed_asset
    from delegation.audit.claims import Claim as Claim
    from delegation.audit.claims import ClaimedApproval as ClaimedApproval
    from delegation.audit.claims import ClaimedStatement as ClaimedStatement
    from delegation.audit.claims import claim_of as claim_of
    from delegation.audit.evidence import evidence_schema as evidence_schema
    from delegation.audit.evidence import verify_evidence as verify_evidence
    from delegation.audit.policy import Policy as Policy
    from delegation.audit.report import Report as Report
    from delegation.audit.report import describe_report as describe_report
    from delegation.audit.report import report_schema as report_schema
    from delegation.audit.verify import verify_claim as verify_claim
    from delegation.audit.verify import verify_statement as verify_statement
    from delegation.audit.verify import verify_with_evidence as verify_with_evidence

_HOMES: Final = {
    "verify_claim": "delegation.audit.verify",
    "verify_with_evidence": "delegation.audit.verify",
    "verify_evidence": "delegation.audit.evidence",
    "verify_statement": "delegation.audit.verify",
    "describe_report": "delegation.audit.report",
    "find_claimed_asset": "delegation.audit.assets",
    "claim_approval": "delegation.audit.assets",
    "claim_of": "delegation.audit.claims",
    "Claim": "delegation.audit.claims",
    "ClaimedApproval": "delegation.audit.claims",
    "ClaimedAsset": "delegation.audit.assets",
    "ClaimedStatement": "delegation.audit.claims",
    "Expectations": "chains.claims",
    "Finding": "chains.claims",
    "OwnershipClaim": "chains.claims",
    "Policy": "delegation.audit.policy",
    "Report": "delegation.audit.report",
    "evidence_schema": "delegation.audit.evidence",
    "report_schema": "delegation.audit.report",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
