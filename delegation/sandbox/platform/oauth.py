"""The documented OAuth 2.0 with PKCE (RFC 7636), in API mode without a browser and with the hosted page."""

from __future__ import annotations

from hmac import compare_digest

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from delegation.sandbox.platform import oauth_tokens
from delegation.sandbox.platform.auth import session_of
from delegation.sandbox.platform.context import Context
from delegation.sandbox.platform.errors import OAuthRefused, Refused
from delegation.sandbox.platform.fields import read_fields, require_no_body, require_once
from delegation.sandbox.platform.minting import is_challenge
from delegation.sandbox.platform.sign_in import add_to_uri

_REQUIRED = ("response_type", "client_id", "redirect_uri", "state", "code_challenge", "code_challenge_method")
_OPTIONAL = ("mode", "client_secret")
_SHORTEST_STATE = 8


async def get_initiate(request: Request) -> Response:
    """GET /v1/auth/oauth/authorize/initiate: open a request, to be agreed to by the user

    With mode=api the answer is JSON, otherwise a redirect to the hosted page. The redirect URI is not compared in API
    mode, where nobody is redirected.
    """
    sign_in = Context.of(request).state.sign_in
    query = require_once(request.query_params.multi_items())
    _check_query(query)
    _check_client(request, query)
    if "mode" not in query and query["redirect_uri"] not in sign_in.conduct.redirect_uris:
        raise OAuthRefused(400, "invalid_request", "redirect_uri is not registered")
    opened = sign_in.open_request(
        "oauth", redirect_uri=query["redirect_uri"], state=query["state"], challenge=query["code_challenge"]
    )
    page = str(request.url_for("sign_in_page").include_query_params(request=opened.token))
    if "mode" not in query:
        return RedirectResponse(page, 302)
    return JSONResponse({"token": opened.token, "url": page}, headers={"cache-control": "no-store"})


def _check_query(query: dict[str, str]) -> None:
    """Raise `OAuthRefused`, or `Refused` for a parameter that is not known, unless the query is as documented."""
    for name in query:
        if name not in (*_REQUIRED, *_OPTIONAL):
            raise Refused(422, f"{name} field is not allowed")
    for name in _REQUIRED:
        if not query.get(name):
            raise OAuthRefused(400, "invalid_request", f"Missing required parameter: {name}")
    if query["response_type"] != "code":
        raise OAuthRefused(400, "unsupported_response_type", "response_type must be code")
    if query["code_challenge_method"] != "S256" or not is_challenge(query["code_challenge"]):
        raise OAuthRefused(400, "invalid_request", "code_challenge must be made with S256")
    if len(query["state"]) < _SHORTEST_STATE:
        raise OAuthRefused(400, "invalid_request", f"state must have at least {_SHORTEST_STATE} characters")
    if query.get("mode", "api") != "api":
        raise OAuthRefused(400, "invalid_request", "mode must be api")


def _check_client(request: Request, query: dict[str, str]) -> None:
    """Raise `OAuthRefused` unless the application shows what it was given: the secret key, or only the public one."""
    context = Context.of(request)
    world = context.state.world
    if query["client_id"] != world.tenant.client_id:
        raise OAuthRefused(400, "invalid_client", "client_id is not known")
    if context.state.sign_in.conduct.initiate_with == "secret":
        shown, wanted = request.headers.get("x-secret-key", ""), world.tenant.secret_key
    else:
        shown, wanted = query.get("client_secret", ""), world.client_key
    if not compare_digest(shown.encode(), wanted.encode()):
        raise OAuthRefused(401, "invalid_client", "The client's secret is missing or wrong")


async def post_authorize(request: Request) -> Response:
    """POST /v1/auth/oauth/authorize {token}: the user of the login token in the header agrees"""
    sign_in = Context.of(request).state.sign_in
    session = session_of(request)
    if session.kind != "login":
        raise Refused(401, "Not authenticated")
    fields = await read_fields(request, ("token",))
    opened = sign_in.find_request(fields["token"])
    if opened is None or opened.kind != "oauth":
        raise OAuthRefused(400, "invalid_request", "The session token is unknown, used or expired")
    carried = sign_in.agree(opened, session.region)
    url = add_to_uri(opened.redirect_uri, carried)
    return JSONResponse({"url": url, **carried}, headers={"cache-control": "no-store"})


async def post_token(request: Request) -> Response:
    """POST /v1/auth/oauth/token: a code or a refresh token for tokens; JSON alone"""
    fields = await read_fields(request, ("grant_type",), ("code", "redirect_uri", "code_verifier", "refresh_token"))
    needed = {"authorization_code": ("code", "redirect_uri", "code_verifier"), "refresh_token": ("refresh_token",)}
    return oauth_tokens.answer(request, "oauth", fields, needed)


async def delete_revoke(request: Request) -> Response:
    """DELETE /v1/auth/oauth/revoke: end all that the user agreed to; a direct login goes on"""
    sign_in = Context.of(request).state.sign_in
    await require_no_body(request)
    sign_in.sessions.end_all(("oauth", "oauth2"))
    sign_in.account.linked = False
    return JSONResponse({"success": True})
