"""`wallets`: the platform's list of external wallets, and the order in which they pay."""

from __future__ import annotations

import click

from delegation.cli.session import DONE, Session, command


@click.group("wallets", invoke_without_command=True)
@click.pass_context
def wallets_command(ctx: click.Context) -> None:
    """List the platform's external wallets; the lowest priority number pays first."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(_list_wallets)


@click.command("list")
@command
async def _list_wallets(session: Session) -> int:
    await _print_wallets(session)
    return DONE


@wallets_command.command("prioritize")
@click.argument("ids", nargs=-1, required=True, type=int, metavar="ID...")
@command
async def _prioritize(session: Session, /, ids: tuple[int, ...]) -> int:
    """Let these wallets pay first, in this order; the others follow as before."""
    gateway = session.load_profile().gateway_door()
    try:
        await gateway.set_priorities(ids)
    finally:
        await gateway.aclose()
    await _print_wallets(session)
    return DONE


async def _print_wallets(session: Session) -> None:
    gateway = session.load_profile().gateway_door()
    try:
        wallets = await gateway.get_wallets()
    finally:
        await gateway.aclose()
    shown = [
        {
            "id": wallet.id,
            "priority": wallet.priority,
            "network": wallet.network,
            "currency": wallet.currency,
            "address": wallet.address,
            "balance": None if wallet.balance is None else f"{wallet.balance:f}",
            "allowance": None if wallet.allowance is None else f"{wallet.allowance:f}",
        }
        for wallet in wallets
    ]
    if session.as_json:
        session.print_document({"wallets": shown})
        return
    header = ("ID", "PRIORITY", "NETWORK", "CURRENCY", "ADDRESS", "BALANCE", "ALLOWANCE")
    if shown:
        session.print_table(
            header, [["?" if value is None else str(value) for value in wallet.values()] for wallet in shown]
        )
    else:
        session.say("The platform lists no external wallet.")
