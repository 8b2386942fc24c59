"""`status`: an allowance as the chain holds it now."""

from __future__ import annotations

import click

from delegation.cli.session import DONE, Session, command


@click.command("status")
@click.option("--network", required=True, help="linea, ethereum, base or solana.")
@click.option("--currency", required=True, help="The token's symbol, for example usdc.")
@click.option("--owner", required=True, help="The owner's address.")
@click.option("--spender", help="Another spender than the platform's.")
@click.option("--rpc", "rpc_url", help="The node to use instead of the profile's.")
@command
async def status_command(
    session: Session, /, *, network: str, currency: str, owner: str, spender: str | None, rpc_url: str | None
) -> int:
    """Read an owner's allowance and balance from the chain; exit status 3 if the chain cannot be read."""
    from chains.amounts import format_amount, is_unlimited
    from chains.family import parse_address
    from delegation.plan import find_asset
    from delegation.profile import open_context

    profile = session.load_profile()
    chain = profile.chain(network)
    owner = parse_address(chain, owner)
    other_spender = parse_address(chain, spender) if spender is not None else None
    async with open_context(profile, chain.name, rpc_url=rpc_url) as context:
        asset = find_asset(await context.gateway.get_networks(), chain.name, currency.lower())
        if other_spender is None:
            context.pins.require(asset)
        await context.node.check_chain()
        state = await context.node.get_allowance(asset.token, owner, other_spender or asset.spender)
    decimals = asset.token.decimals
    spendable = min(state.allowance, state.balance)
    if session.as_json:
        session.print_document(
            {
                "network": chain.name,
                "currency": asset.token.symbol,
                "token": asset.token.address,
                "decimals": decimals,
                "owner": owner,
                "spender": other_spender or asset.spender,
                "allowance": str(state.allowance),
                "balance": str(state.balance),
                "spendable": str(spendable),
                "unlimited": is_unlimited(chain.family, state.allowance),
                "other_delegate": state.other_delegate,
                "token_account": state.token_account,
                "block": {"number": state.block.number, "hash": state.block.hash},
            }
        )
        return DONE
    symbol = asset.token.symbol.upper()
    pairs = [
        ("Owner", owner),
        ("Spender", other_spender or asset.spender),
        ("Allowance", f"{format_amount(state.allowance, decimals)} {symbol}"),
        ("Balance", f"{format_amount(state.balance, decimals)} {symbol}"),
        ("Spendable", f"{format_amount(spendable, decimals)} {symbol} (the smaller of the two)"),
        ("Block", f"{state.block.number} {state.block.hash}".rstrip()),
    ]
    if state.other_delegate is not None:
        pairs.append(("Other delegate", state.other_delegate))
    session.print_pairs(pairs)
    return DONE
