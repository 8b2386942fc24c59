"""Telling the platform: token, ownership, proof and submission, exactly once (rules 3 and 4 of the line)."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Literal

from chains import ownership
from chains.amounts import format_amount
from chains.family import signature_scheme, verify_ownership
from chains.types import OwnershipSignature
from delegation.attempts import RENEWED
from delegation.context import Context, keep
from delegation.errors import AssetChangedError, ConflictError, GatewayError, RejectedError, UnexpectedAnswerError
from delegation.journal import Journal
from delegation.models import (
    Delegation,
    DelegationRequest,
    DelegationToken,
    Proof,
    StatementToSign,
    Submission,
    filled,
)
from delegation.plan import find_asset, find_row
from delegation.review import look_again

_ATTEMPTS: Final = 3
_PAUSE: Final = 0.5


async def tell_platform(d: Delegation, context: Context) -> Delegation:
    """Prove ownership and submit the proof, once; afterwards the platform is told, unless something must be signed.

    | token           | statement | ownership | submission         | what happens next                              |
    |-----------------|-----------|-----------|--------------------|------------------------------------------------|
    | None or expired | any       | any       | None               | a new token and a new statement are made       |
    | alive           | expired   | any       | None               | a new statement is made                        |
    | alive           | alive     | None      | None               | the owner signs, or is waited for              |
    | alive           | alive     | signed    | None               | the proof is submitted, once that is saved     |
    | any             | any       | signed    | outcome None       | the answer was lost: the list is read; if it   |
    |                 |           |           |                    | shows that this proof was not taken, the same  |
    |                 |           |           |                    | is offered again, and if it cannot show it, a  |
    |                 |           |           |                    | new one under a new token                      |
    | any             | any       | signed    | `accepted`         | nothing: the platform is told                  |
    | any             | any       | signed    | `already_accepted` | nothing: told by the attempt before            |

    A refusal that judged the proof (400, 409, 422) leaves the first row; one that did not (key, session, rate) leaves
    the fourth. If the chain has lost the approval meanwhile, it is returned with that on its way again. Raises
    `GatewayError`; the approvals stand whatever happens, and the next call goes on from what is known.
    """
    attempts, renewed = 0, False
    while not d.told and d.approved:
        now = context.now()
        if d.submission is not None:
            d = await _ask_before_repeating(d, context)
        elif d.delegation_token is None or d.delegation_token.expired(now):
            context.progress("ownership", "taking a token from the platform")
            token = await _take_token(d, context)
            statement = _make_statement(d.request, context, token)
            d = context.keep(d, "take_token", **RENEWED | {"delegation_token": token, "statement": statement})
        elif d.statement is None or d.statement.expired(now):
            # Signed as late as possible, and again if it was not signed or not taken in time.
            statement = _make_statement(d.request, context, d.delegation_token)
            d = context.keep(d, "renew", statement=statement, ownership=None, proof=None)
        elif d.ownership is None:
            if context.wallet is None:
                return d
            context.progress("ownership", "asking the wallet to sign the ownership statement")
            d = accept_ownership(d, context.journal, await context.wallet.sign_message(d.statement.text))
        else:
            attempts += 1
            try:
                d = await _submit(d, context, attempts)
            except RejectedError as error:
                if renewed or not _says_token_expired(error):
                    raise
                # By the platform's clock, or sooner than it had said. Once: a clock that is wrong stays wrong.
                renewed = True
                d = context.journal.load(d.id)
    return d


async def _take_token(d: Delegation, context: Context) -> DelegationToken:
    token = await context.gateway.get_delegation_token(address=d.request.owner, network=d.request.network)
    if token.expired(context.now()):
        raise UnexpectedAnswerError(
            f"The platform's new token is good until {token.expires_at:%H:%M:%S} UTC, too soon to be used.",
            hint="Nothing was lost: what is on chain stays. Check this machine's clock, then carry it on.",
        )
    return token


async def _submit(d: Delegation, context: Context, attempt: int) -> Delegation:
    """Submit the proof; afterwards the platform is told, or the answer was lost and it has to be asked.

    Right before, it is looked whether the chain still holds the approval, and whether the platform still names the
    spender and the token that were approved.
    """
    d, _ = await look_again(d, context)
    if not d.approved:
        return d
    listed = await _require_same_asset(d, context)
    proof = make_proof(d)
    context.progress("submission", "telling the platform")
    d = context.keep(d, "offer", proof=proof, submission=Submission(attempted_at=context.now(), listed_before=listed))
    try:
        status = await context.gateway.submit_proof(filled(d.plan, "plan").family, proof)
    except GatewayError as error:
        if not error.maybe_done:
            return await _refused(d, context, error)
        if attempt == _ATTEMPTS:
            raise
        await asyncio.sleep(_PAUSE * attempt)
        return d
    return _accepted(d, context, "accepted", status)


async def _require_same_asset(d: Delegation, context: Context) -> bool:
    """Return whether the platform lists this wallet already.

    Raises `PinMismatchError` or `AssetChangedError` if it names another spender or token than the one approved.
    """
    plan = filled(d.plan, "plan")
    asset = find_asset(await context.gateway.get_networks(), d.request.network, d.request.currency)
    context.pins.require(asset)
    if (asset.spender, asset.token.address) != (plan.spender, plan.token.address):
        raise AssetChangedError(
            f"The platform names another spender or token on {plan.network} than the one that was approved.\n"
            f"  approved: {plan.spender} for {plan.token.address}\n"
            f"  now:      {asset.spender} for {asset.token.address}",
            hint="The platform was not told. Take this allowance back, then grant it anew to the spender of now.",
            expected=plan.spender,
            found=asset.spender,
        )
    # If it listed this wallet before, its list cannot show what becomes of this proof, and is not asked for.
    return plan.listed or find_row(await context.gateway.get_external_wallets(), d.request) is not None


async def _refused(d: Delegation, context: Context, error: GatewayError) -> Delegation:
    """Raise the refusal, once what follows from it is saved, unless it only says that the proof was taken before."""
    if not isinstance(error, RejectedError | ConflictError):
        # Not judged (client key, access token, rate): the proof was not taken and stays good.
        context.keep(d, "spare", submission=None)
        raise error
    if _says_taken_before(d, error) and await _platform_agrees(d, context, absent_is_zero=True):
        # The token was new, so that it is the transaction that was used, by the attempt whose answer was lost.
        return _accepted(d, context, "already_accepted", error.status)
    if d.forgotten is not None and not _says_token_expired(error):
        context.keep(
            d,
            "stay_told",
            **RENEWED | {"submission": d.forgotten, "proof": d.proof, "ownership": d.ownership},
            stays_told=True,
        )
        raise _will_not_be_told_again(error) from error
    # What becomes of the token is not documented: the next attempt takes a new one. The approvals stand.
    context.keep(d, "renew", **RENEWED)
    raise error


def _will_not_be_told_again(error: GatewayError) -> GatewayError:
    """Return the refusal of a transaction that the platform was told of before it forgot, with what to do."""
    return type(error)(
        f"The platform has forgotten this wallet, and does not take its approval a second time. {error.message}",
        status=error.status,
        body=error.body,
        hint="What the chain allows stays as it is, and nothing was paid. To be listed again, grant the amount anew, "
        "which takes another approval; to take it back, revoke.",
    )


async def _ask_before_repeating(d: Delegation, context: Context) -> Delegation:
    """An answer was lost: ask the platform whether it took the proof before making another (rule 4 of the line)."""
    context.progress("submission", "the platform's answer was lost; reading its list")
    lost_answers = d.lost_answers + 1
    if not filled(d.submission, "submission").listed_before:
        if await _platform_agrees(d, context):
            return _accepted(d, context, "already_accepted", None)
        # Should the list only be late: its token can be used once.
        return context.keep(d, "spare", submission=None, lost_answers=lost_answers)
    # A wallet that was listed before shows what the chain holds in any case. The transaction can be used once, so that
    # another proof of it, under a token of its own, is not taken if this one was.
    return context.keep(d, "renew", **RENEWED, lost_answers=lost_answers)


def _says_taken_before(d: Delegation, error: GatewayError) -> bool:
    """Return whether a refusal can only be about an attempt before this one; its words are not documented."""
    said = error.body.lower()
    if d.lost_answers:
        return isinstance(error, ConflictError) or re.search(r"already|duplicate|\bused\b", said) is not None
    # By another program that told the platform of this very transaction.
    return isinstance(error, ConflictError) and "transaction" in said


def _says_token_expired(error: GatewayError) -> bool:
    said = error.body.lower()
    return "token" in said and "expired" in said


async def _platform_agrees(d: Delegation, context: Context, *, absent_is_zero: bool = False) -> bool:
    """Return whether the platform lists this wallet with what the chain holds now, spent from or not.

    A revoked wallet may leave the list: with `absent_is_zero` that agrees with a revocation too.
    """
    plan = filled(d.plan, "plan")
    row = find_row(await context.gateway.get_external_wallets(), d.request)
    if row is None:
        return absent_is_zero and plan.amount == 0
    state = await context.node.get_allowance(plan.token, plan.owner, plan.spender)
    return row.allowance == Decimal(format_amount(state.allowance, plan.token.decimals))


def renew(d: Delegation) -> Delegation:
    """Return the delegation ready for a new token and a new signature; its approvals stand (rule 3 of the line)."""
    return d.model_copy(update=RENEWED)


def build_statement(request: DelegationRequest, context: Context, *, nonce: str, at: datetime) -> ownership.Statement:
    """Return the ownership statement of a request as the shipping clients word it."""
    return ownership.make_statement(
        context.node.chain,
        request.owner,
        domain=context.terms.domain,
        uri=context.terms.uri,
        nonce=nonce,
        issued_at=at,
        lifetime=_lifetime(context),
    )


def _lifetime(context: Context) -> timedelta | None:
    # The shipping client's Solana text has no expiry line.
    return context.terms.lifetime if context.node.chain.family == "evm" else None


def _make_statement(request: DelegationRequest, context: Context, token: DelegationToken) -> StatementToSign:
    at, lifetime = context.now(), _lifetime(context)
    text = ownership.format_statement(build_statement(request, context, nonce=token.nonce, at=at))
    expires_at = token.expires_at if lifetime is None else min(at + lifetime, token.expires_at)
    return StatementToSign(text=text, expires_at=expires_at)


def accept_ownership(d: Delegation, journal: Journal, signature: str) -> Delegation:
    """Verify the signature of the statement from its bytes and keep it; raises `SignatureMismatchError`."""
    family = filled(d.plan, "plan").family
    signed = OwnershipSignature(filled(d.statement, "statement").text, signature, signature_scheme(family))
    verify_ownership(family, d.request.owner, signed)
    return keep(journal, d, "prove", ownership=signed)


def make_proof(d: Delegation) -> Proof:
    """Return the body of post-approval; the amount is in human units, the hash is the last approve's."""
    plan, signed = filled(d.plan, "plan"), filled(d.ownership, "ownership signature")
    return Proof(
        address=plan.owner,
        network=plan.network,
        currency=d.request.currency,
        amount=format_amount(plan.amount, plan.token.decimals),
        tx_hash=filled(d.approvals[-1].settlement, "settled approval").hash,
        sig_hash=signed.signature,
        sig_message=signed.message,
        token=filled(d.delegation_token, "token").token,
    )


def _accepted(
    d: Delegation, context: Context, outcome: Literal["accepted", "already_accepted"], status: int | None
) -> Delegation:
    told = {"outcome": outcome, "status": status, "answered_at": context.now()}
    submission = filled(d.submission, "submission").model_copy(update=told)
    return context.keep(d, "accept", submission=submission)
