"""What became of an allowance: logs asked for in ranges that nodes serve, and what is said where they serve none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from approval_lab import UNIT, Falsified, Lab, finding, open_lab, verdict

from chains.claims import ApprovalClaim
from chains.errors import RpcError
from chains.evm.verify.history import History, find_state

REFUSALS = [
    (-32602, "query exceeds max block range 500"),
    (-32005, "query returned more than 10000 results"),
    (-32000, "block range is too wide"),
    (-32701, "Please specify an address in your request or, to remove restrictions, order a dedicated full node"),
    (-32600, "eth_getLogs is limited to a 500 range"),
]


@pytest.fixture(scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with open_lab("linea") as running:
        yield running


@pytest.fixture(scope="module")
async def old(lab: Lab) -> ApprovalClaim:
    """An approval that was spent from twice, with 600 blocks before, between and after."""
    key = await lab.wallet(tokens=True)
    claim = lab.claim(await lab.approve(key, 50 * UNIT), key.address, 50 * UNIT)
    for _ in range(2):
        await lab.mine(600)
        await lab.network.spend("usdc", key.address, 8 * UNIT)
    await lab.mine(600)
    return claim


def within(lab: Lab, most: int, refuse: Callable[[], Exception]) -> tuple[Falsified, list[int]]:
    """Return a node that serves logs of so many blocks at once, and the ranges that it served."""
    served: list[int] = []

    def change(method: str, params: Any, answer: Any) -> Any:
        if method == "eth_getLogs":
            size = int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) + 1
            if size > most:
                raise refuse()
            served.append(size)
        return answer

    return Falsified(lab.rpc, change), served


@pytest.mark.parametrize(("code", "words"), REFUSALS)
@pytest.mark.parametrize("most", [100, 250, 700])
async def test_a59_logs_are_asked_for_in_ranges_that_the_node_serves(
    lab: Lab, old: ApprovalClaim, most: int, code: int, words: str
) -> None:
    node, served = within(lab, most, lambda: RpcError(words, code=code))
    check = await lab.check(old, rpc=node)
    assert (verdict(check), check.state, finding(check, "still-active").verdict) == ("VERIFIED", "reduced", "VERIFIED")
    assert sum(served) > 1_800, "back to the block of the approval"
    assert max(served) > most // 2, "a range that is served grows again"


@pytest.mark.parametrize("words", ["the method eth_getLogs does not exist/is not available", "history has been pruned"])
async def test_a59_a_history_that_is_not_served_is_unknown_and_never_a_reduction(
    lab: Lab, old: ApprovalClaim, words: str
) -> None:
    node, _ = within(lab, 0, lambda: RpcError(words, code=-32601 if "exist" in words else -32000))
    check = await lab.check(old, rpc=node)
    assert (verdict(check), check.state) == ("VERIFIED", None)
    assert [finding(check, rule).verdict for rule in ("state", "still-active")] == ["UNDETERMINED"] * 2


async def test_a59_more_questions_than_can_be_asked_are_said(lab: Lab, old: ApprovalClaim) -> None:
    node, served = within(lab, 4, lambda: RpcError("at most 4 blocks", code=-32602))
    check = await lab.check(old, rpc=node)
    assert (check.state, len(served) <= 200) == (None, True)
    assert "were not looked through, after 200 questions" in finding(check, "state").message


@pytest.mark.parametrize(
    ("claimed", "authorised", "left", "now", "spent", "problem", "state", "by_amount"),
    [
        (50, 50, 50, 50, 0, "not served", "active", True),
        (50, 50, 50, 60, 0, "not served", "exceeds", True),
        (50, 40, 40, 45, 0, "not served", "replaced", True),
        (0, 0, 0, 0, 0, "not served", "revoked", True),
        (2**256 - 1, 2**256 - 1, 2**256 - 1, 2**255 + 5, 0, "not served", "active", True),
        (50, 50, 50, 42, 8, "", "reduced", False),
        (50, 50, 42, 42, 0, "", "reduced", False),
        (50, 50, 50, 42, 8, "not served", None, False),
        (50, 50, 50, 42, 7, "", None, False),
        (50, 50, 50, 42, 9, "", None, False),
        (50, 50, 50, 0, 50, "", "reduced", False),
        (50, 50, 50, 0, 0, "", None, False),
    ],
)
def test_the_amounts_or_a_whole_history_tell_what_became_of_it(
    claimed: int, authorised: int, left: int, now: int, spent: int, problem: str, state: str | None, by_amount: bool
) -> None:
    history = History(spends=(("0x1", spent),) if spent else (), problem=problem)
    became = find_state(claimed, authorised, left, now, history)
    assert (became.state, became.by_amount) == (state, by_amount)
