"""What a quorum of distinct operators agrees on, and the report that follows. All of it is pure.

A node that did not answer, or whose answers contradict each other, makes neither a yes nor a no. What is reported is
what the quorum agreed on, and never the word of a node outside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, TypeAlias

from chains import get_chain
from chains.claims import ApprovalCheck, Finding, OwnershipCheck, State, verdict_of
from delegation.audit.claims import Claim, Source, chain_identity
from delegation.audit.nodes import NodeResult
from delegation.audit.policy import Policy, Tier
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


_Groups: TypeAlias = dict[tuple[str, State | None], list[NodeResult]]
"""Results that agree, by their values; the state is a part of it where the verdict depends on it."""


def make_report(claim: Claim, policy: Policy, results: Sequence[NodeResult], *, now: datetime) -> Report:
    """Return what the results amount to: the verdict that a quorum of distinct operators agrees on."""
    needed = policy.needed(_operators(results))
    groups = _group(policy, results)
    enough = [group for group in groups.values() if len(_operators(group)) >= needed]
    agreed = enough[0] if len(enough) == 1 else None
    undetermined = [result for result in results if result.approval is not None and result.undetermined]
    shown = min(agreed or (undetermined if not groups else []), key=_certainty, default=None)
    findings = [*_source_findings(claim), *(shown.findings if shown else ())]
    findings += _quorum_findings(needed, results, groups, enough)
    approval = (shown.approval if shown else None) or ApprovalCheck(findings=())
    tier = _tier(policy, agreed) if agreed is not None else None
    if agreed is not None:
        findings += _policy_findings(claim, policy, approval, tier)
    ownership = shown.ownership if shown else None
    return Report(
        verdict=verdict_of(findings),
        claim=claim,
        policy=policy.model_copy(update={"quorum": needed}),
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
        endpoints=tuple(_endpoint_report(result, agreed) for result in results),
        checked_at=now,
        software=software_versions(),
    )


def statement_report(check: OwnershipCheck, *, now: datetime) -> Report:
    """Return the report of a statement that was checked alone."""
    return Report(
        verdict=verdict_of(check.findings),
        findings=check.findings,
        block=check.block,
        ownership=report_ownership(check),
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


def _group(policy: Policy, results: Iterable[NodeResult]) -> _Groups:
    """Return the results that tell something, those that agree together."""
    groups: _Groups = {}
    for result in results:
        if result.approval is not None and not result.undetermined:
            state = result.approval.state if policy.active else None
            groups.setdefault((result.values, state), []).append(result)
    return groups


def _operators(results: Iterable[NodeResult]) -> set[str]:
    return {result.endpoint.operator for result in results}


def _certainty(result: NodeResult) -> int:
    finality = result.approval.finality if result.approval is not None else None
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
    needed: int, results: Sequence[NodeResult], groups: _Groups, enough: list[list[NodeResult]]
) -> list[Finding]:
    asked = _operators(results)
    if len(enough) == 1:
        agreeing = len(_operators(enough[0]))
        if len(results) == 1:
            return []
        return [Finding("quorum", "VERIFIED", f"{agreeing} of {len(asked)} operators of nodes agree; {needed} had to.")]
    if len(enough) > 1:
        message = f"The nodes disagree: {len(enough)} groups of {needed} or more operators say different things."
    elif not groups:
        reasons = [f"{result.endpoint.url}: {result.problem}" for result in results if result.problem]
        if results and not reasons:
            return []
        message = " ".join(["No node gave answers that count.", *reasons])
        return [Finding("quorum", "UNDETERMINED", message)]
    else:
        most = max(len(_operators(group)) for group in groups.values())
        message = f"{needed} operators of nodes must agree, and only {most} of {len(asked)} say the same."
    return [Finding("quorum", "UNDETERMINED", message, expected=str(needed), found=_show_groups(groups))]


def _show_groups(groups: _Groups) -> str:
    """Return where the groups differ, each by the URL of its first node."""
    values = {
        group[0].endpoint.url: json.loads(text) | ({} if state is None else {"state": state})
        for (text, state), group in groups.items()
    }
    names = sorted({name for facts in values.values() for name in facts})
    differing = [name for name in names if len({facts.get(name) for facts in values.values()}) > 1]
    return "; ".join(
        f"{url} says {', '.join(f'{name}={facts.get(name)}' for name in differing) or 'the same'}"
        for url, facts in values.items()
    )


def _policy_findings(claim: Claim, policy: Policy, approval: ApprovalCheck, tier: Tier | None) -> list[Finding]:
    findings = []
    least = policy.least_tier
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
    active = ("active", "reduced") if claim.approval.amount else ("revoked",)
    if policy.active and approval.state not in active:
        findings.append(
            Finding(
                "still-active",
                "REFUTED" if approval.state is not None else "UNDETERMINED",
                "An approval that still stands was asked for, and this one does not.",
                expected=" or ".join(active),
                found=str(approval.state),
            )
        )
    return findings


def _tier(policy: Policy, agreed: Sequence[NodeResult]) -> Tier:
    proved = [result.approval for result in agreed if result.approval is not None and result.approval.proved]
    if not proved:
        return "T1" if len(_operators(agreed)) > 1 else "T0"
    hashes = {block.hash for block in (proved[0].included, proved[0].head) if block is not None}
    return "T3" if hashes <= {hash_.lower() for hash_ in policy.trusted_blocks} else "T2"


def _endpoint_report(result: NodeResult, agreed: list[NodeResult] | None) -> EndpointReport:
    url, operator = result.endpoint.url, result.endpoint.operator
    if result.approval is None:
        return EndpointReport(url=url, operator=operator, outcome="rejected", message=result.problem)
    if result.undetermined:
        unknown = [finding.message for finding in result.findings if finding.verdict == "UNDETERMINED"]
        return EndpointReport(url=url, operator=operator, outcome="undetermined", message=" ".join(unknown))
    agrees = agreed is not None and result in agreed
    return EndpointReport(
        url=url,
        operator=operator,
        outcome="agrees" if agrees else "differs",
        message=None if agrees else result.values,
    )
