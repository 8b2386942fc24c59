"""Telling the platform exactly once, whatever becomes of its answers; the approval is never made again for it."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from line_lab import (
    POST_APPROVAL,
    SOLANA_POST_APPROVAL,
    UNIT,
    WALLET_LIST,
    Clock,
    CrashError,
    Line,
    TamperedWallet,
    die_at,
    open_line,
)

from delegation import Delegation, StatementTerms, carry, renew
from delegation.errors import (
    ClientKeyInvalidError,
    GatewayUnreachableError,
    InvalidRequestError,
    NotAuthenticatedError,
    NotAuthorizedError,
    PlatformFailedError,
    RateLimitedError,
    RejectedError,
    UnexpectedAnswerError,
)
from delegation.gateway.client import Gateway
from delegation.sandbox import Sandbox


async def pass_time(line: Line, clock: Clock, seconds: int) -> None:
    """Move the platform's clock and ours."""
    await line.platform.advance(seconds)
    clock.ahead += timedelta(seconds=seconds)
    line.context.gateway._now = clock


async def check_done_once(line: Line, d: Delegation, *, signed: int, accepted: int) -> None:
    """Check that this many transactions were signed and this many proofs taken, in all, and that all agree."""
    assert d.station == "done"
    assert d.verification is not None
    assert d.verification.verdict == "VERIFIED", d.verification
    assert await line.count_signed() == signed
    assert (await line.statuses()).count(201) == accepted


async def stop_at_submission(line: Line, post_approval: str = POST_APPROVAL) -> Delegation:
    """Carry a grant of 5000 until the platform turns the access token away, before it has looked at the proof."""
    await line.platform.misbehave(post_approval, status=401)
    with pytest.raises(NotAuthenticatedError):
        await line.carry("5000")
    return line.only()


@pytest.mark.parametrize(("network", "path"), [("linea", POST_APPROVAL), ("solana", SOLANA_POST_APPROVAL)])
async def test_a50_a_first_proof_whose_answer_was_lost_is_seen_in_the_list_and_not_repeated(
    sandbox: Sandbox, tmp_path: Path, network: str, path: str
) -> None:
    async with open_line(sandbox, tmp_path, network) as line:
        await line.platform.misbehave(path, lose_answer=True)
        d = await line.carry("5000")
        assert d.submission is not None
        assert (d.submission.outcome, d.submission.status) == ("already_accepted", None)
        assert await line.statuses() == [201]
        await check_done_once(line, d, signed=1, accepted=1)


async def test_a50_a_raise_whose_answer_was_lost_is_proved_anew_and_the_refusal_of_that_is_understood(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        wallet = TamperedWallet(line.key)
        context = replace(line.context, wallet=wallet)
        await carry(line.new("5000"), context)
        await line.platform.misbehave(POST_APPROVAL, lose_answer=True)
        d = await carry(line.new("10000"), context)
        assert d.submission is not None
        assert (d.submission.outcome, d.submission.status) == ("already_accepted", 409)
        assert d.lost_answers == 1
        assert [proof["message"] for proof in await line.proofs()] == ["", "", "Transaction already used"]
        assert len(set(wallet.texts)) == 3, "each proof has a token and a signature of its own"
        await check_done_once(line, d, signed=2, accepted=2)


async def test_a_raise_whose_answer_was_lost_is_finished_also_if_the_card_was_used_since(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        await line.carry("5000")
        await line.platform.misbehave(POST_APPROVAL, lose_answer=True)
        with pytest.raises(CrashError):
            await carry(line.new("10000"), replace(line.context, progress=die_at("the platform's answer was lost")))
        await sandbox.spend("base", "usdc", line.owner, 1200 * UNIT)
        d = await carry(line.only(), line.context)
        assert d.submission is not None
        assert d.submission.outcome == "already_accepted"
        await check_done_once(line, d, signed=2, accepted=2)


async def test_a_connection_dropped_before_the_platform_acted_leads_to_one_repetition(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        await line.platform.misbehave(POST_APPROVAL, drop=True)
        d = await line.carry("5000")
        assert d.submission is not None
        assert (d.submission.outcome, d.submission.status) == ("accepted", 201)
        await check_done_once(line, d, signed=1, accepted=1)


async def test_answers_that_leave_open_what_was_done_lead_to_a_repetition(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        for status in (500, 302):
            await line.platform.misbehave(POST_APPROVAL, status=status)
        d = await line.carry("5000")
        assert d.submission is not None
        assert d.submission.outcome == "accepted"
        await check_done_once(line, d, signed=1, accepted=1)


async def test_a_platform_that_keeps_failing_stops_the_line_after_three_attempts_and_resume_finishes_it(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        await line.platform.misbehave(POST_APPROVAL, times=3, status=502)
        with pytest.raises(PlatformFailedError):
            await line.carry("5000")
        stopped = line.only()
        assert stopped.station == "submission"
        assert await line.listed() is None
        d = await carry(stopped, line.context)
        assert d.ownership == stopped.ownership, "the platform's list shows that it was not taken, so it stays good"
        assert d.approvals == stopped.approvals
        await check_done_once(line, d, signed=1, accepted=1)


async def test_a_platform_that_asks_for_patience_gets_it(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        await line.platform.misbehave(POST_APPROVAL, status=429, headers={"Retry-After": "1"})
        await check_done_once(line, await line.carry("5000"), signed=1, accepted=1)


async def test_a_proof_that_was_not_judged_stays_good_and_resume_submits_it_unchanged(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    refusals = {
        401: NotAuthenticatedError,
        403: NotAuthorizedError,
        429: RateLimitedError,
        498: ClientKeyInvalidError,
    }
    async with open_line(sandbox, tmp_path, "base") as line:
        stopped = line.new("5000")
        proofs = set()
        for status, error in refusals.items():
            await line.platform.misbehave(POST_APPROVAL, status=status, headers={"Retry-After": "3600"})
            with pytest.raises(error) as caught:
                await carry(stopped, line.context)
            stopped = line.only()
            assert (stopped.state, stopped.submission) == ("signed", None)
            assert stopped.proof is not None
            assert stopped.proof.token not in str(caught.value)
            proofs.add(stopped.proof)
        d = await carry(stopped, line.context)
        assert proofs == {d.proof}
        await check_done_once(line, d, signed=1, accepted=1)


async def test_a_lost_answer_is_not_forgotten_when_the_repetition_is_not_judged(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        await line.carry("5000")
        await line.platform.misbehave(POST_APPROVAL, lose_answer=True)
        await line.platform.misbehave(POST_APPROVAL, status=401)
        with pytest.raises(NotAuthenticatedError):
            await line.carry("10000")
        d = await carry(line.only(), line.context)
        assert d.submission is not None
        assert d.submission.outcome == "already_accepted"
        await check_done_once(line, d, signed=2, accepted=2)


async def test_a_refused_proof_is_made_again_with_a_new_token_and_the_same_approval(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        wallet = TamperedWallet(line.key)
        context = replace(line.context, wallet=wallet)
        stopped = line.new("5000")
        for status in (400, 422):
            await line.platform.misbehave(POST_APPROVAL, status=status, body={"message": "Invalid sigMessage"})
            with pytest.raises(RejectedError, match="Invalid sigMessage"):
                await carry(stopped, context)
            stopped = line.only()
            assert (stopped.station, stopped.delegation_token, stopped.proof) == ("ownership", None, None)
        d = await carry(stopped, context)
        assert d.approvals == stopped.approvals
        assert len(set(wallet.texts)) == 3
        assert len(wallet.signed) == 1
        await check_done_once(line, d, signed=1, accepted=1)


async def test_a_transaction_that_the_platform_has_already_is_understood_without_any_memory_of_it(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        first = await line.carry("5000")
        d = await carry(renew(first), line.context)
        assert d.submission is not None
        assert (d.submission.outcome, d.submission.status) == ("already_accepted", 409)
        assert d.approvals == first.approvals
        await check_done_once(line, d, signed=1, accepted=1)


async def test_a_platform_that_cannot_be_reached_costs_nothing_that_is_on_chain(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        stopped = await stop_at_submission(line)
        async with Gateway("http://127.0.0.1:9", "key", "token") as dead:
            d = stopped.model_copy(update={"gateway": "127.0.0.1:9"})
            with pytest.raises(GatewayUnreachableError):
                await carry(d, replace(line.context, gateway=dead))
        stopped = line.only().model_copy(update={"gateway": stopped.gateway})
        assert stopped.submission is None, "it never reached the platform, so there is nothing to ask about"
        await check_done_once(line, await carry(stopped, line.context), signed=1, accepted=1)


async def test_a_token_that_expired_is_renewed_with_a_new_signature_and_the_same_approval(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    clock = Clock()
    async with open_line(sandbox, tmp_path, "base", now=clock) as line:
        stopped = await stop_at_submission(line)
        await pass_time(line, clock, 700)
        d = await carry(stopped, line.context)
        assert d.delegation_token is not None
        assert stopped.delegation_token is not None
        assert d.delegation_token.token != stopped.delegation_token.token
        assert d.ownership != stopped.ownership
        assert d.approvals == stopped.approvals
        await check_done_once(line, d, signed=1, accepted=1)


async def test_a_token_that_expired_at_the_platform_before_its_time_is_renewed_at_once(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "solana") as line:
        stopped = await stop_at_submission(line, SOLANA_POST_APPROVAL)
        await line.platform.advance(700)
        d = await carry(stopped, line.context)
        assert [proof["message"] for proof in await line.proofs()] == ["Delegation token expired", ""]
        assert d.approvals == stopped.approvals
        await check_done_once(line, d, signed=1, accepted=1)


async def test_a_platform_that_calls_every_token_expired_is_believed_once(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        wallet = TamperedWallet(line.key)
        body = {"message": "Delegation token expired"}
        await line.platform.misbehave(POST_APPROVAL, times=2, status=400, body=body)
        with pytest.raises(RejectedError, match="Delegation token expired"):
            await carry(line.new("5000"), replace(line.context, wallet=wallet))
        assert len(wallet.texts) == 2
        stopped = line.only()
        assert (stopped.state, stopped.delegation_token) == ("approved", None)
        await check_done_once(line, await carry(stopped, line.context), signed=1, accepted=1)


async def test_a_statement_that_expired_is_signed_again_for_the_same_token(sandbox: Sandbox, tmp_path: Path) -> None:
    clock = Clock()
    async with open_line(sandbox, tmp_path, "base", now=clock) as line:
        stopped = await stop_at_submission(line)
        await pass_time(line, clock, 150)
        d = await carry(stopped, line.context)
        assert d.delegation_token == stopped.delegation_token
        assert d.ownership != stopped.ownership
        await check_done_once(line, d, signed=1, accepted=1)


async def test_a_person_who_signs_too_late_is_asked_again_and_no_stale_proof_is_sent(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    clock = Clock()
    async with open_line(sandbox, tmp_path, "base", now=clock) as line:

        async def dawdle() -> None:
            if not wallet.texts:
                await pass_time(line, clock, 150)

        wallet = TamperedWallet(line.key, before_text=dawdle)
        d = await carry(line.new("5000"), replace(line.context, wallet=wallet))
        assert len(wallet.texts) == 2
        assert await line.statuses() == [201]
        await check_done_once(line, d, signed=1, accepted=1)


@pytest.mark.parametrize("refusal", [409, 400])
async def test_a50_a_dead_token_whose_answer_was_lost_is_replaced_and_the_platforms_refusal_is_understood(
    sandbox: Sandbox, tmp_path: Path, refusal: int
) -> None:
    clock = Clock()
    async with open_line(sandbox, tmp_path, "base", now=clock) as line:
        await line.carry("5000")
        await line.platform.misbehave(POST_APPROVAL, lose_answer=True)
        with pytest.raises(CrashError):
            await carry(line.new("10000"), replace(line.context, progress=die_at("the platform's answer was lost")))
        await pass_time(line, clock, 700)
        if refusal == 400:
            body = {"message": "Transaction already used"}
            await line.platform.misbehave(POST_APPROVAL, status=400, body=body)
        d = await carry(line.only(), line.context)
        assert d.submission is not None
        assert (d.submission.outcome, d.submission.status) == ("already_accepted", refusal)
        await check_done_once(line, d, signed=2, accepted=2)


async def test_a_token_that_is_dead_on_arrival_stops_the_line(sandbox: Sandbox, tmp_path: Path) -> None:
    clock = Clock(ahead=timedelta(seconds=590))
    async with open_line(sandbox, tmp_path, "base", now=clock) as line:
        with pytest.raises(UnexpectedAnswerError, match="too soon to be used"):
            await line.carry("5000")
        clock.ahead = timedelta()
        await check_done_once(line, await carry(line.only(), line.context), signed=1, accepted=1)


def test_a_statement_that_nobody_could_sign_in_time_is_not_asked_for() -> None:
    with pytest.raises(InvalidRequestError, match="within 29 seconds"):
        StatementTerms(domain="example.com", lifetime=timedelta(seconds=29))
    StatementTerms(domain="example.com", lifetime=timedelta(seconds=30))


async def test_a_lost_answer_is_not_taken_for_a_yes_while_the_list_cannot_be_read(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        await line.platform.misbehave(POST_APPROVAL, drop=True)
        # It is read for the plan and right before the proof, and both times without fault.
        await line.platform.misbehave(WALLET_LIST, method="GET", delay=0.001, times=2)
        await line.platform.misbehave(WALLET_LIST, method="GET", status=403)
        with pytest.raises(NotAuthorizedError):
            await line.carry("5000")
        stopped = line.only()
        assert stopped.submission is not None
        assert not stopped.told
        await check_done_once(line, await carry(stopped, line.context), signed=1, accepted=1)


async def test_a_proof_of_another_approval_is_refused_by_a_judge_of_its_own(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        stopped = await stop_at_submission(line)
        assert stopped.plan is not None
        lie = stopped.plan.__class__.model_validate({**stopped.plan.model_dump(), "amount": 6000 * UNIT})
        with pytest.raises(RejectedError, match="Approval amount does not match"):
            await carry(stopped.model_copy(update={"plan": lie}), line.context)
        assert await line.listed() is None
