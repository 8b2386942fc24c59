"""`speed-up`, `cancel` and `abandon`: the ways out of a delegation that does not come to its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click

from delegation.cli.session import Session, command

if TYPE_CHECKING:
    from delegation.context import Context
    from delegation.models import Delegation

_ID = click.argument("delegation_id", metavar="ID")
_OPTIONS = (
    click.option("--wallet", "wallet_source", help="Key file, or KIND:FILE; by default the profile's wallet."),
    click.option("--rpc", "rpc_url", help="The node to use instead of the profile's."),
    click.option("--max-fee", type=click.IntRange(min=1), help="Cap in wei per gas, below the network's own."),
    click.option("--yes", is_flag=True, help="Do not ask; what replaces it is still shown."),
)


def _options(function: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.command("speed-up")
@_ID
@_options
@command
async def speed_up_command(
    session: Session,
    /,
    delegation_id: str,
    *,
    wallet_source: str | None,
    rpc_url: str | None,
    max_fee: int | None,
    yes: bool,
) -> int:
    """Send the same transaction again at a higher fee, and carry the delegation on (EVM networks).

    It has the nonce of the one that is stuck, so that only one of the two can take effect. Both fees rise by an eighth,
    or to what the network asks for now if that is more, never above the cap; the new bound is shown first.
    """
    from delegation.flow import carry
    from delegation.replacement import speed_up

    async def work(d: Delegation, context: Context) -> Delegation:
        return await carry(await speed_up(d, context, max_fee=max_fee), context)

    return await _work(session, delegation_id, work, wallet_source=wallet_source, rpc_url=rpc_url, yes=yes)


@click.command("cancel")
@_ID
@_options
@command
async def cancel_command(
    session: Session,
    /,
    delegation_id: str,
    *,
    wallet_source: str | None,
    rpc_url: str | None,
    max_fee: int | None,
    yes: bool,
) -> int:
    """Use up the nonce of a transaction that is stuck by one that does nothing (EVM networks).

    If the stuck one is mined first after all, its allowance stands, and the platform is not told: take it back with
    revoke, or finish it with resume (exit status 4).
    """
    from delegation.replacement import cancel

    async def work(d: Delegation, context: Context) -> Delegation:
        d = await cancel(d, context, max_fee=max_fee)
        if d.approved:
            session.insist("It was mined before it could be cancelled: the allowance stands. Take it back with revoke.")
        return d

    return await _work(session, delegation_id, work, wallet_source=wallet_source, rpc_url=rpc_url, yes=yes)


@click.command("abandon")
@_ID
@click.option("--rpc", "rpc_url", help="The node to use instead of the profile's.")
@command
async def abandon_command(session: Session, /, delegation_id: str, *, rpc_url: str | None) -> int:
    """End a delegation that can do no harm any more; otherwise say why it still can, and what to do."""
    from delegation.abandonment import abandon

    return await _work(session, delegation_id, abandon, wallet_source=None, rpc_url=rpc_url, yes=True)


async def _work(
    session: Session,
    /,
    delegation_id: str,
    work: Callable[[Delegation, Context], Awaitable[Delegation]],
    *,
    wallet_source: str | None,
    rpc_url: str | None,
    yes: bool,
) -> int:
    from delegation.cli.line import carry_and_report, open_owners_context

    profile = session.load_profile()
    delegation = session.load_delegation(profile, delegation_id)
    async with open_owners_context(
        session, profile, delegation, wallet_source=wallet_source, rpc_url=rpc_url, yes=yes
    ) as context:
        return await carry_and_report(session, delegation, context, work)
