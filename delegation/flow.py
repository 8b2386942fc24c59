"""The line: request -> plan -> approval -> ownership -> proof -> submission -> verification.

`carry` takes a delegation from wherever it stands to the end. Every `keep` is durable before the next step, so that a
crash at any point never approves twice and never loses an approval the platform was not told of (design, rules 1 to 8).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from chains.errors import (
    TransactionDroppedError,
    TransactionExpiredError,
    TransactionPendingError,
    TransactionReplacedError,
    TransactionRevertedError,
    UnexpectedAllowanceError,
)
from chains.family import signature_scheme, verify_ownership, verify_signed
from chains.ownership import format_statement, make_statement
from chains.types import (
    ApproveStep,
    EvmTransaction,
    Node,
    OwnershipSignature,
    SentTransaction,
    SignedTransaction,
    SolanaTransaction,
    UnsignedTransaction,
    Wallet,
)
from delegation.errors import (
    ConflictError,
    DelegationError,
    GatewayUnreachableError,
    OwnerMismatchError,
    PlatformFailedError,
    RejectedError,
)
from delegation.gateway.client import Gateway
from delegation.journal import Journal
from delegation.models import Approval, Delegation, DelegationRequest, Plan, Proof, Statement, Station, Submission
from delegation.pins import Asset, Pins
from delegation.plan import check_request, find_asset, find_row, intent_of, make_plan
from delegation.verify import verify_delegation

_T = TypeVar("_T")
_REBUILDS: Final = 3
_SUBMISSION_ATTEMPTS: Final = 3
# Solana: a signature made earlier is surely dead once this many blocks more have become possible; finality lags by 32.
_EXPIRY_MARGIN: Final = 200


@dataclass(frozen=True, slots=True)
class StatementTerms:
    """Who asks for the ownership signature: `domain` is the app's authority, `uri` defaults to https://domain.

    `lifetime` is the statement's own expiry on EVM networks; the shipping client's 2 minutes, because the statement is
    signed late. It never outlives the platform's token.
    """

    domain: str
    uri: str | None = None
    lifetime: timedelta = timedelta(minutes=2)


def _unasked(plan: Plan) -> None:
    """Agree to a plan without asking a person."""


def _unheard(station: Station, words: str) -> None:
    """Take no notice of progress."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Doors:
    """What the line needs from outside.

    Without a `wallet` the line stops wherever something must be signed (`delegation.signing` tells what).
    `agree` is shown the plan before anything is signed and raises `DeclinedError` to refuse it.
    `progress` hears each station and what is being waited for. Times are in seconds.
    """

    gateway: Gateway
    node: Node
    journal: Journal
    terms: StatementTerms
    wallet: Wallet | None = None
    agree: Callable[[Plan], None] = _unasked
    progress: Callable[[Station, str], None] = _unheard
    now: Callable[[], datetime] = _utc_now
    settle_timeout: float = 300.0
    list_timeout: float = 15.0

    @property
    def pins(self) -> Pins:
        """The pins of this platform and region."""
        return Pins(self.journal, self.gateway.base_url, self.gateway.region)


def new_delegation(request: DelegationRequest, doors: Doors) -> Delegation:
    """Return a delegation that stands at its beginning; it is saved once its plan is agreed to.

    Raises `InvalidRequestError` and the ground floor's `InputError` for a request no plan can be made of.
    """
    check_request(request)
    return Delegation(
        id=secrets.token_hex(6),
        created_at=doors.now(),
        gateway=urlsplit(doors.gateway.base_url).netloc,
        request=request,
    )


async def carry(delegation: Delegation, doors: Doors) -> Delegation:
    """Carry a delegation to the end of the line from wherever it stands, and return it.

    Without a wallet it is returned as soon as something must be signed. Raises the errors of `delegation.errors` and
    `chains.errors`; whatever was reached by then is in the journal, and calling again with it goes on from there.
    """
    d = delegation
    _check_doors(d, doors)
    if d.plan is None:
        d = await _plan(d, doors)
    for index in range(len(d.approval)):
        d = await _approve(d, index, doors)
        if d.approval[index].settlement is None:
            return d
    if not d.request.chain_only:
        d = await _tell_platform(d, doors)
        if d.submission is None or d.submission.outcome is None:
            return d
    doors.progress("verification", "comparing the chain and the platform's list with the request")
    verification = await verify_delegation(d, doors.node, doors.gateway, now=doors.now, list_timeout=doors.list_timeout)
    return _keep(d, doors, verification=verification)


async def preview(request: DelegationRequest, doors: Doors) -> Plan:
    """Return the plan of a request without saving, signing or sending anything."""
    check_request(request)
    plan, _ = await _make_plan(request, doors)
    return plan


def example_statement(request: DelegationRequest, doors: Doors) -> str:
    """Return the ownership statement as it would be signed now, with a stand-in for the platform's nonce."""
    return _statement_text(request, doors, nonce="NonceOfThePlatform")


def renew(d: Delegation) -> Delegation:
    """Return the delegation ready for a new token and a new signature; its approvals stand (design, rule 3)."""
    return d.model_copy(update={"token": None, "statement": None, "ownership": None, "proof": None, "submission": None})


def _filled(station: _T | None, name: str) -> _T:
    if station is None:
        raise DelegationError(f"This delegation has no {name} yet.", hint="Carry it on from the journal: resume.")
    return station


def _keep(d: Delegation, doors: Doors, **stations: Any) -> Delegation:
    return doors.journal.save(d.model_copy(update=stations))


def _keep_approval(d: Delegation, doors: Doors, index: int, **changes: Any) -> Delegation:
    approvals = list(d.approval)
    approvals[index] = approvals[index].model_copy(update=changes)
    return _keep(d, doors, approval=tuple(approvals))


def _check_doors(d: Delegation, doors: Doors) -> None:
    host = urlsplit(doors.gateway.base_url).netloc
    if host != d.gateway or doors.gateway.region != d.request.region:
        raise DelegationError(
            f"Delegation {d.id} belongs to the platform at {d.gateway} ({d.request.region}).",
            hint="Use the profile it was made with.",
            expected=d.gateway,
            found=host,
        )
    if doors.wallet is not None and doors.wallet.address != d.request.owner:
        raise OwnerMismatchError(
            f"The wallet holds the key of {doors.wallet.address}, not of the owner {d.request.owner}.",
            hint="Nothing was signed. Name the owner's wallet with --wallet.",
            expected=d.request.owner,
            found=doors.wallet.address,
        )


async def _make_plan(request: DelegationRequest, doors: Doors) -> tuple[Plan, Asset]:
    doors.progress("plan", "reading the platform's configuration and the chain")
    if request.chain_only:
        asset = doors.pins.pinned_asset(request.network, request.currency)
        return await make_plan(request, asset, doors.node, (), at=doors.now()), asset
    asset = find_asset(await doors.gateway.get_networks(), request.network, request.currency)
    doors.pins.require(asset)
    listed = await doors.gateway.get_external_wallets()
    return await make_plan(request, asset, doors.node, listed, at=doors.now()), asset


async def _plan(d: Delegation, doors: Doors) -> Delegation:
    plan, asset = await _make_plan(d.request, doors)
    doors.agree(plan)
    if not d.request.chain_only:
        doors.pins.pin(asset)
    return _keep(d, doors, plan=plan, approval=tuple(Approval(step=step) for step in plan.steps))


async def _approve(d: Delegation, index: int, doors: Doors) -> Delegation:
    """Sign, save, send, and read the state: one step until it has taken effect or something must be signed."""
    intent = intent_of(d.request, _filled(d.plan, "plan"))
    label = f"approval {index + 1} of {len(d.approval)}"
    attempts = 0
    while d.approval[index].settlement is None:
        if d.approval[index].sent is None:
            d = await _authorise(d, index, doors, label)
        approval = d.approval[index]
        if approval.sent is None or approval.unsigned is None:
            return d
        doors.progress("approval", f"{label}: waiting for {approval.sent.hash}")
        if isinstance(approval.sent, SignedTransaction):
            await doors.node.send(approval.sent)
        try:
            settlement = await doors.node.settle(
                intent, approval.step, approval.unsigned, approval.sent, timeout=doors.settle_timeout
            )
        except TransactionExpiredError:
            attempts += 1
            d = _discard(d, index, doors)
            if attempts == _REBUILDS:
                raise
        except (TransactionRevertedError, TransactionReplacedError, UnexpectedAllowanceError):
            # It is over and can do nothing more; a new transaction is a person's decision (onchain A18), by `resume`.
            _discard(d, index, doors)
            raise
        except TransactionDroppedError:
            # A sending wallet's hash that nobody knows: look again, and ask again, when the line is carried on.
            _keep_approval(d, doors, index, sent=None)
            raise
        else:
            d = _keep_approval(d, doors, index, settlement=settlement)
    return d


def _discard(d: Delegation, index: int, doors: Doors) -> Delegation:
    approval = d.approval[index]
    dead = (*approval.discarded, approval.hash) if approval.hash else approval.discarded
    step = ApproveStep(approval.step.amount)  # its fee is out of date as well
    return _keep_approval(d, doors, index, step=step, unsigned=None, sent=None, handed_over=False, discarded=dead)


async def _authorise(d: Delegation, index: int, doors: Doors, label: str) -> Delegation:
    """Have one step signed; afterwards `sent` is set, unless there is no wallet to ask."""
    intent = intent_of(d.request, _filled(d.plan, "plan"))
    approval = d.approval[index]
    if approval.handed_over and approval.unsigned is not None:
        doors.progress("approval", f"{label}: looking for what the wallet sent")
        found = await doors.node.find_approval(intent, approval.step, approval.unsigned)
        if found is not None:
            return _keep_approval(d, doors, index, sent=SentTransaction(found))
    doors.progress("approval", f"{label}: preparing the transaction")
    unsigned = await doors.node.prepare(intent, approval.step)
    if approval.handed_over and approval.unsigned is not None:
        unsigned = _still_live(approval.unsigned, unsigned)
    if doors.wallet is None or doors.wallet.sends:
        # Whoever is asked now may send by himself: remember that before he can.
        d = _keep_approval(d, doors, index, unsigned=unsigned, handed_over=True)
        if doors.wallet is None:
            return d
    else:
        d = _keep_approval(d, doors, index, unsigned=unsigned)
    doors.progress("approval", f"{label}: asking the wallet to sign")
    sent = await doors.wallet.authorise(unsigned)
    if isinstance(sent, SignedTransaction):
        verify_signed(unsigned, sent)
    return _keep_approval(d, doors, index, sent=sent)


def _still_live(handed_over: UnsignedTransaction, fresh: UnsignedTransaction) -> UnsignedTransaction:
    """Return what may be asked for again after an answer was lost, such that only one of the two can take effect."""
    if isinstance(handed_over, SolanaTransaction) and isinstance(fresh, SolanaTransaction):
        expired = fresh.last_valid_block_height > handed_over.last_valid_block_height + _EXPIRY_MARGIN
        return fresh if expired else handed_over
    if isinstance(handed_over, EvmTransaction) and isinstance(fresh, EvmTransaction):
        if fresh.nonce == handed_over.nonce:
            return fresh
        raise TransactionPendingError(
            "The wallet was asked to send this approval and its answer was lost; another transaction of the owner is "
            "on the network, which may be it.",
            hint="Nothing is lost. Wait until the wallet shows it as done, then run: delegation resume",
        )
    raise DelegationError("A delegation cannot change its network.")


async def _tell_platform(d: Delegation, doors: Doors) -> Delegation:
    """Prove ownership and submit the proof, once; afterwards the outcome is set, unless something must be signed."""
    attempts = 0
    while d.submission is None or d.submission.outcome is None:
        answer_lost = d.submission is not None
        if answer_lost:
            d = await _ask_before_repeating(d, doors)
            if d.submission is not None and d.submission.outcome is not None:
                break
        d = await _prove(d, doors)
        if d.proof is None:
            return d
        doors.progress("submission", "telling the platform")
        d = _keep(d, doors, submission=Submission(attempted_at=doors.now()))
        try:
            status = await doors.gateway.submit_proof(_filled(d.plan, "plan").family, _filled(d.proof, "proof"))
        except (GatewayUnreachableError, PlatformFailedError):
            attempts += 1
            if attempts == _SUBMISSION_ATTEMPTS:
                raise
        except (RejectedError, ConflictError) as refused:
            if not answer_lost or not await _is_listed_as_requested(d, doors):
                # What becomes of the token is not documented: the next attempt takes a new one. The approvals stand.
                _keep(renew(d), doors)
                raise
            # The repeated proof was refused because its token was used up by the attempt whose answer was lost.
            d = _accepted(d, doors, "already_accepted", refused.status)
        except DelegationError:
            # Refused before it was judged (client key, access token, rate): the proof was not taken and stays good.
            _keep(d, doors, submission=None)
            raise
        else:
            d = _accepted(d, doors, "accepted", status)
    return d


async def _ask_before_repeating(d: Delegation, doors: Doors) -> Delegation:
    """An answer was lost: ask the platform whether the proof was taken before offering it again (design, rule 4)."""
    doors.progress("submission", "the platform's answer was lost; reading its list")
    listed_now = await _is_listed_as_requested(d, doors)
    newly_listed = d.plan is not None and not d.plan.listed
    token_dead = d.token is None or d.token.expired(doors.now())
    if listed_now and (newly_listed or token_dead):
        return _accepted(d, doors, "already_accepted", None)
    # The token can be used once, so that repeating the very same proof while it lives cannot be accepted twice.
    return _keep(renew(d), doors) if token_dead else d


async def _is_listed_as_requested(d: Delegation, doors: Doors) -> bool:
    row = find_row(await doors.gateway.get_external_wallets(), d.request)
    return row is not None and row.allowance == d.request.amount


async def _prove(d: Delegation, doors: Doors) -> Delegation:
    """Take a token where needed, and have the statement signed as late as possible."""
    now = doors.now()
    if d.token is None or d.token.expired(now):
        doors.progress("ownership", "taking a token from the platform")
        token = await doors.gateway.get_delegation_token(address=d.request.owner, network=d.request.network)
        d = _keep(renew(d), doors, token=token)
    if d.statement is None or now >= d.statement.expires_at:
        d = _keep(d, doors, statement=_make_statement(d, doors), ownership=None, proof=None)
    if d.ownership is None:
        if doors.wallet is None:
            return d
        doors.progress("ownership", "asking the wallet to sign the ownership statement")
        signature = await doors.wallet.sign_message(_filled(d.statement, "statement").text)
        d = accept_ownership(d, doors.journal, signature)
    if d.proof is None:
        d = _keep(d, doors, proof=make_proof(d))
    return d


def _make_statement(d: Delegation, doors: Doors) -> Statement:
    token = _filled(d.token, "token")
    lifetime = _statement_lifetime(doors)
    expires_at = token.expires_at if lifetime is None else min(doors.now() + lifetime, token.expires_at)
    return Statement(text=_statement_text(d.request, doors, nonce=token.nonce), expires_at=expires_at)


def _statement_lifetime(doors: Doors) -> timedelta | None:
    # The shipping client's Solana text has no expiry line (real-clients 3.3).
    return doors.terms.lifetime if doors.node.chain.family == "evm" else None


def _statement_text(request: DelegationRequest, doors: Doors, *, nonce: str) -> str:
    statement = make_statement(
        doors.node.chain,
        request.owner,
        domain=doors.terms.domain,
        uri=doors.terms.uri,
        nonce=nonce,
        issued_at=doors.now(),
        lifetime=_statement_lifetime(doors),
    )
    return format_statement(statement)


def accept_ownership(d: Delegation, journal: Journal, signature: str) -> Delegation:
    """Verify the signature of the statement from its bytes and keep it; raises `SignatureMismatchError`."""
    family = _filled(d.plan, "plan").family
    ownership = OwnershipSignature(_filled(d.statement, "statement").text, signature, signature_scheme(family))
    verify_ownership(family, d.request.owner, ownership)
    return journal.save(d.model_copy(update={"ownership": ownership}))


def make_proof(d: Delegation) -> Proof:
    """Return the body of post-approval; the amount is in human units, the hash is the last approve's."""
    ownership = _filled(d.ownership, "ownership signature")
    settlement = _filled(d.approval[-1].settlement, "settled approval")
    return Proof(
        address=d.request.owner,
        network=d.request.network,
        currency=d.request.currency,
        amount=f"{d.request.amount:f}",
        tx_hash=settlement.hash,
        sig_hash=ownership.signature,
        sig_message=ownership.message,
        token=_filled(d.token, "token").token,
    )


def _accepted(d: Delegation, doors: Doors, outcome: Any, status: int | None) -> Delegation:
    attempted_at = d.submission.attempted_at if d.submission is not None else doors.now()
    submission = Submission(attempted_at=attempted_at, outcome=outcome, status=status, answered_at=doors.now())
    return _keep(d, doors, submission=submission)
