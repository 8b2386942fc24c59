"""Relays before real nodes, each at an address of its own, so that it counts as an operator; they lie when told to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
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


# What sends, and what the node is asked in its place where it shall not take the bytes.
_SENDING = {"eth_sendRawTransaction": "eth_chainId", "sendTransaction": "getSlot"}
# What looks a transaction up, and how a node says that it cannot.
_INDEXING = {"code": -32000, "message": "transaction indexing is in progress"}
_LOOKING_UP = {
    "eth_getTransactionByHash": _INDEXING,
    "eth_getTransactionReceipt": _INDEXING,
    "getSignatureStatuses": {"code": -32011, "message": "Transaction history is not available from this node"},
}


@dataclass
class Words:
    """A node that answers `error` or an HTTP `status` to sending, and may take the bytes nonetheless.

    Without `reads` it cannot look transactions up. `sent` are the bytes that it was sent.
    """

    error: Any = None
    status: int | None = None
    takes: bool = True
    reads: bool = True
    sent: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def open(self, node_url: str) -> AsyncIterator[str]:
        """Run this before a real node, and give its URL."""
        async with relay(node_url, self._change, before=self._before) as url:
            yield url

    def _before(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["method"] in _SENDING and not self.takes:
            return asked | {"method": _SENDING[asked["method"]], "params": []}
        return asked

    def _change(self, method: str, params: Any, answer: Any) -> Any:
        if method in _SENDING:
            self.sent.append(params[0])
            if self.status is not None:
                return self.status
            if self.error is not None:
                return {"jsonrpc": "2.0", "id": 1, "error": self.error}
        if method in _LOOKING_UP and not self.reads:
            return {"jsonrpc": "2.0", "id": 1, "error": _LOOKING_UP[method]}
        return answer
