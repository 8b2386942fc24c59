"""What a Solana node that does not know, does not say, or lies can and cannot do to a claim.

Every check here is made a second time offline, from its transcript, and must come to the same result.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from solana_lab import (
    Answer,
    LyingRpc,
    Refusal,
    SolanaLab,
    approve,
    calls,
    finding,
    mention,
    new_spender,
    open_lab,
    refusals,
    refuted,
    revoke,
    still_active,
    verdict,
)
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from spl.token.constants import TOKEN_PROGRAM_ID

from chains.claims import NEEDS_NOBODY, NODES_WORD, ApprovalClaim
from chains.errors import ChainError, ContradictionError, InputError, NodeError, NodeUnreachableError, WrongChainError
from chains.family import check_approval, get_head
from chains.networks.solana import SOLANA
from chains.rpc.transcript import Exchange, RecordingRpc, ReplayRpc, run_offline
from chains.solana.accounts import get_accounts
from chains.solana.addresses import TOKEN_PROGRAM
from chains.types import Block, Token
from delegation.sandbox import Sandbox


@pytest.fixture(scope="module")
async def lab(sandbox: Sandbox) -> AsyncIterator[SolanaLab]:
    async with open_lab(sandbox) as lab:
        yield lab


_NO_ACCOUNTS = {"context": {"slot": 10**9}, "value": []}


async def test_another_genesis_hash_is_another_chain(lab: SolanaLab) -> None:
    with pytest.raises(WrongChainError):
        await get_head(SOLANA, lab.rpc, "latest")


async def test_the_head_is_a_confirmed_or_final_slot_or_a_slot_not_before_a_number(lab: SolanaLab) -> None:
    latest = await get_head(lab.chain, lab.rpc, "latest")
    final = await get_head(lab.chain, lab.rpc, "finalized")
    assert final.number < latest.number <= (await get_head(lab.chain, lab.rpc, "safe")).number
    assert latest.hash == final.hash == ""
    assert await get_head(lab.chain, lab.rpc, str(final.number)) == final
    with pytest.raises(NodeError, match="behind"):
        await get_head(lab.chain, lab.rpc, str(latest.number + 1_000_000))
    for nonsense in ("", "newest", "-1", "0x10", "1.5", "٣", "9" * 30, str(2**64)):
        with pytest.raises(InputError):
            await get_head(lab.chain, lab.rpc, nonsense)


async def test_what_cannot_be_a_claim_is_refused_without_asking(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    signed = await lab.sign([approve(wallet, spender, 1)], wallet.key)
    claim = lab.claim(signed, wallet, spender, 1)
    asked = lab.rpc.calls
    for wrong in (
        replace(claim, transaction="0x" + "ab" * 32),
        replace(claim, transaction=claim.transaction[:-8]),
        replace(claim, transaction="1" * 5000),
        replace(claim, transaction=wallet.address),
        replace(claim, owner="nobody"),
        replace(claim, spender=""),
        replace(claim, token=Token("USDC", "0x" + "11" * 20, 6)),
        replace(claim, token=replace(lab.token, decimals=10**9)),
        replace(claim, amount=2**64),
        replace(claim, amount=-1),
    ):
        with pytest.raises(InputError):
            await check_approval(wrong, lab.rpc, Block(0, ""))
    assert lab.rpc.calls == asked


async def test_a_transaction_that_is_not_there_is_undetermined_and_never_refuted(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    signed = await lab.sign([approve(wallet, spender, 1)], wallet.key)
    claim = lab.claim(signed, wallet, spender, 1)
    check = await lab.check(claim)
    assert (verdict(check), check.state) == ("UNDETERMINED", None)
    assert "no failure" in finding(check, "transaction").message
    check = await lab.check(replace(claim, raw=signed.raw))
    assert (verdict(check), check.state) == ("UNDETERMINED", "pending")
    assert "still land" in finding(check, "transaction").message
    for other in ("!", "AAAA", (await lab.sign([approve(wallet, spender, 2)], wallet.key)).raw):
        check = await lab.check(replace(claim, raw=other))
        assert (verdict(check), check.state) == ("UNDETERMINED", None)
    elsewhere = await lab.submit([revoke(wallet)], wallet.key)
    held = (await lab.rpc.request("getSignatureStatuses", [[elsewhere.signature]]))["value"][0]["slot"]
    check = await lab.check(replace(claim, raw=signed.raw, block=Block(held, "")))
    assert (verdict(check), check.state) == ("UNDETERMINED", "reorganised")
    check = await lab.check(replace(claim, raw=signed.raw, block=Block(10**9, "")))
    assert (verdict(check), check.state) == ("UNDETERMINED", None)
    assert "behind" in finding(check, "transaction").message


async def test_what_cannot_be_asked_of_a_missing_transaction_is_said(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    signed = await lab.sign([approve(wallet, spender, 1)], wallet.key)
    head = await get_head(lab.chain, lab.rpc, "finalized")
    claim = lab.claim(signed, wallet, spender, 1, raw=signed.raw, block=head)
    raw = b64decode(signed.raw)
    newer = b64encode(raw[:65] + b"\x81" + raw[66:]).decode()
    for asked, lies, words in (
        (claim, {"getSignatureStatuses": lambda _: Refusal(-32000)}, "could not be found out"),
        (claim, {"getBlock": lambda _: Refusal(-32009)}, "cannot be had"),
        (claim, {"getBlock": lambda _: None}, "cannot be had"),
        (replace(claim, block=None), {"isBlockhashValid": lambda _: {"value": 1}}, "form"),
        (replace(claim, raw=newer, block=None), {}, "upgrade"),
    ):
        check = await lab.check(asked, **lies)
        assert verdict(check) == "UNDETERMINED"
        assert words in finding(check, "transaction").message


async def test_a_transaction_whose_blockhash_is_not_valid_any_more_was_dropped(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    signed = await lab.sign([approve(wallet, spender, 1)], wallet.key, blockhash=Hash.new_unique())
    check = await lab.check(lab.claim(signed, wallet, spender, 1, raw=signed.raw))
    assert (verdict(check), check.state) == ("UNDETERMINED", "dropped")
    assert "not proved" in finding(check, "transaction").message


async def test_a_transaction_that_only_one_node_has_executed_is_pending(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    sent = await lab.submit([approve(wallet, spender, 1)], wallet.key)

    def processed(answer: Any) -> Any:
        answer["value"][0]["confirmationStatus"] = "processed"
        return answer

    check = await lab.check(
        lab.claim(sent, wallet, spender, 1), getTransaction=lambda _: None, getSignatureStatuses=processed
    )
    assert (verdict(check), check.state, check.finality) == ("UNDETERMINED", "pending", "processed")


@pytest.fixture(scope="module")
async def spent(lab: SolanaLab) -> tuple[Any, list[Any]]:
    """A claim of an approval that was spent out, whose check asks every question there is, and its transcript."""
    wallet, spender = await lab.wallet(), Keypair()
    sent = await lab.submit([approve(wallet, str(spender.pubkey()), 10)], wallet.key)
    await lab.spend(wallet, spender, 10)
    claim = lab.claim(sent, wallet, str(spender.pubkey()), 10)
    recorder = RecordingRpc(LyingRpc(lab.rpc, {}))
    head = await get_head(lab.chain, recorder, "latest")
    await check_approval(claim, recorder, head)
    return (claim, head), recorder.exchanges


@pytest.mark.parametrize("method", ["getTransaction", "getSignatureStatuses", "getMultipleAccounts"])
async def test_a_question_that_is_answered_with_nonsense_refutes_nothing(
    lab: SolanaLab, spent: Any, method: str
) -> None:
    (claim, _head), _ = spent
    for lie in ("nonsense", [], {"value": [1, 2]}, {"context": {"slot": -1}}, _NO_ACCOUNTS):
        check = await lab.check(claim, **{method: lambda _, lie=lie: lie})
        assert verdict(check) == ("UNDETERMINED" if method == "getTransaction" else "VERIFIED")
        if method == "getMultipleAccounts":
            assert (still_active(check), finding(check, "allowance").verdict) == ("UNDETERMINED", "UNDETERMINED")


@pytest.mark.parametrize("spelling", refusals())
async def test_a52_whatever_a_node_calls_the_reason_for_not_answering_it_turns_no_verdict(
    lab: SolanaLab, standing: Any, spelling: str
) -> None:
    claims, refusal = standing, refusals()[spelling]
    for method in ("getTransaction", "getSignatureStatuses", "getMultipleAccounts", "getSignaturesForAddress"):
        for name, (claim, honest) in claims.items():
            check = await lab.check(claim, **{method: lambda _: refusal})
            # The claim itself needs the transaction alone.
            assert verdict(check) == ("UNDETERMINED" if method == "getTransaction" else "VERIFIED"), (name, method)
            if method == "getTransaction":
                assert [one.about for one in check.findings if one.verdict != "NOTED"] == ["claim"]
            elif method == "getMultipleAccounts":
                assert (still_active(check), check.state) == ("UNDETERMINED", None), name
            elif method == "getSignaturesForAddress" and name in _TOLD_BY_HISTORY:
                # What is left is read all the same; what took the rest is not guessed.
                unsettled = "REFUTED" if check.amounts.remaining == 0 else "UNDETERMINED"
                assert (still_active(check), check.state) == (unsettled, None), name
                assert finding(check, "state").found == "unknown"
            else:
                assert (still_active(check), check.state) == honest, name


_TOLD_BY_HISTORY = ("reduced", "replaced by less", "revoked")


@pytest.fixture(scope="module")
async def standing(lab: SolanaLab) -> dict[str, tuple[ApprovalClaim, tuple[Any, Any]]]:
    """Claims by what became of them, each with whether it still stands and its state as an honest node has it."""
    made = {}
    for name, honest in {
        "active": ("VERIFIED", "active"),
        "reduced": ("VERIFIED", "reduced"),
        "replaced by less": ("REFUTED", "replaced"),
        "revoked": ("REFUTED", "revoked"),
        "exceeds": ("REFUTED", "exceeds"),
    }.items():
        wallet, spender = await lab.wallet(), Keypair()
        address = str(spender.pubkey())
        sent = await lab.submit([approve(wallet, address, 10)], wallet.key)
        if name == "reduced":
            await lab.spend(wallet, spender, 3)
        elif name == "replaced by less":
            await lab.submit([approve(wallet, address, 4)], wallet.key)
        elif name == "revoked":
            await lab.submit([revoke(wallet)], wallet.key)
        elif name == "exceeds":
            await lab.submit([approve(wallet, address, 11)], wallet.key)
        made[name] = (lab.claim(sent, wallet, address, 10), honest)
        check = await lab.check(made[name][0])
        assert (verdict(check), still_active(check), check.state) == ("VERIFIED", *honest)
    return made


async def test_a_history_that_does_not_explain_the_account_is_said_not_to(lab: SolanaLab, spent: Any) -> None:
    (claim, _head), _ = spent
    failures = [{"signature": claim.transaction, "err": "AccountInUse"}] * 25
    for listed, words in (([], "do not explain"), (failures, "do not reach back")):
        check = await lab.check(claim, getSignaturesForAddress=lambda _, listed=listed: listed)
        # Nothing is left, which needs no history.
        assert (verdict(check), check.state, still_active(check)) == ("VERIFIED", None, "REFUTED")
        assert words in finding(check, "state").message
    wallet, spender = await lab.wallet(), Keypair()
    sent = await lab.submit([approve(wallet, str(spender.pubkey()), 10)], wallet.key)
    newest = await lab.spend(wallet, spender, 3)
    claim = lab.claim(sent, wallet, str(spender.pubkey()), 10)
    check = await lab.check(claim, getSignaturesForAddress=lambda _: [])
    # Less is left than was approved: the claim stands, and what took the rest is not guessed.
    assert (verdict(check), check.state, check.amounts.remaining) == ("VERIFIED", None, 7)
    assert still_active(check) == "UNDETERMINED"
    assert "is not known" in finding(check, "state").message
    newer = Instruction(TOKEN_PROGRAM_ID, bytes([200]), [AccountMeta(Pubkey.from_string(wallet.account), False, True)])
    for lie in (calls(newest, 0, newer), None):
        told: list[Any] = []

        def failed(answer: Any, told: list[Any] = told) -> Any:
            told.append(answer)
            return answer if len(told) == 1 else answer | {"meta": answer["meta"] | {"err": "AccountInUse"}}

        check = await lab.check(claim, getTransaction=lie or failed)
        assert (check.state, check.amounts.remaining, still_active(check)) == (None, 7, "UNDETERMINED")
        assert "could not be read" in finding(check, "state").message


async def test_takings_that_do_not_add_up_to_what_is_missing_explain_nothing(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), Keypair()
    address = str(spender.pubkey())
    sent = await lab.submit([approve(wallet, address, 10)], wallet.key)
    await lab.submit([approve(wallet, address, 12)], wallet.key)
    taken = await lab.spend(wallet, spender, 5)
    claim = lab.claim(sent, wallet, address, 10)
    check = await lab.check(claim)
    assert (check.state, check.amounts.remaining, still_active(check)) == ("replaced", 7, "REFUTED")
    # A history that ends at the taking of 5 does not explain that 3 are missing.
    listed = [{"signature": taken.signature, "err": None}]
    check = await lab.check(claim, getSignaturesForAddress=lambda _: listed)
    assert (check.state, check.amounts.remaining, still_active(check)) == (None, 7, "UNDETERMINED")


async def test_the_decimals_of_a_token_are_pinned_or_those_of_the_transaction_or_the_nodes_word(
    lab: SolanaLab, spent: Any
) -> None:
    (claim, _head), _ = spent

    def lie(answer: Any) -> Any:
        data = bytearray(b64decode(answer["value"][0]["data"][0]))
        data[44] = 9
        answer["value"][0]["data"][0] = b64encode(data).decode()
        return answer

    def unrecorded(answer: Any) -> Any:
        return answer | {"meta": answer["meta"] | {"preTokenBalances": "none", "postTokenBalances": [{"mint": 5}]}}

    check = await lab.check(claim, getMultipleAccounts=lie)
    assert (verdict(check), finding(check, "decimals").basis) == ("VERIFIED", NODES_WORD)
    check = await lab.check(claim, getMultipleAccounts=lie, getTransaction=unrecorded)
    assert (verdict(check), finding(check, "decimals").verdict) == ("REFUTED", "REFUTED")
    for refusal in refusals().values():
        check = await lab.check(claim, getMultipleAccounts=lambda _, no=refusal: no, getTransaction=unrecorded)
        assert (verdict(check), finding(check, "decimals").verdict) == ("UNDETERMINED", "UNDETERMINED")
    pinned = replace(claim, token_pinned=True)
    known = replace(claim, chain=replace(claim.chain, tokens=(claim.token,)))
    for asked in (pinned, known):
        check = await lab.check(asked, getMultipleAccounts=lie, getTransaction=unrecorded)
        assert (verdict(check), finding(check, "decimals").basis) == ("VERIFIED", NEEDS_NOBODY)
        assert finding(check, "decimals-read").verdict == "NOTED"


async def test_what_needs_nobody_is_the_same_whatever_a_node_says(lab: SolanaLab) -> None:
    spender, thief, stranger = new_spender(), new_spender(), await lab.wallet(await lab.new_token())
    for kind in ("alone", "with another's", "with another of the owner's"):
        wallet = await lab.wallet()
        other = stranger
        if kind == "with another of the owner's":
            token = await lab.new_token()
            other = replace(await lab.wallet(token, owner=wallet.key.pubkey()), key=wallet.key)
        steps = [approve(wallet, spender, 5)]
        if kind != "alone":
            steps.append(approve(other, thief, 6))
        mentioned = mention(wallet.account, spender, thief, TOKEN_PROGRAM)
        sent = await lab.submit([*steps, mentioned], *{one.address: one.key for one in (wallet, other)}.values())
        claim = lab.claim(sent, wallet, spender, 5)
        honest = {
            (one.rule, one.verdict, one.found, one.message)
            for one in (await lab.check(claim)).findings
            if one.basis == NEEDS_NOBODY and one.verdict != "NOTED"
        }
        assert {rule for rule, *_ in honest} == {"signatures", "approval", "token", "owner", "spender", "amount"}
        inner = calls(sent, len(steps), approve(wallet, thief, 7))

        def both(answer: Any, inner: Answer = inner) -> Any:
            return inner(_swapped_mints(answer))

        for lies in (
            {"getTransaction": inner},
            {"getTransaction": calls(sent, len(steps), revoke(wallet))},
            {"getTransaction": _swapped_mints},
            {"getTransaction": both},
            {"getMultipleAccounts": _swapped_accounts},
            {"getMultipleAccounts": lambda _: Refusal(-32601)},
        ):
            findings = (await lab.check(claim, **lies)).findings
            shown = {
                (one.rule, one.verdict, one.found, one.message)
                for one in findings
                if one.basis == NEEDS_NOBODY and one.verdict != "NOTED"
            }
            assert shown <= honest, (kind, shown - honest)


def _swapped_mints(answer: Any) -> Any:
    """Return a transaction with the mints of its accounts told the other way round, and the first for those alone."""
    meta = dict(answer["meta"])
    for name in ("preTokenBalances", "postTokenBalances"):
        mints = [one["mint"] for one in meta[name]]
        others = mints[::-1] if len(mints) > 1 else [TOKEN_PROGRAM] * len(mints)
        meta[name] = [one | {"mint": mint} for one, mint in zip(meta[name], others, strict=True)]
    return answer | {"meta": meta}


def _swapped_accounts(answer: Any) -> Any:
    return answer | {"value": answer["value"][::-1]}


def test_a_file_of_before_keeps_its_verdict() -> None:
    file = json.loads((Path(__file__).parent / "documents" / "evidence-1-solana.json").read_text())
    claimed = file["claim"]["approval"]
    [endpoint] = file["endpoints"]
    rpc = ReplayRpc([Exchange(one["method"], one["params"], one["body"]) for one in endpoint["exchanges"]])
    chain = replace(SOLANA, genesis_hash=claimed["chain"])
    claim = ApprovalClaim(
        chain,
        claimed["transaction"],
        Token(claimed["token"]["symbol"], claimed["token"]["address"], claimed["token"]["decimals"]),
        claimed["owner"],
        claimed["spender"],
        int(claimed["amount"]),
        raw=claimed["raw"],
    )
    check = run_offline(check_approval(claim, rpc, run_offline(get_head(chain, rpc, "latest"))))
    assert (verdict(check), check.state, still_active(check)) == (file["report"]["verdict"], "active", "VERIFIED")
    written = file["report"]["amounts"]
    assert {name: int(value) for name, value in written.items()} == asdict(check.amounts)


async def test_what_came_later_is_about_the_present(lab: SolanaLab, standing: Any) -> None:
    for claim, _ in standing.values():
        check = await lab.check(claim)
        rules = {one.rule for one in check.findings if one.about == "present"}
        assert rules == {"allowance", "balance", "spendable", "state", "still-active"}


async def test_account_bytes_that_are_none_are_not_taken_for_an_account(lab: SolanaLab, spent: Any) -> None:
    (claim, _head), _ = spent

    def cut(answer: Any) -> Any:
        data = b64decode(answer["value"][2]["data"][0])
        answer["value"][2]["data"][0] = b64encode(data[:-1]).decode()
        return answer

    check = await lab.check(claim, getMultipleAccounts=cut)
    assert (verdict(check), check.state, still_active(check)) == ("VERIFIED", None, "UNDETERMINED")
    assert finding(check, "allowance").verdict == "UNDETERMINED"


async def test_more_accounts_than_can_be_read_at_one_slot_are_not_read_at_several(lab: SolanaLab) -> None:
    with pytest.raises(NodeError, match="one slot"):
        await get_accounts(lab.rpc, [lab.token.address] * 101, 0)


async def test_a_node_that_is_behind_the_transaction_cannot_say_what_became_of_it(lab: SolanaLab, spent: Any) -> None:
    (claim, _head), _ = spent

    def old(answer: Any) -> Any:
        answer["context"]["slot"] = 1
        return answer

    check = await lab.check(claim, getMultipleAccounts=old)
    assert (verdict(check), check.state, still_active(check)) == ("VERIFIED", None, "UNDETERMINED")
    assert "behind" in finding(check, "allowance").message


async def test_a_node_that_does_not_say_whether_it_succeeded_leaves_it_open(lab: SolanaLab, spent: Any) -> None:
    (claim, _head), _ = spent
    check = await lab.check(claim, getTransaction=lambda answer: answer | {"meta": None})
    assert (verdict(check), finding(check, "status").verdict) == ("UNDETERMINED", "UNDETERMINED")


async def test_a14_bytes_that_the_owner_never_signed_reject_the_node(lab: SolanaLab, spent: Any) -> None:
    (claim, _head), _ = spent
    for position in (0, 1, 40, 70, 100, -1):

        def flipped(answer: Any, position: int = position) -> Any:
            raw = bytearray(b64decode(answer["transaction"][0]))
            raw[position] ^= 1
            return answer | {"transaction": [b64encode(raw).decode(), "base64"]}

        with pytest.raises(ContradictionError, match="never signed"):
            await lab.check(claim, getTransaction=flipped)

    def longer(answer: Any) -> Any:
        raw = b64decode(answer["transaction"][0]) + b"\0"
        return answer | {"transaction": [b64encode(raw).decode(), "base64"]}

    with pytest.raises(ContradictionError, match="never signed"):
        await lab.check(claim, getTransaction=longer)


async def test_a_node_that_contradicts_itself_about_slot_or_status_is_rejected(lab: SolanaLab, spent: Any) -> None:
    (claim, _head), _ = spent

    def elsewhere(answer: Any) -> Any:
        answer["value"][0]["slot"] += 1
        return answer

    def failed(answer: Any) -> Any:
        answer["value"][0]["err"] = "AccountInUse"
        return answer

    for lie in (elsewhere, failed):
        with pytest.raises(ContradictionError, match="two slots, or that it failed"):
            await lab.check(claim, getSignatureStatuses=lie)
    # Another spelling of the error is no contradiction.
    reason = {"InstructionError": [0, "BorshIoError"]}
    check = await lab.check(
        claim,
        getSignatureStatuses=failed,
        getTransaction=lambda answer: answer | {"meta": answer["meta"] | {"err": reason}},
    )
    assert refuted(check) == ["status"]


async def test_what_a_node_answers_no_more_takes_nothing_from_what_it_showed(spent: Any) -> None:
    (claim, head), exchanges = spent
    asked = [one for one in exchanges if one.method not in ("getGenesisHash", "getSlot")]
    with pytest.raises(NodeUnreachableError):
        run_offline(check_approval(claim, ReplayRpc([replace(asked[0], body=None), *asked[1:]]), head))
    for silent in range(1, len(asked)):
        one = [replace(exchange, body=None) if at == silent else exchange for at, exchange in enumerate(asked)]
        for kept in (asked[:silent], [*one[: silent + 1]], one):
            check = run_offline(check_approval(claim, ReplayRpc(kept), head))
            read = check.amounts.remaining is not None
            assert (verdict(check), still_active(check)) == ("VERIFIED", "REFUTED" if read else "UNDETERMINED")
    assert run_offline(check_approval(claim, ReplayRpc(asked), head)).state == "reduced"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.decimals(allow_nan=False).map(str),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_answer_at_all_brings_a_check_down(spent: Any, data: st.DataObject) -> None:
    (claim, head), exchanges = spent
    asked = [one for one in exchanges if one.method not in ("getGenesisHash", "getSlot")]
    told = [(one.method, json.loads(str(one.body))["result"]) for one in asked]
    lied = data.draw(st.integers(0, len(told) - 1))
    queue: dict[str, list[Any]] = {}
    for index, (method, answer) in enumerate(told):
        queue.setdefault(method, []).append(_with_a_lie(answer, data) if index == lied else answer)
    rpc = LyingRpc(None, {name: lambda _, left=queue[name]: left.pop(0) if left else None for name in queue})
    try:
        check = run_offline(check_approval(claim, rpc, head))
    except ChainError:
        return
    assert verdict(check) in ("VERIFIED", "REFUTED", "UNDETERMINED")


def _with_a_lie(value: Any, data: st.DataObject) -> Any:
    """Return an answer with something else in one place of it."""
    if isinstance(value, dict) and value and data.draw(st.integers(0, 5)):
        key = data.draw(st.sampled_from(sorted(value)))
        return value | {key: _with_a_lie(value[key], data)}
    if isinstance(value, list) and value and data.draw(st.integers(0, 5)):
        index = data.draw(st.integers(0, len(value) - 1))
        return [*value[:index], _with_a_lie(value[index], data), *value[index + 1 :]]
    return data.draw(_JSON)
