"""Asking nodes about a claim: each for itself, then a quorum of operators over what they said (rules 3, 16, 24, 40).

What one node says is a testimony. A node that does not answer, or whose answers contradict each other, has none that
counts; it never makes a yes or a no. The same testimony follows again, offline, from the node's recorded answers.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from chains import get_chain
from chains.claims import ApprovalCheck, Finding, OwnershipCheck, OwnershipClaim, State, verdict_of
from chains.errors import ContradictionError, NodeError, WrongChainError
from chains.family import check_approval, check_ownership, get_head, open_rpc
from chains.http import redact_url, url_secrets
from chains.rpc import Rpc
from chains.transcript import Exchange, RecordingRpc, ReplayRpc, run_offline
from chains.types import Block
from delegation.claims import Claim, Source, Tier, approval_claim, chain_identity, claimed_chain, ownership_claim
from delegation.errors import InvalidRequestError
from delegation.profile import require_node_url
from delegation.report import (
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


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One node: its URL as it may be shown, and who operates it."""

    url: str
    operator: str


@dataclass(frozen=True, slots=True)
class Testimony:
    """What one node said, and its answers; without `approval` it does not count, for the reason `problem`."""

    endpoint: Endpoint
    exchanges: tuple[Exchange, ...]
    approval: ApprovalCheck | None = None
    ownership: OwnershipCheck | None = None
    problem: str | None = None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found of the approval, and of the statement with `ownership-` before the rules' names."""
        found = () if self.approval is None else self.approval.findings
        if self.ownership is None:
            return found
        return found + tuple(
            Finding(f"ownership-{own.rule}", own.verdict, own.message, own.expected, own.found)
            for own in self.ownership.findings
        )

    @property
    def abstains(self) -> bool:
        """Whether this node could not tell."""
        return self.approval is None or verdict_of(self.approval.findings) == "UNDETERMINED"

    @property
    def said(self) -> str:
        """The raw values that honest nodes agree on, with the verdict that they lead to, as text that can be compared.

        The verdict is a part of it: a node may falsify what no raw value tells, such as whether a transaction failed.
        """
        facts: dict[str, str] = {}
        if self.approval is not None:
            authorised = str(self.approval.amounts.authorised)
            facts = {**self.approval.facts, "verdict": verdict_of(self.findings), "authorised": authorised}
        if self.ownership is not None:
            facts |= {f"ownership-{name}": value for name, value in self.ownership.facts.items()}
        return json.dumps(facts, sort_keys=True)


def operator_of(url: str) -> str:
    """Return who operates a node, as far as its URL tells: the last two labels of its host's name, an IP address or a
    socket's path.

    Two services under one public suffix (`a.co.uk`, `b.co.uk`) count as one operator: too few is safe (attack A47).
    """
    try:
        host = urlsplit(url).hostname
    except ValueError:
        # An evidence file can hold any text in its place.
        return url
    if host is None:
        return url
    try:
        return str(ipaddress.ip_address("127.0.0.1" if host == "localhost" else host))
    except ValueError:
        return ".".join(host.rstrip(".").lower().split(".")[-2:])


def majority_of(urls: Iterable[str]) -> int:
    """Return how many operators are more than half of those of these nodes; the default quorum."""
    return len({operator_of(url) for url in urls}) // 2 + 1


async def examine(claim: Claim, urls: Sequence[str]) -> tuple[Testimony, ...]:
    """Return what the nodes at `urls` say of a claim, asked at the same time.

    Raises `WrongChainError` if one of them is a node of another chain, `InvalidRequestError` for no URL at all or one
    that is none, and an `InputError` for a claim that cannot be one.
    """
    if not urls:
        raise InvalidRequestError("No node is named that could be asked.", hint="Name one or more with --rpc.")
    for url in urls:
        require_node_url(url)
    chain = claimed_chain(claim.approval)
    endpoints = [Endpoint(redact_url(url) if "://" in url else url, operator_of(url)) for url in urls]
    rpcs = [RecordingRpc(open_rpc(chain, url), secrets=url_secrets(url)) for url in urls]
    try:
        heads = await asyncio.gather(*(_ask_head(claim, rpc) for rpc in rpcs))
        for head in heads:
            if isinstance(head, WrongChainError):
                raise head
        at = _common_head(claim, endpoints, heads)
        answers = await asyncio.gather(*(_ask(claim, rpc, head, at) for rpc, head in zip(rpcs, heads, strict=True)))
    finally:
        for rpc in rpcs:
            await rpc.aclose()
    return tuple(
        Testimony(endpoint, tuple(rpc.exchanges), *answer)
        for endpoint, rpc, answer in zip(endpoints, rpcs, answers, strict=True)
    )


async def ask_ownership(claim: OwnershipClaim, rpc_url: str | None) -> OwnershipCheck:
    """Return what is established of a statement alone, with a node where one is named; see `check_ownership`.

    Raises `WrongChainError` if it is a node of another chain, and `NodeError` if it does not answer.
    """
    if rpc_url is None:
        return await check_ownership(claim)
    require_node_url(rpc_url)
    rpc = open_rpc(claim.chain, rpc_url)
    try:
        await get_head(claim.chain, rpc)
        return await check_ownership(claim, rpc)
    finally:
        await rpc.aclose()


def examine_again(claim: Claim, recorded: Sequence[tuple[Endpoint, tuple[Exchange, ...]]]) -> tuple[Testimony, ...]:
    """Return what recorded answers say of a claim, with no network at all."""
    rpcs = [ReplayRpc(exchanges) for _, exchanges in recorded]
    heads = [run_offline(_ask_head(claim, rpc)) for rpc in rpcs]
    at = _common_head(claim, [endpoint for endpoint, _ in recorded], heads)
    return tuple(
        Testimony(endpoint, exchanges, *run_offline(_ask(claim, rpc, head, at)))
        for (endpoint, exchanges), rpc, head in zip(recorded, rpcs, heads, strict=True)
    )


async def _ask_head(claim: Claim, rpc: Rpc) -> Block | NodeError | WrongChainError:
    try:
        return await get_head(claimed_chain(claim.approval), rpc, claim.terms.at)
    except (NodeError, WrongChainError) as error:
        return error


def _common_head(
    claim: Claim, endpoints: Sequence[Endpoint], heads: Sequence[Block | NodeError | WrongChainError]
) -> Block:
    """Return the newest block that a quorum of operators has reached: nodes are compared at one block (attack A48)."""
    newest: dict[str, int] = {}
    for endpoint, head in zip(endpoints, heads, strict=True):
        if isinstance(head, Block):
            newest[endpoint.operator] = max(head.number, newest.get(endpoint.operator, 0))
    reached = sorted(newest.values(), reverse=True)
    return Block(reached[min(claim.terms.quorum, len(reached)) - 1] if reached else 0, "")


async def _ask(
    claim: Claim, rpc: Rpc, head: Block | NodeError | WrongChainError, at: Block
) -> tuple[ApprovalCheck | None, OwnershipCheck | None, str | None]:
    if not isinstance(head, Block):
        return None, None, head.message
    signed = ownership_claim(claim)
    try:
        approval = await check_approval(approval_claim(claim.approval), rpc, at)
        return approval, None if signed is None else await check_ownership(signed, rpc, approval.head), None
    except ContradictionError as error:
        return None, None, f"Its answers contradict each other: {error.message}"
    except NodeError as error:
        return None, None, error.message


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
