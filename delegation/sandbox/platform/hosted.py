"""The hosted page: a person signs in with password and code, and allows the application what it asks for, or not.

One address shows the step that is next, and takes its form. The steps of one request belong to the browser that opened
it first: whoever else has its address gets nowhere.
"""

from __future__ import annotations

import secrets
from hmac import compare_digest
from typing import Literal

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from delegation.sandbox.platform import pages
from delegation.sandbox.platform.account import MASKED_PHONE_NUMBER
from delegation.sandbox.platform.context import Context
from delegation.sandbox.platform.errors import OAuthRefused, Refused
from delegation.sandbox.platform.fields import read_form
from delegation.sandbox.platform.oauth2 import SCOPES
from delegation.sandbox.platform.sign_in import AuthorizationRequest, SignIn, Visit, add_to_uri

Step = Literal["password", "code", "consent"]

_COOKIE = "sandbox_browser"
_NOT_SENT = "The code could not be sent. Try to send another one."
_OVER = "This sign-in is over or has expired. Go back to the application and start again."
_OLDER_RIGHTS = ("use your card account for as long as you allow it",)


async def get_page(request: Request) -> Response:
    """GET /hosted/sign-in?request=: the step that is next"""
    sign_in = Context.of(request).state.sign_in
    opened = sign_in.find_request(request.query_params.get("request", ""))
    if opened is None:
        return pages.error_page(_OVER)
    browser = request.cookies.get(_COOKIE) or secrets.token_urlsafe(16)
    visit = sign_in.visits.setdefault(opened.token, Visit(browser))
    if not compare_digest(visit.browser.encode(), browser.encode()):
        return pages.error_page(_OVER)
    fault, visit.fault = visit.fault, None
    answer = _show(request, sign_in, opened, visit, fault)
    answer.set_cookie(_COOKIE, browser, path="/hosted", httponly=True, samesite="lax")
    return answer


async def post_page(request: Request) -> Response:
    """POST /hosted/sign-in: the form of a step"""
    sign_in = Context.of(request).state.sign_in
    try:
        form = await read_form(request)
    except OAuthRefused as refusal:
        return pages.error_page(refusal.description)
    opened = sign_in.find_request(form.get("request", ""))
    visit = None if opened is None else sign_in.visits.get(opened.token)
    browser = request.cookies.get(_COOKIE, "")
    if opened is None or visit is None or not compare_digest(visit.browser.encode(), browser.encode()):
        return pages.error_page(_OVER)
    if form.get("action") == "cancel":
        return _go_back(opened, sign_in.refuse(opened, "access_denied"))
    step = _next_step(sign_in, visit)
    if form.get("step") != step:  # a form of a page that is behind, by the browser's back button
        return _to_next_step(request, opened)
    try:
        if step == "password":
            _take_password(sign_in, visit, form)
        elif step == "code":
            _take_code(sign_in, visit, form)
        elif form.get("action") == "allow":
            return _allow(sign_in, opened)
    except Refused as refusal:
        return _show(request, sign_in, opened, visit, refusal.message, refusal.status)
    return _to_next_step(request, opened)


def _next_step(sign_in: SignIn, visit: Visit) -> Step:
    if not visit.password_given:
        return "password"
    return "code" if sign_in.conduct.otp != "off" and not visit.code_given else "consent"


def _show(
    request: Request, sign_in: SignIn, opened: AuthorizationRequest, visit: Visit, fault: str | None, status: int = 200
) -> Response:
    target = pages.Target(opened.redirect_uri)
    application = Context.of(request).state.world.tenant.client_id
    step = _next_step(sign_in, visit)
    if step == "password":
        return pages.sign_in_page(
            opened.token, application=application, email=visit.email, target=target, fault=fault, status=status
        )
    if step == "code":
        return pages.code_page(opened.token, phone=MASKED_PHONE_NUMBER, target=target, fault=fault, status=status)
    rights = [SCOPES[scope] for scope in opened.scopes] or _OLDER_RIGHTS
    return pages.consent_page(opened.token, application=application, rights=rights, target=target)


def _take_password(sign_in: SignIn, visit: Visit, form: dict[str, str]) -> None:
    conduct = sign_in.conduct
    visit.email = form.get("email", "")
    try:
        sign_in.account.check_password(visit.email, form.get("password", ""), conduct)
    except Refused as refusal:
        raise Refused(refusal.status, f"{refusal.message}.") from None
    if conduct.phase is not None and not conduct.phase_with_token:
        raise Refused(
            403, f"Your registration is not finished ({conduct.phase}). Finish it in the app, then come back."
        )
    visit.password_given = True
    if conduct.otp != "off" and not sign_in.account.send_code(conduct):
        visit.fault = _NOT_SENT


def _take_code(sign_in: SignIn, visit: Visit, form: dict[str, str]) -> None:
    if form.get("action") == "again":
        if not sign_in.account.send_code(sign_in.conduct):
            raise Refused(503, _NOT_SENT)
        return
    try:
        sign_in.account.use_code(form.get("code", ""))
    except Refused as refusal:
        raise Refused(refusal.status, f"{refusal.message}. Look again, or send another one.") from None
    visit.code_given = True


def _allow(sign_in: SignIn, opened: AuthorizationRequest) -> Response:
    conduct = sign_in.conduct
    if conduct.redirect_error is not None:
        return _go_back(opened, sign_in.refuse(opened, conduct.redirect_error))
    carried = sign_in.agree(opened, conduct.region)
    if opened.kind == "oauth2" and conduct.app_id is not None:
        carried["app_id"] = conduct.app_id
    if conduct.redirect_twice:
        return pages.twice_page(add_to_uri(opened.redirect_uri, carried), pages.Target(opened.redirect_uri))
    return _go_back(opened, carried)


def _go_back(opened: AuthorizationRequest, carried: dict[str, str]) -> Response:
    headers = {"cache-control": "no-store", "referrer-policy": "no-referrer"}
    return RedirectResponse(add_to_uri(opened.redirect_uri, carried), 303, headers)


def _to_next_step(request: Request, opened: AuthorizationRequest) -> Response:
    return RedirectResponse(request.url_for("sign_in_page").include_query_params(request=opened.token), 303)
