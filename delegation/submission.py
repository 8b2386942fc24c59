"""Telling the platform: token, ownership, proof and submission, exactly once (design, rules 3 and 4)."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Literal

from chains import ownership
from chains.amounts import format_amount
from chains.family import signature_scheme, verify_ownership
from chains.types import OwnershipSignature
from delegation.doors import Doors
from delegation.errors import ConflictError, GatewayError, RejectedError, UnexpectedAnswerError
from delegation.journal import Journal
from delegation.models import (
    Delegation,
    DelegationRequest,
    DelegationToken,
    Proof,
    Statement,
    Submission,
    filled,
)
from delegation.plan import find_row

_ATTEMPTS: Final = 3
_PAUSE: Final = 0.5


async def tell_platform(d: Delegation, doors: Doors) -> Delegation:
    """Prove ownership and submit the proof, once; afterwards the platform is told, unless something must be signed.

    Raises `GatewayError`; the approvals stand whatever happens, and the next call goes on from what is known.
    """
    attempts = 0
    answer_lost = d.submission is not None
    while not d.told:
        now = doors.now()
        if answer_lost:
            d = await _ask_before_repeating(d, doors)
            answer_lost = False
        elif d.token is None or d.token.expired(now):
            doors.progress("ownership", "taking a token from the platform")
            token = await _take_token(d, doors)
            d = doors.keep(
                renew(d), submission=d.submission, token=token, statement=_make_statement(d.request, doors, token)
            )
        elif d.statement is None or d.statement.expired(now):
            # Signed as late as possible, and again if it was not signed or not taken in time.
            statement = _make_statement(d.request, doors, d.token)
            d = doors.keep(d, statement=statement, ownership=None, proof=None)
        elif d.ownership is None:
            if doors.wallet is None:
                return d
            doors.progress("ownership", "asking the wallet to sign the ownership statement")
            d = accept_ownership(d, doors.journal, await doors.wallet.sign_message(d.statement.text))
        else:
            attempts += 1
            d = await _submit(d, doors, attempts)
            answer_lost = True
    return d


async def _take_token(d: Delegation, doors: Doors) -> DelegationToken:
    token = await doors.gateway.get_delegation_token(address=d.request.owner, network=d.request.network)
    if token.expired(doors.now()):
        raise UnexpectedAnswerError(
            f"The platform's new token is good until {token.expires_at:%H:%M:%S} UTC, too soon to be used.",
            hint="Nothing was lost: what is on chain stays. Check this machine's clock, then resume.",
        )
    return token


async def _submit(d: Delegation, doors: Doors, attempt: int) -> Delegation:
    """Submit the proof; afterwards the platform is told, or the answer was lost and it has to be asked."""
    repeated = d.submission is not None
    proof = make_proof(d)
    doors.progress("submission", "telling the platform")
    d = doors.keep(d, proof=proof, submission=Submission(attempted_at=doors.now()))
    try:
        status = await doors.gateway.submit_proof(filled(d.plan, "plan").family, proof)
    except GatewayError as error:
        if not error.maybe_done:
            return await _refused(d, doors, error, repeated=repeated)
        if attempt == _ATTEMPTS:
            raise
        await asyncio.sleep(_PAUSE * attempt)
        return d
    return _accepted(d, doors, "accepted", status)


async def _refused(d: Delegation, doors: Doors, error: GatewayError, *, repeated: bool) -> Delegation:
    """Raise the refusal, once what follows from it is saved, unless it only says that the proof was taken before."""
    judged = isinstance(error, RejectedError | ConflictError)
    if judged and (repeated or isinstance(error, ConflictError)) and await _platform_agrees(d, doors):
        # Its token, or its transaction, was used up by the attempt whose answer was lost.
        return _accepted(d, doors, "already_accepted", error.status)
    if judged:
        # What becomes of the token is not documented: the next attempt takes a new one. The approvals stand.
        doors.keep(renew(d))
    elif not repeated:
        # Not judged (client key, access token, rate): the proof was not taken and stays good.
        doors.keep(d, submission=None)
    raise error


async def _ask_before_repeating(d: Delegation, doors: Doors) -> Delegation:
    """An answer was lost: ask the platform whether the proof was taken before offering it again (design, rule 4)."""
    doors.progress("submission", "the platform's answer was lost; reading its list")
    if not filled(d.plan, "plan").listed and await _platform_agrees(d, doors):
        return _accepted(d, doors, "already_accepted", None)
    # A wallet that was listed before shows what the chain holds in any case, so its proof is offered again. The token,
    # or with a new token the transaction, can be used once, so that it cannot be accepted twice.
    if d.token is None or d.token.expired(doors.now()):
        return doors.keep(renew(d), submission=d.submission)
    return d


async def _platform_agrees(d: Delegation, doors: Doors) -> bool:
    """Return whether the platform lists this wallet with what the chain holds now, spent from or not."""
    plan = filled(d.plan, "plan")
    row = find_row(await doors.gateway.get_external_wallets(), d.request)
    if row is None:
        # A revoked wallet may leave the list.
        return plan.amount == 0 and plan.listed
    state = await doors.node.get_allowance(plan.token, plan.owner, plan.spender)
    return row.allowance == Decimal(format_amount(state.allowance, plan.token.decimals))


def renew(d: Delegation) -> Delegation:
    """Return the delegation ready for a new token and a new signature; its approvals stand (design, rule 3)."""
    stations = ("token", "statement", "ownership", "proof", "submission", "verification")
    return d.model_copy(update=dict.fromkeys(stations))


def build_statement(request: DelegationRequest, doors: Doors, *, nonce: str, at: datetime) -> ownership.Statement:
    """Return the ownership statement of a request as the shipping clients word it."""
    return ownership.make_statement(
        doors.node.chain,
        request.owner,
        domain=doors.terms.domain,
        uri=doors.terms.uri,
        nonce=nonce,
        issued_at=at,
        lifetime=_lifetime(doors),
    )


def _lifetime(doors: Doors) -> timedelta | None:
    # The shipping client's Solana text has no expiry line (real-clients 3.3).
    return doors.terms.lifetime if doors.node.chain.family == "evm" else None


def _make_statement(request: DelegationRequest, doors: Doors, token: DelegationToken) -> Statement:
    at, lifetime = doors.now(), _lifetime(doors)
    text = ownership.format_statement(build_statement(request, doors, nonce=token.nonce, at=at))
    expires_at = token.expires_at if lifetime is None else min(at + lifetime, token.expires_at)
    return Statement(text=text, expires_at=expires_at)


def accept_ownership(d: Delegation, journal: Journal, signature: str) -> Delegation:
    """Verify the signature of the statement from its bytes and keep it; raises `SignatureMismatchError`."""
    family = filled(d.plan, "plan").family
    signed = OwnershipSignature(filled(d.statement, "statement").text, signature, signature_scheme(family))
    verify_ownership(family, d.request.owner, signed)
    return journal.save(d.model_copy(update={"ownership": signed}))


def make_proof(d: Delegation) -> Proof:
    """Return the body of post-approval; the amount is in human units, the hash is the last approve's."""
    plan, signed = filled(d.plan, "plan"), filled(d.ownership, "ownership signature")
    return Proof(
        address=plan.owner,
        network=plan.network,
        currency=d.request.currency,
        amount=format_amount(plan.amount, plan.token.decimals),
        tx_hash=filled(d.approval[-1].settlement, "settled approval").hash,
        sig_hash=signed.signature,
        sig_message=signed.message,
        token=filled(d.token, "token").token,
    )


def _accepted(
    d: Delegation, doors: Doors, outcome: Literal["accepted", "already_accepted"], status: int | None
) -> Delegation:
    attempted_at = filled(d.submission, "submission").attempted_at
    submission = Submission(attempted_at=attempted_at, outcome=outcome, status=status, answered_at=doors.now())
    return doors.keep(d, submission=submission)
