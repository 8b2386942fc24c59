"""The signed-in user, with all the personal data that the documented answer carries."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from delegation.sandbox.platform.account import PHONE_NUMBER
from delegation.sandbox.platform.context import Context


async def get_user(request: Request) -> Response:
    """GET /v1/user

    Of an American this holds the social security number: one that is never given out, but a client that keeps it keeps
    everybody's.
    """
    state = Context.of(request).state
    account, conduct = state.sign_in.account, state.sign_in.conduct
    american = conduct.region == "us"
    user: dict[str, Any] = {
        "id": account.user_id,
        "firstName": "Sandbox",
        "lastName": "User",
        "dateOfBirth": "1990-01-31T00:00:00.000Z",
        "email": account.email,
        "verificationState": conduct.verification_state,
        "phoneCountryCode": PHONE_NUMBER[:3],
        "phoneNumber": PHONE_NUMBER[3:],
        "addressLine1": "1 Play Street",
        "addressLine2": None,
        "city": "Sandwich",
        "zip": "02563" if american else "CT13 9AB",
        "countryOfResidence": "US" if american else "GB",
        "countryOfNationality": "US" if american else "GB",
        "usState": "MA" if american else None,
        "ssn": "000123456" if american else None,
        "createdAt": state.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    return JSONResponse(user, headers={"cache-control": "no-store"})
