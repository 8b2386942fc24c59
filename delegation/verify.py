"""Verification: what the chain and the platform's list say, compared with what was asked for.

VERIFIED needs that the chain still holds the block of the approval, and that the state of that block allows what was
asked for. What became of it since is no verdict but the `state`, read at that block or after it: spent from, replaced,
revoked. "Could not check" is UNDETERMINED: never a yes and never a no (rule 8 of the line).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from decimal import Decimal

from chains.amounts import format_amount
from chains.claims import Finding, Verdict
from chains.errors import NodeError
from chains.types import AllowanceState, Node, Review
from delegation.errors import GatewayError, InvalidRequestError
from delegation.gateway.client import Gateway
from delegation.gateway.models import ExternalWallet
from delegation.intents import allowance_of, find_in_force
from delegation.models import Delegation, Plan, Verification
from delegation.plan import find_row

_PAUSE = 0.5
_LIST_RULE = "platform-list"


async def verify_delegation(
    d: Delegation, review: Review, node: Node, gateway: Gateway, *, now: Callable[[], datetime], list_timeout: float
) -> Verification:
    """Return what chain and platform say of a delegation whose approvals have settled.

    `review` is what the last of them is worth now. The platform's list may lag behind the chain, and the card may be in
    use: both are read again for up to `list_timeout` seconds before a difference counts.
    """
    settlement = d.approvals[-1].settlement if d.approvals else None
    if d.plan is None or settlement is None:
        raise InvalidRequestError(f"Delegation {d.id} has no settled approval to verify.")
    clock = asyncio.get_running_loop().time
    deadline = clock() + list_timeout
    state = review.now
    while True:
        listed = None if d.request.chain_only else await _ask_platform(d, d.plan, state, gateway)
        if listed is None or listed.verdict == "VERIFIED" or clock() >= deadline:
            break
        await asyncio.sleep(_PAUSE)
        with suppress(NodeError):  # what was read before still stands
            state = await node.get_allowance(d.plan.token, d.plan.owner, d.plan.spender)
    effect = _compare_effect(d.plan, settlement.allowance, settlement.block.number)
    chain = _finding(
        "canonical",
        review.canonical,
        f"Block {settlement.block.number}, where the approve took effect, is "
        f"{f'part of the chain ({review.finality})' if review.canonical else 'not part of the chain any more'}.",
        expected=settlement.block.hash or str(settlement.block.number),
        found=None,
    )
    return Verification.of(
        tuple(finding for finding in (effect, chain, listed) if finding is not None),
        at=now(),
        allowance=None if state is None else state.allowance,
        block=None if state is None else state.block,
        state=review.state,
    )


def has_been_forgotten(d: Delegation, verification: Verification, others: Iterable[Delegation]) -> bool:
    """Return whether the platform does not list the wallet of an allowance that is in force by this delegation."""
    if d.plan is None or not d.plan.amount or d.stays_told or not verification.allowance:
        return False
    is_unlisted = any(
        finding.rule == _LIST_RULE and finding.verdict == "REFUTED" and finding.found is None
        for finding in verification.findings
    )
    key = allowance_of(d)
    newest = None if key is None else find_in_force(others).get(key)
    return is_unlisted and newest is not None and newest.id == d.id


def _compare_effect(plan: Plan, allowance: int, block: int) -> Finding:
    where = f"block {block}, where the approve took effect,"
    if allowance == plan.amount:
        message = f"The allowance at {where} is the one asked for."
    elif allowance < plan.amount:
        message = f"The allowance at {where} is smaller than the one asked for: it was spent from since."
    else:
        message = f"The allowance at {where} is larger than the one asked for."
    agrees = allowance <= plan.amount
    return _finding("chain-effect", agrees, message, expected=str(plan.amount), found=str(allowance))


async def _ask_platform(d: Delegation, plan: Plan, state: AllowanceState | None, gateway: Gateway) -> Finding:
    try:
        row = find_row(await gateway.get_external_wallets(), d.request)
    except GatewayError as error:
        return _unknown(_LIST_RULE, f"The platform's list could not be read: {error.message}")
    return _judge_row(row, plan, state)


def _judge_row(row: ExternalWallet | None, plan: Plan, state: AllowanceState | None) -> Finding:
    """Compare the platform's row with the chain, or with what was asked for where the chain could not be read."""
    rule = _LIST_RULE
    expected = _human(plan, plan.amount if state is None else state.allowance)
    if row is None:
        # A revoked wallet may leave the list.
        message = "The platform does not list this wallet."
        return _finding(rule, plan.amount == 0, message, expected=f"{expected:f}", found=None)
    if row.allowance is None:
        return _unknown(rule, "The platform lists this wallet without an allowance that can be read.")
    if state is None and row.allowance < expected:
        return _unknown(
            rule, f"The platform lists {row.allowance:f}, less than was asked for; whether it was spent is not known."
        )
    agrees = row.allowance == expected
    which = "the allowance that the chain holds" if agrees else "another allowance than the chain holds"
    message = f"The platform lists this wallet with {which}."
    return _finding(rule, agrees, message, expected=f"{expected:f}", found=f"{row.allowance:f}")


def _finding(rule: str, agrees: bool, message: str, *, expected: str, found: str | None) -> Finding:
    verdict: Verdict = "VERIFIED" if agrees else "REFUTED"
    return Finding(rule=rule, verdict=verdict, message=message, expected=expected, found=found)


def _unknown(rule: str, message: str) -> Finding:
    return Finding(rule=rule, verdict="UNDETERMINED", message=message)


def _human(plan: Plan, base_units: int) -> Decimal:
    return Decimal(format_amount(base_units, plan.token.decimals))
