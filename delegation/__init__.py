"""Give a card platform a bounded right to spend from a wallet whose keys stay yours, prove it, verify it, revoke it.

Start with `DelegationRequest`, `open_doors` and `carry`, or with `delegate` where a script may block.
The names below are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from delegation.approval import withdraw
    from delegation.blocking import delegate
    from delegation.doors import Doors, StatementTerms
    from delegation.errors import DelegationError, InvalidRequestError
    from delegation.flow import carry, new_delegation, preview
    from delegation.gateway.client import Gateway
    from delegation.journal import Journal, open_journal
    from delegation.models import Delegation, DelegationRequest, Finding, Plan, Proof, Verification
    from delegation.plan import describe_plan
    from delegation.profile import Profile, load_profile, open_doors, save_profile
    from delegation.signing import SigningRequest, answer, awaiting
    from delegation.submission import renew

_HOMES = {
    "Delegation": "delegation.models",
    "DelegationError": "delegation.errors",
    "DelegationRequest": "delegation.models",
    "Doors": "delegation.doors",
    "Finding": "delegation.models",
    "Gateway": "delegation.gateway.client",
    "InvalidRequestError": "delegation.errors",
    "Journal": "delegation.journal",
    "Plan": "delegation.models",
    "Profile": "delegation.profile",
    "Proof": "delegation.models",
    "SigningRequest": "delegation.signing",
    "StatementTerms": "delegation.doors",
    "Verification": "delegation.models",
    "answer": "delegation.signing",
    "awaiting": "delegation.signing",
    "carry": "delegation.flow",
    "delegate": "delegation.blocking",
    "describe_plan": "delegation.plan",
    "load_profile": "delegation.profile",
    "new_delegation": "delegation.flow",
    "open_doors": "delegation.profile",
    "open_journal": "delegation.journal",
    "preview": "delegation.flow",
    "renew": "delegation.submission",
    "save_profile": "delegation.profile",
    "withdraw": "delegation.approval",
}

__all__ = [
    "Delegation",
    "DelegationError",
    "DelegationRequest",
    "Doors",
    "Finding",
    "Gateway",
    "InvalidRequestError",
    "Journal",
    "Plan",
    "Profile",
    "Proof",
    "SigningRequest",
    "StatementTerms",
    "Verification",
    "answer",
    "awaiting",
    "carry",
    "delegate",
    "describe_plan",
    "load_profile",
    "new_delegation",
    "open_doors",
    "open_journal",
    "preview",
    "renew",
    "save_profile",
    "withdraw",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that `import delegation` costs nearly nothing."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
