"""Relays before real nodes, each at an address of its own, so that it counts as an operator; they lie when told to.

`stormy_relay` stands before a node or the platform and loses, delays and breaks a part of all calls.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

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


Fault = Literal["limited", "failing", "reset", "cut", "late", "lost", "lagging"]
"""429; 5xx; closed before acting; half of the answer; after the client's patience; acted on and closed; an old head."""

_FAULTS: tuple[Fault, ...] = ("limited", "failing", "reset", "cut", "late", "lost")
# What is asked for the head of a chain alone; where "latest" is a parameter, the answer is of an older block.
_HEADS = ("eth_blockNumber", "getSlot", "getBlockHeight")
_DEEPEST_LAG = 4


class Weather:
    """Which call meets which fault: `rate` of all, until `calm` is set. `patience` is the clients' timeout in seconds.

    Calls of many clients arrive in an order that no seed decides, so that a seed fixes the odds and not the course.
    """

    def __init__(self, seed: int, *, rate: float, patience: float) -> None:
        self.random = random.Random(seed)
        self.rate = rate
        self.patience = patience
        self.calm = False
        self.calls = 0
        self.met: Counter[Fault] = Counter()
        self.under_way: set[asyncio.Task[None]] = set()

    async def die_down(self) -> None:
        """Return when no call is under way any more, not even one that arrives late."""
        while self.under_way:
            await asyncio.wait(self.under_way)

    def draw(self, asked: Any) -> Fault | None:
        """Return what happens to a call; `asked` is its JSON-RPC body, or None at the platform."""
        self.calls += 1
        if self.calm or self.random.random() >= self.rate:
            return None
        # Few calls ask for the head, so that half of their faults are the one that only they can meet.
        lags = _asks_for_head(asked) and self.random.random() < 0.5
        fault = "lagging" if lags else self.random.choice(_FAULTS)
        self.met[fault] += 1
        return fault


def _asks_for_head(asked: Any) -> bool:
    return isinstance(asked, dict) and (asked["method"] in _HEADS or "latest" in asked.get("params", ()))


@asynccontextmanager
async def stormy_relay(url: str, weather: Weather) -> AsyncIterator[str]:
    """Run a relay before a node or the platform and give its URL; it works on the bare connections.

    No server of the ASGI kind lets an application reset a connection or stop in the middle of a body.
    """
    server = await asyncio.start_server(_StormyRelay(urlsplit(url), weather).serve, "127.0.0.1", 0, backlog=1024)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in weather.under_way:
            task.cancel()
        await weather.die_down()


class _StormyRelay:
    """One call on each connection, so that an answer ends where the other side closes."""

    def __init__(self, target: Any, weather: Weather) -> None:
        self._host, self._port = target.hostname, target.port
        self._weather = weather

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._answer(reader, writer))
        self._weather.under_way.add(task)
        try:
            # A client that has gone away in the meantime, or a sandbox that stops, is what storms are made of.
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await task
        finally:
            self._weather.under_way.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, body = await _read_request(reader)
        asked = json.loads(body) if head.startswith(b"POST / ") else None
        chance = self._weather.random
        match self._weather.draw(asked):
            case None:
                answer = await self._pass_on(head, body)
            case "limited":
                answer = _refusal(429, chance.choice((None, "0", "1")))
            case "failing":
                answer = _refusal(chance.choice((500, 502, 503, 504)), None)
            case "reset":
                return _reset(writer)
            case "lost":
                await self._pass_on(head, body)
                return _reset(writer)
            case "late":
                acts_first = chance.random() < 0.5
                answer = await self._pass_on(head, body) if acts_first else b""
                await asyncio.sleep(self._weather.patience * (1.1 + chance.random()))
                answer = answer or await self._pass_on(head, body)
            case "cut":
                answer = await self._pass_on(head, body)
                answer = answer[: len(answer) - len(answer.partition(b"\r\n\r\n")[2]) // 2 - 1]
            case "lagging":
                answer = await self._lag(asked, chance.randint(1, _DEEPEST_LAG))
        writer.write(answer)
        await writer.drain()
        return None

    async def _pass_on(self, head: bytes, body: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(head + b"\r\n\r\n" + body)
            return await reader.read(-1)
        finally:
            writer.close()

    async def _lag(self, asked: dict[str, Any], blocks: int) -> bytes:
        """Answer as a node does that is some blocks behind."""
        if asked["method"] in _HEADS:
            answer = await self._ask(asked)
            number = answer["result"]
            older = hex(int(number, 16) - blocks) if isinstance(number, str) else number - blocks
            return _ok(answer | {"result": older})
        head = await self._ask({"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []})
        older = hex(max(0, int(head["result"], 16) - blocks))
        return _ok(
            await self._ask(asked | {"params": [older if each == "latest" else each for each in asked["params"]]})
        )

    async def _ask(self, call: dict[str, Any]) -> Any:
        body = json.dumps(call).encode()
        head = "POST / HTTP/1.1\r\nhost: node\r\ncontent-type: application/json\r\nconnection: close\r\n"
        answer = await self._pass_on(f"{head}content-length: {len(body)}".encode(), body)
        return json.loads(answer.partition(b"\r\n\r\n")[2])


async def _read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return a request's head, in which it asks for the connection to be closed afterwards, and its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).removesuffix(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith((b"connection:", b"accept-encoding:"))]
    lengths = [int(line.partition(b":")[2]) for line in lines if line.lower().startswith(b"content-length:")]
    body = await reader.readexactly(lengths[0]) if lengths else b""
    return b"\r\n".join([*lines, b"connection: close"]), body


def _ok(answer: Any) -> bytes:
    body = json.dumps(answer).encode()
    return f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body


def _refusal(status: int, retry_after: str | None) -> bytes:
    after = "" if retry_after is None else f"retry-after: {retry_after}\r\n"
    return f"HTTP/1.1 {status} Storm\r\n{after}content-length: 0\r\nconnection: close\r\n\r\n".encode()


def _reset(writer: asyncio.StreamWriter) -> None:
    # Without lingering, closing sends RST in place of FIN.
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()
