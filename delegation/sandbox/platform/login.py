"""The direct login: e-mail and password, then a one-time code; its token lasts for hours and is never refreshed."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from delegation.sandbox.platform.account import MASKED_PHONE_NUMBER
from delegation.sandbox.platform.auth import asked_region, bearer_of
from delegation.sandbox.platform.context import Context
from delegation.sandbox.platform.errors import Refused
from delegation.sandbox.platform.fields import read_fields, require_no_body
from delegation.sandbox.platform.minting import mint_token
from delegation.sandbox.platform.sessions import Session


async def post_login(request: Request) -> Response:
    """POST /v1/auth/login {email, password, otpCode?}

    200 is not yet a login: the answer says whether a code is wanted or the onboarding is unfinished.
    """
    sign_in = Context.of(request).state.sign_in
    conduct, account = sign_in.conduct, sign_in.account
    fields = await read_fields(request, ("email", "password"), ("otpCode",))
    if "otpCode" in fields and re.fullmatch(r"[0-9]{6}", fields["otpCode"]) is None:
        raise Refused(422, "otpCode field must be 6 digits")
    account.check_password(fields["email"], fields["password"], conduct)
    otp_wanted = conduct.otp != "off" and "otpCode" not in fields
    if "otpCode" in fields:
        account.use_code(fields["otpCode"])
    token: str | None = None
    if otp_wanted:
        if conduct.otp_as_error:
            raise Refused(400, "OTP required")
        token = mint_token("worthless") if conduct.token_beside_otp else None
    elif conduct.phase is None or conduct.phase_with_token:
        session = Session("login", asked_region(request.headers), conduct.phase)
        token = sign_in.sessions.issue_access(session, conduct.login_life)
    return JSONResponse(
        {
            "accessToken": token,
            "userId": account.user_id,
            "isOtpRequired": otp_wanted,
            "phoneNumber": MASKED_PHONE_NUMBER if otp_wanted else None,
            "phase": None if otp_wanted else conduct.phase,
            "verificationState": conduct.verification_state,
            "isLinked": account.linked,
        },
        headers={"cache-control": "no-store"},
    )


async def post_otp(request: Request) -> Response:
    """POST /v1/auth/login/otp {userId}: send a code, or another one

    Where sending is suppressed this says so in an answer with status 200.
    """
    sign_in = Context.of(request).state.sign_in
    fields = await read_fields(request, ("userId",))
    if fields["userId"] != sign_in.account.user_id:
        raise Refused(400, "Invalid user ID")
    return JSONResponse({"success": sign_in.account.send_code(sign_in.conduct)})


async def post_logout(request: Request) -> Response:
    """POST /v1/auth/logout: the token that was sent is dead from now on"""
    await require_no_body(request)
    Context.of(request).state.sign_in.sessions.revoke_access(bearer_of(request.headers))
    return JSONResponse({"success": True})
