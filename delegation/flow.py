"""The line: request -> plan -> approval -> ownership -> proof -> submission -> verification.

`carry` takes a delegation from wherever it stands to the end. Every `keep` is durable before the next step, so that a
crash at any point never approves twice and never loses an approval the platform was not told of (rules 1 to 8 of
the line, which are in `delegation/RULES.md`).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from chains.errors import InputError, ToolkitError, TransactionError, WrongChainError
from chains.ownership import format_statement
from chains.types import ApproveStep
from delegation.approval import approve, watch
from delegation.attempts import RENEWED, find_given_up
from delegation.carrying import carrying, require_not_lent, take_owner_lock
from delegation.context import Context, check_context, check_network
from delegation.errors import (
    DelegationEndedError,
    InvalidRequestError,
    LeasedError,
    NobodyAskedError,
    OwnerMismatchError,
    ProfileError,
)
from delegation.intents import REFUSALS, allowance_of, find_bystander, find_outdated, require_not_over, supersede
from delegation.leases import Lease
from delegation.models import Approval, Delegation, DelegationRequest, Ending, Plan, Replaced, filled
from delegation.pins import Asset
from delegation.plan import check_request, find_asset, intent_of, make_plan
from delegation.review import look_again, look_at_cancelled
from delegation.submission import build_statement, tell_platform
from delegation.verify import has_been_forgotten, verify_delegation

# For how long after it was agreed to a chain is thought to be able to take an approval back.
_MAY_BE_REPLACED: Final = timedelta(hours=1)
_SOON: Final = 10.0  # seconds
# What stands in the way of one attempt to carry a request, and says nothing of the request itself.
_OF_THIS_ATTEMPT: Final = (WrongChainError, OwnerMismatchError, ProfileError, NobodyAskedError)


def new_delegation(request: DelegationRequest, context: Context) -> Delegation:
    """Return a delegation that stands at its beginning; `carry` saves it before anybody is asked for anything.

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
    request that was refused before anything was signed is over (see `delegation.intents`). `LeasedError` says that
    another process is carrying it.
    """
    check_context(delegation, context)
    if delegation.state == "cancelled":
        await context.node.check_chain()
        delegation = await look_at_cancelled(delegation, context)
    require_not_over(delegation, ())
    require_not_lent(delegation, context)
    is_new = delegation.revision == 0
    d = context.keep(delegation, "ask") if is_new else delegation
    with carrying(d, context) as lease:
        try:
            return await _carry(d, context, lease, is_new=is_new)
        except (*REFUSALS, DelegationEndedError) as error:
            _record_end(d, context, error)
            raise
        except (InputError, InvalidRequestError, KeyboardInterrupt, SystemExit) as error:
            if is_new or not isinstance(error, _OF_THIS_ATTEMPT):
                _record_end(d, context, error)
            raise


async def _carry(d: Delegation, context: Context, lease: Lease, *, is_new: bool) -> Delegation:
    was_done = d.state == "done"
    if d.plan is not None:  # else it is asked once there is something to ask this node
        await context.node.check_chain()
    if d.replaced_by is not None and d.in_flight:
        # The chain has decided about the nonce that another delegation wanted: this one has the owner's lock again.
        d = context.keep(d, "hand_out" if d.state == "handed_out" else "watch", replaced_by=None)
    d, review = await look_again(d, context)
    while True:
        d = await _approve(d, context, lease, is_new=is_new)
        if not d.approved or d.ended is not None:
            return d
        if not (d.told or d.request.chain_only):
            # An allowance that a newer delegation has replaced is not told of.
            require_not_over(d, context.journal.read_all(d)[0])
            d = await tell_platform(d, context)
            if d.approved and not d.told:
                return d
        if d.approved:
            context.progress("verification", "comparing the chain and the platform's list with the request")
            d, review = await look_again(d, context, timeout=context.settle_timeout)
        if not d.approved or review is None:
            continue  # its block has left the chain: the same bytes are sent again
        verification = await verify_delegation(
            d, review, context.node, context.gateway, now=context.now, list_timeout=context.list_timeout
        )
        if was_done and has_been_forgotten(d, verification, context.journal.read_all(d)[0]):
            context.progress("submission", "the platform has forgotten this wallet; telling it again")
            d = context.keep(d, "tell_again", forgotten=d.submission, **RENEWED)
            was_done = False
            continue
        return context.keep(d, "verify", verification=verification)


async def _approve(d: Delegation, context: Context, lease: Lease, *, is_new: bool) -> Delegation:
    """Carry a delegation until the chain holds what was asked for, or until something must be signed."""
    agreed = False
    while not d.approved and d.ended is None:
        if d.to_be_made and not agreed:
            # Also what was agreed to before: the chain may have moved since, and nothing is on its way.
            d = await _agree(d, context, lease, is_new=is_new)
            agreed = True
        index = filled(d.next_step, "step to be carried")
        d = await approve(d, index, context)
        if d.in_flight and d.next_step == index:
            return d
        # What could not be made as it was agreed to is agreed to again; the next step was agreed to with the first, if
        # that was now.
        agreed = agreed and d.approvals[index].settlement is not None
    return d


def _record_end(d: Delegation, context: Context, error: BaseException) -> None:
    """Keep a request that was refused before anything was signed as failed, and one that is over as superseded.

    So is one that was stopped before anybody had agreed to it.
    """
    saved = context.journal.load(d.id)
    if saved.ended is not None or saved.in_flight:
        return
    if isinstance(error, DelegationEndedError):
        newer = context.journal.load(str(error.found))
        context.keep(saved, "supersede", ended=supersede(saved, newer, context.now()).ended, verification=None)
    elif saved.to_be_made and not saved.touched_chain and (isinstance(error, REFUSALS) or saved.agreed_at is None):
        reason = error.message if isinstance(error, ToolkitError) else "It was stopped before anybody agreed to it."
        ended = Ending(kind="failed", reason=reason, at=context.now(), error=type(error).__name__)
        context.keep(saved, "fail", ended=ended)


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


async def _price_replacement(d: Delegation, plan: Plan, replaces: Replaced, context: Context) -> Plan:
    """Return the plan with the transaction that its first step takes the place of, and the fee that this takes."""
    other = context.journal.load(replaces.delegation_id)
    held = None if other.next_step is None else other.approvals[other.next_step].unsigned
    if held is None or not other.in_flight:
        return plan
    made = await context.node.replace(intent_of(d.request, plan), plan.steps[0], held)
    steps = (ApproveStep(plan.steps[0].amount, made.fee), *plan.steps[1:])
    # What the chain allows now says nothing of what it will once the other has landed.
    warnings = () if plan.before.allowance == plan.amount else plan.warnings
    key = allowance_of(other)
    is_same = key is not None and key[2:] == (plan.token.address, plan.spender)
    changes = {
        "replaces": replaces.model_copy(update={"same_allowance": is_same}),
        "steps": steps,
        "max_cost": made.fee.max_cost,
        "warnings": warnings,
    }
    return plan.model_copy(update=changes)


async def _look_at_newest(d: Delegation, others: Sequence[Delegation], context: Context) -> None:
    """Look again at what this owner's newest delegation settled, if that is not long ago.

    Its block may have left the chain, so that its transaction is on its way once more. Where no other block has taken
    it soon, it has to be waited for, or replaced: it may land after another one.
    """
    for other in others:
        if other.state == "cancelled" and context.now() - other.created_at <= _MAY_BE_REPLACED:
            await _settle_soon(await look_at_cancelled(other, context), context)
    settled = {
        other.approvals[-1].settlement.block.number: other
        for other in others
        if other.id != d.id and other.ended is None and other.approved and other.approvals[-1].settlement is not None
    }
    newest = settled[max(settled)] if settled else None
    if newest is None or context.now() - (newest.agreed_at or newest.created_at) > _MAY_BE_REPLACED:
        return
    with suppress(LeasedError), carrying(newest, context):
        newest, _ = await look_again(newest, context)
    await _settle_soon(newest, context)


async def _settle_soon(d: Delegation, context: Context) -> None:
    """Wait a moment for what has left the chain to be in a block again; nothing of it is signed anew."""
    index = d.next_step
    if not d.in_flight or index is None:
        return
    soon = replace(context, settle_timeout=min(context.settle_timeout, _SOON))
    with suppress(LeasedError, TransactionError), carrying(d, context):
        await watch(d, index, soon)


async def _agree(d: Delegation, context: Context, lease: Lease, *, is_new: bool) -> Delegation:
    """Make the plan of what is left, and have it agreed to, under the lock of the owner."""
    others, unreadable = context.journal.read_all(d)
    require_not_over(d, others)
    if any(other.id != d.id for other in others):
        # Before anything is believed of what others have done: on another chain their blocks would seem to be gone.
        await context.node.check_chain()
    found = await find_given_up(d, context)
    if found is not None:
        return found
    context.journal.unlock_owner(d, lease)
    await _look_at_newest(d, others, context)
    replaces = await take_owner_lock(d, context, lease)
    plan, asset = await _make_plan(d.request, context)
    if replaces is not None:
        plan = await _price_replacement(d, plan, replaces, context)
    outdated = None if is_new and d.plan is None else find_outdated(d, plan, context.now(), unreadable)
    outdated = outdated or find_bystander(plan, context.now())
    if outdated is None:
        context.agree(plan)
    else:
        context.agree_again(outdated)
    # A plan that is only shown again does not make the agreement any younger.
    agreed_at = context.now() if d.agreed_at is None or outdated is not None else d.agreed_at
    if not d.request.chain_only:
        context.pins.pin(asset)
    settled = [approval for approval in d.approvals if approval.settlement is not None]
    left = d.approvals[len(settled) :]
    history = {
        "discarded": tuple(dead for approval in left for dead in approval.discarded),
        "given_up": next((approval.given_up for approval in left if approval.given_up is not None), None),
        # Of a plan that takes the place of something in flight no race is lost yet.
        "lost_to": () if plan.replaces else tuple(dead for approval in left for dead in approval.lost_to),
    }
    first, *rest = (Approval(step=step) for step in plan.steps)
    approvals = (*settled, first.model_copy(update=history), *rest)
    return context.keep(d, "agree", plan=plan, agreed_at=agreed_at, approvals=approvals)
