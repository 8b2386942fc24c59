"""Several nodes about one claim: who counts, how many must agree, and what lies and silence do to a verdict."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from line_lab import Line, open_line
from relay import Change, falsified, honest, relay, silent

from chains.errors import InputError, WrongChainError
from chains.types import Token
from delegation import (
    Claim,
    ClaimedApproval,
    InvalidRequestError,
    Policy,
    Report,
    verify_claim,
    verify_evidence,
    verify_with_evidence,
)
from delegation.audit.policy import operator_of
from delegation.sandbox import Sandbox

AMOUNT = 5_000 * 10**6


@dataclass(frozen=True)
class Approved:
    """A claim that is true, and the node that knows it."""

    claim: Claim
    node_url: str


def claimed(line: Line, transaction: str) -> ClaimedApproval:
    """Return the claim that the line's owner approved by this transaction."""
    token = line.known.tokens["usdc"]
    return ClaimedApproval(
        network="linea",
        chain="59144",
        transaction=transaction,
        token=Token("usdc", token.address, token.decimals),
        owner=line.owner,
        spender=line.known.delegation_contract,
        amount=AMOUNT,
        asset_from="pinned",
        spender_from="pinned",
    )


@pytest.fixture(scope="module")
async def approved(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Approved:
    async with open_line(sandbox, tmp_path_factory.mktemp("line"), "linea") as line:
        return Approved(Claim(approval=claimed(line, await line.approve_directly(AMOUNT))), line.known.rpc_url)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def relays(stack: AsyncExitStack, approved: Approved, *changes: Change) -> list[str]:
    """Start a relay for each change, each with an operator of its own."""
    hosts = (f"127.0.0.{number}" for number in range(11, 99))
    starting = (relay(approved.node_url, change, host=host) for change, host in zip(changes, hosts, strict=False))
    return list(await asyncio.gather(*(stack.enter_async_context(one) for one in starting)))


def outcomes(report: Report) -> list[str]:
    return [endpoint.outcome for endpoint in report.endpoints]


def finding(report: Report, rule: str) -> Any:
    return next(one for one in report.findings if one.rule == rule)


def lower_allowance(block: Any) -> Any:
    return "0x" + (1).to_bytes(32, "big").hex()


def failed(receipt: Any) -> Any:
    return receipt | {"status": "0x0"}


async def test_one_node_verifies_a_true_claim_and_proves_it(approved: Approved) -> None:
    report = await verify_claim(approved.claim, [approved.node_url])
    assert (report.verdict, report.method, report.state, report.tier) == ("VERIFIED", "direct", "active", "T0")
    assert finding(report, "inclusion").basis == "proved, but under one operator's block"
    assert report.amounts.authorised == report.amounts.remaining == report.amounts.spendable == AMOUNT
    assert outcomes(report) == ["agrees"]


async def test_three_operators_agree_and_a_quorum_is_reached(stack: AsyncExitStack, approved: Approved) -> None:
    urls = await relays(stack, approved, honest, honest, honest)
    report = await verify_claim(approved.claim, urls, Policy(quorum=2))
    assert report.verdict == "VERIFIED"
    assert report.tier == "T2"
    said = "3 of 3 operators of nodes gave answers that count; 2 had to agree, and do."
    assert finding(report, "quorum").message == said


async def test_a14_a_node_that_falsifies_a_receipt_is_rejected_and_the_others_decide(
    stack: AsyncExitStack, approved: Approved
) -> None:
    lying = falsified("eth_getTransactionReceipt", failed)
    report = await verify_claim(approved.claim, await relays(stack, approved, honest, lying, honest), Policy(quorum=2))
    assert report.verdict == "VERIFIED"
    assert outcomes(report) == ["agrees", "rejected", "agrees"]
    assert "contradict" in str(report.endpoints[1].message)


async def test_a14_a_lying_node_alone_makes_neither_a_yes_nor_a_no(stack: AsyncExitStack, approved: Approved) -> None:
    urls = await relays(stack, approved, falsified("eth_getTransactionReceipt", failed))
    report = await verify_claim(approved.claim, urls)
    assert report.verdict == "UNDETERMINED"
    assert report.tier is None


async def test_a47_two_urls_of_one_operator_count_once(stack: AsyncExitStack, approved: Approved) -> None:
    (url,) = await relays(stack, approved, honest)
    report = await verify_claim(approved.claim, [url, f"{url}/another/path"], Policy(quorum=2))
    assert report.verdict == "UNDETERMINED"
    assert "2 operators of nodes must agree, and only 1 of 1 gave" in finding(report, "quorum").message


@pytest.mark.parametrize(
    ("urls", "operators"),
    [
        (["https://linea-mainnet.infura.io/v3/k", "https://eu.infura.io/v3/k"], {"infura.io"}),
        (["https://RPC.Linea.Build", "https://rpc.linea.build./x", "wss://rpc.linea.build"], {"linea.build"}),
        (["http://127.0.0.1:8545", "http://127.0.0.1:9545"], {"127.0.0.1"}),
        (["http://127.0.0.1:8545", "http://127.0.0.2:8545"], {"127.0.0.1", "127.0.0.2"}),
        (["http://127.1:1", "http://2130706433", "http://[::ffff:127.0.0.1]:2", "http://0x7f.1"], {"127.0.0.1"}),
        (["http://localhost:1", "http://a.localhost:2", "http://LOCALHOST.:3", "http://[::1]:4"], {"127.0.0.1"}),
        (["http://[0:0:0:0:0:0:0:1]:1", "http://127.0.0.1.:2", "http://[::ffff:7f00:1]:3"], {"127.0.0.1"}),
        (["http://10.1", "http://10.0.0.1", "http://[::ffff:a00:1]", "http://012.0.0.1"], {"10.0.0.1"}),
        (["http://[fe80::1%25eth0]:1", "http://[fe80:0::1]:2"], {"fe80::1"}),
        (["/run/geth.ipc"], {"/run/geth.ipc"}),
    ],
    ids=[
        "subdomains",
        "spellings",
        "ports",
        "addresses",
        "numbers",
        "localhost",
        "loopback",
        "private",
        "zone",
        "socket",
    ],
)
def test_a47_an_operator_is_told_by_the_host(urls: list[str], operators: set[str]) -> None:
    assert {operator_of(url) for url in urls} == operators


def test_the_default_quorum_is_more_than_half_of_the_operators() -> None:
    hosts = ["https://a.example", "https://b.example", "https://c.test", "https://d.invalid"]
    operators = [operator_of(host) for host in hosts]
    needed = Policy().needed
    assert [needed(operators[:1]), needed(operators), needed(operators[1:])] == [1, 3, 2]
    assert needed(operators[:1] * 5) == 1
    assert Policy(quorum=1).needed(operators) == 1


async def test_a48_nodes_are_compared_at_a_block_that_a_quorum_has_reached(
    stack: AsyncExitStack, approved: Approved
) -> None:
    def behind(method: str, params: Any, answer: Any) -> Any:
        if method == "eth_getBlockByNumber" and params[0] == "latest":
            return answer | {"result": answer["result"] | {"number": hex(int(answer["result"]["number"], 16) - 50)}}
        return answer

    report = await verify_claim(approved.claim, await relays(stack, approved, honest, honest, behind), Policy(quorum=2))
    assert report.verdict == "VERIFIED"


async def test_one_yes_beside_two_silent_nodes_is_not_believed_unless_one_is_enough(
    stack: AsyncExitStack, approved: Approved
) -> None:
    urls = await relays(stack, approved, honest, silent(503), silent(503))
    report = await verify_claim(approved.claim, urls)
    assert (report.verdict, report.tier) == ("UNDETERMINED", None)
    assert (
        "2 operators of nodes must agree, and only 1 of 3 gave answers that count." in finding(report, "quorum").message
    )
    assert report.policy is not None
    assert report.policy.quorum == 2, "the report says how many had to agree"
    assert (await verify_claim(approved.claim, urls, Policy(quorum=1))).verdict == "VERIFIED"


async def test_a_majority_of_operators_is_what_evidence_rests_on_as_well(
    stack: AsyncExitStack, approved: Approved
) -> None:
    urls = await relays(stack, approved, honest, honest, silent(503))
    report, file = await verify_with_evidence(approved.claim, urls)
    assert (report.verdict, outcomes(report)) == ("VERIFIED", ["agrees", "agrees", "rejected"])
    again = verify_evidence(file)
    assert (again.verdict, again.policy, outcomes(again)) == (report.verdict, report.policy, outcomes(report))
    report, file = await verify_with_evidence(approved.claim, urls[1:])
    again = verify_evidence(file)
    assert (again.verdict, again.policy, outcomes(again)) == ("UNDETERMINED", report.policy, ["differs", "rejected"])


@pytest.mark.parametrize("status", [429, 503])
async def test_a_node_that_does_not_answer_flips_nothing(
    stack: AsyncExitStack, approved: Approved, status: int
) -> None:
    urls = await relays(stack, approved, honest, silent(status), honest)
    report = await verify_claim(approved.claim, urls, Policy(quorum=2))
    assert report.verdict == "VERIFIED"
    assert outcomes(report) == ["agrees", "rejected", "agrees"]
    alone = await verify_claim(approved.claim, urls[1:2])
    assert alone.verdict == "UNDETERMINED"
    assert f"HTTP {status}" in finding(alone, "quorum").message


async def test_a_node_without_old_state_abstains_or_agrees_but_never_refutes(
    stack: AsyncExitStack, approved: Approved
) -> None:
    def pruned(method: str, params: Any, answer: Any) -> Any:
        if method in {"eth_call", "eth_getProof", "eth_getStorageAt", "eth_getCode"}:
            return {"jsonrpc": "2.0", "id": answer["id"], "error": {"code": -32000, "message": "missing trie node"}}
        return answer

    report = await verify_claim(approved.claim, await relays(stack, approved, pruned))
    assert report.verdict != "REFUTED"
    together = await verify_claim(
        approved.claim, await relays(stack, approved, honest, honest, pruned), Policy(quorum=2)
    )
    assert together.verdict == "VERIFIED"


async def test_disagreement_is_shown_node_by_node(stack: AsyncExitStack, approved: Approved) -> None:
    # Other balances, told by nodes that cannot prove them, contradict nothing else that the node says.
    def richer(method: str, params: Any, answer: Any) -> Any:
        if method == "eth_call" and params[0]["data"].startswith("0x70a08231"):
            return answer | {"result": "0x" + (7).to_bytes(32, "big").hex()}
        return answer

    urls = await relays(stack, approved, honest, richer)
    report = await verify_claim(approved.claim, urls, Policy(quorum=2))
    assert report.verdict == "VERIFIED", "what the owner has is no part of the claim"
    said = finding(report, "balance")
    assert (said.verdict, report.amounts.balance) == ("NOTED", None)
    assert all(url in said.message for url in urls)


async def test_a2_a_node_of_another_chain_is_bad_input(sandbox: Sandbox, approved: Approved) -> None:
    with pytest.raises(WrongChainError):
        await verify_claim(approved.claim, [sandbox.document.networks["base"].rpc_url])


async def test_no_node_and_a_url_that_is_none_are_bad_input(approved: Approved) -> None:
    with pytest.raises(InvalidRequestError):
        await verify_claim(approved.claim, [])
    for url in ("http://", "https://:0", "", "https://one.example/a key"):
        with pytest.raises(InputError) as raised:
            await verify_claim(approved.claim, [approved.node_url, url])
        assert "key" not in str(raised.value)


async def test_below_the_least_tier_a_result_is_undetermined(stack: AsyncExitStack, approved: Approved) -> None:
    def proofless(method: str, params: Any, answer: Any) -> Any:
        if method == "eth_getProof":
            return {"jsonrpc": "2.0", "id": answer["id"], "error": {"code": -32601, "message": "method not found"}}
        return answer

    urls = await relays(stack, approved, proofless, proofless)
    assert (await verify_claim(approved.claim, urls[:1])).tier == "T0"
    assert (await verify_claim(approved.claim, urls)).tier == "T2", "transaction, receipt and log need no state"
    assert (await verify_claim(approved.claim, urls, Policy(active=True))).tier == "T1"
    # Attack A15: an allowance without a proof, where a proof was asked for.
    report = await verify_claim(approved.claim, urls, Policy(active=True, least_tier="T2"))
    assert (report.verdict, report.tier) == ("UNDETERMINED", None)
    assert "rests on less (T1) than what was asked for (T2)" in finding(report, "still-active").message
    alone = await verify_claim(approved.claim, urls[:1], Policy(least_tier="T2"))
    assert "rests on less (T0) than what was asked for (T2)" in finding(alone, "inclusion").message


async def test_hashes_that_the_auditor_trusts_make_the_highest_tier(approved: Approved) -> None:
    first = await verify_claim(approved.claim, [approved.node_url])
    assert first.block is not None
    assert first.included is not None
    trusted = (first.block.hash, first.included.hash)
    policy = Policy(at=str(first.block.number), trusted_blocks=trusted, least_tier="T3")
    assert (await verify_claim(approved.claim, [approved.node_url], policy)).tier == "T3"
    other = policy.model_copy(update={"trusted_blocks": ("0x" + "11" * 32,)})
    assert (await verify_claim(approved.claim, [approved.node_url], other)).verdict == "UNDETERMINED"


async def test_addresses_that_no_pin_vouches_for_are_named(approved: Approved) -> None:
    approval = approved.claim.approval.model_copy(update={"asset_from": "given", "spender_from": "platform"})
    report = await verify_claim(Claim(approval=approval), [approved.node_url])
    pins = [one.message for one in report.findings if one.rule == "pins"]
    assert len(pins) == 2
    assert approval.token.address in pins[0]
    assert "what the platform names" in pins[1]


async def test_an_approval_that_must_still_stand_is_refuted_once_revoked(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "linea") as line:
        transaction = await line.approve_directly(AMOUNT)
        await line.approve_directly(0)
        approval, url = claimed(line, transaction), line.known.rpc_url
        report = await verify_claim(Claim(approval=approval), [url])
        assert (report.verdict, report.state) == ("VERIFIED", "revoked")
        active = await verify_claim(Claim(approval=approval), [url], Policy(active=True))
        assert (active.verdict, finding(active, "still-active").found) == ("REFUTED", "0")
