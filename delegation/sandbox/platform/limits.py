"""How many requests the platform takes in a while, where a test has set a limit; none is published."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from delegation.sandbox.platform.errors import Refused


class Limit(BaseModel):
    """At most `requests` of `method` `path` in any `seconds` by the platform's clock.

    Whoever asks more often gets 429, with the header Retry-After (RFC 9110, 10.2.3) unless `retry_after` is off.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    method: str
    path: str
    requests: int = Field(ge=0)
    seconds: float = Field(gt=0, le=86_400)
    retry_after: bool = True


@dataclass(slots=True)
class LimitInForce:
    """A limit and when it was last used up; a refused request does not count."""

    limit: Limit
    taken: deque[datetime] = field(default_factory=deque)

    def take(self, now: datetime) -> float | None:
        """Count a request, or return after how many seconds one more will be taken."""
        period = timedelta(seconds=self.limit.seconds)
        while self.taken and self.taken[0] <= now - period:
            self.taken.popleft()
        if len(self.taken) < self.limit.requests:
            self.taken.append(now)
            return None
        return (self.taken[0] + period - now).total_seconds() if self.taken else self.limit.seconds


def parse_limit(body: object) -> Limit:
    """Return the limit in a decoded JSON body; raises `Refused` with 422."""
    try:
        return Limit.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        raise Refused(422, f"Validation error: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


class LimitMiddleware:
    """Answers 429 where a limit is used up, whoever asks."""

    def __init__(self, app: ASGIApp, limits: Sequence[LimitInForce], now: Callable[[], datetime]) -> None:
        self._app = app
        self._limits = limits
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for known in self._limits:
                if (known.limit.method, known.limit.path) != (scope["method"], scope["path"]):
                    continue
                seconds = known.take(self._now())
                if seconds is not None:
                    headers = {"retry-after": str(math.ceil(seconds))} if known.limit.retry_after else {}
                    await JSONResponse({"message": "Too many requests"}, 429, headers)(scope, receive, send)
                    return
        await self._app(scope, receive, send)
