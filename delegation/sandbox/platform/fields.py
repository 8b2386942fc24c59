"""How strictly the endpoints of sign-in read what they are sent: each field is text, is known, and comes once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import parse_qsl

from starlette.requests import Request

from delegation.sandbox.platform.context import read_json
from delegation.sandbox.platform.errors import OAuthRefused, Refused


def check_fields(body: object, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, str]:
    """Return the fields of a decoded body; raises `Refused` with 422, which names the field.

    A field that is absent must be left out: null is no text.
    """
    if not isinstance(body, dict):
        raise Refused(422, "Validation error: the body must be an object")
    for name in body:
        if name not in (*required, *optional):
            raise Refused(422, f"{name} field is not allowed")
    for name in required:
        if name not in body:
            raise Refused(422, f"{name} field is required")
    for name, value in body.items():
        if not isinstance(value, str) or not value:
            raise Refused(422, f"{name} field must be a text that is not empty")
    return body


async def read_fields(request: Request, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, str]:
    """Return the fields of a JSON body; raises `Refused`."""
    return check_fields(await read_json(request), required, optional)


async def require_no_body(request: Request) -> None:
    """Raise `Refused` with 422 if a body was sent where none is documented; an empty object is as good as none."""
    if await request.body() not in (b"", b"{}"):
        raise Refused(422, "Validation error: this request has no body")


def is_form(request: Request) -> bool:
    """Return whether the body is declared as a form."""
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return declared == "application/x-www-form-urlencoded"


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form body; raises `OAuthRefused` with 400 if one comes twice (RFC 6749, 3.2)."""
    try:
        pairs = parse_qsl((await request.body()).decode("ascii"), keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise OAuthRefused(400, "invalid_request", "The body is not a form") from None
    return require_once(pairs)


def require_once(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return parameters by name; raises `OAuthRefused` with 400 if one comes twice (RFC 6749, 3.1 and 3.2)."""
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise OAuthRefused(400, "invalid_request", f"Parameter must not be repeated: {name}")
        found[name] = value
    return found
