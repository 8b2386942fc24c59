"""How the simulated platform fails when it is told to: statuses, delays, dropped connections, lost answers."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from delegation.sandbox.platform.errors import Refused
from delegation.sandbox.platform.shapes import SHAPES
from delegation.sandbox.servers import hang_up

_MESSAGES = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Not authorized",
    404: "Not found",
    409: "Conflict",
    422: "Validation error",
    429: "Too many requests",
    498: "Invalid client key",
    499: "Missing client key",
}


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """What to do wrong the next `times` times that `method` `path` is called.

    `delay` is in seconds and comes first. `drop` closes the connection before acting, `lose_answer` after acting.
    `status` answers instead of acting, with `body` and `headers`; `shape` names a body that was seen, with a status of
    its own. With `act` either comes after acting. With none of them, the request is acted on late.
    """

    method: str
    path: str
    times: int = 1
    status: int | None = None
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    shape: str | None = None
    act: bool = False
    delay: float = 0.0
    drop: bool = False
    lose_answer: bool = False


_TYPES: dict[str, tuple[type, ...]] = {
    "method": (str,),
    "path": (str,),
    "times": (int,),
    "status": (int,),
    "headers": (dict,),
    "shape": (str,),
    "act": (bool,),
    "delay": (int, float),
    "drop": (bool,),
    "lose_answer": (bool,),
}


def parse_misbehaviour(body: object) -> Misbehaviour:
    """Return the misbehaviour in a decoded JSON body; raises `Refused` with 422."""
    known = _TYPES.keys() | {"body"}
    if not isinstance(body, dict) or not {"method", "path"} <= body.keys() <= known:
        raise Refused(422, f"Validation error: method and path are required, known are {', '.join(sorted(known))}")
    for name, types in _TYPES.items():
        # Not isinstance: true is no number of times.
        if name in body and type(body[name]) not in types:
            raise Refused(422, f"Validation error: {name} has the wrong type")
    wrong = replace(Misbehaviour(**body), method=body["method"].upper())
    if wrong.status is not None and not 200 <= wrong.status <= 599:
        raise Refused(422, "Validation error: status must be between 200 and 599")
    if wrong.shape is not None and (wrong.shape not in SHAPES or wrong.body is not None):
        raise Refused(422, f"Validation error: shape, without body, is one of {', '.join(SHAPES)}")
    return wrong


class MisbehaviourMiddleware:
    """Stands in front of everything else, counts the requests, and misbehaves as told.

    It has to be the outermost layer: closing the connection needs the server's own `send`.
    """

    def __init__(self, app: ASGIApp, plan: list[Misbehaviour], requests: Counter[str]) -> None:
        self._app = app
        self._plan = plan
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/sandbox/"):
            await self._app(scope, receive, send)
            return
        self._requests[f"{scope['method']} {scope['path']}"] += 1
        wrong = self._take(scope)
        if wrong is None:
            await self._app(scope, receive, send)
            return
        await asyncio.sleep(wrong.delay)
        if wrong.drop:
            await hang_up(receive, send)
        elif wrong.lose_answer:
            await self._app(scope, receive, _forget)
            await hang_up(receive, send)
        elif (answer := _answer(wrong, scope)) is None:
            await self._app(scope, receive, send)
        else:
            if wrong.act:
                await self._app(scope, receive, _forget)
            await answer(scope, receive, send)

    def _take(self, scope: MutableMapping[str, Any]) -> Misbehaviour | None:
        for place, wrong in enumerate(self._plan):
            if (wrong.method, wrong.path) == (scope["method"], scope["path"]):
                self._plan[place : place + 1] = [replace(wrong, times=wrong.times - 1)] if wrong.times > 1 else []
                return wrong
        return None


def _answer(wrong: Misbehaviour, scope: Scope) -> Response | None:
    """Return what is to be answered, or None if the application answers."""
    if wrong.shape is not None:
        shape = SHAPES[wrong.shape]
        body, media_type = shape.body_for(scope["method"], scope["path"]), shape.media_type
        status = wrong.status or shape.status
    elif wrong.status is not None:
        status = wrong.status
        body = {"message": _MESSAGES.get(status, "Internal server error")} if wrong.body is None else wrong.body
        media_type = "text/plain" if isinstance(body, str) else "application/json"
    else:
        return None
    return Response(body if isinstance(body, str) else json.dumps(body), status, wrong.headers, media_type)


async def _forget(message: Message) -> None:
    del message
