"""The line without a wallet: it says exactly what must be signed, takes the answer, and stands as JSON in between."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from line_lab import (
    POST_APPROVAL,
    UNIT,
    Clock,
    Line,
    WalletApp,
    hash_of,
    key_wallet,
    open_line,
    sign_request,
    sign_text,
)

from chains.errors import RpcError, SignatureMismatchError, TransactionPendingError
from chains.types import SolanaTransaction
from delegation import Context, Delegation, answer, awaiting, carry, discard_request
from delegation.errors import DelegationEndedError, InvalidRequestError, NotAuthenticatedError, OwnerBusyError
from delegation.sandbox import Sandbox
from delegation.signing import SigningRequest


def headless(line: Line) -> Context:
    return replace(line.context, wallet=None)


def through_json(d: Delegation) -> Delegation:
    """Return the delegation as another process reads it."""
    text = d.model_dump_json()
    assert Delegation.model_validate_json(text) == d
    json.loads(text)
    return Delegation.model_validate_json(text)


def next_request(d: Delegation, kind: str) -> SigningRequest:
    request = awaiting(through_json(d))
    assert request is not None
    assert request.kind == kind
    return request


@pytest.mark.parametrize("sends", [False, True], ids=["signed bytes", "a hash"])
@pytest.mark.parametrize("network", ["linea", "solana"])
async def test_an_app_drives_the_line_by_signed_bytes_or_by_the_hash_of_what_its_wallet_sent(
    sandbox: Sandbox, tmp_path: Path, network: str, sends: bool
) -> None:
    async with open_line(sandbox, tmp_path, network) as line:
        context = headless(line)
        d = through_json(await carry(line.new("5000"), context))
        request = next_request(d, "transaction").request
        given = await WalletApp(line).send(request) if sends else sign_request(request, line.key)
        d = through_json(answer(d, context.journal, given))
        assert awaiting(d) is None
        d = through_json(await carry(d, context))
        assert d.station == "ownership"
        text = next_request(d, "message").request
        d = through_json(answer(d, context.journal, sign_text(text, line.key)))
        d = through_json(await carry(d, context))
        assert awaiting(d) is None
        assert d.verification is not None
        assert d.verification.verdict == "VERIFIED"
        assert await line.count_signed() == 1
        assert await line.statuses() == [201]


async def test_both_steps_of_a_token_with_the_zero_first_rule_are_asked_for_in_turn(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "ethereum", "usdt") as line:
        await line.approve_directly(7)
        context = headless(line)
        d = await carry(line.new("5000"), context)
        for step in (0, 5000 * UNIT):
            request = next_request(d, "transaction").request
            assert int(request["params"][0]["data"][-64:], 16) == step
            d = await carry(answer(through_json(d), context.journal, sign_request(request, line.key)), context)
        assert next_request(d, "message")
        assert await line.allowance() == 5000 * UNIT


@pytest.mark.parametrize("network", ["base", "solana"])
async def test_an_answer_that_is_no_signature_of_what_was_asked_is_refused_and_nothing_is_lost(
    sandbox: Sandbox, tmp_path: Path, network: str
) -> None:
    async with open_line(sandbox, tmp_path, network) as line, open_line(sandbox, tmp_path, network) as other:
        context = headless(line)
        d = await carry(line.new("5000"), context)
        request = next_request(d, "transaction").request
        another = next_request(
            await carry(line.new("6000"), headless(other_journal(line, other))), "transaction"
        ).request
        good = sign_request(request, line.key)
        wrong = [
            sign_request(another, line.key),
            sign_request(request, other.key),
            good[:-2] + ("00" if good[-2:] != "00" else "11"),
            "garbage",
            "",
            "0x",
            "0x02" + "ff" * 200,
            "A" * 200,
            "1" * 63,
            hash_of(good, line.key)[:-4],
            line.owner,
        ]
        for given in wrong:
            with pytest.raises(SignatureMismatchError):
                answer(d, context.journal, given)
        assert line.only() == d
        assert next_request(d, "transaction").request == request
        d = await carry(answer(d, context.journal, good), context)
        text = next_request(d, "message").request
        wrong = [sign_text(text, other.key), await key_wallet(line.key).sign_message("another text"), "garbage", ""]
        for given in wrong:
            with pytest.raises(SignatureMismatchError):
                answer(d, context.journal, given)
        assert line.only() == d
        d = await carry(answer(d, context.journal, sign_text(text, line.key)), context)
        assert d.station == "done"


def other_journal(line: Line, other: Line) -> Line:
    """Return `line` with a journal of another program, which does not know that its owner is busy."""
    return replace(line, context=replace(line.context, journal=other.context.journal))


async def test_nothing_is_awaited_of_a_delegation_that_has_not_been_carried_or_is_done(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        new = line.new("5000")
        done = await carry(new, line.context)
        for d in (new, done):
            assert awaiting(d) is None
            with pytest.raises(InvalidRequestError, match="not waiting"):
                answer(d, line.context.journal, "0x" + "ab" * 32)


async def test_asking_again_changes_nothing_while_the_answer_is_awaited(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "solana") as line:
        d = await carry(line.new("5000"), headless(line))
        assert await carry(d, headless(line)) == d
    async with open_line(sandbox, tmp_path, "base") as line:
        d = await carry(line.new("5000"), headless(line))
        assert await carry(d, headless(line)) == d
        d = await carry(
            answer(d, line.context.journal, sign_request(next_request(d, "transaction").request, line.key)),
            headless(line),
        )
        assert await carry(d, headless(line)) == d


async def test_a_transaction_that_was_sent_and_never_answered_is_found_when_the_line_goes_on(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        d = await carry(line.new("5000"), headless(line))
        await WalletApp(line).send(next_request(d, "transaction").request)
        d = await carry(d, headless(line))
        assert d.station == "ownership"
        assert await line.count_signed() == 1


async def test_a_hash_of_another_transaction_is_found_out_by_the_next_carry_and_asked_for_again(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        other = await line.send_directly("0x", to=line.owner)
        d = await carry(line.new("5000"), headless(line))
        request = next_request(d, "transaction")
        with pytest.raises(SignatureMismatchError):
            await carry(answer(d, line.context.journal, other), headless(line))
        d = await carry(line.only(), headless(line))
        assert awaiting(d) == request
        sent = await WalletApp(line).send(request.request)
        d = await carry(answer(d, line.context.journal, sent), headless(line))
        assert d.approvals[0].hash == sent


async def test_a_statement_that_nobody_signed_in_time_is_replaced_and_the_old_signature_is_refused(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    clock = Clock()
    async with open_line(sandbox, tmp_path, "base", now=clock) as line:
        context = headless(line)
        d = await carry(line.new("5000"), context)
        d = await carry(
            answer(d, context.journal, sign_request(next_request(d, "transaction").request, line.key)), context
        )
        stale = next_request(d, "message").request
        clock.ahead = timedelta(seconds=130)
        await line.platform.advance(130)
        d = await carry(d, context)
        fresh = next_request(d, "message").request
        assert fresh != stale
        with pytest.raises(SignatureMismatchError):
            answer(d, context.journal, sign_text(stale, line.key))
        d = await carry(answer(d, context.journal, sign_text(fresh, line.key)), context)
        assert d.station == "done"
        assert await line.statuses() == [201]


async def test_a_refused_submission_leaves_the_app_nothing_to_sign(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        await line.platform.misbehave(POST_APPROVAL, status=401)
        with pytest.raises(NotAuthenticatedError):
            await line.carry("5000")
        d = line.only()
        assert awaiting(d) is None
        assert (await carry(d, headless(line))).station == "done"


async def test_an_abandoned_approval_is_discarded_and_the_owner_is_free_for_another(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        abandoned = await carry(line.new("5000"), headless(line))
        request = next_request(abandoned, "transaction").request
        with pytest.raises(OwnerBusyError) as caught:
            await line.carry("7")
        assert caught.value.found == abandoned.id
        assert abandoned.id in caught.value.hint
        assert await line.count_signed() == 0
        discarded = await discard_request(abandoned, line.context)
        assert not discarded.begun
        assert awaiting(discarded) is None
        done = await line.carry("7")
        assert done.station == "done"
        with pytest.raises(RpcError, match="nonce too low"):
            await WalletApp(line).send(request)
        with pytest.raises(DelegationEndedError) as ended:
            await carry(discarded, line.context)
        assert ended.value.found == done.id
        assert await line.count_signed() == 1


async def test_what_the_wallet_did_make_cannot_be_discarded_but_is_carried_on(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        d = await carry(line.new("5000"), headless(line))
        sent = await WalletApp(line).send(next_request(d, "transaction").request)
        with pytest.raises(InvalidRequestError, match=sent):
            await discard_request(d, line.context)
        d = await carry(line.only(), line.context)
        assert (d.station, d.approvals[0].hash) == ("done", sent)


async def test_a_solana_transaction_is_discarded_only_once_it_can_never_land(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "solana") as line:
        d = await carry(line.new("5000"), headless(line))
        with pytest.raises(TransactionPendingError, match="can still sign"):
            await discard_request(d, line.context)
        unsigned = d.approvals[0].unsigned
        assert isinstance(unsigned, SolanaTransaction)
        past = d.approvals[0].model_copy(update={"unsigned": replace(unsigned, last_valid_block_height=1)})
        discarded = await discard_request(line.context.keep(d, "hand_out", approvals=(past,)), line.context)
        assert not discarded.in_flight


async def test_what_was_never_handed_out_cannot_be_discarded(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        for d in (line.new("5000"), await line.carry("5000")):
            with pytest.raises(InvalidRequestError, match="no transaction that a wallet was asked for"):
                await discard_request(d, line.context)
