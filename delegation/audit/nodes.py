"""Asking nodes about a claim: each for itself, then a quorum of operators over what they said (rules 3, 16, 24, 40).

What one node says is a testimony. A node that does not answer, or whose answers contradict each other, has none that
counts; it never makes a yes or a no. The same testimony follows again, offline, from the node's recorded answers.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from chains.claims import ApprovalCheck, Finding, OwnershipCheck, OwnershipClaim, verdict_of
from chains.errors import ContradictionError, NodeError, WrongChainError
from chains.family import check_approval, check_ownership, get_head, open_rpc
from chains.http import redact_url, url_secrets
from chains.rpc import Rpc
from chains.rpc.transcript import Exchange, RecordingRpc, ReplayRpc, run_offline
from chains.types import Block
from delegation.audit.claims import Claim, approval_claim, claimed_chain, ownership_claim
from delegation.errors import InvalidRequestError
from delegation.profile import require_node_url

_T = TypeVar("_T")

# Seconds for all the answers of one node: some thirty, and more where much has happened since.
_PATIENCE: Final = 180.0


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
    slow = (None, None, _too_slow().message)
    try:
        heads = await asyncio.gather(*(_in_time(_ask_head(claim, rpc), _too_slow()) for rpc in rpcs))
        for head in heads:
            if isinstance(head, WrongChainError):
                raise head
        at = _common_head(claim, endpoints, heads)
        # Of a node that takes too long only this much is kept, so that it is as silent offline.
        begun = [len(rpc.exchanges) for rpc in rpcs]
        answers = await asyncio.gather(
            *(_in_time(_ask(claim, rpc, head, at), slow) for rpc, head in zip(rpcs, heads, strict=True))
        )
    finally:
        for rpc in rpcs:
            await rpc.aclose()
    return tuple(
        Testimony(endpoint, tuple(rpc.exchanges[: start if answer is slow else None]), *answer)
        for endpoint, rpc, start, answer in zip(endpoints, rpcs, begun, answers, strict=True)
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


async def _in_time(asking: Coroutine[Any, Any, _T], otherwise: _T) -> _T:
    """Return what a node says, or something else if it takes too long for all of its answers together."""
    try:
        return await asyncio.wait_for(asking, _PATIENCE)
    except TimeoutError:
        return otherwise


def _too_slow() -> NodeError:
    return NodeError(f"It did not answer everything within {_PATIENCE:g} seconds.", hint="Name another node.")


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
