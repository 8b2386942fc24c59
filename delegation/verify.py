"""Verification: what the chain and the platform's list say, compared with what was asked for.

"Could not check" is UNDETERMINED: never a yes and never a no (design, rule 8).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal

from chains.amounts import format_amount
from chains.errors import NodeError
from chains.types import AllowanceState, Node
from delegation.errors import DelegationError, GatewayError
from delegation.gateway.client import Gateway
from delegation.models import Delegation, Finding, Plan, Verdict, Verification
from delegation.plan import find_row

_LIST_PAUSE = 0.5


async def verify_delegation(
    d: Delegation, node: Node, gateway: Gateway, *, now: Callable[[], datetime], list_timeout: float
) -> Verification:
    """Return what chain and platform say of a delegation whose approvals have settled.

    The platform's list may lag behind the chain: it is read again for up to `list_timeout` seconds before a
    difference counts.
    """
    if d.plan is None or not d.approval or d.approval[-1].settlement is None:
        raise DelegationError(f"Delegation {d.id} has no settled approval to verify.")
    settlement = d.approval[-1].settlement
    findings = [_effect(d.plan, settlement.allowance, f"block {settlement.block.number}")]
    state: AllowanceState | None = None
    try:
        state = await node.get_allowance(d.plan.token, d.request.owner, d.plan.spender)
        findings.append(_present(d.plan, state))
    except NodeError as error:
        findings.append(_unknown("chain-now", f"The chain could not be read: {error.message}"))
    if not d.request.chain_only:
        remaining = d.plan.amount if state is None else state.allowance
        findings.append(await _platform_list(d, gateway, _human(d.plan, remaining), now=now, list_timeout=list_timeout))
    return Verification.of(
        tuple(findings),
        at=now(),
        allowance=None if state is None else state.allowance,
        block=None if state is None else state.block,
    )


def _effect(plan: Plan, allowance: int, where: str) -> Finding:
    agrees = allowance == plan.amount
    message = (
        f"The allowance at {where}, where the approve took effect, is {'' if agrees else 'not '}the one asked for."
    )
    return _finding("chain-effect", agrees, message, expected=str(plan.amount), found=str(allowance))


def _present(plan: Plan, state: AllowanceState) -> Finding:
    where = f"block {state.block.number}"
    if state.allowance == plan.amount:
        message = f"The allowance at {where} is the one asked for."
    elif state.allowance < plan.amount:
        message = f"Since then the allowance was spent from or lowered, as seen at {where}."
    else:
        message = f"The allowance at {where} is larger than the one asked for."
    agrees = state.allowance <= plan.amount
    return _finding("chain-now", agrees, message, expected=str(plan.amount), found=str(state.allowance))


async def _platform_list(
    d: Delegation, gateway: Gateway, remaining: Decimal, *, now: Callable[[], datetime], list_timeout: float
) -> Finding:
    deadline = now() + timedelta(seconds=list_timeout)
    while True:
        try:
            row = find_row(await gateway.get_external_wallets(), d.request)
        except GatewayError as error:
            return _unknown("platform-list", f"The platform's list could not be read: {error.message}")
        agrees = row is not None and row.allowance == remaining
        if agrees or now() >= deadline:
            break
        await asyncio.sleep(_LIST_PAUSE)
    if row is None:
        message = "The platform does not list this wallet."
    else:
        which = "the allowance that the chain holds" if agrees else "another allowance than the chain holds"
        message = f"The platform lists this wallet with {which}."
    found = None if row is None or row.allowance is None else f"{row.allowance:f}"
    return _finding("platform-list", agrees, message, expected=f"{remaining:f}", found=found)


def _finding(rule: str, agrees: bool, message: str, *, expected: str, found: str | None) -> Finding:
    verdict: Verdict = "VERIFIED" if agrees else "REFUTED"
    return Finding(rule=rule, verdict=verdict, message=message, expected=expected, found=found)


def _unknown(rule: str, message: str) -> Finding:
    return Finding(rule=rule, verdict="UNDETERMINED", message=message)


def _human(plan: Plan, base_units: int) -> Decimal:
    return Decimal(format_amount(base_units, plan.token.decimals))
