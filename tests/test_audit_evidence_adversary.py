"""What a forger of evidence files, a node among honest ones and a node that is broken cannot bring about."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from line_lab import open_line
from relay import relay
from solana_lab import SolanaLab, approve, finding, new_spender, open_lab, verdict
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, create_account
from spl.token.constants import TOKEN_PROGRAM_ID
from test_audit_evidence import Filed, file_evidence, sealed

from chains.claims import Amounts, ApprovalCheck, Finding, Verdict
from chains.types import Token
from delegation import Claim, ClaimedApproval, Policy, Report, describe_report, utc_now, verify_evidence
from delegation.audit.nodes import Endpoint, NodeResult
from delegation.audit.report import TIER_MEANINGS
from delegation.audit.verdict import make_report
from delegation.sandbox import Sandbox

AMOUNT = 5_000 * 10**6


@pytest.fixture(scope="module")
async def linea(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> tuple[Claim, str]:
    """A true claim about an approve on Linea, and its node."""
    async with open_line(sandbox, tmp_path_factory.mktemp("line"), "linea") as line:
        transaction = await line.approve_directly(AMOUNT)
        token = line.known.tokens["usdc"]
        approval = ClaimedApproval(
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
        return Claim(approval=approval), line.known.rpc_url


@pytest.fixture(scope="module")
async def lab(sandbox: Sandbox) -> AsyncIterator[SolanaLab]:
    async with open_lab(sandbox) as lab:
        yield lab


@pytest.fixture(scope="module")
async def files(linea: tuple[Claim, str], lab: SolanaLab, sandbox: Sandbox) -> dict[str, Filed]:
    """Evidence of a true claim on both families."""
    wallet, spender = await lab.wallet(), new_spender()
    sent = await lab.submit([approve(wallet, spender, 5)], wallet.key)
    approval = ClaimedApproval(
        network="solana",
        chain=str(lab.chain.genesis_hash),
        transaction=sent.signature,
        token=lab.token,
        owner=wallet.address,
        spender=spender,
        amount=5,
    )
    url = sandbox.document.networks["solana"].rpc_url
    return {"linea": await file_evidence(*linea, ""), "solana": await file_evidence(Claim(approval=approval), url, "")}


# A forger, who knows the format and computes every hash again.


@pytest.mark.parametrize("source", ["pinned", "given"])
def test_a_file_of_no_node_at_all_verifies_nothing(files: dict[str, Filed], source: str) -> None:
    content = files["linea"].content
    content |= {"endpoints": [], "exhibits": {}, "manifest": {}}
    content["claim"]["approval"] |= {"asset_from": source, "spender_from": source}
    nothing = dict.fromkeys(("method", "via", "state", "block", "included", "finality", "tier", "ownership"))
    amounts = dict.fromkeys(content["report"]["amounts"])
    content["report"] |= {**nothing, "amounts": amounts, "blocked": [], "verdict": "UNDETERMINED"}
    report = verify_evidence(sealed(content))
    assert (report.verdict, report.tier) == ("UNDETERMINED", None)
    assert report.findings[-1].rule == "quorum"


def test_blocks_that_the_file_calls_trusted_are_not_the_readers(files: dict[str, Filed]) -> None:
    content, report = files["linea"].content, files["linea"].report
    assert report.block is not None
    assert report.included is not None
    trusted = [report.block.hash, report.included.hash]
    content["policy"] |= {"trusted_blocks": trusted, "least_tier": "T3"}
    content["report"] |= {"policy": content["policy"], "tier": "T3", "tier_meaning": TIER_MEANINGS["T3"]}
    forged = sealed(content)
    again = verify_evidence(forged)
    assert (again.verdict, again.tier) == ("UNDETERMINED", "T2")
    assert again.policy is not None
    assert again.policy.trusted_blocks == ()
    named = verify_evidence(forged, trusted_blocks=trusted)
    assert (named.verdict, named.tier) == ("VERIFIED", "T3")


def test_a47_operators_that_a_file_invents_for_one_url_count_once(files: dict[str, Filed]) -> None:
    content = _of_three(files["solana"], ["https://one.example"] * 3)
    assert verify_evidence(sealed(content)).verdict != "VERIFIED"


def test_a_forger_can_invent_nodes_and_the_report_says_whose_word_they_are(files: dict[str, Filed]) -> None:
    urls = [f"https://{name}.example" for name in ("one.first", "two.second", "three.third")]
    report = verify_evidence(sealed(_of_three(files["solana"], urls)))
    assert (report.verdict, report.tier) == ("VERIFIED", "T1")
    for tier in ("T0", "T1", "T2"):
        assert "is the word of whoever made the file" in TIER_MEANINGS[tier]
    assert TIER_MEANINGS["T1"] in dict(describe_report(report))["trust"]


def _of_three(filed: Filed, urls: list[str]) -> Any:
    """Return the content of a file whose one node was made three that all had to agree."""
    content = filed.content
    (endpoint,), (exhibits,) = content["endpoints"], content["exhibits"].values()
    content["endpoints"] = [
        endpoint | {"url": url, "operator": f"{number}.invented"} for number, url in enumerate(urls)
    ]
    content["exhibits"] = {f"{number} {url}": exhibits for number, url in enumerate(urls)}
    content["policy"]["quorum"] = 3
    content["report"] |= {"policy": content["policy"], "tier": "T1"}
    return content


def test_addresses_that_a_file_calls_pinned_are_named_with_whose_pins_they_are(files: dict[str, Filed]) -> None:
    report = verify_evidence(files["linea"].file)
    assert report.claim is not None
    named = {one.found: one.message for one in report.findings if one.rule == "pinned"}
    assert set(named) == {report.claim.approval.token.address, report.claim.approval.spender}
    assert all("Whoever asked the nodes" in message for message in named.values())


def test_a_local_chain_that_calls_itself_solana_is_named(files: dict[str, Filed]) -> None:
    (found,) = [one for one in verify_evidence(files["solana"].file).findings if one.rule == "chain"]
    assert "not Solana itself" in found.message


def _set(*path: Any, to: Any) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        for name in path[:-1]:
            content = content[name]
        content[path[-1]] = to

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set("exhibits", "more", to=1.5),
        _set("policy", "quorum", to=1.0),
        _set("endpoints", 0, "url", to="http://["),
        _set("endpoints", 0, "exchanges", 2, "body", to="\ud800"),
        _set("endpoints", 0, "exchanges", 2, "params", to="\ud800"),
        _set("claim", "approval", "token", "decimals", to=10**12),
        _set("policy", "quorum", to=10**4000),
    ],
    ids=["fraction", "whole fraction", "url", "half a pair", "half a question", "decimals", "quorum"],
)
def test_what_no_writer_writes_is_told_without_a_traceback(
    files: dict[str, Filed], change: Callable[[Any], None]
) -> None:
    for filed in files.values():
        content = filed.content
        change(content)
        content["manifest"] = {}
        for file in (sealed(_without_halves(content)), json.dumps(content).encode()):
            report = verify_evidence(file)
            assert report.verdict != "VERIFIED"
            json.dumps(report.model_dump(mode="json"))


def _without_halves(content: Any) -> Any:
    """Return a content that can be sealed: the test's own hash cannot be that of half a surrogate pair."""
    body = content["endpoints"][0]["exchanges"][2]["body"]
    return json.loads(json.dumps(content).replace("\\ud800", "")) if body == "\ud800" else content


def test_answers_changed_at_random_never_end_in_a_traceback(files: dict[str, Filed]) -> None:
    chance = random.Random(7)
    values: list[Any] = [
        None,
        True,
        -1,
        2**64,
        "",
        "0x",
        "0xzz",
        "\ud800",
        [],
        {},
        {"code": -32000, "message": "\x1b[2J"},
        "1",
    ]
    for _ in range(100):
        content = files[chance.choice(("linea", "solana"))].content
        exchange = chance.choice(content["endpoints"][0]["exchanges"])
        body = json.loads(exchange["body"])
        holder, name = chance.choice(list(_places(body)))
        holder[name] = chance.choice(values)
        exchange["body"] = json.dumps(body)
        report = verify_evidence(sealed(content))
        describe_report(report)
        json.dumps(report.model_dump(mode="json"))


def _places(value: Any) -> Any:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in entries:
        yield value, name
        yield from _places(inner)


# Nodes that break in one place: what was found then is found again from the file.


def _error(answer: Any) -> Any:
    return {"jsonrpc": "2.0", "id": answer["id"], "error": {"code": -32000, "message": "missing trie node é"}}


def _fraction(answer: Any) -> Any:
    result = answer.get("result")
    return answer | {"result": result | {"weight": 1.5}} if isinstance(result, dict) else answer


BREAKS: dict[str, tuple[Callable[[Any], Any], tuple[str, ...]]] = {
    "busy": (lambda answer: 429, ("eth_getCode", "eth_getProof")),
    "error": (_error, ("eth_getCode", "eth_call", "eth_createAccessList", "eth_getBlockReceipts")),
    "fraction": (_fraction, ("eth_getTransactionReceipt", "eth_getBlockByNumber")),
}


@pytest.mark.parametrize("how", BREAKS)
async def test_evidence_of_a_node_that_breaks_at_one_question_is_found_again(
    linea: tuple[Claim, str], how: str
) -> None:
    claim, url = linea
    spoil, methods = BREAKS[how]
    broken_at: list[str] = []

    def change(method: str, params: Any, answer: Any) -> Any:
        return spoil(answer) if method in broken_at else answer

    async with relay(url, change) as broken:
        for method in methods:
            broken_at[:] = [method]
            filed = await file_evidence(claim, broken, "")
            now, again = filed.report, verify_evidence(filed.file)
            assert now.verdict in ({"VERIFIED"} if how == "fraction" else {"VERIFIED", "UNDETERMINED"})
            assert (again.verdict, again.tier, again.state) == (now.verdict, now.tier, now.state), method


# One node among honest ones.


def _said(host: str, verdict: Verdict, **rest: Any) -> NodeResult:
    """Return what a node says whose raw values are those of the others; what follows from them is its own."""
    found = Finding("status", verdict, "Whether the transaction failed.")
    check = ApprovalCheck(findings=(found,), state="active", finality="finalized", facts={"allowance": "5"})
    return NodeResult(Endpoint(f"https://{host}", host), (), approval=replace(check, **rest))


def _report(results: list[NodeResult], **policy: Any) -> Report:
    approval = ClaimedApproval(
        network="solana",
        chain="5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d",
        transaction="1" * 64,
        token=Token("usdc", "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkwyTDt1v", 6),
        owner="11111111111111111111111111111111",
        spender="11111111111111111111111111111111",
        amount=5,
    )
    return make_report(Claim(approval=approval), Policy(**policy), results, now=utc_now())


@pytest.mark.parametrize("liar_first", [True, False])
def test_a1_a_node_that_calls_a_failed_transaction_a_success_does_not_speak_for_the_quorum(liar_first: bool) -> None:
    said = [_said("liar.example", "VERIFIED"), _said("one.first", "REFUTED"), _said("two.second", "REFUTED")]
    if not liar_first:
        said.reverse()
    assert _report(said, quorum=2).verdict == "REFUTED"
    divided = _report([one for one in said if one.endpoint.operator != "two.second"], quorum=2)
    assert divided.verdict == "UNDETERMINED"
    assert "verdict=REFUTED" in str(divided.findings[-1].found)


def test_an_amount_of_its_own_does_not_speak_for_the_quorum() -> None:
    said = [_said("liar.example", "VERIFIED", amounts=Amounts(authorised=9)), _said("one.first", "VERIFIED")]
    assert _report(said, quorum=2).verdict == "UNDETERMINED"


def test_a_state_of_its_own_does_not_speak_for_the_quorum_where_the_verdict_depends_on_it() -> None:
    said = [_said("liar.example", "VERIFIED", state="replaced"), _said("one.first", "VERIFIED")]
    assert _report(said, quorum=2).verdict == "VERIFIED"
    assert _report(said, quorum=2, active=True).verdict == "UNDETERMINED"


@pytest.mark.parametrize("hasty_first", [True, False])
def test_finality_is_the_least_that_one_of_the_agreeing_nodes_says(hasty_first: bool) -> None:
    said = [_said("hasty.example", "VERIFIED"), _said("one.first", "VERIFIED", finality="confirmed")]
    if not hasty_first:
        said.reverse()
    assert _report(said, quorum=2).finality == "confirmed"


async def test_an_account_opened_again_for_another_mint_is_not_what_was_approved(lab: SolanaLab) -> None:
    fake, account, wallet = await lab.new_token(), Keypair(), await lab.wallet()
    aside = type(wallet)(wallet.key, str(account.pubkey()))
    spender = new_spender()
    await _open_account(lab, aside, account, fake)
    sent = await lab.submit([approve(aside, spender, 5)], aside.key)
    before = await lab.check(lab.claim(sent, aside, spender, 5, token=fake))
    assert verdict(before) == "VERIFIED"
    assert "NOT the owner's associated account" in finding(before, "token").message
    await lab.submit([lab.close(aside)], aside.key)
    await _open_account(lab, aside, account, lab.token)
    check = await lab.check(lab.claim(sent, aside, spender, 5))
    assert (verdict(check), finding(check, "token").verdict) == ("UNDETERMINED", "UNDETERMINED")


async def _open_account(lab: SolanaLab, wallet: Any, account: Keypair, token: Token) -> None:
    """Make a token account at an address that has nothing to do with owner and mint."""
    owner, mint = wallet.key.pubkey(), Pubkey.from_string(token.address)
    rent = await lab.rpc.request("getMinimumBalanceForRentExemption", [165])
    space = CreateAccountParams(
        from_pubkey=lab.payer.pubkey(), to_pubkey=account.pubkey(), lamports=rent, space=165, owner=TOKEN_PROGRAM_ID
    )
    metas = [AccountMeta(account.pubkey(), False, True), AccountMeta(mint, False, False)]
    initialize = Instruction(TOKEN_PROGRAM_ID, bytes([18]) + bytes(owner), metas)  # InitializeAccount3
    await lab.submit([create_account(space), initialize], lab.payer, account)
