"""`revoke --all`: everything in force, by the journal and the pins: one plan, one question, and no failure stops it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from delegation.cli.session import DONE, FAILED, STOPPED_MIDWAY, Session

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from chains.errors import ToolkitError
    from chains.types import ApproveOptions
    from delegation.context import Context
    from delegation.models import DelegationRequest, Plan
    from delegation.profile import Profile


@dataclass(frozen=True, slots=True)
class _Found:
    """An allowance that may be in force, and the plan to take it back, or the error that stands in the way."""

    request: DelegationRequest
    plan: Plan | None = None
    error: ToolkitError | None = None


async def revoke_all(
    session: Session,
    /,
    *,
    network: str | None,
    options: ApproveOptions,
    chain_only: bool,
    wallet_source: str | None,
    rpc_url: str | None,
    yes: bool,
) -> int:
    """Take back everything in force; exit status 4 while something is left, 1 if something could not be begun."""
    from delegation.errors import DeclinedError

    profile = session.load_profile()
    chain = None if network is None else profile.chain(network).name
    requests = _find_requests(session, profile, chain, wallet_source, options=options, chain_only=chain_only)

    def open_for(request: DelegationRequest) -> AbstractAsyncContextManager[Context]:
        # Agreed to together, further down; what each would sign is shown once more when its turn comes.
        return _open(session, profile, request, wallet_source=wallet_source, rpc_url=rpc_url)

    found = [one for request in requests if (one := await _look(request, open_for(request))) is not None]
    if not found:
        session.say("Nothing is in force, by the journal and the pins.")
        if session.as_json:
            session.print_document({"outcomes": []})
        return DONE
    _show(session, found)
    if not yes and any(one.plan is not None for one in found) and not session.confirm("Take all of it back?"):
        raise DeclinedError("You declined; nothing was signed and nothing was sent.")
    statuses, documents = [], []
    for one in found:
        status, document = await _revoke(session, one, open_for(one.request))
        statuses.append(status)
        documents.append(document)
    if session.as_json:
        session.print_document({"outcomes": documents})
    return max(statuses)


def _find_requests(
    session: Session,
    profile: Profile,
    network: str | None,
    wallet_source: str | None,
    *,
    options: ApproveOptions,
    chain_only: bool,
) -> list[DelegationRequest]:
    """Return a revocation of every allowance that the journal or the pins know of, for the wallets of the profile."""
    from delegation.journal import open_journal
    from delegation.models import DelegationRequest
    from delegation.pins import Pins
    from delegation.profile import journal_location

    journal = open_journal(journal_location(profile))
    try:
        delegations = journal.list()
        pinned = Pins(journal, profile.gateway.base_url, profile.gateway.region).list_pinned()
    finally:
        journal.close()
    # What is still in force of it, and of the rest, is for the chain to say.
    granted = [d for d in delegations if d.request.amount]
    known = {(d.request.network, d.request.currency, d.request.owner) for d in granted if d.in_flight or d.approved}
    for name, currency in pinned:
        family = profile.chain(name).family
        if wallet_source is not None or family in profile.wallets:
            known.add((name, currency, session.load_wallet(profile, family, wallet_source).address))
    return [
        DelegationRequest(
            network=name,
            currency=currency,
            amount=Decimal(0),
            owner=owner,
            region=profile.gateway.region,
            chain_only=chain_only,
            options=options,
        )
        for name, currency, owner in sorted(known)
        if network in (None, name)
    ]


def _open(
    session: Session,
    profile: Profile,
    request: DelegationRequest,
    *,
    wallet_source: str | None,
    rpc_url: str | None,
) -> AbstractAsyncContextManager[Context]:
    from delegation.cli.line import OwnersWallet, open_session_context

    chain = profile.chain(request.network)
    wallet = OwnersWallet(
        request.owner, chain.family, lambda: session.load_wallet(profile, chain.family, wallet_source)
    )
    return open_session_context(session, profile, chain.name, wallet=wallet, rpc_url=rpc_url, yes=True)


async def _look(request: DelegationRequest, opening: AbstractAsyncContextManager[Context]) -> _Found | None:
    """Return what would have to be done, or None where nothing is allowed and nothing is on its way."""
    from chains.errors import ToolkitError
    from delegation.flow import new_delegation, preview

    try:
        async with opening as context:
            plan = await preview(request, context)
            of_owner, _ = context.journal.read_all(new_delegation(request, context))
            in_flight = any(
                d.in_flight and d.request.amount and d.request.currency == request.currency for d in of_owner
            )
    except ToolkitError as error:
        return _Found(request, error=error)
    return _Found(request, plan=plan) if plan.before.allowance or in_flight else None


def _show(session: Session, found: list[_Found]) -> None:
    from chains.amounts import format_amount

    for one in found:
        request, plan = one.request, one.plan
        what = f"{request.currency.upper()} on {request.network} from {request.owner}"
        if plan is None:
            session.insist(f"{what}: {one.error.message if one.error is not None else 'not known'}")
            continue
        allowance = format_amount(plan.before.allowance, plan.token.decimals)
        fee = f"{format_amount(plan.max_cost, plan.native_decimals)} {plan.native_symbol}"
        session.insist(f"{what}: {allowance} to {plan.spender}; fee at most {fee}")


async def _revoke(
    session: Session, found: _Found, opening: AbstractAsyncContextManager[Context]
) -> tuple[int, dict[str, object]]:
    """Carry one revocation; return its exit status, and what it came to as JSON."""
    from chains.errors import ToolkitError
    from delegation.cli.line import status_of, tell_outcome
    from delegation.flow import carry, new_delegation
    from delegation.unfinished import Outcome

    if found.error is not None:
        return FAILED, {"request": found.request.model_dump(mode="json"), "error": found.error.message}
    async with opening as context:
        d = new_delegation(found.request, context)
        try:
            outcome = Outcome(await carry(d, context))
        except ToolkitError as error:
            outcome = Outcome(context.journal.load(d.id), error)
    tell_outcome(session, outcome)
    stands = outcome.delegation
    status = STOPPED_MIDWAY if stands.unfinished else FAILED if stands.ended is not None else status_of(stands)
    error_message = None if outcome.error is None else str(outcome.error)
    return status, {"delegation": stands.public_document(), "error": error_message}
