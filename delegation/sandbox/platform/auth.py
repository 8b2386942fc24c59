"""Who may ask: the client key of the tenant first, then the access token of the user."""

from __future__ import annotations

from hmac import compare_digest

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from delegation.sandbox.platform.errors import Refused
from delegation.sandbox.world import PlatformWorld


def check_headers(headers: Headers, path: str, world: PlatformWorld) -> None:
    """Raise `Refused` unless the client key is right and, outside /sandbox/, the access token too."""
    client_key = headers.get("x-client-key")
    if not client_key:
        raise Refused(499, "Missing client key")
    if not compare_digest(client_key.encode(), world.client_key.encode()):
        raise Refused(498, "Invalid client key")
    if path.startswith("/sandbox/"):
        return
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not compare_digest(credentials.encode(), world.access_token.encode()):
        raise Refused(401, "Not authenticated")


class AuthenticationMiddleware:
    """Answers 499, 498 or 401 before anything else looks at the request."""

    def __init__(self, app: ASGIApp, world: PlatformWorld) -> None:
        self._app = app
        self._world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                check_headers(Headers(scope=scope), scope["path"], self._world)
            except Refused as refusal:
                answer = JSONResponse({"message": refusal.message}, refusal.status)
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)
