"""The successor of the documented OAuth, which shipping clients use: the hosted page without a request beforehand."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from delegation.sandbox.platform import oauth_tokens, pages
from delegation.sandbox.platform.context import Context
from delegation.sandbox.platform.errors import OAuthRefused, Refused
from delegation.sandbox.platform.fields import is_form, read_fields, read_form, require_once
from delegation.sandbox.platform.minting import is_challenge
from delegation.sandbox.platform.sign_in import add_to_uri

SCOPES = {
    "openid": "know who you are",
    "profile": "see your name",
    "email": "see your e-mail address",
    "platform:full": "use your card account: read it, and make and take back delegations",
    "offline_access": "stay signed in when you are away",
}

_PARAMETERS = (
    "client_id",
    "response_type",
    "scope",
    "redirect_uri",
    "code_challenge",
    "code_challenge_method",
    "prompt",
    "state",
)
_CODE_GRANT = ("code", "code_verifier")
# A form has what RFC 6749, 4.1.3 wants of a client without a secret; JSON has what its one known client sends.
_NEEDED_IN_JSON = {"authorization_code": _CODE_GRANT, "refresh_token": ("refresh_token",)}
_NEEDED_IN_FORMS = {
    "authorization_code": (*_CODE_GRANT, "client_id", "redirect_uri"),
    "refresh_token": ("refresh_token",),
}


async def get_authorize(request: Request) -> Response:
    """GET /v1/auth/oauth2/authorize: where an application sends the user's browser

    Nobody is redirected to where no application of ours is (RFC 6749, 4.1.2.1): then the page says what is wrong. All
    else that is wrong goes back to the application.
    """
    context = Context.of(request)
    sign_in = context.state.sign_in
    try:
        query = require_once(request.query_params.multi_items())
    except OAuthRefused as refusal:
        return pages.error_page(refusal.description)
    if query.get("client_id") != context.state.world.tenant.client_id:
        return pages.error_page("The application that sent you here is not known: client_id is missing or wrong.")
    redirect_uri = query.get("redirect_uri", "")
    if redirect_uri not in sign_in.conduct.redirect_uris:
        return pages.error_page("The application wants you sent to an address that is not registered: redirect_uri.")
    wrong = _find_fault(query)
    if wrong is not None:
        state = {"state": query["state"]} if "state" in query else {}
        error, description = wrong
        back = add_to_uri(redirect_uri, {"error": error, "error_description": description, **state})
        return RedirectResponse(back, 302)
    opened = sign_in.open_request(
        "oauth2",
        redirect_uri=redirect_uri,
        state=query.get("state"),
        challenge=query["code_challenge"],
        scopes=tuple(query["scope"].split(" ")),
    )
    return RedirectResponse(request.url_for("sign_in_page").include_query_params(request=opened.token), 302)


def _find_fault(query: dict[str, str]) -> tuple[str, str] | None:
    """Return the error and its description for the application, or None; parameters not known are a fault here."""
    for name in query:
        if name not in _PARAMETERS:
            return "invalid_request", f"Parameter is not allowed: {name}"
    for name in ("response_type", "scope", "code_challenge", "code_challenge_method"):
        if not query.get(name):
            return "invalid_request", f"Missing required parameter: {name}"
    if query["response_type"] != "code":
        return "unsupported_response_type", "response_type must be code"
    if query["code_challenge_method"] != "S256" or not is_challenge(query["code_challenge"]):
        return "invalid_request", "code_challenge must be made with S256"
    if query.get("prompt", "consent") != "consent":
        return "invalid_request", "prompt must be consent"
    scopes = query["scope"].split(" ")
    if not set(scopes) <= SCOPES.keys() or len(set(scopes)) != len(scopes):
        return "invalid_scope", f"Known scopes are {', '.join(SCOPES)}, each once"
    return None


async def post_token(request: Request) -> Response:
    """POST /v1/auth/oauth2/token: a code or a refresh token for tokens; a form, or JSON"""
    needed = _NEEDED_IN_FORMS if is_form(request) else _NEEDED_IN_JSON
    known = sorted({name for names in needed.values() for name in names})
    if is_form(request):
        fields = await read_form(request)
        for name in ("grant_type", *needed.get(fields.get("grant_type", ""), ())):
            if not fields.get(name):
                raise OAuthRefused(400, "invalid_request", f"Missing required parameter: {name}")
    else:
        fields = await read_fields(request, ("grant_type",), known)
    client_id = fields.get("client_id")
    if client_id is not None and client_id != Context.of(request).state.world.tenant.client_id:
        raise OAuthRefused(400, "invalid_client", "client_id is not known")
    return oauth_tokens.answer(request, "oauth2", fields, needed)


async def post_revoke(request: Request) -> Response:
    """POST /v1/auth/oauth2/revoke {token, token_hint}

    An unknown token is revoked like any other: it is not good afterwards (RFC 7009, 2.2).
    """
    sessions = Context.of(request).state.sign_in.sessions
    fields = await read_fields(request, ("token", "token_hint"))
    match fields["token_hint"]:
        case "access_token":
            sessions.revoke_access(fields["token"])
        case "refresh_token":
            sessions.revoke_refresh(fields["token"], "oauth2")
        case _:
            raise Refused(422, "token_hint field must be access_token or refresh_token")
    return JSONResponse({"success": True})
