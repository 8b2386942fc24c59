"""JSON from outside: no floats, and no nesting that could bring the process down."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any, Final

_DEEPEST: Final = 200
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)


def decode_json(text: bytes | str) -> Any:
    """Return the value of a JSON text, with `Decimal` in place of floats.

    Raises `ValueError` if it is not JSON, holds NaN or infinity, or is nested deeper than 200 levels: libraries of this
    field raise Python's recursion limit so far that deep nesting would end the process instead of raising an error.
    """
    content = text.encode() if isinstance(text, str) else text
    if content.count(b"[") + content.count(b"{") > _DEEPEST and _depth(content) > _DEEPEST:
        raise ValueError("nested too deeply")
    return json.loads(content, parse_float=Decimal, parse_constant=_refuse_constant)


def _depth(content: bytes) -> int:
    depth = deepest = 0
    for byte in _STRING.sub(b"", content):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
