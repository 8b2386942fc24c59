"""Telling approvals from spends by logs alone: a spend is never taken for an approval (rule 14, attack A5)."""

from hypothesis import given, settings
from hypothesis import strategies as st

from chains.evm.codec.approval_logs import (
    SAFE_SUCCESS_TOPIC,
    TRANSFER_TOPIC,
    USER_OPERATION_TOPIC,
    Execution,
    Kind,
    Log,
    Pair,
    approved_value,
    moved_value,
    operation_failed,
    topic_of,
    walk,
)
from chains.evm.codec.erc20 import APPROVAL_TOPIC
from chains.evm.codec.transactions import DecodedTransaction

TOKEN, OWNER, SPENDER, STRANGER, SHOP = ("0x" + digit * 40 for digit in "12345")
PAIR = Pair(TOKEN, OWNER, SPENDER)


def transaction(sender: str = STRANGER, to: str = STRANGER) -> DecodedTransaction:
    return DecodedTransaction(2, "0x" + "ab" * 32, 1, 0, to, 0, b"", sender)


def approval(value: int) -> Log:
    return Log(TOKEN, (APPROVAL_TOPIC, topic_of(OWNER), topic_of(SPENDER)), value.to_bytes(32, "big"))


def transfer(value: int, sender: str = OWNER) -> Log:
    return Log(TOKEN, (TRANSFER_TOPIC, topic_of(sender), topic_of(SHOP)), value.to_bytes(32, "big"))


def operation(sender: str, *, success: bool = True) -> Log:
    data = bytes(32) + int(success).to_bytes(32, "big") + bytes(64)
    return Log(STRANGER, (USER_OPERATION_TOPIC, "0x" + "cd" * 32, topic_of(sender), topic_of(SHOP)), data)


def kinds(
    *logs: Log, before: int | None, sender: str = STRANGER, to: str = STRANGER, delegated: bool = False
) -> list[Kind]:
    walked = walk(PAIR, [Execution(transaction(sender, to), logs)], before, delegated=delegated)
    return [log.kind for log in walked.approvals]


def test_a5_both_orders_of_the_logs_of_a_spend_are_recognised():
    assert kinds(approval(70), transfer(30), before=100) == ["spend"]
    assert kinds(transfer(30), approval(70), before=100) == ["spend"]


def test_a5_a_spend_that_pays_a_fee_in_a_transfer_of_its_own_is_recognised():
    assert kinds(approval(70), transfer(29), transfer(1), before=100) == ["spend"]


def test_a5_several_spends_in_one_transaction_are_recognised_one_by_one():
    logs = (approval(90), transfer(10), approval(90), transfer(0), approval(65), transfer(25))
    assert kinds(*logs, before=100) == ["spend"] * 3


def test_a5_a_spend_that_does_not_add_up_is_not_accepted():
    """Rebasing tokens round: what was moved may differ from what the allowance lost."""
    assert kinds(approval(70), transfer(29), before=100) == ["unclear"]
    assert kinds(approval(70), transfer(29), before=100, to=SPENDER) == ["unclear"]


def test_a5_without_the_allowance_before_a_log_beside_a_transfer_is_not_accepted():
    assert kinds(approval(70), transfer(30), before=None) == ["unclear"]
    assert kinds(approval(70), transfer(30), before=None, to=SPENDER) == ["unclear"]
    assert kinds(approval(70), transfer(30), before=None, sender=SPENDER) == ["unclear"]


def test_a5_an_owner_who_calls_the_spender_himself_spends():
    assert kinds(approval(70), transfer(30), before=100, sender=OWNER, to=SPENDER) == ["spend"]


def test_what_raises_the_allowance_is_an_approval():
    assert kinds(approval(101), transfer(30), before=100) == ["approval"]


def test_what_moves_no_tokens_of_the_owner_is_an_approval():
    assert kinds(approval(70), before=None) == ["approval"]
    assert kinds(approval(70), transfer(30, sender=SHOP), before=100) == ["approval"]


def test_the_owners_own_account_may_lower_and_pay_but_not_by_the_same_amount():
    safe = Log(OWNER, (SAFE_SUCCESS_TOPIC,), bytes(64))
    for case in (
        {"sender": OWNER},
        {"to": OWNER},
        {"delegated": True},
    ):
        assert kinds(approval(70), transfer(31), before=100, **case) == ["approval"]
        assert kinds(approval(70), transfer(30), before=100, **case) == ["unclear"]
    for last in (safe, operation(OWNER)):
        assert kinds(approval(70), transfer(31), last, before=100) == ["approval"]
        assert kinds(approval(70), transfer(30), last, before=100) == ["unclear"]


def test_a_user_operation_of_somebody_else_in_the_bundle_is_not_the_owners():
    assert kinds(approval(70), transfer(30), operation(STRANGER), operation(OWNER), before=100) == ["spend"]


def test_a_failed_user_operation_is_the_owners_own():
    logs = [operation(OWNER, success=False)]
    assert operation_failed(OWNER, logs)
    assert not operation_failed(STRANGER, logs)
    assert not operation_failed(OWNER, [operation(OWNER)])


def test_logs_of_another_shape_are_no_approvals():
    good = approval(1)
    assert approved_value(PAIR, good) == 1
    for topics, data in (
        (good.topics, good.data + bytes(32)),
        (good.topics, good.data[1:]),
        ((*good.topics, topic_of(SHOP)), good.data),
        (good.topics[:2], good.data),
        ((good.topics[0], good.topics[2], good.topics[1]), good.data),
    ):
        assert approved_value(PAIR, Log(TOKEN, topics, data)) is None
    assert approved_value(PAIR, Log(SHOP, good.topics, good.data)) is None
    assert moved_value(PAIR, good) is None


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["approve", "spend", "deposit"]), st.integers(0, 40)), min_size=1, max_size=12),
    st.integers(0, 100),
)
def test_a5_in_any_history_of_a_token_that_logs_its_spends_every_log_is_called_what_it_is(
    events: list[tuple[str, int]], before: int
):
    allowance, executions, expected = before, [], []
    for event, amount in events:
        if event == "approve":
            allowance = amount
            executions.append(Execution(transaction(OWNER, TOKEN), (approval(amount),)))
            expected.append("approval")
        elif amount <= allowance:
            allowance -= amount
            caller = transaction() if event == "spend" else transaction(OWNER, SPENDER)
            executions.append(Execution(caller, (approval(allowance), transfer(amount))))
            expected.append("spend")
    walked = walk(PAIR, executions, before)
    assert [log.kind for log in walked.approvals] == expected
    assert walked.allowance == (allowance if expected else None)
