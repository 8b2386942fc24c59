"""What both token endpoints do: a code or a refresh token in, tokens out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from delegation.sandbox.platform.context import Context
from delegation.sandbox.platform.errors import OAuthRefused
from delegation.sandbox.platform.fields import check_fields
from delegation.sandbox.platform.sessions import Kind, Session
from delegation.sandbox.platform.sign_in import SignIn, TokenCall


def answer(request: Request, kind: Kind, fields: dict[str, str], needed: Mapping[str, Sequence[str]]) -> Response:
    """Answer a call of a token endpoint, and remember that it came; raises `OAuthRefused` and `Refused`.

    `needed` are the fields of each grant type: all of them, and no others.
    """
    sign_in = Context.of(request).state.sign_in
    grant = fields["grant_type"]
    if grant not in needed:
        raise OAuthRefused(400, "unsupported_grant_type", "grant_type is authorization_code or refresh_token")
    check_fields(fields, ("grant_type", *needed[grant]))
    if grant == "refresh_token" and "x-secret-key" in request.headers:
        # A shipping client found that a refresh with client authentication beside it is refused.
        raise OAuthRefused(400, "invalid_client", "A refresh takes no client authentication")
    call = TokenCall(sign_in.time_text(), request.url.path, grant, 200)
    try:
        session = _session_for(sign_in, kind, fields)
    except OAuthRefused as refusal:
        sign_in.calls.append(TokenCall(call.received_at, call.path, grant, refusal.status))
        raise
    sign_in.calls.append(call)
    tokens = _tokens(sign_in, session, grant, issuer=str(request.base_url))
    return JSONResponse(tokens, headers={"cache-control": "no-store", "pragma": "no-cache"})


def _session_for(sign_in: SignIn, kind: Kind, fields: Mapping[str, str]) -> Session:
    if "refresh_token" in fields:
        return sign_in.sessions.use_refresh(fields["refresh_token"], kind, sign_in.conduct)
    return sign_in.use_code(fields["code"], kind, fields["code_verifier"], fields.get("redirect_uri"))


def _tokens(sign_in: SignIn, session: Session, grant: str, issuer: str) -> dict[str, Any]:
    conduct = sign_in.conduct
    tokens: dict[str, Any] = {
        "access_token": sign_in.sessions.issue_access(session, conduct.access_life),
        "token_type": "Bearer",
        "expires_in": int(conduct.access_life),
    }
    renewable = session.kind == "oauth" or "offline_access" in session.scopes
    if renewable and not (grant == "refresh_token" and conduct.rotation == "none"):
        tokens["refresh_token"] = sign_in.sessions.issue_refresh(session, conduct.refresh_life)
        if session.kind == "oauth" or conduct.refresh_life_told:
            tokens["refresh_token_expires_in"] = int(conduct.refresh_life)
    if session.kind == "oauth2":
        tokens["scope"] = " ".join(session.scopes)
        if "openid" in session.scopes:
            tokens["id_token"] = sign_in.mint_id_token(session, issuer)
    return tokens
