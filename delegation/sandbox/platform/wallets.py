"""The endpoints of the user's own wallets; what the list shows is read from the chains, live."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from delegation.sandbox.platform.context import Chains, Context, read_json
from delegation.sandbox.platform.errors import Refused
from delegation.sandbox.platform.state import PlatformState, RegisteredWallet


async def get_external_wallets(request: Request) -> Response:
    """GET /v1/wallet/external"""
    return JSONResponse(await Context.of(request).wallet_list.get())


async def read_external_wallets(state: PlatformState, chains: Chains) -> list[dict[str, str]]:
    """Return the rows of the list, first registered first, with what the chains hold now.

    Each network is asked for all of its wallets at once. Raises `ChainUnavailableError`.
    """
    rows = tuple(state.wallets)
    by_network: defaultdict[str, list[RegisteredWallet]] = defaultdict(list)
    for row in rows:
        by_network[row.network].append(row)
    shown = await asyncio.gather(*(_show(state, chains, name, own) for name, own in by_network.items()))
    found = {row.id: view for views in shown for row, view in views}
    return [found[row.id] for row in rows]


async def get_priorities(request: Request) -> Response:
    """GET /v1/wallet/external/priority"""
    rows = sorted(Context.of(request).state.wallets, key=lambda row: row.priority)
    return JSONResponse(
        [
            {
                "id": row.id,
                "address": row.address,
                "currency": row.currency,
                "network": row.network,
                "priority": row.priority,
            }
            for row in rows
        ]
    )


async def put_priorities(request: Request) -> Response:
    """PUT /v1/wallet/external/priority"""
    body = await read_json(request)
    rows = body.get("wallets") if isinstance(body, dict) and body.keys() == {"wallets"} else None
    if not isinstance(rows, list):
        raise Refused(422, "Invalid priority configuration")
    pairs = []
    for row in rows:
        if not isinstance(row, dict) or row.keys() != {"id", "priority"}:
            raise Refused(422, "Invalid priority configuration")
        number, priority = row["id"], row["priority"]
        if type(number) is not int or type(priority) is not int or priority < 1:
            raise Refused(422, "Invalid priority configuration")
        pairs.append((number, priority))
    Context.of(request).state.set_priorities(pairs)
    return JSONResponse({"success": True})


async def _show(
    state: PlatformState, chains: Chains, network: str, rows: Sequence[RegisteredWallet]
) -> list[tuple[RegisteredWallet, dict[str, str]]]:
    tokens = state.world.networks[network].tokens
    held = await chains[network].get_balances_and_allowances([(tokens[row.currency], row.address) for row in rows])
    return [
        (
            row,
            {
                "address": row.address,
                "currency": row.currency,
                "balance": format_human_units(balance, tokens[row.currency].decimals),
                "allowance": format_human_units(allowance, tokens[row.currency].decimals),
                "network": row.network,
            },
        )
        for row, (balance, allowance) in zip(rows, held, strict=True)
    ]


def format_human_units(amount: int, decimals: int) -> str:
    """Return base units as plain decimal text without trailing zeros."""
    whole, fraction = divmod(amount, 10**decimals)
    return f"{whole}.{fraction:0{decimals}d}".rstrip("0").rstrip(".") if fraction else str(whole)
