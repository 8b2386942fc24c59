"""The line: request -> plan -> approval -> ownership -> proof -> submission -> verification.

`carry` takes a delegation from wherever it stands to the end. Every `keep` is durable before the next step, so that a
crash at any point never approves twice and never loses an approval the platform was not told of (rules 1 to 8 of
the line, which are in `delegation/RULES.md`).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from urllib.parse import urlsplit

from chains.errors import NodeError, ToolkitError
from chains.ownership import format_statement
from delegation.approval import approve
from delegation.context import Context, check_context, check_network
from delegation.errors import DelegationEndedError, GatewayError, UnknownDelegationError
from delegation.intents import REFUSALS, find_outdated, require_not_over
from delegation.journal import UnreadableRow
from delegation.models import Approval, Delegation, DelegationRequest, Failure, Plan
from delegation.pins import Asset
from delegation.plan import check_request, find_asset, make_plan
from delegation.submission import build_statement, tell_platform
from delegation.verify import verify_delegation


def new_delegation(request: DelegationRequest, context: Context) -> Delegation:
    """Return a delegation that stands at its beginning; it is saved once its plan is agreed to, or as it was refused.

    Raises `InvalidRequestError` and the ground floor's `InputError` for a request no plan can be made of.
    """
    check_request(request)
    return Delegation(
        id=secrets.token_hex(6),
        created_at=context.now(),
        gateway=urlsplit(context.gateway.base_url).netloc,
        request=request,
    )


async def carry(delegation: Delegation, context: Context) -> Delegation:
    """Carry a delegation to the end of the line from wherever it stands, and return it.

    Without a wallet it is returned as soon as something must be signed. Raises the errors of `delegation.errors` and
    `chains.errors`; whatever was reached by then is in the journal, and calling again with it goes on from there. A
    request that was refused before anything was signed is over (see `delegation.intents`).
    """
    check_context(delegation, context)
    try:
        d = await _approve(delegation, context)
    except (*REFUSALS, DelegationEndedError, NodeError, GatewayError) as error:
        _record_stop(delegation, context, error)
        raise
    if any(approval.settlement is None for approval in d.approvals):
        return d
    if not d.request.chain_only:
        d = await tell_platform(d, context)
        if not d.told:
            return d
    context.progress("verification", "comparing the chain and the platform's list with the request")
    verification = await verify_delegation(
        d, context.node, context.gateway, now=context.now, list_timeout=context.list_timeout
    )
    return context.keep(d, verification=verification)


async def _approve(d: Delegation, context: Context) -> Delegation:
    """Carry a delegation until the chain holds what was asked for, or until something must be signed."""
    if d.to_be_made:
        others, unreadable = context.journal.read_all() if d.revision else ((), ())
        require_not_over(d, others)
        # Also what was agreed to before: the chain may have moved since, and nothing is on its way.
        d = await _plan(d, unreadable, context)
    else:
        await context.node.check_chain()
    for index in range(len(d.approvals)):
        d = await approve(d, index, context)
        if d.approvals[index].settlement is None:
            break
    return d


def _record_stop(delegation: Delegation, context: Context, error: ToolkitError) -> None:
    """Keep a request that stopped before anything was signed: as failed if it was refused, else to be resumed."""
    try:
        d = context.journal.load(delegation.id)
    except UnknownDelegationError:
        d = delegation
    over = isinstance(error, DelegationEndedError) and not d.in_flight
    if d.failure is not None or (d.touched_chain and not over):
        return
    if over or isinstance(error, REFUSALS):
        failure = Failure(error=type(error).__name__, reason=error.message, failed_at=context.now())
        context.keep(d, failure=failure)
    elif d.revision == 0:
        context.keep(d)


async def preview(request: DelegationRequest, context: Context) -> Plan:
    """Return the plan of a request without saving, signing or sending anything."""
    check_request(request)
    check_network(request, context)
    plan, _ = await _make_plan(request, context)
    return plan


def example_statement(request: DelegationRequest, context: Context) -> str:
    """Return the ownership statement as it would be signed now, with a stand-in for the platform's nonce."""
    return format_statement(build_statement(request, context, nonce="NonceOfThePlatform", at=context.now()))


async def _make_plan(request: DelegationRequest, context: Context) -> tuple[Plan, Asset]:
    context.progress("plan", "reading the platform's configuration and the chain")
    if request.chain_only:
        asset = context.pins.pinned_asset(request.network, request.currency)
        return await make_plan(request, asset, context.node, (), at=context.now()), asset
    asset = find_asset(await context.gateway.get_networks(), request.network, request.currency)
    context.pins.require(asset)
    listed = await context.gateway.get_external_wallets()
    return await make_plan(request, asset, context.node, listed, at=context.now()), asset


async def _plan(d: Delegation, unreadable: Sequence[UnreadableRow], context: Context) -> Delegation:
    plan, asset = await _make_plan(d.request, context)
    outdated = find_outdated(d, plan, context.now(), unreadable)
    if outdated is None:
        context.agree(plan)
    else:
        context.agree_again(outdated)
    # A plan that is only shown again does not make the agreement any younger.
    agreed_at = context.now() if d.agreed_at is None or outdated is not None else d.agreed_at
    if not d.request.chain_only:
        context.pins.pin(asset)
    settled = [approval for approval in d.approvals if approval.settlement is not None]
    discarded = tuple(dead for approval in d.approvals[len(settled) :] for dead in approval.discarded)
    first, *rest = (Approval(step=step) for step in plan.steps)
    approvals = (*settled, first.model_copy(update={"discarded": discarded}), *rest)
    return context.keep(d, plan=plan, agreed_at=agreed_at, approvals=approvals)
