"""Every shape of refusal that was documented or seen, by a name that tests can ask for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Shape:
    """A body, and the status that it usually comes with; text is sent as `media_type`, anything else as JSON.

    In text `{request}` becomes the method and the path.
    """

    status: int
    body: Any
    media_type: str = "application/json"

    def body_for(self, method: str, path: str) -> Any:
        """Return the body of the answer to this request."""
        return self.body.format(request=f"{method} {escape(path)}") if isinstance(self.body, str) else self.body


_INNER = {"error": {"status": 500, "message": "Inner service failed", "errorCode": None}}

SHAPES: Final[Mapping[str, Shape]] = {
    "message": Shape(400, {"message": "Bad request"}),
    "unknown field": Shape(422, {"message": "surprise field is not allowed"}),
    "oauth": Shape(400, {"error": "invalid_grant", "error_description": "The grant is not good"}),
    "error with details": Shape(400, {"error": "Validation error", "details": ["First fault", "Second fault"]}),
    "error with fields": Shape(
        400, {"error": "bad_request", "error_description": "A field is wrong", "details": {"field": "amount"}}
    ),
    # JSON as text inside of JSON: a gateway that wraps an answer of an inner service.
    "nested": Shape(500, {"message": json.dumps(_INNER)}),
    "delegation service": Shape(
        400, {"type": "BadRequest", "details": "Delegation failed", "data": {"message": "Not good"}}
    ),
    "custodial only": Shape(403, {"message": "This route is only available for CUSTODIAL"}),
    "missing user data": Shape(400, {"message": "Missing User Data"}),
    "success false": Shape(200, {"success": False}),
    "bare text": Shape(201, "Created", "text/plain"),
    "html": Shape(
        404,
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Error</title>\n</head>\n'
        "<body>\n<pre>Cannot {request}</pre>\n</body>\n</html>\n",
        "text/html",
    ),
    "empty": Shape(500, "", "text/plain"),
}
