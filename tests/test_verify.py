"""Verification: VERIFIED, REFUTED or UNDETERMINED; "could not check" is never a yes and never a no."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from line_lab import UNIT, WALLET_LIST, Line, open_line

from chains.claims import Finding
from chains.evm.node import EvmNode
from chains.rpc import HttpRpc
from chains.types import Node
from delegation import Delegation, carry
from delegation.errors import DelegationError
from delegation.models import Verification
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


async def verify(line: Line, d: Delegation, node: Node | None = None, list_timeout: float = 0) -> Verification:
    return await verify_delegation(
        d, node or line.context.node, line.context.gateway, now=line.context.now, list_timeout=list_timeout
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
    assert verdicts(verification) == dict.fromkeys(("chain-effect", "chain-now", "platform-list"), "VERIFIED")
    assert verification.allowance == 5000 * UNIT
    assert verification.block is not None
    assert verification.block.number >= granted.approvals[0].settlement.block.number


async def test_what_was_spent_since_refutes_nothing(line: Line, granted: Delegation) -> None:
    await line.sandbox.spend("base", "usdc", line.owner, 1200 * UNIT)
    verification = await verify(line, granted)
    assert verification.verdict == "VERIFIED"
    assert verification.allowance == 3800 * UNIT
    now = next(finding for finding in verification.findings if finding.rule == "chain-now")
    assert (now.expected, now.found) == ("5000000000", "3800000000")
    assert "spent from, or lowered since" in now.message


async def test_an_allowance_that_was_raised_behind_our_back_is_refuted_although_the_list_agrees(
    line: Line, granted: Delegation
) -> None:
    await line.approve_directly(6000 * UNIT)
    verification = await verify(line, granted)
    assert verification.verdict == "REFUTED"
    assert verdicts(verification) == {
        "chain-effect": "VERIFIED",
        "chain-now": "REFUTED",
        "platform-list": "VERIFIED",
    }


async def test_a_revocation_that_left_something_is_refuted(line: Line, granted: Delegation) -> None:
    revoked = await line.carry("0")
    assert (await verify(line, revoked)).verdict == "VERIFIED"
    await line.approve_directly(1)
    assert (await verify(line, revoked)).verdict == "REFUTED"


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


async def test_a_node_that_cannot_be_asked_leaves_it_open(line: Line, granted: Delegation, dead_node: Node) -> None:
    verification = await verify(line, granted, dead_node)
    assert verification.verdict == "UNDETERMINED"
    assert verdicts(verification) == {
        "chain-effect": "VERIFIED",
        "chain-now": "UNDETERMINED",
        "platform-list": "VERIFIED",
    }
    assert (verification.allowance, verification.block) == (None, None)


async def test_without_a_node_a_smaller_allowance_in_the_list_may_be_spent_and_a_larger_one_cannot(
    line: Line, granted: Delegation, dead_node: Node
) -> None:
    await list_says(line, {"allowance": "3800"})
    assert verdicts(await verify(line, granted, dead_node))["platform-list"] == "UNDETERMINED"
    await list_says(line, {"allowance": "5000.000001"})
    assert verdicts(await verify(line, granted, dead_node))["platform-list"] == "REFUTED"


async def test_a_platform_that_cannot_be_asked_leaves_it_open_and_hides_no_refutation(
    line: Line, granted: Delegation, dead_node: Node
) -> None:
    await line.platform.misbehave(WALLET_LIST, method="GET", status=403, times=3)
    verification = await verify(line, granted)
    assert (verification.verdict, verdicts(verification)["platform-list"]) == ("UNDETERMINED", "UNDETERMINED")
    assert (await verify(line, granted, dead_node)).verdict == "UNDETERMINED"
    await line.approve_directly(6000 * UNIT)
    assert (await verify(line, granted)).verdict == "REFUTED"


async def test_a_finished_delegation_that_is_carried_again_is_only_verified_again(
    line: Line, granted: Delegation
) -> None:
    await line.approve_directly(6000 * UNIT)
    again = await carry(granted, line.context)
    assert again.verification is not None
    assert again.verification.verdict == "REFUTED"
    assert (again.approvals, again.submission) == (granted.approvals, granted.submission)
    assert await line.statuses() == [201]


async def test_a_line_whose_platform_is_down_at_the_end_is_undetermined_and_verified_later(line: Line) -> None:
    # The plan reads the list once; the verification is the second to read it.
    await line.platform.misbehave(WALLET_LIST, method="GET", delay=0.0)
    await line.platform.misbehave(WALLET_LIST, method="GET", status=403, times=1)
    context = replace(line.context, list_timeout=0)
    d = await carry(line.new("5000"), context)
    assert d.verification is not None
    assert (d.station, d.verification.verdict) == ("done", "UNDETERMINED")
    d = await carry(d, context)
    assert d.verification is not None
    assert d.verification.verdict == "VERIFIED"


async def test_a_delegation_without_a_settled_approval_cannot_be_verified(line: Line) -> None:
    with pytest.raises(DelegationError, match="no settled approval"):
        await verify(line, line.new("5000"))


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
