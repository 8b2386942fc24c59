"""`grant` and `revoke`: the same line, with an amount or with zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from delegation.cli.session import DONE, Session, command

if TYPE_CHECKING:
    from delegation.context import Context
    from delegation.models import DelegationRequest

_NETWORK_HELP = "linea, ethereum, base or solana."
_CURRENCY_HELP = "The token's symbol, for example usdc."
_WHAT = (
    click.option("--network", required=True, help=_NETWORK_HELP),
    click.option("--currency", required=True, help=_CURRENCY_HELP),
)
_WHAT_IF_NOT_ALL = (click.option("--network", help=_NETWORK_HELP), click.option("--currency", help=_CURRENCY_HELP))
_SHARED = (
    click.option("--wallet", "wallet_source", help="Key file, or KIND:FILE; by default the profile's wallet."),
    click.option("--owner", help="The owner's address; by default the wallet's. A mismatch stops before signing."),
    click.option("--rpc", "rpc_url", help="The node to use instead of the profile's."),
    click.option("--yes", is_flag=True, help="Do not ask; the plan is still shown."),
    click.option("--dry-run", is_flag=True, help="Show the plan and what would be signed; sign and send nothing."),
    click.option("--faucet", is_flag=True, help="If gas is missing, ask the platform's faucet for some first."),
    click.option(
        "--max-fee", type=click.IntRange(min=1), help="Cap in wei per gas (EVM), micro-lamports per unit (Solana)."
    ),
)


def _options(*what: Callable[..., Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        for option in reversed((*what, *_SHARED)):
            function = option(function)
        return function

    return decorate


@click.command("grant")
@_options(*_WHAT)
@click.option("--amount", help="In whole tokens, for example 5000 or 0.50.")
@click.option("--unlimited", is_flag=True, help="Ask by name for the platform's maximum: full access.")
@click.option("--overwrite-delegate", is_flag=True, help="Solana: replace another delegate of the token account.")
@click.option("--approve-checked", is_flag=True, help="Solana: ApproveChecked, which the platform may not notice.")
@command
async def grant_command(
    session: Session,
    /,
    *,
    amount: str | None,
    unlimited: bool,
    overwrite_delegate: bool,
    approve_checked: bool,
    max_fee: int | None,
    **shared: Any,
) -> int:
    """Allow the platform to spend up to an amount of one token, prove ownership, tell the platform, and verify.

    A new amount replaces the old one entirely, so granting again raises, lowers or renews.
    """
    from chains.amounts import parse_amount
    from chains.types import ApproveOptions
    from delegation.errors import InvalidRequestError
    from delegation.models import PLATFORM_MAXIMUM

    if (amount is None) != unlimited:
        raise InvalidRequestError(
            "It must be said how much: with --amount, or with --unlimited and not both.",
            hint="For example: --amount 5000, in whole tokens.",
        )
    wanted = PLATFORM_MAXIMUM if amount is None else parse_amount(amount)
    if not wanted:
        raise InvalidRequestError(
            "An allowance of 0 is a revocation.", hint=f"That is the command: {session.command('revoke')}"
        )
    options = ApproveOptions(
        approve_checked=approve_checked, overwrite_delegate=overwrite_delegate, max_fee_cap=max_fee
    )
    return await _carry(session, {"amount": wanted, "unlimited": unlimited, "options": options}, **shared)


@click.command("revoke")
@_options(*_WHAT_IF_NOT_ALL)
@click.option("--all", "every", is_flag=True, help="Everything in force, by the journal and the pins.")
@click.option("--chain-only", is_flag=True, help="Revoke on chain from the pins, without the platform.")
@click.option("--revoke-only", is_flag=True, help="Solana: Revoke alone, which the platform may not notice.")
@command
async def revoke_command(
    session: Session, /, *, every: bool, chain_only: bool, revoke_only: bool, max_fee: int | None, **shared: Any
) -> int:
    """Take an allowance back: the chain holds 0 afterwards, and the platform is told.

    A grant that is still on its way is replaced: the revocation takes its nonce (EVM networks), or waits until it has
    landed or never can (Solana). With --all everything in force is taken back, after one question; one that fails stops
    no other.
    """
    from decimal import Decimal

    from chains.types import ApproveOptions
    from delegation.errors import InvalidRequestError

    options = ApproveOptions(revoke_only=revoke_only, max_fee_cap=max_fee)
    if every:
        from delegation.cli.revoke_all import revoke_all

        without = [f"--{name}" for name in ("currency", "owner", "faucet") if shared.pop(name)]
        if without or shared.pop("dry_run"):
            raise InvalidRequestError(
                f"--all goes without {', '.join(without) or '--dry-run'}.",
                hint="Only --network narrows it. What would be revoked is shown before you are asked.",
            )
        return await revoke_all(session, options=options, chain_only=chain_only, **shared)
    if shared["network"] is None or shared["currency"] is None:
        missing = "network" if shared["network"] is None else "currency"
        raise InvalidRequestError(
            f"It must be said what to revoke: --{missing} is missing.",
            hint="Name --network and --currency, or take everything back with --all.",
        )
    return await _carry(session, {"amount": Decimal(0), "chain_only": chain_only, "options": options}, **shared)


async def _carry(
    session: Session,
    /,
    what: dict[str, Any],
    *,
    network: str,
    currency: str,
    wallet_source: str | None,
    owner: str | None,
    rpc_url: str | None,
    yes: bool,
    dry_run: bool,
    faucet: bool,
) -> int:
    from chains.family import parse_address
    from delegation.cli.line import carry_and_report, open_session_context
    from delegation.context import check_wallet
    from delegation.flow import new_delegation
    from delegation.models import DelegationRequest

    profile = session.load_profile()
    chain = profile.chain(network)
    stated_owner = None if owner is None else parse_address(chain, owner)
    wallet = session.load_wallet(profile, chain.family, wallet_source)
    if stated_owner is not None:
        check_wallet(wallet, stated_owner)
    request = DelegationRequest(
        network=chain.name, currency=currency, owner=wallet.address, region=profile.gateway.region, **what
    )
    async with open_session_context(session, profile, chain.name, wallet=wallet, rpc_url=rpc_url, yes=yes) as context:
        delegation = new_delegation(request, context)
        if dry_run:
            return await _show_dry_run(session, request, context)
        if faucet:
            await _fill_up(request, context)
        return await carry_and_report(session, delegation, context)


async def _fill_up(request: DelegationRequest, context: Context) -> None:
    from chains.errors import NoGasError
    from delegation.faucet import fill_up
    from delegation.flow import preview

    try:
        await preview(request, context)
    except NoGasError as missing:
        await fill_up(request, context, missing)


async def _show_dry_run(session: Session, /, request: DelegationRequest, context: Context) -> int:
    from chains.family import message_request, transaction_request
    from delegation.flow import example_statement, preview
    from delegation.plan import describe_plan, intent_of

    plan = await preview(request, context)
    transaction = transaction_request(await context.node.prepare(intent_of(request, plan), plan.steps[0]))
    statement = None if request.chain_only else example_statement(request, context)
    if session.as_json:
        message = [] if statement is None else [message_request(plan.family, request.owner, statement)]
        session.print_document({"plan": plan.model_dump(mode="json"), "would_sign": [transaction, *message]})
        return DONE
    session.print_pairs(describe_plan(plan))
    which = f"the first of {len(plan.steps)} transactions" if len(plan.steps) > 1 else "the transaction"
    click.echo(f"\nWould be signed: {which}, as of now")
    session.print_document(transaction)
    if statement is not None:
        click.echo(f"\nWould be signed: the ownership statement, with the nonce that the platform gives\n{statement}")
    click.echo("\nDry run: nothing was signed and nothing was sent.")
    return DONE
