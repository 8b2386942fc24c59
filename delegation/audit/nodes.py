"""Asking nodes about a claim: each for itself and all at the same time, compared at one block.

What follows from the answers of one node is its result. A node that does not answer, or whose answers contradict each
other, has none that counts; it never makes a yes or a no. The same result follows again, offline, from the recorded
answers: whatever is added here must ask its questions through the `Rpc` that is passed, and read no clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from chains.claims import ApprovalCheck, Finding, OwnershipCheck, OwnershipClaim
from chains.errors import ContradictionError, NodeError, WrongChainError
from chains.family import check_approval, check_ownership, get_head, open_rpc
from chains.http import redact_url, url_secrets
from chains.rpc import Rpc, require_node_url
from chains.rpc.transcript import Exchange, RecordingRpc, ReplayRpc, run_offline
from chains.types import Block
from delegation.audit.claims import Claim, approval_claim, claimed_chain, ownership_claim
from delegation.audit.policy import Policy, operator_of
from delegation.errors import InvalidRequestError

_T = TypeVar("_T")

# Seconds for all the answers of one node: some thirty, and more where much has happened since.
_PATIENCE: Final = 180.0
# A node that is behind the others, and without which no quorum is there, is waited for up to five seconds.
_LAG_ATTEMPTS: Final = 10
_LAG_PAUSE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One node: its URL as it may be shown, who operates it, and where it took too long for anything that it said to
    count, that."""

    url: str
    operator: str
    silent: str | None = None


@dataclass(frozen=True, slots=True)
class NodeResult:
    """What follows from the answers of one node; without `approval` it does not count, for the reason `problem`."""

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
        return found + tuple(replace(own, rule=f"ownership-{own.rule}") for own in self.ownership.findings)


async def ask_nodes(claim: Claim, urls: Sequence[str], policy: Policy) -> tuple[NodeResult, ...]:
    """Return what the nodes at `urls` say of a claim, asked at the same time.

    Raises `WrongChainError` if they are nodes of another chain, `InvalidRequestError` for no URL at all or one that is
    none, and an `InputError` for a claim that cannot be one.
    """
    if not urls:
        raise InvalidRequestError("No node is named that could be asked.", hint="Name the URL of one or more.")
    for url in urls:
        require_node_url(url)
    chain = claimed_chain(claim.approval)
    endpoints = [Endpoint(redact_url(url) if "://" in url else url, operator_of(url)) for url in urls]
    rpcs = [RecordingRpc(open_rpc(chain, url), secrets=url_secrets(url)) for url in urls]
    too_slow = NodeError(f"It did not answer everything within {_PATIENCE:g} seconds.", hint="Name another node.")
    slow = (None, None, too_slow.message)
    try:
        heads = await asyncio.gather(*(_in_time(_ask_head(claim, rpc, policy), too_slow) for rpc in rpcs))
        for head in heads:
            # Beside a node of the right chain one of another is a node that does not count.
            if isinstance(head, WrongChainError) and not any(isinstance(each, Block) for each in heads):
                raise head
        at = _common_head(policy, endpoints, heads)
        if not _has_quorum(policy, endpoints, heads, at):
            await asyncio.gather(
                *(_catch_up(claim, policy, rpc, head, at) for rpc, head in zip(rpcs, heads, strict=True))
            )
        # Of a node that takes too long only this much is kept, so that it is as silent offline.
        begun = [len(rpc.exchanges) for rpc in rpcs]
        answers = await asyncio.gather(
            *(_in_time(_ask(claim, rpc, head, at), slow) for rpc, head in zip(rpcs, heads, strict=True))
        )
    finally:
        for rpc in rpcs:
            await rpc.aclose()
    results = []
    for endpoint, rpc, start, head, answer in zip(endpoints, rpcs, begun, heads, answers, strict=True):
        is_silent = head is too_slow or answer is slow
        asked = replace(endpoint, silent=too_slow.message) if is_silent else endpoint
        results.append(NodeResult(asked, tuple(rpc.exchanges[: start if is_silent else None]), *answer))
    return tuple(results)


async def ask_about_statement(claim: OwnershipClaim, rpc_url: str | None) -> OwnershipCheck:
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


def replay_nodes(
    claim: Claim, recorded: Sequence[tuple[Endpoint, tuple[Exchange, ...]]], policy: Policy
) -> tuple[NodeResult, ...]:
    """Return what recorded answers say of a claim, with no network at all."""
    rpcs = [ReplayRpc(exchanges) for _, exchanges in recorded]
    heads = [run_offline(_ask_head(claim, rpc, policy)) for rpc in rpcs]
    at = _common_head(policy, [endpoint for endpoint, _ in recorded], heads)
    return tuple(
        NodeResult(endpoint, exchanges, problem=endpoint.silent)
        if endpoint.silent is not None
        else NodeResult(endpoint, exchanges, *run_offline(_ask(claim, rpc, head, at)))
        for (endpoint, exchanges), rpc, head in zip(recorded, rpcs, heads, strict=True)
    )


async def _in_time(asking: Coroutine[Any, Any, _T], otherwise: _T) -> _T:
    """Return what a node says, or something else if it takes too long for all of its answers together."""
    try:
        return await asyncio.wait_for(asking, _PATIENCE)
    except TimeoutError:
        return otherwise


async def _ask_head(claim: Claim, rpc: Rpc, policy: Policy) -> Block | NodeError | WrongChainError:
    try:
        return await get_head(claimed_chain(claim.approval), rpc, policy.at)
    except (NodeError, WrongChainError) as error:
        return error


def _common_head(
    policy: Policy, endpoints: Sequence[Endpoint], heads: Sequence[Block | NodeError | WrongChainError]
) -> Block:
    """Return the newest block that so many operators have reached that those who are left cannot be a quorum.

    With a majority that is one that most have reached, so that nodes behind them agree on it as well. Where all must
    agree it is the newest of all: one that names an old block for the newest must not decide what "now" is.
    """
    newest: dict[str, int] = {}
    for endpoint, head in zip(endpoints, heads, strict=True):
        if isinstance(head, Block):
            newest[endpoint.operator] = max(head.number, newest.get(endpoint.operator, 0))
    reached = sorted(newest.values(), reverse=True)
    needed = policy.needed(endpoint.operator for endpoint in endpoints)
    return Block(reached[max(0, len(reached) - needed)] if reached else 0, "")


def _has_quorum(
    policy: Policy, endpoints: Sequence[Endpoint], heads: Sequence[Block | NodeError | WrongChainError], at: Block
) -> bool:
    """Return whether a quorum of operators has reached a block."""
    there = {
        endpoint.operator
        for endpoint, head in zip(endpoints, heads, strict=True)
        if isinstance(head, Block) and head.number >= at.number
    }
    return len(there) >= policy.needed(endpoint.operator for endpoint in endpoints)


async def _catch_up(
    claim: Claim, policy: Policy, rpc: RecordingRpc, head: Block | NodeError | WrongChainError, at: Block
) -> None:
    """Wait a while for a node that is a few blocks behind; nothing of it is kept, and what it lacks then, it lacks."""
    kept = len(rpc.exchanges)
    for _ in range(_LAG_ATTEMPTS):
        if not isinstance(head, Block) or head.number >= at.number:
            break
        await asyncio.sleep(_LAG_PAUSE)
        head = await _ask_head(claim, rpc, policy)
    del rpc.exchanges[kept:]


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
