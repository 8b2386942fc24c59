"""Reports: what a verification found, as a document with a stable schema and in words."""

from __future__ import annotations

from functools import cache
from typing import Any, Final, Literal

from pydantic import AwareDatetime, Field

from chains.claims import About, Amounts, FindingVerdict, Method, State, Verdict, show_amount
from chains.types import Block
from delegation.audit.claims import Claim, approval_claim
from delegation.audit.policy import Policy, Tier
from delegation.models import Frozen

TIER_MEANINGS: Final[dict[Tier, str]] = {
    "T0": "Some of it rests on the word of one operator of nodes, or is proved under a block that only one gave.",
    "T1": "Some of it rests on the word of several operators of nodes, who say the same; the rest is proved.",
    "T2": "All of it is proved under block hashes that a quorum of operators agrees on, or needs nobody.",
    "T3": "All of it is proved under block hashes that you have named as authentic, or needs nobody: the signed bytes "
    "show it.",
}
"""What the tier of a verdict says: the weakest of what it rests on."""

_IN_A_FILE: Final[dict[Tier, str]] = {
    "T0": " You read this from a file: who that operator is, and that it answered so, is the file's own word.",
    "T1": " You read this from a file: who these operators are, and that they answered so, is the file's own word.",
    "T2": " You read this from a file, so that it holds if these block hashes are real: compare them with a source "
    "that you trust, and name them as trusted.",
    "T3": "",
}


def tier_meaning(tier: Tier, *, from_file: bool) -> str:
    """Return what a tier says in words, of answers that were just given or were recorded by whoever made a file."""
    return TIER_MEANINGS[tier] + (_IN_A_FILE[tier] if from_file else "")


FINALITY_MEANINGS: Final[dict[str, str]] = {
    "included": "The transaction is in a block that can still be replaced.",
    "safe": "The transaction is in a block that would be replaced only if a large part of the validators, or of a "
    "rollup's data on Ethereum, failed.",
    "finalized": "The nodes call the block finalized, one that cannot be replaced any more.",
    "soft": "Linea's sequencer, one operator, has put the transaction into a block; no node says that Ethereum has it.",
    "hard": "The nodes call the block finalized, which on Linea is one whose proof Ethereum has accepted; Ethereum was "
    "not asked.",
    "processed": "One node has executed the transaction; it can still vanish.",
    "confirmed": "Two thirds of the stake have voted for the slot of the transaction; it is not rooted yet.",
}

STATE_MEANINGS: Final[dict[State, str]] = {
    "active": "It stands as it was made.",
    "reduced": "It was spent from since.",
    "replaced": "Something else has taken its place.",
    "revoked": "It was taken back.",
    "exceeds": "The chain now allows MORE than was claimed.",
    "pending": "The transaction waits to be put into a block.",
    "dropped": "No block holds the transaction and its place is free: it was dropped, and can be sent again.",
    "reorganised": "The block that held the transaction is no longer part of the chain.",
}


class EndpointReport(Frozen):
    """What became of one node: it `agrees` with what is reported or `differs`, could not tell (`undetermined`), or is
    `rejected` because it did not answer or its answers contradict each other; `message` says why."""

    url: str
    operator: str
    outcome: Literal["agrees", "differs", "undetermined", "rejected"]
    message: str | None = None


class ReportedFinding(Frozen):
    """One thing that was checked, and what it rests on: `tier` is None where it is neither a yes nor a no.

    What is `about` the present counts for the verdict only where an approval that still stands was asked for; NOTED
    stands outside it.
    """

    rule: str
    verdict: FindingVerdict
    message: str
    expected: str | None = None
    found: str | None = None
    about: About = "claim"
    tier: Tier | None = None
    basis: str = ""


class OwnershipReport(Frozen):
    """How ownership was established; the fields are those of `chains.claims.OwnershipCheck`."""

    method: str | None
    normalised: str | None = None
    block: Block | None = None
    delegate: str | None = None
    not_checked: tuple[str, ...] = ()


class Report(Frozen):
    """What a verification found: of a `claim`, and what the `policy` under which it was checked made of it.

    The `quorum` of the policy is the number of operators that had to agree. A statement that was checked alone has
    neither claim nor policy.

    `block` is the block (slot) whose state counts as now, `included` that of the transaction. Amounts are base units.
    `state` says what has become of the approval since; the verdict is about the claim itself. `tier` is that of the
    weakest finding that a VERIFIED rests on, or of the strongest that refutes. What the operators that had to agree do
    not say alike is None, and its finding tells what each of them says.
    """

    format: Literal["delegation-report/3"] = "delegation-report/3"
    verdict: Verdict
    claim: Claim | None = None
    policy: Policy | None = None
    method: Method | None = None
    via: str | None = None
    state: State | None = None
    findings: tuple[ReportedFinding, ...]
    amounts: Amounts = Amounts()
    blocked: tuple[str, ...] = ()
    block: Block | None = None
    included: Block | None = None
    finality: str | None = None
    finality_meaning: str | None = None
    tier: Tier | None = None
    tier_meaning: str | None = None
    ownership: OwnershipReport | None = None
    endpoints: tuple[EndpointReport, ...] = ()
    checked_at: AwareDatetime
    software: dict[str, str] = Field(default_factory=dict)


def report_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a report."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Report.model_json_schema(mode="serialization")}


@cache
def software_versions() -> dict[str, str]:
    """Return the versions of this toolkit and of the libraries whose results a report rests on.

    What runs from a folder without being installed has the version `unknown`.
    """
    from importlib.metadata import PackageNotFoundError, version

    def find(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "unknown"

    return {name: find(name) for name in ("delegation-toolkit", "coincurve", "safe-pysha3", "solders")}


def describe_report(report: Report) -> list[tuple[str, str]]:
    """Return a report as (label, words), each rule that was checked on a line of its own."""
    lines = [(finding.rule, _describe_finding(finding)) for finding in report.findings]
    lines += _describe_approval(report)
    if report.finality is not None:
        lines.append(("finality", f"{report.finality}: {report.finality_meaning}"))
    if report.tier is not None:
        lines.append(("trust", f"{report.tier}: {report.tier_meaning}"))
    if report.ownership is not None:
        owned = report.ownership
        lines.append(("signed as", owned.method or "nothing that is known"))
        if owned.not_checked:
            lines.append(("not checked", f"{', '.join(owned.not_checked)}: nobody said what to expect"))
    for endpoint in report.endpoints:
        lines.append(
            ("node", f"{endpoint.url} {endpoint.outcome}{f': {endpoint.message}' if endpoint.message else ''}")
        )
    return lines


def _describe_approval(report: Report) -> list[tuple[str, str]]:
    """Return how it was approved, how much is left of it, and where on the chain that was read."""
    lines = []
    if report.method is not None:
        lines.append(("method", report.method if report.via is None else f"{report.method}, by {report.via}"))
    if report.claim is not None:
        claim, amounts = approval_claim(report.claim.approval), report.amounts
        lines += [
            (label, show_amount(claim, amount))
            for label, amount in (
                ("authorised", amounts.authorised),
                ("remaining", amounts.remaining),
                ("balance", amounts.balance),
                ("spendable", amounts.spendable),
            )
            if amount is not None
        ]
    lines += [("blocked", reason) for reason in report.blocked]
    if report.state is not None:
        lines.append(("now", f"{report.state.upper()}: {STATE_MEANINGS[report.state]}"))
    if report.included is not None:
        lines.append(("included in", _block(report.included)))
    if report.block is not None:
        lines.append(("state read at", _block(report.block)))
    return lines


def _describe_finding(finding: ReportedFinding) -> str:
    """Return a finding in words: what it says, where it differs from what was claimed, and what it rests on."""
    words = [f"{finding.verdict}: {finding.message}"]
    if finding.verdict in {"REFUTED", "UNDETERMINED"} and (finding.expected, finding.found) != (None, None):
        words.append(f"Expected {finding.expected}, found {finding.found}.")
    if finding.tier is not None:
        words.append(f"[{finding.tier}: {finding.basis}]")
    return " ".join(words)


def _block(block: Block) -> str:
    return f"block {block.number} ({block.hash})" if block.hash else f"slot {block.number}"
