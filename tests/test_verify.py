"""Verification: VERIFIED, REFUTED or UNDETERMINED; "could not check" is never a yes and never a no."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from line_lab import UNIT, WALLET_LIST, Line, open_line

from chains.claims import Finding
from chains.errors import NodeError
from chains.evm.node import EvmNode
from chains.rpc import HttpRpc
from chains.types import Node, Review
from delegation import Delegation, carry
from delegation.errors import DelegationError
from delegation.models import Verification
from delegation.plan import intent_of
from delegation.sandbox import Sandbox
from delegation.verify import verify_delegation


@pytest.fixture
async def line(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Line]:
    async with open_line(sandbox, tmp_path, "base") as opened:
        yield opened


@pytest.fixture
async def granted(line: Line) -> Delegation:
    return await line.carry("5000")


@pytest.fixture
async def dead_node(line: Line) -> AsyncIterator[Node]:
    node = EvmNode(line.context.node.chain, HttpRpc("http://127.0.0.1:9", attempts=1))
    yield node
    await node.aclose()


async def review(line: Line, d: Delegation) -> Review:
    assert d.plan is not None
    settlement = d.approvals[-1].settlement
    assert settlement is not None
    return await line.context.node.review(intent_of(d.request, d.plan), settlement)


async def verify(line: Line, d: Delegation, node: Node | None = None, list_timeout: float = 0) -> Verification:
    seen = await review(line, d)
    return await verify_delegation(
        d, seen, node or line.context.node, line.context.gateway, now=line.context.now, list_timeout=list_timeout
    )


async def list_says(line: Line, *rows: dict[str, Any], times: int = 1) -> None:
    """Have the platform's list say this the next times it is read."""
    of_line = {"address": line.owner, "currency": "usdc", "network": "base", "balance": "1"}
    body = [of_line | row for row in rows]
    await line.platform.misbehave(WALLET_LIST, method="GET", status=200, body=body, times=times)


def verdicts(verification: Verification) -> dict[str, str]:
    return {finding.rule: finding.verdict for finding in verification.findings}


async def test_what_chain_and_platform_confirm_is_verified(line: Line, granted: Delegation) -> None:
    verification = await verify(line, granted)
    assert verification.verdict == "VERIFIED"
    assert verdicts(verification) == dict.fromkeys(("chain-effect", "canonical", "platform-list"), "VERIFIED")
    assert (verification.allowance, verification.state) == (5000 * UNIT, "active")
    assert verification.block is not None
    settlement = granted.approvals[0].settlement
    assert settlement is not None
    assert verification.block.number >= settlement.block.number


async def test_what_was_spent_since_refutes_nothing(line: Line, granted: Delegation) -> None:
    await line.sandbox.spend("base", "usdc", line.owner, 1200 * UNIT)
    verification = await verify(line, granted)
    assert verification.verdict == "VERIFIED"
    assert (verification.allowance, verification.state) == (3800 * UNIT, "reduced")
    effect = next(finding for finding in verification.findings if finding.rule == "chain-effect")
    assert (effect.expected, effect.found) == ("5000000000", "5000000000")


@pytest.mark.parametrize(("amount", "state"), [(6000, "exceeds"), (4000, "replaced"), (0, "revoked")])
async def test_what_was_changed_behind_our_back_since_is_the_state_and_no_verdict(
    line: Line, granted: Delegation, amount: int, state: str
) -> None:
    await line.approve_directly(amount * UNIT)
    verification = await verify(line, granted)
    assert (verification.verdict, verification.state) == ("VERIFIED", state)
    assert verification.allowance == amount * UNIT


async def test_what_was_allowed_after_a_revocation_is_shown_with_it(line: Line, granted: Delegation) -> None:
    revoked = await line.carry("0")
    assert (await verify(line, revoked)).verdict == "VERIFIED"
    await line.approve_directly(1)
    verification = await verify(line, revoked)
    assert (verification.state, verification.allowance) == ("exceeds", 1)


async def test_an_approval_whose_block_has_left_the_chain_is_never_verified(line: Line, granted: Delegation) -> None:
    await line.rpc.request("anvil_rollback", [1])
    await line.rpc.request("evm_mine")
    verification = await verify(line, granted)
    assert verification.verdict == "REFUTED"
    assert verdicts(verification)["canonical"] == "REFUTED"
    assert (verification.state, verification.allowance) == ("reorganised", None)


async def test_a_wallet_that_is_not_listed_is_refuted_and_after_a_revocation_it_is_not(
    line: Line, granted: Delegation
) -> None:
    await list_says(line)
    assert verdicts(await verify(line, granted))["platform-list"] == "REFUTED"
    await list_says(line, {"allowance": "5000", "currency": "usdt"})
    assert verdicts(await verify(line, granted))["platform-list"] == "REFUTED"
    revoked = await line.carry("0")
    await list_says(line)
    assert (await verify(line, revoked)).verdict == "VERIFIED"


@pytest.mark.parametrize("allowance", ["4999.999999", "10000"])
async def test_another_allowance_in_the_list_than_on_chain_is_refuted(
    line: Line, granted: Delegation, allowance: str
) -> None:
    await list_says(line, {"allowance": allowance})
    verification = await verify(line, granted)
    assert verification.verdict == "REFUTED"
    (listed,) = [finding for finding in verification.findings if finding.rule == "platform-list"]
    assert (listed.expected, listed.found) == ("5000", allowance)


async def test_an_allowance_in_the_list_that_cannot_be_read_leaves_it_open(line: Line, granted: Delegation) -> None:
    await list_says(line, {"allowance": "soon"})
    assert (await verify(line, granted)).verdict == "UNDETERMINED"


async def test_a_list_that_lags_behind_is_read_again_before_it_counts(line: Line, granted: Delegation) -> None:
    await list_says(line)
    assert (await verify(line, granted, list_timeout=5)).verdict == "VERIFIED"


async def test_a_node_that_cannot_be_asked_says_nothing_and_changes_nothing(
    line: Line, granted: Delegation, dead_node: Node
) -> None:
    with pytest.raises(NodeError):
        await carry(granted, replace(line.context, node=dead_node))
    assert line.only() == granted


async def test_what_was_read_of_the_chain_stands_if_the_node_cannot_be_asked_again(
    line: Line, granted: Delegation, dead_node: Node
) -> None:
    await list_says(line)
    verification = await verify(line, granted, dead_node, list_timeout=5)
    assert (verification.verdict, verification.allowance) == ("VERIFIED", 5000 * UNIT)


async def test_where_the_chain_was_not_read_a_smaller_allowance_in_the_list_may_be_spent_and_a_larger_one_cannot(
    line: Line, granted: Delegation
) -> None:
    unread = replace(await review(line, granted), now=None)

    async def judge(allowance: str) -> str:
        await list_says(line, {"allowance": allowance})
        node, gateway = line.context.node, line.context.gateway
        verification = await verify_delegation(granted, unread, node, gateway, now=line.context.now, list_timeout=0)
        return verdicts(verification)["platform-list"]

    assert await judge("3800") == "UNDETERMINED"
    assert await judge("5000.000001") == "REFUTED"


async def test_a_platform_that_cannot_be_asked_leaves_it_open_and_hides_no_refutation(
    line: Line, granted: Delegation
) -> None:
    await line.platform.misbehave(WALLET_LIST, method="GET", status=403, times=2)
    verification = await verify(line, granted)
    assert (verification.verdict, verdicts(verification)["platform-list"]) == ("UNDETERMINED", "UNDETERMINED")
    await line.rpc.request("anvil_rollback", [1])
    await line.rpc.request("evm_mine")
    assert (await verify(line, granted)).verdict == "REFUTED"


async def test_a_finished_delegation_that_is_carried_again_is_only_verified_again(
    line: Line, granted: Delegation
) -> None:
    await line.approve_directly(6000 * UNIT)
    again = await carry(granted, line.context)
    assert again.verification is not None
    assert (again.verification.verdict, again.verification.state) == ("VERIFIED", "exceeds")
    assert (again.approvals, again.submission) == (granted.approvals, granted.submission)
    assert await line.statuses() == [201]


async def test_a_line_whose_platform_is_down_at_the_end_is_undetermined_and_verified_later(line: Line) -> None:
    # The list is read for the plan, and right before the proof; the verification is the third to read it.
    await line.platform.misbehave(WALLET_LIST, method="GET", delay=0.0, times=2)
    await line.platform.misbehave(WALLET_LIST, method="GET", status=403, times=1)
    context = replace(line.context, list_timeout=0)
    d = await carry(line.new("5000"), context)
    assert d.verification is not None
    assert (d.station, d.verification.verdict) == ("done", "UNDETERMINED")
    d = await carry(d, context)
    assert d.verification is not None
    assert d.verification.verdict == "VERIFIED"


async def test_a_delegation_without_a_settled_approval_cannot_be_verified(line: Line, granted: Delegation) -> None:
    seen, context = await review(line, granted), line.context
    with pytest.raises(DelegationError, match="no settled approval"):
        await verify_delegation(line.new("5000"), seen, context.node, context.gateway, now=context.now, list_timeout=0)


def test_nothing_checked_is_not_verified_and_one_refutation_refutes_all() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    good, bad, open_ = (
        Finding(rule="r", verdict=verdict, message="m") for verdict in ("VERIFIED", "REFUTED", "UNDETERMINED")
    )
    with pytest.raises(ValueError, match="at least one finding"):
        Verification.of((), at=at)
    assert Verification.of((good, good), at=at).verdict == "VERIFIED"
    assert Verification.of((good, open_), at=at).verdict == "UNDETERMINED"
    assert Verification.of((open_, bad, good), at=at).verdict == "REFUTED"
