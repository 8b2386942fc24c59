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

from delegation.sandbox.platform import (
    control,
    control_sign_in,
    delegations,
    hosted,
    internal_wallets,
    login,
    oauth,
    oauth2,
    users,
    wallets,
)
from delegation.sandbox.platform.auth import AuthenticationMiddleware
from delegation.sandbox.platform.chain_evm import EvmChain
from delegation.sandbox.platform.chain_solana import SolanaChain
from delegation.sandbox.platform.context import Context
from delegation.sandbox.platform.errors import ChainUnavailableError, OAuthRefused, Refused
from delegation.sandbox.platform.limits import LimitMiddleware
from delegation.sandbox.platform.misbehaviour import MisbehaviourMiddleware
from delegation.sandbox.platform.sharing import SharedReading
from delegation.sandbox.platform.state import PlatformState
from delegation.sandbox.world import PlatformWorld

_ROUTES = [
    Route("/v1/auth/login", login.post_login, methods=["POST"]),
    Route("/v1/auth/login/otp", login.post_otp, methods=["POST"]),
    Route("/v1/auth/logout", login.post_logout, methods=["POST"]),
    Route("/v1/auth/oauth/authorize/initiate", oauth.get_initiate, methods=["GET"]),
    Route("/v1/auth/oauth/authorize", oauth.post_authorize, methods=["POST"]),
    Route("/v1/auth/oauth/token", oauth.post_token, methods=["POST"]),
    Route("/v1/auth/oauth/revoke", oauth.delete_revoke, methods=["DELETE"]),
    Route("/v1/auth/oauth2/authorize", oauth2.get_authorize, methods=["GET"]),
    Route("/v1/auth/oauth2/token", oauth2.post_token, methods=["POST"]),
    Route("/v1/auth/oauth2/revoke", oauth2.post_revoke, methods=["POST"]),
    Route("/v1/user", users.get_user, methods=["GET"]),
    Route("/v1/delegation/chain/config", delegations.get_chain_config, methods=["GET"]),
    Route("/v1/delegation/token", delegations.get_token, methods=["GET"]),
    Route("/v1/delegation/evm/post-approval", delegations.post_evm_approval, methods=["POST"]),
    Route("/v1/delegation/solana/post-approval", delegations.post_solana_approval, methods=["POST"]),
    Route("/v1/wallet/external", wallets.get_external_wallets, methods=["GET"]),
    Route("/v1/wallet/external/priority", wallets.get_priorities, methods=["GET"]),
    Route("/v1/wallet/external/priority", wallets.put_priorities, methods=["PUT"]),
    Route("/v1/wallet/internal", internal_wallets.get_internal_wallets, methods=["GET"]),
    Route("/hosted/sign-in", hosted.get_page, methods=["GET"], name="sign_in_page"),
    Route("/hosted/sign-in", hosted.post_page, methods=["POST"]),
    Route("/sandbox/sign-in", control_sign_in.get_sign_in, methods=["GET"]),
    Route("/sandbox/sign-in", control_sign_in.post_sign_in, methods=["POST"]),
    Route("/sandbox/sign-in", control_sign_in.delete_sign_in, methods=["DELETE"]),
    Route("/sandbox/phone", control_sign_in.get_phone, methods=["GET"]),
    Route("/sandbox/misbehave", control.post_misbehave, methods=["POST"]),
    Route("/sandbox/misbehave", control.delete_misbehave, methods=["DELETE"]),
    Route("/sandbox/limit", control.post_limit, methods=["POST"]),
    Route("/sandbox/limit", control.delete_limit, methods=["DELETE"]),
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
    state = PlatformState(world)
    app = PlatformApp(
        routes=_ROUTES,
        middleware=[
            Middleware(LimitMiddleware, limits=state.limits, now=state.now),
            Middleware(AuthenticationMiddleware, state=state),
        ],
        exception_handlers={
            Refused: _answer_refusal,
            OAuthRefused: _answer_oauth_refusal,
            ChainUnavailableError: _answer_unavailable,
            HTTPException: _answer_http_exception,
        },
        lifespan=_lifespan,
    )
    chains: dict[str, EvmChain | SolanaChain] = {
        name: EvmChain(network) if network.family == "evm" else SolanaChain(network)
        for name, network in world.networks.items()
    }
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


async def _answer_oauth_refusal(_request: Request, error: Exception) -> Response:
    refusal = cast(OAuthRefused, error)
    body = {"error": refusal.error, "error_description": refusal.description}
    return JSONResponse(body, refusal.status, {"cache-control": "no-store"})


async def _answer_unavailable(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"message": "Internal server error"}, 500)


async def _answer_http_exception(_request: Request, error: Exception) -> Response:
    failure = cast(HTTPException, error)
    return JSONResponse({"message": failure.detail}, failure.status_code, failure.headers)
