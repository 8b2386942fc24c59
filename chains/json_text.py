"""JSON from outside: no floats, and no nesting that could bring the process down."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any, Final

_DEEPEST: Final = 200
# What decides about nesting: brackets, quotes, and what can follow the backslash of an escape.
_PLAIN: Final = bytes(byte for byte in range(256) if byte not in b'[]{}"\\/bfnrtu')
_NO_BRACKET: Final = bytes(byte for byte in range(256) if byte not in b'[]{}"')

_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")


def decode_json(text: bytes | str) -> Any:
    """Return the value of a JSON text in UTF-8, with `Decimal` in place of floats.

    Raises `ValueError` if it is not JSON, holds NaN or infinity, or is nested deeper than 200 levels: libraries of this
    field raise Python's recursion limit so far that deep nesting would end the process instead of raising an error.
    """
    content = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    if content.count(b"[") + content.count(b"{") > _DEEPEST and _is_deep(content):
        raise ValueError("nested too deeply")
    return _DECODER.decode(text if isinstance(text, str) else text.decode())


def _is_deep(content: bytes) -> bool:
    """Return whether brackets outside of strings are nested too deeply; each round takes the innermost ones away."""
    escapes = content.translate(None, _PLAIN)
    parts = escapes.replace(rb"\\", b"").replace(rb"\"", b"").translate(None, _NO_BRACKET).split(b'"')
    brackets = b"".join(parts[::2]).translate(_ONE_KIND)
    for _ in range(_DEEPEST):
        inner = brackets.replace(b"[]", b"")
        if len(inner) == len(brackets):
            # What is left does not fit together, unless nothing is: then it is no JSON, as long as it is not deep.
            return len(inner) > _DEEPEST
        brackets = inner
    return bool(brackets)


def _exact_number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError("a number is too large or too small") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(parse_float=_exact_number, parse_constant=_refuse_constant)
