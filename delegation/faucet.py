"""Asking the platform's faucet for gas: once per user across all networks, and never a reason not to issue a token."""

from __future__ import annotations

import asyncio
from typing import Final

from chains.errors import NoGasError
from delegation.context import Context
from delegation.models import DelegationRequest
from delegation.plan import find_asset

FAUCET_NETWORKS: Final = frozenset({"linea", "base", "solana"})
"""Where the platform's faucet sends gas; there is none on Ethereum, where gas is worth something."""

_ARRIVAL: Final = 30.0  # seconds


async def fill_up(request: DelegationRequest, context: Context, missing: NoGasError) -> None:
    """Ask the faucet and wait until the owner's native balance has grown.

    Raises `missing` again, with what the faucet said, if nothing arrives within 30 seconds.
    """
    asset = find_asset(await context.gateway.get_networks(), request.network, request.currency)
    before = (await context.node.get_allowance(asset.token, request.owner, asset.spender)).native_balance
    context.progress("plan", "asking the platform's faucet for gas")
    token = await context.gateway.get_delegation_token(address=request.owner, network=request.network, faucet=True)
    clock = asyncio.get_running_loop().time
    deadline = clock() + _ARRIVAL
    while clock() < deadline:
        state = await context.node.get_allowance(asset.token, request.owner, asset.spender)
        if state.native_balance > before:
            return
        if token.faucet is not None and token.faucet.startswith("declined"):
            break
        await asyncio.sleep(0.5)
    raise NoGasError(
        f"{missing.message} The platform's faucet did not help ({token.faucet or 'it said nothing'}).",
        hint=f"Send some {context.node.chain.native_symbol} to {request.owner} and run it again.",
        expected=missing.expected,
        found=missing.found,
    )
