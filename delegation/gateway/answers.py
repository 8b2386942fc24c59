"""From an HTTP answer to a value or an error; no I/O of its own.

One table maps a status to its class; every shape of error body that the platform documents, or has been seen to use,
is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from chains.http import retry_after
from chains.json_text import decode_json
from delegation.errors import (
    ClientKeyInvalidError,
    ClientKeyMissingError,
    ConflictError,
    GatewayError,
    NotAuthenticatedError,
    NotAuthorizedError,
    NotFoundError,
    PlatformFailedError,
    RateLimitedError,
    RejectedError,
    UnexpectedAnswerError,
)

_LONGEST_BODY: Final = 2_000
_LONGEST_LINE: Final = 400

_ERRORS: Final[dict[int, tuple[type[GatewayError], str]]] = {
    400: (RejectedError, "Nothing more was done. Read what the platform says, then try again."),
    401: (
        NotAuthenticatedError,
        "Nothing was lost. The access token is dead or belongs to another host or region: renew it, then try again.",
    ),
    403: (NotAuthorizedError, "Nothing was lost. The account may not do this (is it verified?); ask the platform."),
    404: (NotFoundError, "Check the profile's base_url."),
    409: (
        ConflictError,
        "Nothing was lost. Compare the platform's list of wallets with what was asked for, then try again.",
    ),
    422: (RejectedError, "Nothing more was done. Read what the platform says, then try again."),
    429: (RateLimitedError, "Nothing was lost. Wait, then try again."),
    498: (ClientKeyInvalidError, "Check client_key in the profile: test and production environments have their own."),
    499: (ClientKeyMissingError, "Put client_key into the profile."),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def succeeded(self) -> bool:
        """Whether the status is a success."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """Return the body as JSON; raises `UnexpectedAnswerError` if it is not."""
        # Raised after it, because the decoder's own error holds the whole body, which may be a token.
        with suppress(ValueError, ArithmeticError):
            return decode_json(self.body)
        raise UnexpectedAnswerError(
            f"The platform answered HTTP {self.status} with something that is not JSON.",
            status=self.status,
            hint="Check the profile's base_url.",
        )


def error_from(answer: Answer, what: str, secrets: tuple[str, ...]) -> GatewayError:
    """Return the error that an answer without success stands for; `secrets` are removed from what it quotes."""
    body = _remove(answer.body.decode(errors="replace"), secrets)
    said = _remove(describe_body(body), secrets)
    kind, hint = _ERRORS.get(
        answer.status,
        (PlatformFailedError, "Nothing was lost. Try again later.")
        if answer.status >= 500
        else (UnexpectedAnswerError, "Check the profile's base_url."),
    )
    return kind(
        f"The platform refused {what} (HTTP {answer.status}){f': {said}' if said else '.'}",
        status=answer.status,
        body=body[:_LONGEST_BODY],
        retry_after=retry_after(answer.headers.get("retry-after", "")),
        hint=hint,
    )


def _remove(text: str, secrets: tuple[str, ...]) -> str:
    """Return the text without the secrets, also where they are escaped as JSON, nested or not."""
    for secret in secrets:
        text = re.sub(r"\\*".join(map(re.escape, secret)), "[removed]", text)
    return text


def describe_body(body: str) -> str:
    """Return what an error body says, as one line that can be printed; empty if it says nothing or is a web page."""
    if body.lstrip().startswith("<"):
        return ""
    try:
        parsed = decode_json(body.encode())
    except (ValueError, ArithmeticError):
        parsed = body
    described = _describe(parsed, depth=0)
    printable = "".join(character if character.isprintable() else " " for character in described)
    return " ".join(printable.split())[:_LONGEST_LINE]


def _describe(value: Any, depth: int) -> str:
    if depth > 4 or value is None:
        return ""
    if isinstance(value, str):
        if value.lstrip().startswith("{"):
            # An error nested as a JSON string inside another one.
            try:
                return _describe(decode_json(value.encode()), depth + 1)
            except (ValueError, ArithmeticError):
                return value
        return value
    if isinstance(value, list):
        return "; ".join(part for part in (_describe(entry, depth + 1) for entry in value) if part)
    if isinstance(value, Mapping):
        error, details = value.get("error"), value.get("details")
        parts = [
            _describe(error, depth + 1),
            _describe(value.get("code") or value.get("errorCode"), depth + 1),
            _describe(value.get("message") or value.get("detail") or value.get("error_description"), depth + 1),
            "; ".join(f"{key}: {_describe(entry, depth + 1)}" for key, entry in details.items())
            if isinstance(details, Mapping)
            else _describe(details, depth + 1),
        ]
        return ": ".join(dict.fromkeys(part for part in parts if part))
    return str(value)


def require_not_refused(answer: Answer, what: str, secrets: tuple[str, ...]) -> None:
    """Raise `RejectedError` if a success says `success: false`.

    A body that cannot be read is still a success: some calls are documented to answer with a bare status line.
    """
    try:
        said = decode_json(answer.body)
    except (ValueError, ArithmeticError):
        return
    if isinstance(said, Mapping) and said.get("success") is False:
        error = error_from(Answer(400, answer.headers, answer.body), what, secrets)
        raise RejectedError(error.message, status=answer.status, body=error.body, hint=error.hint)
