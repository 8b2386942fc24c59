"""What the platform remembers of signing in: its conduct, the user's account, their sessions and open requests."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlencode

from delegation.sandbox.platform.account import Account
from delegation.sandbox.platform.conduct import Conduct, Region
from delegation.sandbox.platform.errors import OAuthRefused
from delegation.sandbox.platform.minting import is_verifier, mint_jwt, mint_token, verifier_matches
from delegation.sandbox.platform.sessions import Kind, Session, Sessions
from delegation.sandbox.world import PlatformWorld


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """What an application asks a user to agree to, checked; `token` names it until it is answered."""

    token: str = field(repr=False)
    kind: Kind
    redirect_uri: str
    state: str | None = field(repr=False)
    challenge: str = field(repr=False)
    scopes: tuple[str, ...]
    expires_at: datetime


@dataclass(slots=True)
class Visit:
    """How far a person has come with one request on the hosted page, in one browser; `fault` is shown once."""

    browser: str = field(repr=False)
    email: str = ""
    password_given: bool = False
    code_given: bool = False
    fault: str | None = None


@dataclass(slots=True)
class _Code:
    request: AuthorizationRequest
    region: Region | None
    expires_at: datetime
    session: Session | None = None


@dataclass(frozen=True, slots=True)
class TokenCall:
    """One call of a token endpoint, for tests that count: what was asked and what was answered, without any token."""

    received_at: str
    path: str
    grant_type: str
    status: int


class SignIn:
    """Signing in to one platform."""

    def __init__(self, world: PlatformWorld, user_id: str, now: Callable[[], datetime]) -> None:
        self._world = world
        self._user_id = user_id
        self._now = now
        self.reset()

    def reset(self) -> None:
        """Forget every sign-in, and do again as it is documented."""
        tenant = self._world.tenant
        self.conduct = Conduct(redirect_uris=list(tenant.redirect_uris))
        self.account = Account(self._user_id, tenant, self._now)
        self.sessions = Sessions(self._now, self._world.access_token)
        self.calls: list[TokenCall] = []
        self._requests: dict[str, AuthorizationRequest] = {}
        self.visits: dict[str, Visit] = {}
        self._codes: dict[str, _Code] = {}
        self._signing_key = secrets.token_bytes(32)

    def time_text(self) -> str:
        """Return the time by the platform's clock, as text."""
        return self._now().isoformat()

    def open_request(
        self, kind: Kind, *, redirect_uri: str, state: str | None, challenge: str, scopes: tuple[str, ...] = ()
    ) -> AuthorizationRequest:
        """Return a new request, which waits for the user's answer for a while."""
        expires_at = self._now() + timedelta(seconds=self.conduct.initiate_life)
        claims = {"jti": secrets.token_urlsafe(16), "exp": int(expires_at.timestamp()), "typ": "session"}
        token = mint_jwt(claims, self._signing_key)
        request = AuthorizationRequest(token, kind, redirect_uri, state, challenge, scopes, expires_at)
        self._requests[token] = request
        return request

    def find_request(self, token: str) -> AuthorizationRequest | None:
        """Return the request that waits under this token, or None if there is none, or no longer."""
        request = self._requests.get(token)
        return request if request is not None and self._now() < request.expires_at else None

    def close_request(self, request: AuthorizationRequest) -> None:
        """Forget a request: it was answered."""
        self._requests.pop(request.token, None)

    def agree(self, request: AuthorizationRequest, region: Region | None) -> dict[str, str]:
        """Answer a request with a new code, and return what the redirect carries."""
        self.close_request(request)
        code = mint_token("code")
        self._codes[code] = _Code(request, region, self._now() + timedelta(seconds=self.conduct.code_life))
        self.account.linked = True
        return {"code": code, **self._echo(request)}

    def refuse(self, request: AuthorizationRequest, error: str) -> dict[str, str]:
        """Answer a request with an error, and return what the redirect carries (RFC 6749, 4.1.2.1)."""
        self.close_request(request)
        return {"error": error, **self._echo(request)}

    def _echo(self, request: AuthorizationRequest) -> dict[str, str]:
        if request.state is None or self.conduct.state == "omit":
            return {}
        return {"state": request.state if self.conduct.state == "echo" else secrets.token_urlsafe(16)}

    def use_code(self, code: str, kind: Kind, verifier: str, redirect_uri: str | None) -> Session:
        """Return the session that a code begins; raises `OAuthRefused`.

        A code is good once; its second use ends what the first one began (RFC 6749, 4.1.2). `redirect_uri` is compared
        where it was sent.
        """
        status = self.conduct.invalid_grant
        known = self._codes.get(code)
        if known is None or known.request.kind != kind:
            raise OAuthRefused(status, "invalid_grant", "The authorization code is not known")
        if known.session is not None:
            known.session.ended = True
            raise OAuthRefused(status, "invalid_grant", "The authorization code was used before")
        if self._now() >= known.expires_at:
            raise OAuthRefused(status, "invalid_grant", "The authorization code has expired")
        if redirect_uri is not None and redirect_uri != known.request.redirect_uri:
            raise OAuthRefused(status, "invalid_grant", "The redirect URI is not the one of the request")
        if not is_verifier(verifier) or not verifier_matches(verifier, known.request.challenge):
            raise OAuthRefused(status, "invalid_grant", "PKCE verification failed")
        known.session = Session(kind, known.region, self.conduct.phase, known.request.scopes)
        return known.session

    def mint_id_token(self, session: Session, issuer: str) -> str:
        """Return an ID token for this user (OpenID Connect Core 1.0, 2)."""
        now = int(self._now().timestamp())
        claims = {
            "iss": issuer,
            "sub": self._user_id,
            "aud": self._world.tenant.client_id,
            "iat": now,
            "exp": now + int(self.conduct.access_life),
        }
        if "email" in session.scopes:
            claims["email"] = self.account.email
        return mint_jwt(claims, self._signing_key)


def add_to_uri(uri: str, parameters: dict[str, str]) -> str:
    """Return the redirect URI with parameters added to those it has (RFC 6749, 3.1.2)."""
    return f"{uri}{'&' if '?' in uri else '?'}{urlencode(parameters)}"
