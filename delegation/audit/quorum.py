"""Judging what nodes said of a claim: a quorum of distinct operators decides (rules 16, 24, 40). All of it is pure.

A node that did not answer, or whose answers contradict each other, makes neither a yes nor a no.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, TypeAlias

from chains import get_chain
from chains.claims import ApprovalCheck, Finding, OwnershipCheck, State, verdict_of
from delegation.audit.claims import Claim, Source, Tier, chain_identity
from delegation.audit.nodes import Testimony
from delegation.audit.report import (
    FINALITY_MEANINGS,
    TIER_MEANINGS,
    EndpointReport,
    OwnershipReport,
    Report,
    software_versions,
)

_SOURCES: Final[dict[Source, str]] = {
    "platform": "Not pinned, but what the platform names at present",
    "given": "Not pinned, but given with the claim",
}
# How certain it is that a block stays; several nodes' word counts for the least that one of them says.
_LEVELS: Final = ("included", "processed", "soft", "safe", "confirmed", "hard", "finalized")


_Camps: TypeAlias = dict[tuple[str, State | None], list[Testimony]]
"""Testimonies that say the same, by what they say; the state is a part of it where the verdict depends on it."""


def judge(claim: Claim, testimonies: Sequence[Testimony], *, now: datetime) -> Report:
    """Return what the testimonies amount to: the verdict that a quorum of distinct operators agrees on."""
    camps: _Camps = {}
    for testimony in testimonies:
        if not testimony.abstains:
            state = testimony.approval.state if testimony.approval is not None and claim.terms.active else None
            camps.setdefault((testimony.said, state), []).append(testimony)
    quorate = [camp for camp in camps.values() if len(_operators(camp)) >= claim.terms.quorum]
    winner = quorate[0] if len(quorate) == 1 else None
    abstaining = [testimony for testimony in testimonies if testimony.approval is not None and testimony.abstains]
    shown = winner or (abstaining if not camps else None)
    spokesman = min(shown, key=_certainty) if shown else None
    findings = [*_source_findings(claim), *(spokesman.findings if spokesman else ())]
    findings += _quorum_findings(claim, testimonies, camps, quorate)
    approval = (spokesman.approval if spokesman else None) or ApprovalCheck(findings=())
    tier = _tier(claim, winner) if winner is not None else None
    if winner is not None:
        findings += _terms_findings(claim, approval, tier)
    ownership = spokesman.ownership if spokesman else None
    return Report(
        verdict=verdict_of(findings),
        claim=claim,
        method=approval.method,
        via=approval.via,
        state=approval.state,
        findings=tuple(findings),
        amounts=approval.amounts,
        blocked=approval.blocked,
        block=approval.head,
        included=approval.included,
        finality=approval.finality,
        finality_meaning=FINALITY_MEANINGS.get(approval.finality or ""),
        tier=tier,
        tier_meaning=TIER_MEANINGS[tier] if tier is not None else None,
        ownership=None if ownership is None else report_ownership(ownership),
        endpoints=tuple(_standing(testimony, winner) for testimony in testimonies),
        checked_at=now,
        software=software_versions(),
    )


def report_ownership(check: OwnershipCheck) -> OwnershipReport:
    """Return how ownership was established, as a document."""
    return OwnershipReport(
        method=check.method,
        normalised=check.normalised,
        block=check.block,
        delegate=check.delegate,
        not_checked=check.not_checked,
    )


def _operators(camp: Iterable[Testimony]) -> set[str]:
    return {testimony.endpoint.operator for testimony in camp}


def _certainty(testimony: Testimony) -> int:
    finality = testimony.approval.finality if testimony.approval is not None else None
    return _LEVELS.index(finality) if finality in _LEVELS else -1


def _source_findings(claim: Claim) -> list[Finding]:
    """Return what there is to say of the claim's addresses, and of a chain that only calls itself by a known name.

    A claim read from a file can call any address pinned, so that it is said whose pins these are.
    """
    approval = claim.approval
    findings = []
    known = get_chain(approval.network)
    if approval.chain != chain_identity(known):
        message = f"WARNING: this is not {known.title} itself but a local chain with another genesis hash."
        findings.append(Finding("chain", "VERIFIED", message, chain_identity(known), approval.chain))
    for what, source, address in (
        ("token", approval.asset_from, approval.token.address),
        ("spender", approval.spender_from, approval.spender),
    ):
        if source == "pinned":
            message = f"Whoever asked the nodes had {address} pinned as the {what}; if that was not you, compare it."
            findings.append(Finding("pinned", "VERIFIED", message, found=address))
        else:
            message = f"{_SOURCES[source]}: that {address} is the right {what} is for you to know."
            findings.append(Finding("pins", "VERIFIED", message, found=address))
    return findings


def _quorum_findings(
    claim: Claim, testimonies: Sequence[Testimony], camps: _Camps, quorate: list[list[Testimony]]
) -> list[Finding]:
    wanted, asked = claim.terms.quorum, _operators(testimonies)
    if len(quorate) == 1:
        agreeing = len(_operators(quorate[0]))
        if len(testimonies) == 1:
            return []
        return [Finding("quorum", "VERIFIED", f"{agreeing} of {len(asked)} operators of nodes agree; {wanted} had to.")]
    if len(quorate) > 1:
        message = f"The nodes disagree: {len(quorate)} groups of {wanted} or more operators say different things."
    elif not camps:
        reasons = [f"{testimony.endpoint.url}: {testimony.problem}" for testimony in testimonies if testimony.problem]
        if testimonies and not reasons:
            return []
        message = " ".join(["No node gave answers that count.", *reasons])
        return [Finding("quorum", "UNDETERMINED", message)]
    else:
        most = max(len(_operators(camp)) for camp in camps.values())
        message = f"{wanted} operators of nodes must agree, and only {most} of {len(asked)} say the same."
    return [Finding("quorum", "UNDETERMINED", message, expected=str(wanted), found=_shown_camps(camps))]


def _shown_camps(camps: _Camps) -> str:
    said = {
        camp[0].endpoint.url: json.loads(text) | ({} if state is None else {"state": state})
        for (text, state), camp in camps.items()
    }
    names = sorted({name for facts in said.values() for name in facts})
    differing = [name for name in names if len({facts.get(name) for facts in said.values()}) > 1]
    return "; ".join(
        f"{url} says {', '.join(f'{name}={facts.get(name)}' for name in differing) or 'the same'}"
        for url, facts in said.items()
    )


def _terms_findings(claim: Claim, approval: ApprovalCheck, tier: Tier | None) -> list[Finding]:
    findings = []
    least = claim.terms.least_tier
    if tier is not None and tier < least:
        findings.append(
            Finding(
                "tier",
                "UNDETERMINED",
                f"Trust of {least} or better was asked for, and this is {tier}. {TIER_MEANINGS[tier]}",
                expected=least,
                found=tier,
            )
        )
    standing = ("active", "reduced") if claim.approval.amount else ("revoked",)
    if claim.terms.active and approval.state not in standing:
        findings.append(
            Finding(
                "still-active",
                "REFUTED" if approval.state is not None else "UNDETERMINED",
                "An approval that still stands was asked for, and this one does not.",
                expected=" or ".join(standing),
                found=str(approval.state),
            )
        )
    return findings


def _tier(claim: Claim, camp: Sequence[Testimony]) -> Tier:
    proved = [testimony.approval for testimony in camp if testimony.approval is not None and testimony.approval.proved]
    if not proved:
        return "T1" if len(_operators(camp)) > 1 else "T0"
    hashes = {block.hash for block in (proved[0].included, proved[0].head) if block is not None}
    return "T3" if hashes <= {hash_.lower() for hash_ in claim.terms.trusted_blocks} else "T2"


def _standing(testimony: Testimony, winner: list[Testimony] | None) -> EndpointReport:
    url, operator = testimony.endpoint.url, testimony.endpoint.operator
    if testimony.approval is None:
        return EndpointReport(url=url, operator=operator, standing="rejected", message=testimony.problem)
    if testimony.abstains:
        unknown = [finding.message for finding in testimony.findings if finding.verdict == "UNDETERMINED"]
        return EndpointReport(url=url, operator=operator, standing="abstains", message=" ".join(unknown))
    agrees = winner is not None and testimony in winner
    return EndpointReport(
        url=url,
        operator=operator,
        standing="agrees" if agrees else "differs",
        message=None if agrees else testimony.said,
    )
