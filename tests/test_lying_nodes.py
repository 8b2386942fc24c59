"""Nodes that lie in any field of any answer, alone and among honest ones: what they can make an auditor believe.

| who is asked | what no lie brings about |
|---|---|
| the liar alone | a VERIFIED above T0 |
| the liar and an honest one | a false VERIFIED, a false REFUTED |
| the liar and two honest ones | anything but what the two say |
| the liar alone, with the true block hashes trusted and T3 asked for | a false VERIFIED, a false REFUTED |

The answers of an honest node are recorded, one of them is changed, and the checks run over them again.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from approval_lab import APPROVE, UNIT, Lab, open_lab
from eth_account import Account
from eth_account.messages import encode_defunct
from relay import Change, honest, relay
from solana_lab import SolanaLab, new_spender, revoke
from solana_lab import approve as solana_approve
from solana_lab import open_lab as open_solana_lab

from chains.claims import ApprovalClaim
from chains.ownership import format_statement, make_statement
from chains.rpc.transcript import Exchange
from delegation import Claim, ClaimedApproval, Policy, Report, verify_claim
from delegation.audit import ClaimedStatement
from delegation.audit.claims import chain_identity
from delegation.audit.nodes import Endpoint, NodeResult, ask_nodes, replay_nodes
from delegation.audit.verdict import make_report
from delegation.sandbox import Sandbox
from delegation.sandbox.artifacts import encode_call
from delegation.sandbox.document import KeyDocument

NOW = datetime(2026, 12, 1, tzinfo=UTC)
MAGIC = "0x1626ba7e" + "00" * 28
SAMPLE = 900
PARTS = 8
DOUBTFUL = re.compile(r"not known|not proved|not pinned|could not be (?:read|asked)")
LIAR, ONE, TWO = (Endpoint(f"https://{name}.example", f"{name}.example") for name in ("liar", "one", "two"))
# What three nodes' report must say as two honest ones have it.
AGREED = (
    "verdict",
    "tier",
    "state",
    "amounts",
    "included",
    "block",
    "method",
    "via",
    "ownership",
    "finality",
    "blocked",
)
ERRORS = [
    {"code": -32601, "message": "the method does not exist/is not available"},
    {"code": -32000, "message": "missing trie node"},
    {"code": -32005, "message": "query returned more than 10000 results"},
    {"code": -32602, "message": "query exceeds max block range 500"},
    {"code": 3, "message": "execution reverted", "data": "0x"},
]


@dataclass(frozen=True)
class Case:
    """A claim and whether it is true; `policy` names the block that counts as now."""

    name: str
    claim: Claim
    policy: Policy
    is_true: bool


@dataclass(frozen=True)
class Recorded:
    """What an honest node said of a case, and what followed."""

    case: Case
    result: NodeResult
    report: Report

    @property
    def trusted(self) -> tuple[str, ...]:
        """The true hashes of the blocks that the claim is about."""
        blocks = (self.report.included, self.report.block)
        return tuple(block.hash for block in blocks if block is not None and block.hash)


def as_document(claim: ApprovalClaim, statement: ClaimedStatement | None = None) -> Claim:
    return Claim(
        approval=ClaimedApproval(
            network=claim.chain.name,
            chain=chain_identity(claim.chain),
            transaction=claim.transaction,
            token=claim.token,
            owner=claim.owner,
            spender=claim.spender,
            amount=claim.amount,
            asset_from="pinned" if claim.token_pinned else "given",
            spender_from="pinned",
        ),
        statement=statement,
    )


def signed_statement(lab: Lab, owner: str, key: KeyDocument) -> ClaimedStatement:
    made = make_statement(
        lab.chain,
        owner,
        domain="card.example.com",
        nonce="5f8a9b2c4d3e1a7b",
        issued_at=NOW,
        lifetime=timedelta(hours=1),
    )
    text = format_statement(made)
    signature = Account.sign_message(encode_defunct(text=text), key.private_key).signature
    return ClaimedStatement(
        message=text, signature="0x" + signature.hex(), domain="card.example.com", uri=None, nonce=made.nonce, at=NOW
    )


async def evm_cases(lab: Lab) -> AsyncIterator[Case]:
    """True and false claims about approvals of every kind, made on a chain of our own."""
    keys = [await lab.wallet(tokens=True) for _ in range(8)]
    active = lab.claim(await lab.approve(keys[0], 5000 * UNIT), keys[0].address, 5000 * UNIT)
    spent = lab.claim(await lab.approve(keys[1], 50 * UNIT), keys[1].address, 50 * UNIT)
    await lab.network.spend("usdc", keys[1].address, 8 * UNIT)
    replaced = lab.claim(await lab.approve(keys[2], 50 * UNIT), keys[2].address, 50 * UNIT)
    await lab.approve(keys[2], 20 * UNIT)
    revoked = lab.claim(await lab.approve(keys[3], 50 * UNIT), keys[3].address, 50 * UNIT)
    await lab.approve(keys[3], 0)
    await lab.approve(keys[4], 50 * UNIT, "usdt")
    spend_log = lab.claim(
        await lab.network.spend("usdt", keys[4].address, 10 * UNIT), keys[4].address, 40 * UNIT, "usdt"
    )
    safe = await lab.deploy("SafeLike", "constructor(address)", keys[5].address)
    call = (lab.token("usdt").address, encode_call(APPROVE, lab.spender, 30 * UNIT))
    batched = lab.claim(await lab.batch(keys[5], safe, [call], "execTransaction"), safe, 30 * UNIT, "usdt")
    zero = lab.claim(await lab.approve(keys[6], 0), keys[6].address, 0)
    unknown = await lab.contract("PermitToken")
    sent = await lab.send(keys[7], unknown, encode_call(APPROVE, lab.spender, 7 * UNIT))
    given = lab.claim(sent, keys[7].address, 7 * UNIT, token=replace(lab.token(), address=unknown), token_pinned=False)
    failing = await lab.send(keys[7], lab.token().address, encode_call(APPROVE, "0x" + "00" * 20, 9 * UNIT))
    failed = lab.claim(failing, keys[7].address, 9 * UNIT, spender="0x" + "00" * 20)
    await lab.mine()
    policy = Policy(at=str(int(await lab.rpc.request("eth_blockNumber"), 16)))
    still = policy.model_copy(update={"active": True})
    stranger, wallet = keys[7], keys[0]
    for name, claim, is_true, asked in (
        ("active", active, True, policy),
        ("active and active asked for", active, True, still),
        ("spent from", spent, True, still),
        ("replaced since", replaced, True, policy),
        ("replaced and active asked for", replaced, False, still),
        ("revoked since", revoked, True, policy),
        ("revoked and active asked for", revoked, False, still),
        ("spend offered as an approval", spend_log, False, policy),
        ("by a contract wallet", batched, True, policy),
        ("of nothing", zero, True, still),
        ("of a token that nobody knows", given, True, policy),
        ("failed", failed, False, policy),
        ("of another amount", replace(active, amount=5001 * UNIT), False, policy),
        ("for another spender", replace(active, spender=keys[6].address), False, policy),
        ("by another owner", replace(active, owner=keys[6].address), False, policy),
    ):
        yield Case(name, as_document(claim), asked, is_true)
    own, stolen = (signed_statement(lab, wallet.address, key) for key in (wallet, stranger))
    yield Case("with a statement", as_document(active, own), policy, True)
    yield Case("with a thief's statement", as_document(active, stolen), policy, False)


async def solana_cases(lab: SolanaLab) -> AsyncIterator[Case]:
    """True and false claims about approvals on Solana."""
    wallet, spender = await lab.wallet(), new_spender()
    sent = await lab.submit([solana_approve(wallet, spender, 5)], wallet.key)
    yield Case("active", as_document(lab.claim(sent, wallet, spender, 5)), Policy(), True)
    yield Case("of another amount", as_document(lab.claim(sent, wallet, spender, 6)), Policy(), False)
    other = await lab.wallet()
    sent = await lab.submit([solana_approve(other, spender, 5)], other.key)
    await lab.submit([revoke(other)], other.key)
    claim = as_document(lab.claim(sent, other, spender, 5))
    yield Case("revoked since", claim, Policy(), True)
    yield Case("revoked and active asked for", claim, Policy(active=True), False)
    third = await lab.wallet()
    sent = await lab.submit([solana_approve(third, spender, 5)], third.key)
    await lab.submit([solana_approve(third, new_spender(), 5)], third.key)
    claim = as_document(lab.claim(sent, third, spender, 5))
    yield Case("replaced since", claim, Policy(), True)
    yield Case("replaced and active asked for", claim, Policy(active=True), False)


async def record(case: Case, url: str) -> Recorded:
    (result,) = await ask_nodes(case.claim, [url], case.policy)
    result = replace(result, endpoint=ONE)
    report = make_report(case.claim, case.policy, [result], now=NOW)
    assert report.verdict == ("VERIFIED" if case.is_true else "REFUTED"), (case.name, report.findings)
    return Recorded(case, result, report)


@pytest.fixture(scope="module")
async def recorded(sandbox: Sandbox) -> list[Recorded]:
    async with open_lab("linea") as lab:
        evm = [await record(case, lab.network.rpc_url) async for case in evm_cases(lab)]
    async with open_solana_lab(sandbox) as solana:
        url = sandbox.document.networks["solana"].rpc_url
        return evm + [await record(case, url) async for case in solana_cases(solana)]


@dataclass(frozen=True)
class Lie:
    """One answer of one recording, changed."""

    recorded: Recorded
    at: int
    body: str
    what: str


def lies_about(recorded: Recorded) -> Iterator[Lie]:
    """Every lie of the set, in every field of every answer."""
    for at, exchange in enumerate(recorded.result.exchanges):
        answer = json.loads(exchange.body or "{}")
        for error in ERRORS:
            yield Lie(recorded, at, json.dumps({"jsonrpc": "2.0", "id": 1, "error": error}), f"error {error['code']}")
        others = [each.body for each in recorded.result.exchanges if each.method == exchange.method]
        for other in dict.fromkeys(others):
            if other is not None and other != exchange.body:
                yield Lie(recorded, at, other, "the answer to another question")
        for path, value in fields({"result": answer.get("result")}):
            for changed in untruths(value):
                body = json.dumps(put({"jsonrpc": "2.0", "id": 1, "result": answer.get("result")}, path, changed))
                yield Lie(recorded, at, body, f"{'.'.join(map(str, path))} = {str(changed)[:40]}")


def fields(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield the place and the value of every field; of long lists the first two and the last."""
    if path:
        yield path, value
    entries = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    for name, inner in entries if isinstance(value, dict) else [*entries[:2], *entries[2:][-1:]]:
        yield from fields(inner, (*path, name))


_GONE = object()


def untruths(value: Any) -> Iterator[Any]:
    """Yield other values in the place of one: absent, null, empty, zero, one more, and what would please a thief."""
    yield _GONE
    yield None
    if isinstance(value, list):
        yield []
        yield value[1:]
        yield value[::-1]
    elif isinstance(value, dict):
        yield {}
    elif isinstance(value, bool) or value is None:
        yield not value
        yield "0x1"
    elif isinstance(value, int):
        yield from (0, value + 1, value - 1)
    elif isinstance(value, str):
        yield from ("0x", "0x0", "0x1", "0x" + "00" * 32, "0x6001", MAGIC)
        if value.startswith("0x") and len(value) > 2:
            yield value[:-1] + ("0" if value[-1] != "0" else "1")
            yield hex(int(value, 16) + 1) if len(value) < 60 else value[:10] + "ff" + value[12:]


def put(value: Any, path: tuple[Any, ...], changed: Any) -> Any:
    """Return JSON with another value at a place, or without that place."""
    name, rest = path[0], path[1:]
    if isinstance(value, list):
        inner = [changed if not rest else put(value[name], rest, changed)] if rest or changed is not _GONE else []
        return [*value[:name], *inner, *value[name + 1 :]]
    if not rest and changed is _GONE:
        return {key: each for key, each in value.items() if key != name}
    return value | {name: changed if not rest else put(value[name], rest, changed)}


def follow(lie: Lie) -> NodeResult:
    """Return what follows from the liar's answers."""
    exchanges = list(lie.recorded.result.exchanges)
    exchanges[lie.at] = Exchange(exchanges[lie.at].method, exchanges[lie.at].params, lie.body)
    case = lie.recorded.case
    (result,) = replay_nodes(case.claim, [(LIAR, tuple(exchanges))], case.policy)
    return result


def judge(lie: Lie) -> list[str]:
    """Return what a lie brought about that it must not."""
    recorded = lie.recorded
    asked = recorded.result.exchanges[lie.at].method
    return [f"{recorded.case.name}, {asked}: {lie.what}: {wrong}" for wrong in believed(recorded, follow(lie))]


def believed(recorded: Recorded, liar: NodeResult) -> list[str]:
    """Return what a liar's answers bring about that they must not, alone, among others and against trusted blocks."""
    case, one = recorded.case, recorded.result
    two = replace(one, endpoint=TWO)
    forbidden = "REFUTED" if case.is_true else "VERIFIED"

    def report(policy: Policy, *results: NodeResult) -> Report:
        return make_report(case.claim, policy, results, now=NOW)

    wrong = []
    alone = report(case.policy, liar)
    if alone.verdict == "VERIFIED" and alone.tier != "T0":
        wrong.append(f"alone: VERIFIED at {alone.tier}")
    yes = [each.message for each in alone.findings if each.verdict == "VERIFIED"]
    wrong += [f"a yes that says {message}" for message in yes if DOUBTFUL.search(message)]
    for results in ((one, liar), (liar, one)):
        pair = report(case.policy, *results)
        if pair.verdict == forbidden:
            wrong.append(f"one of two: {pair.verdict} at {pair.tier}")
    three, agreed = report(case.policy, one, liar, two), report(case.policy, one, two)
    wrong += [
        f"one of three: {name} is {getattr(three, name)} and not {getattr(agreed, name)}"
        for name in AGREED
        if getattr(three, name) != getattr(agreed, name)
    ]
    strict = case.policy.model_copy(update={"trusted_blocks": recorded.trusted, "least_tier": "T3"})
    trusted = report(strict, liar)
    if trusted.verdict == forbidden:
        wrong.append(f"with trusted blocks: {trusted.verdict}")
    return wrong


def test_a53_no_lie_of_a_sample_is_believed(recorded: list[Recorded]) -> None:
    lies = [lie for each in recorded for lie in lies_about(each)]
    chosen = random.Random(9).sample(lies, SAMPLE)
    assert {lie.recorded.case.name for lie in chosen} == {each.case.name for each in recorded}
    assert not [wrong for lie in chosen for wrong in judge(lie)]


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
def test_a53_no_lie_in_any_field_of_any_answer_is_believed(recorded: list[Recorded], part: int) -> None:
    lies = [lie for each in recorded for lie in lies_about(each)]
    assert len(lies) > 40_000
    assert not [wrong for lie in lies[part::PARTS] for wrong in judge(lie)]


def test_true_block_hashes_let_a_lone_honest_node_reach_the_highest_tier(recorded: list[Recorded]) -> None:
    reached = {}
    for each in recorded:
        strict = each.case.policy.model_copy(update={"trusted_blocks": each.trusted, "least_tier": "T3"})
        made = make_report(each.case.claim, strict, [each.result], now=NOW)
        reached[each.case.claim.approval.network, each.case.name] = (made.verdict, made.tier)
    assert reached["linea", "active and active asked for"] == ("VERIFIED", "T3")
    assert reached["linea", "by a contract wallet"] == ("VERIFIED", "T3")
    assert reached["linea", "spend offered as an approval"] == ("REFUTED", "T3")
    assert reached["linea", "with a statement"] == ("VERIFIED", "T3")
    assert reached["linea", "with a thief's statement"] == ("REFUTED", "T3")
    # What rests on words is left open.
    assert reached["linea", "of a token that nobody knows"] == ("UNDETERMINED", None)
    assert reached["linea", "spent from"] == ("UNDETERMINED", None)
    assert reached["solana", "active"] == ("UNDETERMINED", None)


# Liars that answer whatever they are asked, and consistently, before a real node


async def ask_with(url: str, claim: Claim, policy: Policy, *changes: Change) -> Report:
    """Return what is reported of a claim by relays before a node, each an operator of its own."""
    async with AsyncExitStack() as stack:
        starting = [relay(url, change, host=f"127.0.0.{number}") for number, change in enumerate(changes, start=21)]
        urls = await asyncio.gather(*(stack.enter_async_context(each) for each in starting))
        return await verify_claim(claim, urls, policy)


def accomplice(method: str, params: Any, answer: Any) -> Any:
    """A contract is wherever it is asked for, and accepts every signature; proofs are not served."""
    if method == "eth_getCode":
        return {"jsonrpc": "2.0", "id": answer["id"], "result": "0x6001"}
    if method == "eth_call" and params[0]["data"].startswith("0x1626ba7e"):
        return {"jsonrpc": "2.0", "id": answer["id"], "result": MAGIC}
    if method == "eth_getProof":
        return {"jsonrpc": "2.0", "id": answer["id"], "error": ERRORS[0]}
    return answer


def forgetful(method: str, params: Any, answer: Any) -> Any:
    """Nothing was ever logged."""
    return answer | {"result": []} if method == "eth_getLogs" else answer


async def test_a55_a_thief_with_a_node_of_his_own_convinces_nobody_else() -> None:
    async with open_lab("linea") as lab:
        key, thief = await lab.wallet(), await lab.wallet()
        approved = lab.claim(await lab.approve(key, UNIT), key.address, UNIT)
        claim, url = as_document(approved, signed_statement(lab, key.address, thief)), lab.network.rpc_url
        alone = await ask_with(url, claim, Policy(), accomplice)
        assert (alone.verdict, alone.tier) == ("VERIFIED", "T0"), "a lone node can make up everything"
        assert (await ask_with(url, claim, Policy(least_tier="T1"), accomplice)).verdict == "UNDETERMINED"
        pair = await ask_with(url, claim, Policy(), accomplice, honest)
        assert (pair.verdict, pair.tier) == ("REFUTED", "T2"), "the honest node proves that no code is there"
        three = await ask_with(url, claim, Policy(), honest, accomplice, honest)
        assert (three.verdict, three.tier) == ("REFUTED", "T2")


async def test_a55_a_replacement_that_a_node_leaves_out_of_its_logs_is_unknown_and_never_a_reduction() -> None:
    async with open_lab("linea") as lab:
        key = await lab.wallet()
        approved = lab.claim(await lab.approve(key, 50 * UNIT), key.address, 50 * UNIT)
        await lab.approve(key, 20 * UNIT)
        await lab.mine()
        claim, url, active = as_document(approved), lab.network.rpc_url, Policy(active=True)
        alone = await ask_with(url, claim, active, forgetful)
        assert (alone.verdict, alone.state) == ("UNDETERMINED", None)
        assert (await ask_with(url, claim, active, forgetful, honest)).verdict == "UNDETERMINED"
        three = await ask_with(url, claim, active, honest, forgetful, honest)
        assert (three.verdict, three.state) == ("REFUTED", "replaced")


async def test_a56_a_chain_that_a_node_makes_up_is_proved_and_counts_for_that_node_alone() -> None:
    """Another chain with the same contracts at the same addresses, on which the claim is true."""
    async with open_lab("linea") as lab, open_lab("linea") as fork:
        assert lab.token() == fork.token()
        key = await fork.wallet()
        claim = as_document(fork.claim(await fork.approve(key, UNIT), key.address, UNIT))
        await lab.mine(20)
        await fork.mine(20)
        alone = await verify_claim(claim, [fork.network.rpc_url])
        assert (alone.verdict, alone.tier) == ("VERIFIED", "T0")
        real = await lab.rpc.request("eth_getBlockByNumber", ["latest", False])
        policy = Policy(least_tier="T3", trusted_blocks=(real["hash"],))
        assert (await verify_claim(claim, [fork.network.rpc_url], policy)).verdict == "UNDETERMINED"
        async with relay(fork.network.rpc_url, host="127.0.0.31") as liar, relay(lab.network.rpc_url) as true:
            for nodes in ([liar, true], [true, liar]):
                assert (await verify_claim(claim, nodes)).verdict == "UNDETERMINED"
