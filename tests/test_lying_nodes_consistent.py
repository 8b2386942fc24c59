"""Nodes that lie the same way whenever they are asked, about approvals of contracts that others published.

`test_lying_nodes.py` changes one recorded answer. Here a liar stands before a real node and answers every question,
also those that only a lie leads to: all answers of one method are changed alike, or those of two, or as somebody would
who wants one claim believed. What follows from its answers is then held against what honest nodes say.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from approval_lab import APPROVE, UNIT, Lab, open_lab
from eth_account import Account
from eth_utils.crypto import keccak
from relay import Change, honest, relay
from solana_lab import open_lab as open_solana_lab
from test_lying_nodes import (
    ERRORS,
    LIAR,
    MAGIC,
    NOW,
    Case,
    Recorded,
    as_document,
    ask_with,
    believed,
    fields,
    put,
    record,
    signed_statement,
    solana_cases,
    untruths,
)
from third_party import deploy, deploy_safe, deploy_usdc, first_account

from chains.types import Token
from delegation import Claim, Policy
from delegation.audit import ClaimedStatement
from delegation.audit.nodes import NodeResult, ask_nodes
from delegation.audit.verdict import make_report
from delegation.sandbox import Sandbox
from delegation.sandbox.artifacts import encode_call
from delegation.sandbox.document import KeyDocument
from delegation.sandbox.evm_network import transact

NOBODY = "0x" + "00" * 20
SAMPLE = 60
PARTS = 6
PER_PART = 500
PERMIT = "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)"
EXECUTE = "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)"


def sign_permit(lab: Lab, key: KeyDocument, token: str, name: str, version: str, value: int) -> str:
    """Return the call of an owner's first permit (EIP-2612)."""
    fields_of = {"owner": "address", "spender": "address", "value": "uint256", "nonce": "uint256"}
    signed = Account.sign_typed_data(
        key.private_key,
        {"name": name, "version": version, "chainId": lab.chain.chain_id, "verifyingContract": token},
        {"Permit": [{"name": each, "type": kind} for each, kind in {**fields_of, "deadline": "uint256"}.items()]},
        {"owner": key.address, "spender": lab.spender, "value": value, "nonce": 0, "deadline": 2**40},
    )
    r, s = signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big")
    return encode_call(PERMIT, key.address, lab.spender, value, 2**40, signed.v, r, s)


def execute(owner: str, to: str, data: str) -> str:
    """Return the call by which the only owner of a Safe has it call a contract: who sends it approves it (v = 1)."""
    signature = bytes(12) + bytes.fromhex(owner[2:]) + bytes(32) + b"\x01"
    return encode_call(EXECUTE, to, 0, bytes.fromhex(data[2:]), 0, 0, 0, 0, NOBODY, NOBODY, signature)


def safe_statement(lab: Lab, safe: str, key: KeyDocument) -> ClaimedStatement:
    """Return a statement of a Safe that a key signed as Safe 1.4.1 has its owners sign messages."""
    made = signed_statement(lab, safe, key)
    raw = made.message if isinstance(made.message, bytes) else made.message.encode()
    digest = keccak(b"\x19Ethereum Signed Message:\n" + str(len(raw)).encode() + raw)
    signed = Account.sign_typed_data(
        key.private_key,
        {"chainId": lab.chain.chain_id, "verifyingContract": safe},
        {"SafeMessage": [{"name": "message", "type": "bytes"}]},
        {"message": digest},
    )
    return made.model_copy(update={"signature": "0x" + signed.signature.hex()})


async def published_cases(lab: Lab) -> AsyncIterator[Case]:
    """True and false claims about what published contracts did."""
    rpc, issuer = lab.network.rpc, await first_account(lab.network.rpc)
    keys = [await lab.wallet() for _ in range(6)]
    tokens = {name: await deploy(rpc, name) for name in ("OpenZeppelin4Token", "OpenZeppelin5Token", "SoladyToken")}
    tokens["usdc"], tokens["WETH9"] = await deploy_usdc(rpc), await deploy(rpc, "WETH9")
    known = {name: Token(name[:5].upper(), address, 18 if name == "WETH9" else 6) for name, address in tokens.items()}

    def claim(name: str, sent: str, owner: str, amount: int, **changes: Any) -> Any:
        return lab.claim(sent, owner, amount, token=known[name], token_pinned=False, **changes)

    permits = {}
    for (name, title, version), key in zip(
        (("OpenZeppelin4Token", "OpenZeppelin 4", "1"), ("usdc", "USD Coin", "2"), ("SoladyToken", "Solady", "1")),
        keys,
        strict=False,
    ):
        call = sign_permit(lab, key, tokens[name], title, version, 50 * UNIT)
        permits[name] = (await transact(rpc, {"from": issuer, "to": tokens[name], "data": call}))["transactionHash"]
    owner, other = keys[3], keys[4]
    safe = await deploy_safe(rpc, [owner.address])
    five = tokens["OpenZeppelin5Token"]
    by_safe = await lab.send(owner, safe, execute(owner.address, five, encode_call(APPROVE, lab.spender, 30 * UNIT)))
    wrapped = await lab.send(other, tokens["WETH9"], encode_call(APPROVE, lab.spender, 10**18))
    permit2 = await deploy(rpc, "Permit2")
    passed = encode_call(
        "approve(address,address,uint160,uint48)", tokens["OpenZeppelin4Token"], lab.spender, 20 * UNIT, 2**40
    )
    by_permit2 = await lab.send(keys[5], permit2, passed)
    revoked = await lab.send(keys[5], five, encode_call(APPROVE, lab.spender, 9 * UNIT))
    await lab.send(keys[5], five, encode_call(APPROVE, lab.spender, 0))
    await lab.mine(2)
    policy = Policy(at=str(int(await lab.rpc.request("eth_blockNumber"), 16)))
    still = policy.model_copy(update={"active": True})
    for name, key in zip(permits, keys, strict=False):
        yield Case(f"permit of {name}", as_document(claim(name, permits[name], key.address, 50 * UNIT)), policy, True)
    usdc = claim("usdc", permits["usdc"], keys[1].address, 50 * UNIT)
    yield Case("permit and active asked for", as_document(usdc), still, True)
    yield Case("permit of more", as_document(replace(usdc, amount=60 * UNIT)), policy, False)
    yield Case("permit of somebody else", as_document(replace(usdc, owner=keys[0].address)), policy, False)
    safely = claim("OpenZeppelin5Token", by_safe, safe, 30 * UNIT)
    yield Case("Safe", as_document(safely), policy, True)
    yield Case("Safe with its statement", as_document(safely, safe_statement(lab, safe, owner)), policy, True)
    yield Case("Safe with a thief's statement", as_document(safely, safe_statement(lab, safe, other)), policy, False)
    yield Case("WETH9", as_document(claim("WETH9", wrapped, other.address, 10**18)), still, True)
    allowed = claim("OpenZeppelin4Token", by_permit2, keys[5].address, 20 * UNIT)
    yield Case("Permit2's own allowance", as_document(allowed), policy, False)
    taken_back = claim("OpenZeppelin5Token", revoked, keys[5].address, 9 * UNIT)
    yield Case("revoked", as_document(taken_back), still, False)
    thief = as_document(claim("WETH9", wrapped, other.address, 10**18), signed_statement(lab, other.address, owner))
    yield Case("with a thief's statement", thief, policy, False)


Edit = tuple[str, str, tuple[Any, ...], Any]
"""A method, the selector of what is called, the place in an answer, and what stands there; without place an error."""


class Liar:
    """Applies edits to every answer that they fit."""

    def __init__(self) -> None:
        self.edits: tuple[Edit, ...] = ()

    def change(self, method: str, params: Any, answer: Any) -> Any:
        for wanted, selector, path, changed in self.edits:
            if wanted != method or selector != selector_of(method, params):
                continue
            if not path:
                answer = {"jsonrpc": "2.0", "id": answer["id"], "error": changed}
            elif path == ("result",):
                # Also where the node has none, but an error.
                answer = put({"jsonrpc": "2.0", "id": answer["id"], "result": None}, path, changed)
            elif has(answer, path):
                answer = put(answer, path, changed)
        return answer


def selector_of(method: str, params: Any) -> str:
    """Return what is called of a contract, so that a lie about one function leaves the others alone."""
    if method != "eth_call" or not params:
        return ""
    return str(params[0].get("data", params[0].get("input", "")))[:10]


def has(value: Any, path: tuple[Any, ...]) -> bool:
    """Return whether an answer has a place."""
    for name in path:
        if not isinstance(value, dict | list):
            return False
        try:
            value = value[name]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def edits_of(recorded: Recorded) -> Iterator[Edit]:
    """Every edit that changes some answer of a recording, once; of what is long only the beginning is a place."""
    seen: set[str] = set()
    for exchange in recorded.result.exchanges:
        # A node of another chain is an error of whoever named it: nothing is asked, nobody has a verdict.
        if exchange.method in {"eth_chainId", "getGenesisHash"}:
            continue
        name = exchange.method, selector_of(exchange.method, json.loads(exchange.params))
        answer = json.loads(exchange.body or "{}")
        places = [((), error) for error in ERRORS]
        for path, value in fields({"result": answer.get("result")}):
            places += [(path, changed) for changed in untruths(value)]
        for path, changed in places:
            key = repr((name, path, str(changed)[:80]))
            if key not in seen:
                seen.add(key)
                yield (*name, path, changed)


def kits(case: Case) -> Iterator[tuple[str, tuple[Edit, ...]]]:
    """What somebody would change together who wants one thing believed."""
    amount = hex(int(case.claim.approval.amount))
    word = "0x" + amount[2:].rjust(64, "0")
    result: tuple[Any, ...] = ("result",)
    no_proofs: Edit = ("eth_getProof", "", (), ERRORS[0])
    pruned: Edit = ("eth_getProof", "", (), ERRORS[1])
    wallet: tuple[Edit, ...] = (
        ("eth_getCode", "", result, "0x6001"),
        ("eth_call", "0x1626ba7e", result, MAGIC),
    )
    code_hash: Edit = ("eth_getProof", "", ("result", "codeHash"), "0x" + keccak(bytes.fromhex("6001")).hex())
    yield "a wallet that is none", (*wallet, no_proofs)
    yield "a wallet that is none, pruned", (*wallet, pruned)
    yield "a wallet that is none, its hash changed", (*wallet, code_hash)
    yield (
        "a wallet that is none, its hash alone",
        (*wallet, code_hash, ("eth_getProof", "", ("result", "storageProof"), [])),
    )
    allowance: Edit = ("eth_call", "0xdd62ed3e", result, word)
    no_logs: Edit = ("eth_getLogs", "", result, [])
    for name, proofs in (("not served", no_proofs), ("pruned", pruned)):
        yield f"still allowed, proofs {name}", (allowance, no_logs, proofs)
    yield "still allowed, logs refused", (allowance, no_proofs, ("eth_getLogs", "", (), ERRORS[2]))
    yield (
        "still allowed, its proof's value changed",
        (
            allowance,
            no_logs,
            ("eth_getProof", "", ("result", "storageProof", 0, "value"), amount),
        ),
    )
    yield (
        "nothing is allowed",
        (
            ("eth_call", "0xdd62ed3e", result, "0x" + "00" * 32),
            no_logs,
            no_proofs,
        ),
    )
    yield "eighteen decimals", (("eth_call", "0x313ce567", result, "0x" + "12".rjust(64, "0")),)
    for status in ("0x0", "0x1"):
        yield (
            f"status {status}",
            (
                ("eth_getTransactionReceipt", "", ("result", "status"), status),
                ("eth_getBlockReceipts", "", (), ERRORS[0]),
                no_proofs,
            ),
        )
    yield (
        "logs of the amount claimed",
        (
            ("eth_getTransactionReceipt", "", ("result", "logs", 0, "data"), word),
            ("eth_getBlockReceipts", "", (), ERRORS[0]),
            allowance,
            no_proofs,
        ),
    )
    yield (
        "another owner in the log",
        (
            (
                "eth_getTransactionReceipt",
                "",
                ("result", "logs", 0, "topics", 1),
                "0x" + case.claim.approval.owner[2:].lower().rjust(64, "0"),
            ),
            ("eth_getBlockReceipts", "", (), ERRORS[0]),
            allowance,
            no_proofs,
        ),
    )


@dataclass
class Stage:
    """A chain with a liar before its node, and what an honest node says of each case."""

    liar: Liar
    url: str
    recorded: list[Recorded]

    async def ask(self, recorded: Recorded, edits: tuple[Edit, ...]) -> NodeResult:
        """Return what follows from the answers of the liar."""
        self.liar.edits = edits
        (result,) = await ask_nodes(recorded.case.claim, [self.url], recorded.case.policy)
        return replace(result, endpoint=LIAR)

    async def try_lie(self, recorded: Recorded, edits: tuple[Edit, ...], what: str) -> list[str]:
        """Return what a lie brought about that it must not."""
        wrong = believed(recorded, await self.ask(recorded, edits))
        return [f"{recorded.case.name}: {what}: {each}" for each in wrong]


@asynccontextmanager
async def open_stage(url: str, cases: AsyncIterator[Case], host: str) -> AsyncIterator[Stage]:
    """Ask an honest node about all cases, and put a liar before it."""
    recorded = [await record(case, url) async for case in cases]
    liar = Liar()
    async with relay(url, liar.change, host=host) as lying:
        yield Stage(liar, lying, recorded)


@pytest.fixture(scope="module")
async def stage() -> AsyncIterator[Stage]:
    async with (
        open_lab("linea") as lab,
        open_stage(lab.network.rpc_url, published_cases(lab), "127.0.0.41") as opened,
    ):
        yield opened


@pytest.fixture(scope="module")
async def solana_stage(sandbox: Sandbox) -> AsyncIterator[Stage]:
    async with (
        open_solana_lab(sandbox) as lab,
        open_stage(sandbox.document.networks["solana"].rpc_url, solana_cases(lab), "127.0.0.42") as opened,
    ):
        yield opened


async def lie(stage: Stage, seed: int, count: int) -> list[str]:
    """Tell some lies, every other one two of them at once, and return what they brought about."""
    chance = random.Random(seed)
    wrong = []
    for number in range(count):
        recorded = stage.recorded[number % len(stage.recorded)]
        possible = list(edits_of(recorded))
        edits = tuple(chance.sample(possible, 1 + number % 2))
        what = "; ".join(
            f"{method}{selector} {'.'.join(map(str, path))} = {str(new)[:60]}" for method, selector, path, new in edits
        )
        wrong += await stage.try_lie(recorded, edits, what)
    return wrong


async def test_a54_a_sample_of_lies_told_throughout_is_not_believed(stage: Stage) -> None:
    assert not await lie(stage, 9, SAMPLE)


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
async def test_a54_lies_told_throughout_are_not_believed(stage: Stage, part: int) -> None:
    assert not await lie(stage, 100 + part, PER_PART)


async def test_a54_a_sample_of_lies_told_throughout_about_solana_is_not_believed(solana_stage: Stage) -> None:
    assert not await lie(solana_stage, 9, SAMPLE // 2)


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
async def test_a54_lies_told_throughout_about_solana_are_not_believed(solana_stage: Stage, part: int) -> None:
    assert not await lie(solana_stage, 200 + part, PER_PART // 2)


@pytest.mark.long
async def test_a55_lies_that_fit_each_other_are_not_believed(stage: Stage) -> None:
    wrong = []
    for recorded in stage.recorded:
        for what, edits in kits(recorded.case):
            wrong += await stage.try_lie(recorded, edits, what)
    assert not wrong


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("with a thief's statement", "a wallet that is none"),
        ("with a thief's statement", "a wallet that is none, pruned"),
        ("Safe with a thief's statement", "a wallet that is none"),
        ("revoked", "still allowed, proofs not served"),
        ("revoked", "still allowed, proofs pruned"),
        ("revoked", "still allowed, logs refused"),
        ("revoked", "still allowed, its proof's value changed"),
    ],
)
async def test_a55_what_a_lone_liar_can_make_up_is_on_one_operators_word_and_convinces_nobody_else(
    stage: Stage, name: str, what: str
) -> None:
    (recorded,) = [each for each in stage.recorded if each.case.name == name]
    edits = dict(kits(recorded.case))[what]
    assert not await stage.try_lie(recorded, edits, what)
    alone = make_report(recorded.case.claim, recorded.case.policy, [await stage.ask(recorded, edits)], now=NOW)
    assert (alone.verdict, alone.tier) == ("VERIFIED", "T0"), "the lie is none that could be believed"


# A node that says that the chain ends long ago


_NOW_IS_WHAT_ALL_HAVE = "several nodes are asked at the newest block that a quorum has, and of two one is enough to say"


def ending_at(block: dict[str, Any]) -> Change:
    """Return the lie that a block is the newest one; all else is true."""

    def change(method: str, params: Any, answer: Any) -> Any:
        if method == "eth_getBlockByNumber" and params[0] in {"latest", "safe", "finalized"}:
            return answer | {"result": block}
        return answer | {"result": block["number"]} if method == "eth_blockNumber" else answer

    return change


@dataclass
class Past:
    """A chain on which an approval by a Safe was revoked, and its owner exchanged, after they were claimed."""

    url: str
    claim: Claim
    stated: Claim
    stated_by_heir: Claim
    included: dict[str, Any]
    before: dict[str, Any]


@pytest.fixture(scope="module")
async def past() -> AsyncIterator[Past]:
    async with open_lab("linea") as lab:
        rpc, owner, heir = lab.network.rpc, await lab.wallet(), await lab.wallet()
        safe, token = await deploy_safe(rpc, [owner.address]), await deploy(rpc, "OpenZeppelin5Token")
        await lab.mine()
        approve = encode_call(APPROVE, lab.spender, UNIT)
        sent = await lab.send(owner, safe, execute(owner.address, token, approve))
        await lab.mine(3)
        revoke = encode_call(APPROVE, lab.spender, 0)
        await lab.send(owner, safe, execute(owner.address, token, revoke))
        swap = encode_call("swapOwner(address,address,address)", "0x" + "1".rjust(40, "0"), owner.address, heir.address)
        await lab.send(owner, safe, execute(owner.address, safe, swap))
        await lab.mine(40)
        number = int((await lab.receipt(sent))["blockNumber"], 16)
        before, included = [await lab.rpc.request("eth_getBlockByNumber", [hex(number - ago), False]) for ago in (1, 0)]
        claim = as_document(lab.claim(sent, safe, UNIT, token=Token("OZ", token, 6), token_pinned=False))
        stated, by_heir = (
            claim.model_copy(update={"statement": safe_statement(lab, safe, key)}) for key in (owner, heir)
        )
        yield Past(lab.network.rpc_url, claim, stated, by_heir, included, before)


async def test_a57_one_of_three_that_lags_does_not_decide_what_is_now(past: Past) -> None:
    liar = ending_at(past.included)
    report = await ask_with(past.url, past.claim, Policy(active=True), honest, liar, honest)
    assert (report.verdict, report.tier, report.state) == ("REFUTED", "T1", "revoked")
    report = await ask_with(past.url, past.stated, Policy(), honest, liar, honest)
    assert (report.verdict, report.tier) == ("REFUTED", "T1")


async def test_a57_a_node_that_knows_no_block_since_does_not_refute_what_another_proves(past: Past) -> None:
    report = await ask_with(past.url, past.claim, Policy(), ending_at(past.before), honest)
    assert report.verdict != "REFUTED"


@pytest.mark.parametrize("order", [0, 1])
async def test_a57_one_of_two_that_lags_does_not_make_a_revoked_approval_active(past: Past, order: int) -> None:
    nodes = [ending_at(past.included), honest]
    report = await ask_with(past.url, past.claim, Policy(active=True), *nodes[:: 1 - 2 * order])
    assert report.verdict != "VERIFIED"


async def test_a57_one_of_two_that_lags_does_not_make_a_former_owner_the_owner(past: Past) -> None:
    report = await ask_with(past.url, past.stated, Policy(), ending_at(past.included), honest)
    assert report.verdict != "VERIFIED"


async def test_a57_one_of_two_that_lags_does_not_refute_the_owner_of_now(past: Past) -> None:
    assert (await ask_with(past.url, past.stated_by_heir, Policy(), honest, honest)).verdict == "VERIFIED"
    report = await ask_with(past.url, past.stated_by_heir, Policy(), ending_at(past.included), honest)
    assert report.verdict != "REFUTED"


async def test_a57_the_true_hash_of_an_old_block_does_not_make_it_the_present() -> None:
    """The reader trusts the blocks of the approval and of the present; the node says that the first is the newest."""
    async with open_lab("linea") as lab:
        key = await lab.wallet()
        sent = await lab.approve(key, UNIT)
        await lab.mine(3)
        await lab.approve(key, 0)
        await lab.mine(3)
        included = await lab.rpc.request("eth_getBlockByNumber", [(await lab.receipt(sent))["blockNumber"], False])
        head = await lab.rpc.request("eth_getBlockByNumber", ["latest", False])
        policy = Policy(active=True, least_tier="T3", trusted_blocks=(included["hash"], head["hash"]))
        claim = as_document(lab.claim(sent, key.address, UNIT))
        assert (await ask_with(lab.network.rpc_url, claim, policy, honest)).verdict == "REFUTED"
        report = await ask_with(lab.network.rpc_url, claim, policy, ending_at(included))
        assert report.verdict != "VERIFIED"


async def test_a53_one_of_three_that_names_another_chain_does_not_silence_the_others(past: Past) -> None:
    def elsewhere(method: str, params: Any, answer: Any) -> Any:
        return answer | {"result": "0x1"} if method == "eth_chainId" else answer

    report = await ask_with(past.url, past.claim, Policy(), honest, elsewhere, honest)
    assert report.verdict == "VERIFIED"
