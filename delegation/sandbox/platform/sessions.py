"""The tokens of signed-in users: how long each is good, which belong together, and what ends them all."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from delegation.sandbox.platform.conduct import Conduct, Phase, Region
from delegation.sandbox.platform.errors import OAuthRefused
from delegation.sandbox.platform.minting import mint_token

Kind = Literal["login", "oauth", "oauth2"]
"""What minted a token: the direct login, the documented OAuth, or its successor with the hosted page."""


@dataclass(slots=True)
class Session:
    """One sign-in and all tokens that came of it. `region` is None where the tokens are good in each."""

    kind: Kind
    region: Region | None
    phase: Phase | None = None
    scopes: tuple[str, ...] = ()
    ended: bool = False


@dataclass(slots=True)
class _Token:
    session: Session = field(repr=False)
    expires_at: datetime | None
    dead: bool = False


class Sessions:
    """All tokens of one platform; nothing is ever taken out, so that a dead token is told from one never issued."""

    def __init__(self, now: Callable[[], datetime], access_token: str) -> None:
        self._now = now
        self._access: dict[str, _Token] = {access_token: _Token(Session("login", region=None), expires_at=None)}
        self._refresh: dict[str, _Token] = {}

    def issue_access(self, session: Session, life: float) -> str:
        """Return a new access token of the session, good for this many seconds."""
        token = mint_token("access")
        self._access[token] = _Token(session, self._now() + timedelta(seconds=life))
        return token

    def issue_refresh(self, session: Session, life: float) -> str:
        """Return a new refresh token of the session, good for this many seconds."""
        token = mint_token("refresh")
        self._refresh[token] = _Token(session, self._now() + timedelta(seconds=life))
        return token

    def find(self, access_token: str) -> Session | None:
        """Return the session of a live access token, or None."""
        known = self._access.get(access_token)
        return known.session if known is not None and self._is_live(known) else None

    def use_refresh(self, token: str, kind: Kind, conduct: Conduct) -> Session:
        """Return the session that a refresh token renews; raises `OAuthRefused`.

        With rotation a token is good once: who comes with a used one is not told from a thief, and nobody keeps the
        session (RFC 9700, 4.14.2).
        """
        known = self._refresh.get(token)
        if known is None or known.session.kind != kind:
            raise OAuthRefused(conduct.invalid_grant, "invalid_grant", "The refresh token is not known")
        if known.dead:
            known.session.ended = True
            raise OAuthRefused(conduct.invalid_grant, "invalid_grant", "The refresh token was used before")
        if not self._is_live(known):
            raise OAuthRefused(conduct.invalid_grant, "invalid_grant", "The refresh token has expired or was revoked")
        known.dead = conduct.rotation == "strict"
        return known.session

    def revoke_access(self, token: str) -> None:
        """End one access token, if it is known."""
        if token in self._access:
            self._access[token].dead = True

    def revoke_refresh(self, token: str, kind: Kind) -> None:
        """End a refresh token, if it is known, and with it all of its session (RFC 7009, 2.1)."""
        known = self._refresh.get(token)
        if known is not None and known.session.kind == kind:
            known.session.ended = True

    def end_all(self, kinds: Collection[Kind]) -> None:
        """End every session of these kinds."""
        for token in (*self._access.values(), *self._refresh.values()):
            if token.session.kind in kinds:
                token.session.ended = True

    def _is_live(self, token: _Token) -> bool:
        if token.dead or token.session.ended:
            return False
        return token.expires_at is None or self._now() < token.expires_at
