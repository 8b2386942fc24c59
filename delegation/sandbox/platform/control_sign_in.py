"""The endpoints by which tests, and a person who tries the sandbox, look at signing in and change how it goes."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from delegation.sandbox.platform import pages
from delegation.sandbox.platform.account import SentCode
from delegation.sandbox.platform.conduct import change_conduct
from delegation.sandbox.platform.context import Context, read_json


async def get_sign_in(request: Request) -> Response:
    """GET /sandbox/sign-in: the user with their password, the codes sent, newest last, the switches, the token calls"""
    state = Context.of(request).state
    sign_in, now = state.sign_in, state.now()
    account = sign_in.account
    return JSONResponse(
        {
            "user": {"userId": account.user_id, "email": account.email, "password": account.password},
            "codes": [
                {"code": sent.code, "sentAt": sent.sent_at.isoformat(), "state": _state(sent, account.codes, now)}
                for sent in account.codes
            ],
            "conduct": sign_in.conduct.model_dump(),
            "tokenCalls": [asdict(call) for call in sign_in.calls],
        }
    )


async def post_sign_in(request: Request) -> Response:
    """POST /sandbox/sign-in {switch: value, ...}: change how signing in goes"""
    sign_in = Context.of(request).state.sign_in
    sign_in.conduct = change_conduct(sign_in.conduct, await read_json(request))
    return JSONResponse(sign_in.conduct.model_dump())


async def delete_sign_in(request: Request) -> Response:
    """DELETE /sandbox/sign-in: sign everybody out, forget what was sent, and do again as it is documented"""
    Context.of(request).state.sign_in.reset()
    return JSONResponse({"success": True})


async def get_phone(request: Request) -> Response:
    """GET /sandbox/phone: the user's phone, as a page for a person"""
    state = Context.of(request).state
    codes, now = state.sign_in.account.codes, state.now()
    return pages.phone_page(
        [
            {"code": sent.code, "sent": f"{sent.sent_at:%H:%M:%S} UTC", "state": _state(sent, codes, now)}
            for sent in reversed(codes[-10:])
        ]
    )


def _state(sent: SentCode, codes: list[SentCode], now: datetime) -> str:
    if sent.used:
        return "used"
    if sent is not codes[-1]:
        return "replaced"
    return "good" if now < sent.expires_at else "expired"
