"""From what nodes agree on to a report: its verdict, its tier, the values that may be printed. All of it is pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from chains import get_chain
from chains.claims import Amounts, ApprovalCheck, Finding, OwnershipCheck, Verdict, verdict_of
from delegation.audit.claims import Claim, Source, chain_identity
from delegation.audit.nodes import Endpoint, NodeResult
from delegation.audit.policy import Policy, Tier
from delegation.audit.quorum import Agreed, Agreement, agree, operators_of, show_said
from delegation.audit.report import (
    FINALITY_MEANINGS,
    EndpointReport,
    OwnershipReport,
    Report,
    ReportedFinding,
    software_versions,
    tier_meaning,
)

_SOURCES: Final[dict[Source, str]] = {
    "platform": "Not pinned, but what the platform names at present",
    "given": "Not pinned, but given with the claim",
}
_ALONE: Final = Policy(quorum=1)


def make_report(
    claim: Claim, policy: Policy, results: Sequence[NodeResult], *, now: datetime, from_file: bool = False
) -> Report:
    """Return what the results amount to under a policy; `from_file` says that they were recorded by somebody else."""
    agreement = agree(policy, results)
    noted = [*_source_findings(claim), *_quorum_findings(agreement, results, from_file=from_file)]
    findings = [*(Agreed(finding, None, ()) for finding in noted), *agreement.findings]
    if not policy.active:
        findings = [each for each in findings if each.finding.rule != "still-active"]
    reported = tuple(_report_finding(each, policy) for each in findings)
    verdict, tier = _conclude(reported, policy)
    finality = agreement.value("finality", lambda result: _approval(result).finality)
    return Report(
        verdict=verdict,
        claim=claim,
        policy=policy.model_copy(update={"quorum": agreement.needed}),
        method=agreement.value("approval", lambda result: _approval(result).method),
        via=agreement.value("approval", lambda result: _approval(result).via),
        state=agreement.value("state", lambda result: _approval(result).state)
        or agreement.common(lambda result: _approval(result).state),
        findings=reported,
        amounts=Amounts(
            authorised=agreement.value("amount", lambda result: _approval(result).amounts.authorised),
            remaining=agreement.value("allowance", lambda result: _approval(result).amounts.remaining),
            balance=agreement.value("balance", lambda result: _approval(result).amounts.balance),
            spendable=agreement.value("spendable", lambda result: _approval(result).amounts.spendable),
        ),
        blocked=agreement.value("blocked", lambda result: _approval(result).blocked) or (),
        block=agreement.value("allowance", lambda result: _approval(result).head)
        or agreement.common(lambda result: _approval(result).head),
        included=agreement.value("inclusion", lambda result: _approval(result).included)
        or agreement.common(lambda result: _approval(result).included),
        finality=finality,
        finality_meaning=FINALITY_MEANINGS.get(finality or ""),
        tier=tier,
        tier_meaning=None if tier is None else tier_meaning(tier, from_file=from_file),
        ownership=_report_ownership(agreement),
        endpoints=tuple(_endpoint_report(agreement, result) for result in results),
        checked_at=now,
        software=software_versions(),
    )


def statement_report(check: OwnershipCheck, *, now: datetime) -> Report:
    """Return the report of a statement that was checked alone."""
    agreement = agree(_ALONE, [NodeResult(Endpoint("", ""), (), ApprovalCheck(check.findings, head=check.block))])
    reported = tuple(_report_finding(each, _ALONE) for each in agreement.findings)
    verdict, tier = _conclude(reported, _ALONE)
    return Report(
        verdict=verdict,
        findings=reported,
        tier=tier,
        tier_meaning=None if tier is None else tier_meaning(tier, from_file=False),
        block=check.block,
        ownership=report_ownership(check),
        checked_at=now,
        software=software_versions(),
    )


def add_findings(report: Report, findings: Sequence[Finding]) -> Report:
    """Return a report with what was found of the file it was read from, which nobody needs to be asked about."""
    added = tuple(
        ReportedFinding(
            rule=finding.rule,
            verdict=finding.verdict,
            message=finding.message,
            expected=finding.expected,
            found=finding.found,
            tier="T3" if finding.verdict in {"VERIFIED", "REFUTED"} else None,
            basis="needs nobody: the file itself shows it" if finding.verdict in {"VERIFIED", "REFUTED"} else "",
        )
        for finding in findings
    )
    all_findings = (*added, *report.findings)
    verdict, tier = _conclude(all_findings, report.policy or _ALONE)
    meaning = None if tier is None else tier_meaning(tier, from_file=True)
    return report.model_copy(
        update={"verdict": verdict, "findings": all_findings, "tier": tier, "tier_meaning": meaning}
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


def _conclude(findings: Sequence[ReportedFinding], policy: Policy) -> tuple[Verdict, Tier | None]:
    """Return the verdict, and its tier: that of the weakest finding that confirms, of the strongest that refutes."""
    needed = [finding for finding in findings if policy.active or finding.about == "claim"]
    verdict = verdict_of(Finding(finding.rule, finding.verdict, finding.message) for finding in needed)
    tiers = [finding.tier for finding in needed if finding.verdict == verdict and finding.tier is not None]
    if verdict == "UNDETERMINED" or not tiers:
        return verdict, None
    return verdict, min(tiers) if verdict == "VERIFIED" else max(tiers)


def _report_finding(agreed: Agreed, policy: Policy) -> ReportedFinding:
    """Return a finding as a document; what rests on less than the policy asks for is neither a yes nor a no."""
    finding, tier = agreed.finding, agreed.tier
    verdict, message = finding.verdict, finding.message
    if tier is not None and tier < policy.least_tier:
        message = (
            f"This would be {verdict}, but it rests on less ({tier}) than what was asked for ({policy.least_tier}). "
            f"{message}"
        )
        verdict = "UNDETERMINED"
    return ReportedFinding(
        rule=finding.rule,
        verdict=verdict,
        message=message,
        expected=finding.expected,
        found=finding.found,
        about=finding.about,
        tier=tier,
        basis=agreed.basis,
    )


def _source_findings(claim: Claim) -> list[Finding]:
    """Return what there is to say of the claim's addresses, and of a chain that only calls itself by a known name.

    A claim read from a file can call any address pinned, so that it is said whose pins these are.
    """
    approval = claim.approval
    findings = []
    known = get_chain(approval.network)
    if approval.chain != chain_identity(known):
        message = f"WARNING: this is not {known.title} itself but a local chain with another genesis hash."
        findings.append(Finding("local-chain", "NOTED", message, chain_identity(known), approval.chain))
    for what, source, address in (
        ("token", approval.asset_from, approval.token.address),
        ("spender", approval.spender_from, approval.spender),
    ):
        if source == "pinned":
            message = f"Whoever asked the nodes had {address} pinned as the {what}; if that was not you, compare it."
            findings.append(Finding("pinned", "NOTED", message, found=address))
        else:
            message = f"{_SOURCES[source]}: that {address} is the right {what} is for you to know."
            findings.append(Finding("pins", "NOTED", message, found=address))
    return findings


def _quorum_findings(agreement: Agreement, results: Sequence[NodeResult], *, from_file: bool) -> list[Finding]:
    """Return how many operators agree, or that not enough of them do."""
    needed, asked = agreement.needed, len(agreement.asked)
    reasons = [f"{result.endpoint.url}: {result.problem}" for result in results if result.problem]
    if not agreement.answered:
        return [Finding("quorum", "UNDETERMINED", " ".join(["No node gave answers that count.", *reasons]))]
    answered = len(operators_of(agreement.answered))
    if agreement.disputes:
        found = None
        if answered < needed:
            message = f"{needed} operators of nodes must agree, and only {answered} of {asked} gave answers that count."
        else:
            rules = ", ".join(dict.fromkeys(dispute.rule for dispute in agreement.disputes))
            message = f"{needed} operators of nodes must agree, and of {asked} not so many say the same of: {rules}."
            found = show_said(agreement.disputes[0].said)
        return [Finding("quorum", "UNDETERMINED", " ".join([message, *reasons]), str(needed), found)]
    if asked == 1 and not from_file:
        return []
    message = f"{answered} of {asked} operators of nodes gave answers that count; {needed} had to agree, and do."
    if from_file:
        message += " Who they are, and that they answered so, is the file's own word."
    return [Finding("quorum", "NOTED", " ".join([message, *reasons]))]


def _report_ownership(agreement: Agreement) -> OwnershipReport | None:
    """Return how ownership was established, as far as those that agree on the signature say the same of it."""
    rule = "ownership-signature"
    if all(result.ownership is None for result in agreement.answered):
        return None
    return OwnershipReport(
        method=agreement.value(rule, lambda result: _ownership(result).method),
        normalised=agreement.value(rule, lambda result: _ownership(result).normalised),
        block=agreement.common(lambda result: _ownership(result).block),
        delegate=agreement.common(lambda result: _ownership(result).delegate),
        not_checked=agreement.common(lambda result: _ownership(result).not_checked) or (),
    )


def _ownership(result: NodeResult) -> OwnershipCheck:
    return result.ownership or OwnershipCheck(findings=())


def _approval(result: NodeResult) -> ApprovalCheck:
    return result.approval or ApprovalCheck(findings=())


def _endpoint_report(agreement: Agreement, result: NodeResult) -> EndpointReport:
    url, operator = result.endpoint.url, result.endpoint.operator
    if result.approval is None:
        return EndpointReport(url=url, operator=operator, outcome="rejected", message=result.problem)
    if agreement.supports(result):
        return EndpointReport(url=url, operator=operator, outcome="agrees")
    unknown = [finding.message for finding in result.findings if finding.verdict == "UNDETERMINED"]
    if unknown:
        return EndpointReport(url=url, operator=operator, outcome="undetermined", message=" ".join(unknown))
    differing = [each.finding.rule for each in agreement.findings if each.supporters and result not in each.supporters]
    differing += [dispute.rule for dispute in agreement.disputes]
    message = f"It differs by: {', '.join(dict.fromkeys(differing))}."
    return EndpointReport(url=url, operator=operator, outcome="differs", message=message)
