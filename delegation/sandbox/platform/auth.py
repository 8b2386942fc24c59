"""Who may ask: the client key of the tenant first, then the access token of the user, then the kind of the tenant."""

from __future__ import annotations

from collections.abc import Mapping
from hmac import compare_digest
from typing import cast

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from delegation.sandbox.platform.conduct import Conduct, Region
from delegation.sandbox.platform.errors import Refused
from delegation.sandbox.platform.sessions import Session
from delegation.sandbox.platform.state import PlatformState

# A browser opens these, which has no client key to send; the client id or the page's own session stands for it.
_OPENED_BY_BROWSERS = ("/v1/auth/oauth2/authorize", "/hosted/", "/sandbox/phone")
# What has to be asked before there is an access token, and goes wrong where one is sent.
_BEFORE_SIGN_IN = frozenset(
    {
        "/v1/auth/login",
        "/v1/auth/login/otp",
        "/v1/auth/oauth/authorize/initiate",
        "/v1/auth/oauth/token",
        "/v1/auth/oauth2/token",
        "/v1/auth/oauth2/revoke",
    }
)
_CUSTODIAL = ("/v1/wallet/internal",)
_NON_CUSTODIAL = ("/v1/delegation/", "/v1/wallet/external")


def bearer_of(headers: Mapping[str, str]) -> str:
    """Return the token of the header Authorization (RFC 6750, 2.1), or nothing where there is none."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


def asked_region(headers: Mapping[str, str]) -> Region:
    """Return the region that a request is for."""
    return "us" if headers.get("x-us-env") == "true" else "international"


def session_of(request: Request) -> Session:
    """Return the session of the access token that came with the request."""
    return cast(Session, request.state.session)


def authenticate(headers: Headers, path: str, state: PlatformState) -> Session | None:
    """Return the session of who asks, or None where nobody has to be signed in; raises `Refused`."""
    if path.startswith(_OPENED_BY_BROWSERS):
        return None
    _check_client_key(headers, state.world.client_key)
    if path.startswith("/sandbox/"):
        return None
    if path in _BEFORE_SIGN_IN:
        if "authorization" in headers:
            # Seen of stale tokens, without its status; no source shows that a live one would be welcome.
            raise Refused(400, "Missing User Data")
        return None
    session = state.sign_in.sessions.find(bearer_of(headers))
    if session is None or session.region not in (None, asked_region(headers)):
        raise Refused(401, "Not authenticated")
    _check_reach(session, path, state.sign_in.conduct)
    return session


def _check_client_key(headers: Headers, wanted: str) -> None:
    client_key = headers.get("x-client-key")
    if not client_key:
        raise Refused(499, "Missing client key")
    if not compare_digest(client_key.encode(), wanted.encode()):
        raise Refused(498, "Invalid client key")


def _check_reach(session: Session, path: str, conduct: Conduct) -> None:
    """Raise `Refused` where the tenant's kind or an unfinished onboarding stands in the way.

    No source shows how a custodial tenant refuses what is not for it, nor the status of the one text that is known.
    """
    if path.startswith(_CUSTODIAL) and conduct.tenant != "custodial":
        raise Refused(403, "This route is only available for CUSTODIAL")
    if path.startswith(_NON_CUSTODIAL) and (conduct.tenant == "custodial" or session.phase is not None):
        raise Refused(403, "Not authorized")


class AuthenticationMiddleware:
    """Answers 499, 498, 401 or 403 before anything else looks at the request."""

    def __init__(self, app: ASGIApp, state: PlatformState) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                session = authenticate(Headers(scope=scope), scope["path"], self._state)
            except Refused as refusal:
                answer = JSONResponse({"message": refusal.message}, refusal.status)
                await answer(scope, receive, send)
                return
            scope.setdefault("state", {})["session"] = session
        await self._app(scope, receive, send)
