"""Checks of approvals over answers that somebody tampered with: an error of the tree or a check, never a proved lie."""

import json
from typing import Any

import pytest
from approval_lab import UNIT, finding, is_proved, open_lab, verdict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chains.claims import ApprovalCheck, ApprovalClaim
from chains.errors import ChainError
from chains.evm.blocks import get_head
from chains.evm.verify.approval import check_approval
from chains.rpc import HttpRpc
from chains.rpc.transcript import Exchange, RecordingRpc, ReplayRpc, run_offline

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 2**70),
    st.sampled_from(["", "0x", "0x0", "0x1", "zz", "0x" + "11" * 20, "0x" + "00" * 32, "0x" + "ff" * 33, "0x1\n", "é"]),
    st.text(max_size=5),
    st.lists(st.none(), max_size=2),
    st.dictionaries(st.sampled_from(["hash", "logs", "number"]), st.none(), max_size=1),
)


class Recorded:
    """A claim, the transcript of its check, and the check; no dataclass, because those are printed in full."""

    def __init__(self, claim: ApprovalClaim, exchanges: list[Exchange], check: ApprovalCheck) -> None:
        self.claim, self.exchanges, self.check = claim, exchanges, check


@pytest.fixture(scope="module")
async def recorded() -> Recorded:
    """An approval that was spent from afterwards."""
    async with open_lab("linea") as lab:
        key = await lab.wallet(tokens=True)
        sent = await lab.approve(key, 5000 * UNIT, "usdt")
        await lab.network.spend("usdt", key.address, 10 * UNIT)
        claim = lab.claim(sent, key.address, 5000 * UNIT, "usdt")
        rpc = HttpRpc(lab.network.rpc_url)
        recording = RecordingRpc(rpc)
        check = await check_approval(claim, recording, await get_head(lab.chain, recording, "latest"))
        await rpc.aclose()
        return Recorded(claim, recording.exchanges, check)


def replay(claim: ApprovalClaim, exchanges: list[Exchange]) -> ApprovalCheck:
    async def again() -> ApprovalCheck:
        rpc = ReplayRpc(exchanges)
        return await check_approval(claim, rpc, await get_head(claim.chain, rpc, "latest"))

    return run_offline(again())


def tamper(value: Any, path: list[int], junk: Any) -> Any:
    """Return JSON with the part that a path of choices leads to replaced; an empty path replaces all of it."""
    if not path or not isinstance(value, dict | list) or not value:
        return junk
    if isinstance(value, list):
        at = path[0] % len(value)
        return [tamper(item, path[1:], junk) if index == at else item for index, item in enumerate(value)]
    name = sorted(value)[path[0] % len(value)]
    return value | {name: tamper(value[name], path[1:], junk)}


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 99), path=st.lists(st.integers(0, 99), max_size=5), junk=JUNK)
def test_tampered_answers_end_in_an_error_of_the_tree_or_in_a_check_that_proves_no_lie(
    recorded: Recorded, at: int, path: list[int], junk: Any
):
    claim, exchanges, honest = recorded.claim, recorded.exchanges, recorded.check
    at %= len(exchanges)
    result = json.loads(exchanges[at].body or "").get("result")
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "result": tamper(result, path, junk)})
    changed = [*exchanges[:at], Exchange(exchanges[at].method, exchanges[at].params, body), *exchanges[at + 1 :]]
    try:
        check = replay(claim, changed)
    except ChainError:
        return
    if is_proved(check):
        assert check.included == honest.included
        assert check.amounts.authorised == honest.amounts.authorised
        if not finding(check, "allowance").basis.word:
            assert check.amounts.remaining == honest.amounts.remaining
        # The receipts root commits to these three; what else a node writes into a log is decoration.
        proved = ("address", "topics", "data")
        assert [check.exhibits["log"][name] for name in proved] == [honest.exhibits["log"][name] for name in proved]


def test_the_transcript_itself_leads_to_the_same_check(recorded: Recorded):
    claim, exchanges, honest = recorded.claim, recorded.exchanges, recorded.check
    assert (verdict(honest), honest.state, is_proved(honest)) == ("VERIFIED", "reduced", True)
    assert replay(claim, exchanges) == honest


def test_a_transcript_that_lacks_any_answer_proves_less_and_turns_no_verdict(recorded: Recorded):
    exchanges, open_ = recorded.exchanges, 0
    for at in range(len(exchanges)):
        try:
            check = replay(recorded.claim, exchanges[:at] + exchanges[at + 1 :])
        except ChainError:
            open_ += 1
            continue
        assert verdict(check) in {"VERIFIED", "UNDETERMINED"}
        assert check.state in {recorded.check.state, None}
        before = {each.rule: each.basis for each in recorded.check.findings}
        proved = [each.rule for each in check.findings if each.verdict == "VERIFIED" and not each.basis.word]
        assert not [rule for rule in proved if before[rule].word]
    assert open_, "without the transaction or its block there is nothing to check"
