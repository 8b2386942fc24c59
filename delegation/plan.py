"""From a request to a plan: which token, which spender, which steps, at what cost; nothing is signed here."""

from __future__ import annotations

from datetime import datetime

from chains import get_chain
from chains.amounts import format_amount, largest_amount, to_base_units
from chains.errors import InvalidAmountError
from chains.family import parse_address
from chains.types import AllowanceIntent, Node, Token
from delegation.errors import FullAccessError, InvalidRequestError
from delegation.gateway.models import ExternalWallet, PlatformConfig
from delegation.models import FULL_ACCESS, PLATFORM_MAXIMUM, DelegationRequest, Plan
from delegation.pins import Asset


def find_asset(config: PlatformConfig, network: str, currency: str) -> Asset:
    """Return the token and spender that the platform's configuration names.

    Raises `UnsupportedError` if it offers no such network or currency.
    """
    offered, token = config.find(network, currency)
    chain = get_chain(network)
    return Asset(
        network=network,
        environment=offered.environment,
        token=Token(currency, parse_address(chain, token.address), token.decimals),
        spender=parse_address(chain, offered.delegation_contract),
    )


def check_request(request: DelegationRequest) -> None:
    """Raise `InvalidRequestError` or the ground floor's `InputError` for a request that no plan can be made of."""
    chain = get_chain(request.network)
    canonical = parse_address(chain, request.owner)
    if canonical != request.owner:
        raise InvalidRequestError(
            "The owner's address is not in its canonical spelling.", expected=canonical, found=request.owner
        )
    if request.amount > PLATFORM_MAXIMUM:
        raise InvalidAmountError(
            f"{request.amount:f} is larger than the platform can hold.",
            hint=f"The platform's own maximum is {PLATFORM_MAXIMUM}, which it treats as unlimited.",
            expected=str(PLATFORM_MAXIMUM),
            found=str(request.amount),
        )
    if request.amount >= FULL_ACCESS and not request.unlimited:
        raise FullAccessError(
            f"{request.amount:f} would be treated as full access to everything the wallet holds of this token.",
            hint="If that is really meant, ask for it by name: unlimited.",
        )
    if request.chain_only and request.amount:
        raise InvalidRequestError(
            "Only a revocation can leave the platform out.",
            hint="Tell the platform too, or set the amount to 0.",
        )


async def make_plan(
    request: DelegationRequest, asset: Asset, node: Node, listed: tuple[ExternalWallet, ...], *, at: datetime
) -> Plan:
    """Return the plan of a request: the steps from the chain's present state to the amount asked for.

    `listed` is what the platform lists now. Raises the ground floor's `InputError`, `RefusedError` and `NodeError`.
    """
    chain = node.chain
    intent = AllowanceIntent(
        token=asset.token,
        owner=request.owner,
        spender=asset.spender,
        amount=to_base_units(request.amount, asset.token.decimals, largest=largest_amount(chain.family)),
        options=request.options,
    )
    await node.check_chain()
    approval = await node.plan_approval(intent)
    return Plan(
        network=chain.name,
        family=chain.family,
        environment=asset.environment,
        owner=request.owner,
        token=asset.token,
        spender=asset.spender,
        amount=intent.amount,
        before=approval.state,
        steps=approval.steps,
        max_cost=sum(step.fee.max_cost for step in approval.steps if step.fee is not None),
        native_symbol=chain.native_symbol,
        native_decimals=chain.native_decimals,
        listed=find_row(listed, request) is not None,
        warnings=approval.warnings,
        made_at=at,
    )


def intent_of(request: DelegationRequest, plan: Plan) -> AllowanceIntent:
    """Return what the chain shall hold at the end of this plan."""
    return AllowanceIntent(plan.token, plan.owner, plan.spender, plan.amount, request.options)


def find_row(listed: tuple[ExternalWallet, ...], request: DelegationRequest) -> ExternalWallet | None:
    """Return the platform's row of this owner, currency and network, or None."""
    return next(
        (row for row in listed if row.is_of(request.owner, request.currency, request.network)),
        None,
    )


def describe_plan(plan: Plan) -> list[tuple[str, str]]:
    """Return the plan as (label, words) that a person can check before anything is signed."""
    decimals, symbol = plan.token.decimals, plan.token.symbol.upper()
    before = format_amount(plan.before.allowance, decimals)
    deed = "Revoke" if plan.amount == 0 else "Allow"
    lines = [
        (deed, f"{format_amount(plan.amount, decimals)} {symbol} on {get_chain(plan.network).title}"),
        ("Spender", f"{plan.spender}  (the platform, environment: {plan.environment})"),
        ("Owner", plan.owner),
        ("Token", f"{plan.token.address}  ({decimals} decimals)"),
        ("Replaces", f"{before} {symbol}  (at block {plan.before.block.number})"),
        ("Balance", f"{format_amount(plan.before.balance, decimals)} {symbol}"),
    ]
    if plan.replaces is not None:
        other = plan.replaces
        what = other.hash or "what a wallet was asked for"
        words = f"{what} (nonce {other.nonce}) of delegation {other.delegation_id}, which waits to be mined and would "
        lines.append(("Instead of", f"{words}allow {other.amount:f} {other.currency.upper()} to {other.spender}"))
    for number, step in enumerate(plan.steps, start=1):
        label = f"Step {number}" if len(plan.steps) > 1 else "Step"
        fee = (
            "fee estimated when its turn comes" if step.fee is None else f"fee at most {_fee(plan, step.fee.max_cost)}"
        )
        lines.append((label, f"approve {format_amount(step.amount, decimals)} {symbol}, {fee}"))
    lines += [("Warning", warning) for warning in plan.warnings]
    return lines


def _fee(plan: Plan, cost: int) -> str:
    return f"{format_amount(cost, plan.native_decimals)} {plan.native_symbol}"
