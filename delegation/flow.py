"""The line: request -> plan -> approval -> ownership -> proof -> submission -> verification.

`carry` takes a delegation from wherever it stands to the end. Every `keep` is durable before the next step, so that a
crash at any point never approves twice and never loses an approval the platform was not told of (design, rules 1 to 8).
"""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

from chains.ownership import format_statement
from delegation.approval import approve
from delegation.doors import Doors, check_doors, check_network
from delegation.models import Approval, Delegation, DelegationRequest, Plan
from delegation.pins import Asset
from delegation.plan import check_request, find_asset, make_plan
from delegation.submission import build_statement, tell_platform
from delegation.verify import verify_delegation


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
    check_doors(d, doors)
    if d.begun:
        await doors.node.check_chain()
    else:
        # Also a plan that was agreed to before: the chain may have moved since, and nothing was done about it yet.
        d = await _plan(d, doors)
    for index in range(len(d.approval)):
        d = await approve(d, index, doors)
        if d.approval[index].settlement is None:
            return d
    if not d.request.chain_only:
        d = await tell_platform(d, doors)
        if not d.told:
            return d
    doors.progress("verification", "comparing the chain and the platform's list with the request")
    verification = await verify_delegation(d, doors.node, doors.gateway, now=doors.now, list_timeout=doors.list_timeout)
    return doors.keep(d, verification=verification)


async def preview(request: DelegationRequest, doors: Doors) -> Plan:
    """Return the plan of a request without saving, signing or sending anything."""
    check_request(request)
    check_network(request, doors)
    plan, _ = await _make_plan(request, doors)
    return plan


def example_statement(request: DelegationRequest, doors: Doors) -> str:
    """Return the ownership statement as it would be signed now, with a stand-in for the platform's nonce."""
    return format_statement(build_statement(request, doors, nonce="NonceOfThePlatform", at=doors.now()))


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
    approval = [Approval(step=step) for step in plan.steps]
    if d.approval:
        discarded = tuple(dead for earlier in d.approval for dead in earlier.discarded)
        approval[0] = approval[0].model_copy(update={"discarded": discarded})
    return doors.keep(d, plan=plan, approval=tuple(approval))
