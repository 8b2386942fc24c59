"""Giving a delegation up: at once where nothing was signed, never while it counts or may still count on chain."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from line_lab import UNIT, Clock, CrashError, Line, TamperedWallet, WalletApp, die_at, open_line

from chains.errors import (
    NodeError,
    SignatureMismatchError,
    TransactionDroppedError,
    TransactionPendingError,
    UnexpectedAllowanceError,
)
from chains.family import open_node
from chains.types import SignedTransaction, SolanaTransaction
from chains.wallets import SendingWallet
from delegation import Context, Delegation, Gateway, awaiting, carry
from delegation.abandonment import abandon
from delegation.errors import (
    DelegationEndedError,
    GatewayUnreachableError,
    InvalidRequestError,
    JournalConflictError,
    StillHarmfulError,
)
from delegation.flow import new_delegation
from delegation.journal import open_journal
from delegation.replacement import cancel, speed_up
from delegation.sandbox import Sandbox

DEAD = "http://127.0.0.1:9"
NETWORKS = ["base", "solana"]


@pytest.fixture
async def line(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Line]:
    async with open_line(sandbox, tmp_path, "base", settle_timeout=0.1) as opened:
        yield opened


@pytest.fixture
async def solana(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Line]:
    async with open_line(sandbox, tmp_path, "solana") as opened:
        yield opened


@pytest.fixture
async def cut_off(line: Line) -> AsyncIterator[Context]:
    """The context of a machine that reaches neither the network nor the platform."""
    node = open_node(line.context.node.chain, DEAD)
    gateway = Gateway(DEAD, "key", "token")
    yield replace(line.context, node=node, gateway=gateway)
    await gateway.aclose()
    await node.aclose()


async def stopped(line: Line, words: str, amount: str = "900", **changes: Any) -> Delegation:
    """Return a delegation whose process died when it said these words."""
    with pytest.raises(CrashError):
        await carry(line.new(amount), replace(line.context, progress=die_at(words), **changes))
    return line.only()


async def handed_out(line: Line, amount: str = "900") -> Delegation:
    """Return a delegation whose approval an app has to sign and send."""
    d = await carry(line.new(amount), replace(line.context, wallet=None))
    assert d.state == "handed_out"
    return d


@asynccontextmanager
async def no_mining(line: Line) -> AsyncIterator[None]:
    """Keep what is sent in the mempool, and mine it at the end."""
    await line.rpc.request("evm_setAutomine", [False])
    try:
        yield
    finally:
        await line.rpc.request("evm_setAutomine", [True])
        await line.rpc.request("evm_mine")


async def use_nonce(line: Line) -> str:
    """Use up the owner's next nonce by something else."""
    return await line.send_directly("0x", to=line.owner)


async def require_refusal(line: Line, d: Delegation, why: str, what_to_do: str) -> None:
    """Require that it is not given up, and stands in the journal as before."""
    with pytest.raises(StillHarmfulError, match=why) as refused:
        await abandon(d, line.context)
    assert d.id in refused.value.message
    assert what_to_do in refused.value.hint
    assert line.context.journal.load(d.id) == d


async def require_abandoned(line: Line, d: Delegation, why: str) -> None:
    """Require that it is given up, that this is durable, and that its owner is free for another."""
    ended = await abandon(d, line.context)
    assert line.context.journal.load(d.id) == ended
    assert ended.state == ended.station == "abandoned"
    assert ended.ended is not None
    assert why in ended.ended.reason
    with pytest.raises(DelegationEndedError, match="abandoned"):
        await carry(ended, line.context)
    assert (await carry(line.new("7"), replace(line.context, settle_timeout=60))).state == "done"


async def test_what_nobody_agreed_to_is_given_up_with_neither_node_nor_platform(cut_off: Context, line: Line) -> None:
    d = new_delegation(line.request("900"), cut_off)
    with pytest.raises((NodeError, GatewayUnreachableError)):
        await carry(d, cut_off)
    saved = line.only()
    assert saved.state == "requested"
    assert (await abandon(saved, cut_off)).state == "abandoned"


async def test_what_was_agreed_to_and_not_signed_is_given_up_without_a_node(line: Line) -> None:
    d = await stopped(line, "preparing")
    assert d.state == "agreed"
    dead = open_node(line.context.node.chain, DEAD)
    assert (await abandon(d, replace(line.context, node=dead))).state == "abandoned"
    await dead.aclose()
    assert (await replace(line, context=replace(line.context, settle_timeout=60)).carry("5")).state == "done"


async def test_what_a_person_still_answers_in_another_process_is_not_used(line: Line) -> None:
    elsewhere = open_journal(line.journal)

    async def give_up(signed: SignedTransaction) -> SignedTransaction:
        await abandon(elsewhere.list()[-1], replace(line.context, journal=elsewhere))
        return signed

    wallet = TamperedWallet(line.key, after=give_up)
    with pytest.raises(JournalConflictError):
        await carry(line.new("900"), replace(line.context, wallet=wallet))
    elsewhere.close()
    assert len(wallet.signed) == 1
    assert await line.count_signed() == 0
    assert line.only().state == "abandoned"


async def test_a_question_that_another_process_asks_about_a_plan_comes_to_nothing(line: Line) -> None:
    elsewhere = open_journal(line.journal)
    loop = asyncio.get_running_loop()

    def give_up_and_agree(_: object) -> None:
        """The person agrees only after somebody else has given it up: a blocking question, as a terminal asks it."""
        other = elsewhere.list()[-1]
        coroutine = abandon(other, replace(line.context, journal=elsewhere))
        with pytest.raises(StopIteration):  # it asks nobody, so that it never waits
            coroutine.send(None)

    with pytest.raises(JournalConflictError):
        await carry(line.new("900"), replace(line.context, agree=give_up_and_agree))
    assert loop.is_running()
    elsewhere.close()
    assert (await line.count_signed(), line.only().state) == (0, "abandoned")


async def test_what_a_wallet_was_asked_for_is_not_given_up_while_its_nonce_is_free(line: Line) -> None:
    d = await handed_out(line)
    await require_refusal(line, d, "may still send it", "Cancel it")
    await use_nonce(line)
    await require_abandoned(line, d, "can never take effect")


async def test_what_a_wallet_was_asked_for_on_solana_is_not_given_up_before_it_expires(solana: Line) -> None:
    d = await handed_out(solana)
    await require_refusal(solana, d, r"may still send it. It can until about \d\d:\d\d:\d\d UTC", "Wait until about")
    await require_abandoned(solana, expire(solana, d), "can never take effect")


def expire(line: Line, d: Delegation) -> Delegation:
    """Keep of a Solana transaction in flight that its last block is long past."""
    approval = d.approvals[0]
    assert isinstance(approval.unsigned, SolanaTransaction)
    past = approval.model_copy(update={"unsigned": replace(approval.unsigned, last_valid_block_height=1)})
    return line.context.keep(d, "hand_out" if approval.sent is None else "send", approvals=(past,))


@pytest.mark.parametrize("network", NETWORKS)
async def test_what_the_wallet_did_make_is_kept_and_not_given_up(
    sandbox: Sandbox, tmp_path: Path, network: str
) -> None:
    async with open_line(sandbox, tmp_path, network) as line:
        d = await handed_out(line)
        request = awaiting(d)
        assert request is not None
        made = await WalletApp(line).send(request.request)
        await settled(line, 900 * UNIT)
        with pytest.raises(StillHarmfulError, match=f"the wallet made this approval: {made}") as refused:
            await abandon(d, line.context)
        assert "revoke" in refused.value.hint
        kept = line.only()
        assert (kept.state, kept.approvals[0].hash) == ("on_its_way", made)
        assert (await carry(kept, line.context)).state == "done"


async def settled(line: Line, allowance: int) -> None:
    for _ in range(300):
        if await line.allowance() == allowance:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the chain does not hold it")


async def confirmed(line: Line, signature: str) -> None:
    for _ in range(300):
        (status,) = (await line.rpc.request("getSignatureStatuses", [[signature]]))["value"]
        if status is not None and status["confirmationStatus"] != "processed":
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the node does not list it")


async def test_what_is_signed_and_was_never_sent_is_not_sent_by_giving_it_up(line: Line) -> None:
    d = await stopped(line, "waiting for")
    await require_refusal(line, d, "may still take effect", "Cancel it")
    assert await line.count_signed() == 0
    other = await use_nonce(line)
    await require_abandoned(line, d, other)


async def test_what_is_signed_on_solana_is_given_up_once_it_has_expired_and_is_nowhere(solana: Line) -> None:
    d = await stopped(solana, "waiting for")
    await require_refusal(solana, d, "may still take effect. It can until about", "Wait until about")
    assert await solana.count_signed() == 0
    await require_abandoned(solana, expire(solana, d), "can never be taken now")


@pytest.mark.parametrize("network", NETWORKS)
async def test_what_took_effect_is_not_given_up(sandbox: Sandbox, tmp_path: Path, network: str) -> None:
    async with open_line(sandbox, tmp_path, network) as line:
        d = await stopped(line, "waiting for")
        sent = d.approvals[0].sent
        assert isinstance(sent, SignedTransaction)
        await line.context.node.send(sent)
        await settled(line, 900 * UNIT)
        if network == "solana":
            await confirmed(line, sent.hash)
            d = expire(line, d)
        await require_refusal(line, d, f"{sent.hash} took effect", "revoke afterwards")


async def test_what_was_mined_and_failed_is_given_up(line: Line) -> None:
    d = await stopped(line, "waiting for")
    sent = d.approvals[0].sent
    assert isinstance(sent, SignedTransaction)
    await line.call_as_issuer("pause()")
    try:
        await line.broadcast(sent.raw)
    finally:
        await line.call_as_issuer("unpause()")
    await require_abandoned(line, d, "failed")


async def test_a_hash_that_no_node_knows_is_given_up_after_its_time_in_total(sandbox: Sandbox, tmp_path: Path) -> None:
    clock = Clock()
    async with open_line(sandbox, tmp_path, "base", now=clock, settle_timeout=0.1) as line:
        d = await say_hash(line, "0x" + "ab" * 32)
        await require_refusal(line, d, "has not settled", "Cancel it")
        clock.ahead = timedelta(seconds=125)
        assert (await abandon(d, line.context)).state == "abandoned"
        assert "does not know the transaction" in str(line.only().ended)


async def test_what_was_found_dropped_and_is_handed_out_again_is_given_up(sandbox: Sandbox, tmp_path: Path) -> None:
    clock = Clock()
    async with open_line(sandbox, tmp_path, "base", now=clock, settle_timeout=0.1) as line:
        d = await say_hash(line, "0x" + "ab" * 32)
        clock.ahead = timedelta(seconds=125)
        with pytest.raises(TransactionDroppedError):
            await carry(d, line.context)
        assert line.only().state == "handed_out"
        clock.ahead = timedelta()
        await require_abandoned(line, line.only(), "No node knew")


async def test_a_wallet_that_is_asked_again_after_a_dropped_hash_may_send_after_all(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    clock = Clock()
    async with open_line(sandbox, tmp_path, "base", now=clock, settle_timeout=0.1) as line:
        d = await say_hash(line, "0x" + "ab" * 32)
        clock.ahead = timedelta(seconds=125)
        with pytest.raises(TransactionDroppedError):
            await carry(d, line.context)

        async def die(_: dict[str, Any]) -> str:
            raise CrashError

        with pytest.raises(CrashError):
            await carry(line.only(), replace(line.context, wallet=SendingWallet(line.owner, "evm", die)))
        await require_refusal(line, line.only(), "may still send it", "Cancel it")


async def say_hash(line: Line, hash_: str) -> Delegation:
    """Return a delegation whose wallet sent nothing and says that it sent this."""

    async def say(_: dict[str, Any]) -> str:
        return hash_

    with pytest.raises(TransactionPendingError):
        await carry(line.new("900"), replace(line.context, wallet=SendingWallet(line.owner, "evm", say)))
    assert line.only().state == "on_its_way"
    return line.only()


async def test_a_hash_that_was_of_something_else_says_nothing_of_what_the_wallet_may_still_send(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    clock = Clock()
    async with open_line(sandbox, tmp_path, "base", now=clock, settle_timeout=5) as line:
        async with open_line(sandbox, tmp_path / "other", "base") as other:
            of_another = await use_nonce(other)

        async def say(_: dict[str, Any]) -> str:
            return of_another

        with pytest.raises(SignatureMismatchError):
            await carry(line.new("900"), replace(line.context, wallet=SendingWallet(line.owner, "evm", say)))
        clock.ahead = timedelta(hours=1)
        await require_refusal(line, line.only(), "may still send it", "Cancel it")


async def test_what_a_wallet_allowed_beyond_what_it_was_asked_for_is_not_given_up(line: Line) -> None:
    d = await handed_out(line)
    await line.approve_directly(10**30)
    with pytest.raises(StillHarmfulError):
        await abandon(d, line.context)
    d = line.only()
    with pytest.raises(StillHarmfulError, match=r"another|instead"):
        await abandon(d, line.context)
    with pytest.raises(UnexpectedAllowanceError):
        await carry(d, replace(line.context, settle_timeout=60))
    assert line.only().state == "handed_out", "what it made is known and counts no more as the answer"
    await require_refusal(line, line.only(), "the chain allows 1000000000000000000000000 USDC, more than", "Revoke it")
    assert await line.allowance() == 10**30


async def test_what_is_being_replaced_is_not_given_up_and_what_was_cancelled_has_ended(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "linea") as line:
        d = await stopped(line, "waiting for")
        async with no_mining(line):
            faster = await speed_up(d, line.context)
            await require_refusal(line, faster, "may still take effect", "Cancel it")
            with pytest.raises(CrashError):
                await cancel(faster, replace(line.context, progress=die_at("waiting for")))
        ended = await carry(line.only(), line.context)
        assert ended.state == "cancelled"
        with pytest.raises(DelegationEndedError):
            await abandon(ended, line.context)


async def test_an_approval_that_was_mined_before_an_app_signed_its_cancellation_is_not_given_up(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "linea") as line:
        d = await stopped(line, "waiting for")
        asked = await cancel(d, replace(line.context, wallet=None))
        assert (asked.state, asked.approvals[0].cancelling) == ("handed_out", True)
        sent = d.approvals[0].sent
        assert isinstance(sent, SignedTransaction)
        await line.broadcast(sent.raw)
        with pytest.raises(StillHarmfulError, match=sent.hash):
            await abandon(asked, line.context)
        done = await carry(line.only(), line.context)
        assert (done.state, done.approvals[0].hash, await line.allowance()) == ("done", sent.hash, 900 * UNIT)


@pytest.mark.parametrize("winner", ["the cancellation", "the approval"])
async def test_what_waits_to_be_cancelled_is_given_up_only_if_the_cancellation_used_its_nonce(
    sandbox: Sandbox, tmp_path: Path, winner: str
) -> None:
    async with open_line(sandbox, tmp_path, "linea") as line:
        d = await stopped(line, "waiting for")
        sent = d.approvals[0].sent
        assert isinstance(sent, SignedTransaction)
        async with no_mining(line):
            with pytest.raises(CrashError):
                await cancel(d, replace(line.context, progress=die_at("waiting for")))
            cancelling = line.only()
            await require_refusal(line, cancelling, "may still take effect", "Cancel it")
            if winner == "the approval":
                await line.rpc.request("anvil_dropTransaction", [cancelling.approvals[0].hash])
                await line.broadcast(sent.raw)
        if winner == "the cancellation":
            await require_abandoned(line, cancelling, "used up by nothing")
        else:
            await require_refusal(line, cancelling, f"{sent.hash} took effect", "revoke afterwards")


async def test_a_revocation_is_not_given_up_once_the_grant_that_it_was_to_replace_took_effect(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "linea") as line:
        grant = await stopped(line, "waiting for")
        revocation = await stopped(line, "waiting for", "0")
        sent = grant.approvals[0].sent
        assert isinstance(sent, SignedTransaction)
        await line.broadcast(sent.raw)
        await require_refusal(line, revocation, f"{sent.hash}, which it was to replace, took effect", "Carry it on")
        assert (await carry(revocation, line.context)).state == "done"
        assert await line.allowance() == 0


async def test_what_was_to_be_cancelled_with_a_revocation_counts_while_its_hash_is_known(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "linea", agree_again=lambda outdated: None) as line:
        with pytest.raises(CrashError):
            await carry(line.new("900", currency="usdt"), replace(line.context, progress=die_at("waiting for")))
        bystander = line.only().approvals[0].sent
        revocation = await stopped(line, "waiting for", "0")
        asked = await speed_up(revocation, replace(line.context, wallet=None))
        assert asked.state == "handed_out"
        assert isinstance(bystander, SignedTransaction)
        await line.broadcast(bystander.raw)
        await require_refusal(line, asked, f"{bystander.hash} took effect or may still do so", "Carry it on")


async def test_an_allowance_in_force_is_not_given_up_until_it_is_spent(line: Line) -> None:
    d = await stopped(line, "taking a token", settle_timeout=60)
    assert d.state == "approved"
    await require_refusal(line, d, "its allowance is in force: 900 USDC", "Revoke it")
    await line.sandbox.spend("base", "usdc", line.owner, 900 * UNIT)
    await require_abandoned(line, d, "allows nothing of it")


async def test_an_allowance_that_a_newer_delegation_has_replaced_is_given_up(line: Line) -> None:
    d = await stopped(line, "taking a token", settle_timeout=60)
    await carry(line.new("5"), replace(line.context, settle_timeout=60))
    await require_abandoned(line, d, line.only().id)


async def test_an_allowance_whose_block_has_left_the_chain_is_not_given_up(line: Line) -> None:
    d = await stopped(line, "taking a token", settle_timeout=60)
    await line.rpc.request("anvil_rollback", [1])
    await line.rpc.request("evm_mine")
    assert await line.allowance() == 0
    await require_refusal(line, d, "has left the chain", "Carry it on")


@pytest.mark.parametrize("words", ["waiting for", "taking a token"])
async def test_a_node_that_cannot_be_asked_leaves_it_as_it_is(line: Line, words: str) -> None:
    d = await stopped(line, words, settle_timeout=60)
    dead = open_node(line.context.node.chain, DEAD)
    with pytest.raises(NodeError):
        await abandon(d, replace(line.context, node=dead))
    await dead.aclose()
    assert line.only() == d


async def test_what_was_handed_out_is_left_as_it_is_by_a_node_that_cannot_be_asked(line: Line) -> None:
    d = await handed_out(line)
    dead = open_node(line.context.node.chain, DEAD)
    with pytest.raises(NodeError):
        await abandon(d, replace(line.context, node=dead))
    await dead.aclose()
    assert line.only() == d


async def test_what_has_come_to_its_end_is_not_given_up(line: Line) -> None:
    done = await carry(line.new("5"), replace(line.context, settle_timeout=60))
    with pytest.raises(InvalidRequestError, match="come to its end") as refused:
        await abandon(done, line.context)
    assert "revoke" in refused.value.hint
    ended = await abandon(await stopped(line, "preparing"), line.context)
    with pytest.raises(DelegationEndedError):
        await abandon(ended, line.context)


async def test_what_went_on_meanwhile_is_not_given_up(line: Line) -> None:
    behind = await stopped(line, "preparing")
    await carry(behind, replace(line.context, settle_timeout=60))
    with pytest.raises(JournalConflictError):
        await abandon(behind, line.context)
    assert line.only().state == "done"
