"""What operators agree on, rule by rule; the tier of a verdict is that of the weakest thing that it rests on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from chains.claims import NEEDS_NOBODY, NODES_WORD, Amounts, ApprovalCheck, Basis, Finding, proved_under
from chains.types import Block, Token
from delegation import Claim, ClaimedApproval, Policy, Report
from delegation.audit.nodes import Endpoint, NodeResult
from delegation.audit.verdict import make_report

NOW = datetime(2026, 12, 1, tzinfo=UTC)
THEN, HEAD, FORK = Block(5, "0x" + "05" * 32), Block(9, "0x" + "09" * 32), Block(5, "0x" + "f5" * 32)
CLAIM = Claim(
    approval=ClaimedApproval(
        network="linea",
        chain="59144",
        transaction="0x" + "ab" * 32,
        token=Token("usdc", "0x" + "11" * 20, 6),
        owner="0x" + "22" * 20,
        spender="0x" + "33" * 20,
        amount=1000,
    )
)
AMOUNT = Finding("amount", "VERIFIED", "As claimed.", "1000", "1000", proved_under(THEN))
LESS = Finding("amount", "REFUTED", "Less.", "1000", "5", proved_under(THEN))
DECIMALS = Finding("decimals", "VERIFIED", "Six.", "6", "6", NODES_WORD)
OWNER = Finding("owner", "VERIFIED", "The owner.", basis=NEEDS_NOBODY)


def said(name: str, *findings: Finding, included: Block = THEN, **check: Any) -> NodeResult:
    """Return what follows from the answers of a node."""
    given = ApprovalCheck(findings, included=included, head=HEAD, **check)
    return NodeResult(Endpoint(f"https://{name}.example", f"{name}.example"), (), given)


def silent(name: str) -> NodeResult:
    return NodeResult(Endpoint(f"https://{name}.example", f"{name}.example"), (), problem="It did not answer.")


def report(*results: NodeResult, **policy: Any) -> Report:
    return make_report(CLAIM, Policy(**policy), results, now=NOW)


def finding(made: Report, rule: str) -> Any:
    return next(each for each in made.findings if each.rule == rule)


def word(each: Finding) -> Finding:
    return replace(each, basis=NODES_WORD)


@pytest.mark.parametrize(
    ("basis", "operators", "trusted", "tier"),
    [
        (NEEDS_NOBODY, 1, (), "T3"),
        (NODES_WORD, 1, (), "T0"),
        (NODES_WORD, 2, (), "T1"),
        (NODES_WORD, 2, (THEN.hash, HEAD.hash), "T1"),
        (proved_under(THEN), 1, (), "T0"),
        (proved_under(THEN), 2, (), "T2"),
        (proved_under(THEN), 1, (THEN.hash,), "T3"),
        (proved_under(THEN), 1, (THEN.hash.upper().replace("X", "x"),), "T3"),
        (proved_under(THEN, HEAD), 1, (THEN.hash,), "T0"),
        (proved_under(THEN, HEAD), 2, (THEN.hash,), "T2"),
        (proved_under(THEN) & NODES_WORD, 1, (THEN.hash,), "T0"),
        (NEEDS_NOBODY & proved_under(THEN), 2, (), "T2"),
        (Basis(blocks=(FORK.hash,)), 2, (), "T0"),
    ],
)
def test_each_basis_has_its_tier(basis: Basis, operators: int, trusted: tuple[str, ...], tier: str) -> None:
    results = [said(f"n{number}", replace(AMOUNT, basis=basis)) for number in range(operators)]
    made = report(*results, trusted_blocks=trusted)
    assert (made.verdict, made.tier, finding(made, "amount").tier) == ("VERIFIED", tier, tier)


def test_a_confirmed_verdict_is_as_good_as_the_weakest_finding_that_it_needs() -> None:
    made = report(said("a", AMOUNT, DECIMALS, OWNER), said("b", AMOUNT, DECIMALS, OWNER))
    assert (made.verdict, made.tier) == ("VERIFIED", "T1")
    assert [finding(made, rule).tier for rule in ("amount", "decimals", "owner")] == ["T2", "T1", "T3"]
    assert finding(made, "decimals").basis == "the word of 2 operators"
    alone = report(said("a", AMOUNT, OWNER))
    assert (alone.tier, finding(alone, "amount").basis) == ("T0", "proved, but under one operator's block")


def test_a_refuted_verdict_is_as_good_as_the_strongest_finding_that_refutes() -> None:
    stranger = Finding("owner", "REFUTED", "Another.", basis=NEEDS_NOBODY)
    made = report(said("a", word(LESS), stranger))
    assert (made.verdict, made.tier) == ("REFUTED", "T3")


def test_what_rests_on_less_than_was_asked_for_is_neither_a_yes_nor_a_no() -> None:
    for weak in (AMOUNT, LESS):
        made = report(said("a", weak, OWNER), least_tier="T2")
        assert (made.verdict, made.tier) == ("UNDETERMINED", None)
        assert finding(made, "amount").message.startswith(f"This would be {weak.verdict}, but it rests on less (T0)")
    strong = report(said("a", LESS, DECIMALS), trusted_blocks=(THEN.hash,), least_tier="T3")
    assert (strong.verdict, strong.tier) == ("REFUTED", "T3")


def test_a_proof_under_a_block_that_operators_agree_on_is_no_matter_of_votes() -> None:
    lying = [said("b", word(LESS)), said("c", word(LESS))]
    made = report(said("a", AMOUNT), *lying)
    assert (made.verdict, made.tier, finding(made, "amount").found) == ("VERIFIED", "T2", "1000")
    unable = Finding("amount", "UNDETERMINED", "Its state is gone.")
    made = report(said("a", AMOUNT), said("b", unable), said("c", unable))
    assert (made.verdict, made.tier) == ("VERIFIED", "T2")


def test_a_proof_under_a_block_of_the_liars_own_counts_as_one_voice() -> None:
    lie = replace(LESS, basis=proved_under(FORK))
    made = report(said("a", word(AMOUNT)), said("b", word(AMOUNT)), said("c", lie, included=FORK))
    assert (made.verdict, made.tier, made.included) == ("VERIFIED", "T1", THEN)
    two = report(said("a", word(AMOUNT)), said("c", lie, included=FORK))
    assert (two.verdict, two.tier, two.included) == ("UNDETERMINED", None, None)
    assert "say the same of: amount" in finding(two, "quorum").message
    assert finding(two, "quorum").found == "https://a.example says VERIFIED 1000; https://c.example says REFUTED 5"


def test_two_proofs_that_exclude_each_other_leave_it_open() -> None:
    made = report(said("a", AMOUNT), said("b", LESS))
    assert (made.verdict, made.amounts) == ("UNDETERMINED", Amounts())


def test_what_only_a_minority_says_never_reaches_the_report() -> None:
    extra = Finding("last-approval", "REFUTED", "Another one.")
    made = report(said("a", word(AMOUNT)), said("b", word(AMOUNT)), said("c", word(AMOUNT), extra))
    assert (made.verdict, made.tier) == ("VERIFIED", "T1")
    assert all(each.rule != "last-approval" for each in made.findings)
    assert [endpoint.outcome for endpoint in made.endpoints] == ["agrees", "agrees", "agrees"]


def test_too_few_that_answer_leave_open_all_but_what_needs_nobody() -> None:
    made = report(said("a", AMOUNT, OWNER), silent("b"), silent("c"))
    assert made.verdict == "UNDETERMINED"
    assert finding(made, "owner").tier == "T3"
    assert "2 operators of nodes must agree, and only 1 of 3 gave answers" in finding(made, "quorum").message
    assert "https://b.example: It did not answer." in finding(made, "quorum").message
    assert [endpoint.outcome for endpoint in made.endpoints] == ["differs", "rejected", "rejected"]


def test_operators_that_could_not_check_for_different_reasons_agree_on_that() -> None:
    gone = [Finding("post-state", "UNDETERMINED", f"Its state is gone ({why}).") for why in ("pruned", "missing trie")]
    made = report(*(said(name, word(AMOUNT), each) for name, each in zip("ab", gone, strict=True)))
    assert made.verdict == "UNDETERMINED"
    assert "https://a.example: Its state is gone (pruned)." in finding(made, "post-state").message
    assert "https://b.example: Its state is gone (missing trie)." in finding(made, "post-state").message


def test_what_is_noted_stands_outside_the_verdict_and_is_told_operator_by_operator_where_they_differ() -> None:
    balances = [Finding("balance", "NOTED", f"The owner has {n}.", found=str(n), about="present") for n in (7, 8)]
    results = [
        said(name, word(AMOUNT), balance, amounts=Amounts(1000, 1000, int(str(balance.found)), 7))
        for name, balance in zip("ab", balances, strict=True)
    ]
    made = report(*results)
    assert (made.verdict, made.tier) == ("VERIFIED", "T1")
    assert finding(made, "balance").verdict == "NOTED"
    assert "https://a.example says: The owner has 7." in finding(made, "balance").message
    assert "https://b.example says: The owner has 8." in finding(made, "balance").message
    assert (made.amounts.authorised, made.amounts.balance) == (1000, None)
    agreeing = report(results[0], results[0])
    assert agreeing.amounts.balance == 7


def test_what_is_so_now_counts_only_where_an_approval_that_still_stands_was_asked_for() -> None:
    gone = Finding("allowance", "VERIFIED", "0 now.", found="0", basis=proved_under(HEAD), about="present")
    ended = Finding("still-active", "REFUTED", "Nothing is left.", found="0", basis=proved_under(HEAD), about="present")
    state = Finding("state", "VERIFIED", "Revoked.", found="revoked", about="present")
    results = [said(name, AMOUNT, gone, state, ended, state="revoked", amounts=Amounts(1000, 0)) for name in ("a", "b")]
    made = report(*results)
    assert (made.verdict, made.tier, made.state, made.amounts.remaining) == ("VERIFIED", "T2", "revoked", 0)
    assert all(each.rule != "still-active" for each in made.findings)
    active = report(*results, active=True)
    assert (active.verdict, active.tier) == ("REFUTED", "T2")


def test_a_present_state_on_which_operators_differ_is_unknown_and_leaves_the_claim_alone() -> None:
    states = [Finding("state", "VERIFIED", f"It is {s}.", found=s, about="present") for s in ("active", "replaced")]
    results = [said(name, word(AMOUNT), state, state=state.found) for name, state in zip("ab", states, strict=True)]
    made = report(*results)
    assert (made.verdict, made.state, finding(made, "state").verdict) == ("VERIFIED", None, "UNDETERMINED")
    assert report(*results, active=True).verdict == "UNDETERMINED"


@pytest.mark.parametrize(
    ("levels", "agreed"),
    [
        (("finalized", "finalized", "finalized"), "finalized"),
        (("finalized", "safe", "included"), "safe"),
        (("finalized", "included", "included"), "included"),
        (("finalized", None, None), None),
        (("finalized", "hard", "soft"), "hard"),
    ],
)
def test_a_block_is_called_as_final_as_enough_operators_call_it(
    levels: tuple[str | None, ...], agreed: str | None
) -> None:
    results = []
    for name, level in zip("abc", levels, strict=True):
        label = [] if level is None else [Finding("finality", "NOTED", f"It is called {level}.", found=level)]
        results.append(said(name, word(AMOUNT), *label, finality=level))
    made = report(*results)
    assert made.finality == agreed
    assert [each.found for each in made.findings if each.rule == "finality"] == ([] if agreed is None else [agreed])


def test_one_operator_with_several_nodes_has_one_voice() -> None:
    twice = [said("a", word(LESS)), said("a", word(LESS))]
    made = report(*twice, said("b", word(AMOUNT)), said("c", word(AMOUNT)))
    assert (made.verdict, made.tier) == ("VERIFIED", "T1")
    assert report(*twice).tier == "T0"


def test_a_quorum_that_several_groups_reach_decides_nothing() -> None:
    made = report(said("a", word(AMOUNT)), said("b", word(LESS)), quorum=1)
    assert (made.verdict, finding(made, "quorum").verdict) == ("UNDETERMINED", "UNDETERMINED")
