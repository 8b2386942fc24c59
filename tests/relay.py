"""Relays before real nodes, each at an address of its own, so that it counts as an operator; they lie when told to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from delegation.sandbox.servers import RunningServer

Before = Callable[[dict[str, Any]], dict[str, Any]]
"""Given what was asked, returns what the node is asked in its place."""

Change = Callable[[str, Any, Any], Any]
"""Given method, params and the node's answer (a JSON-RPC object), returns another answer, or an HTTP status."""


def honest(method: str, params: Any, answer: Any) -> Any:
    """Change nothing."""
    return answer


@asynccontextmanager
async def relay(
    node_url: str, change: Change = honest, *, host: str = "127.0.0.1", before: Before = dict
) -> AsyncIterator[str]:
    """Run a relay before a node and give its URL."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with httpx.AsyncClient(timeout=30) as client:
            app.state.client = client
            yield

    async def answer(request: Request) -> Response:
        asked = json.loads(await request.body())
        node = await request.app.state.client.post(node_url, json=before(asked))
        changed = change(asked["method"], asked["params"], node.json())
        if isinstance(changed, int):
            return Response(status_code=changed, headers={"retry-after": "0"})
        return Response(json.dumps(changed), media_type="application/json")

    app = Starlette(routes=[Route("/{rest:path}", answer, methods=["POST"])], lifespan=lifespan)
    async with RunningServer(app, host) as server:
        yield server.base_url


def falsified(method: str, edit: Callable[[Any], Any]) -> Change:
    """Return the change that edits the result of one method."""

    def change(asked: str, params: Any, answer: Any) -> Any:
        if asked == method and answer.get("result") is not None:
            return answer | {"result": edit(answer["result"])}
        return answer

    return change


def silent(status: int) -> Change:
    """Return the change by which a node answers nothing but an HTTP status."""
    return lambda method, params, answer: status
