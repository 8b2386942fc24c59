"""The application: its routes, the layers in front of them, and its connections to the chains."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from delegation.sandbox.platform import control, delegations, wallets
from delegation.sandbox.platform.auth import AuthenticationMiddleware
from delegation.sandbox.platform.chain_evm import EvmChain
from delegation.sandbox.platform.chain_solana import SolanaChain
from delegation.sandbox.platform.context import Context
from delegation.sandbox.platform.errors import ChainUnavailableError, Refused
from delegation.sandbox.platform.misbehaviour import MisbehaviourMiddleware
from delegation.sandbox.platform.sharing import SharedReading
from delegation.sandbox.platform.state import PlatformState
from delegation.sandbox.world import PlatformWorld

_ROUTES = [
    Route("/v1/user", wallets.get_user, methods=["GET"]),
    Route("/v1/delegation/chain/config", delegations.get_chain_config, methods=["GET"]),
    Route("/v1/delegation/token", delegations.get_token, methods=["GET"]),
    Route("/v1/delegation/evm/post-approval", delegations.post_evm_approval, methods=["POST"]),
    Route("/v1/delegation/solana/post-approval", delegations.post_solana_approval, methods=["POST"]),
    Route("/v1/wallet/external", wallets.get_external_wallets, methods=["GET"]),
    Route("/v1/wallet/external/priority", wallets.get_priorities, methods=["GET"]),
    Route("/v1/wallet/external/priority", wallets.put_priorities, methods=["PUT"]),
    Route("/sandbox/misbehave", control.post_misbehave, methods=["POST"]),
    Route("/sandbox/misbehave", control.delete_misbehave, methods=["DELETE"]),
    Route("/sandbox/config", control.post_config, methods=["POST"]),
    Route("/sandbox/config", control.delete_config, methods=["DELETE"]),
    Route("/sandbox/clock", control.post_clock, methods=["POST"]),
    Route("/sandbox/clock", control.delete_clock, methods=["DELETE"]),
    Route("/sandbox/faucet", control.delete_faucet, methods=["DELETE"]),
    Route("/sandbox/wallets", control.delete_wallets, methods=["DELETE"]),
    Route("/sandbox/transactions", control.delete_transactions, methods=["DELETE"]),
    Route("/sandbox/proofs", control.get_proofs, methods=["GET"]),
    Route("/sandbox/requests", control.get_requests, methods=["GET"]),
]


class PlatformApp(Starlette):
    """Starlette with one layer more, outside of all of its own."""

    def build_middleware_stack(self) -> ASGIApp:
        context: Context = self.state.context
        stack = super().build_middleware_stack()
        return MisbehaviourMiddleware(stack, context.misbehaviours, context.state.requests)


def build_app(world: PlatformWorld) -> Starlette:
    """Return the application for this world."""
    app = PlatformApp(
        routes=_ROUTES,
        middleware=[Middleware(AuthenticationMiddleware, world=world)],
        exception_handlers={
            Refused: _answer_refusal,
            ChainUnavailableError: _answer_unavailable,
            HTTPException: _answer_http_exception,
        },
        lifespan=_lifespan,
    )
    chains: dict[str, EvmChain | SolanaChain] = {
        name: EvmChain(network) if network.family == "evm" else SolanaChain(network)
        for name, network in world.networks.items()
    }
    state = PlatformState(world)
    wallet_list = SharedReading(partial(wallets.read_external_wallets, state, chains))
    app.state.context = Context(state, chains, wallet_list)
    return app


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    context = cast(Context, app.state.context)
    chains = context.chains.values()
    # The first proof should not have to wait for the imports.
    connecting = asyncio.gather(*(chain.connect() for chain in chains))
    try:
        yield
    finally:
        await context.wallet_list.aclose()
        await connecting
        await asyncio.gather(*(chain.aclose() for chain in chains))


async def _answer_refusal(_request: Request, error: Exception) -> Response:
    refusal = cast(Refused, error)
    return JSONResponse({"message": refusal.message}, refusal.status)


async def _answer_unavailable(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"message": "Internal server error"}, 500)


async def _answer_http_exception(_request: Request, error: Exception) -> Response:
    failure = cast(HTTPException, error)
    return JSONResponse({"message": failure.detail}, failure.status_code, failure.headers)
