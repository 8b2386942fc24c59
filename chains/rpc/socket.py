"""JSON-RPC over a WebSocket or an IPC socket; imported only when such a node is named.

web3's own persistent providers are not used: an error answer that they were not told to expect ends their listener, and
they spin while they wait.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from chains.errors import InputError, NodeUnreachableError
from chains.http import redact_url
from chains.json_text import decode_json
from chains.rpc import Listener, Params, decode_answer, read_result

_TIMEOUT: Final = 15.0
_LONGEST_ANSWER: Final = 16 * 2**20


@dataclass(frozen=True, slots=True)
class _Connection:
    """One open connection that carries whole JSON texts."""

    send: Callable[[str], Awaitable[None]]
    receive: Callable[[], Awaitable[str | bytes]]
    close: Callable[[], Awaitable[None]]


def open_socket_rpc(url: str) -> SocketRpc:
    """Return a connection to ws://, wss:// or the path of an IPC socket; it connects with the first question.

    Raises `InputError` if it is neither.
    """
    if url.startswith(("ws://", "wss://")) and urlsplit(url).hostname:
        return SocketRpc(lambda: _connect_websocket(url), redact_url(url))
    if "://" not in url and Path(url).is_socket():
        return SocketRpc(lambda: _connect_ipc(url), url)
    raise InputError(
        f"{redact_url(url) if '://' in url else url} is neither the URL of a node nor the path of an IPC socket.",
        hint="Give a URL that starts with https:// or wss://, or the path of a running node's socket.",
    )


class SocketRpc:
    """JSON-RPC 2.0, one question at a time over one connection that is made anew when it broke; a `chains.rpc.Rpc`."""

    def __init__(self, connect: Callable[[], Awaitable[_Connection]], shown: str) -> None:
        self.calls = 0
        self.listener: Listener | None = None
        self._connect = connect
        self._shown = shown
        self._ids = count(1)
        self._turn = asyncio.Lock()
        self._connection: _Connection | None = None

    async def request(self, method: str, params: Params = ()) -> Any:
        """Return the `result` of a call; raise `RpcError` or `NodeUnreachableError`."""
        from websockets.exceptions import InvalidURI, WebSocketException

        async with self._turn:
            self.calls += 1
            try:
                async with asyncio.timeout(_TIMEOUT):
                    answer = await self._ask(method, params)
            except (OSError, TimeoutError, ValueError, WebSocketException) as error:
                await self._drop()
                # The error for a URL that cannot be used repeats it, and with it the API key.
                problem = error.msg if isinstance(error, InvalidURI) else f"{type(error).__name__}: {error}"
                raise NodeUnreachableError(
                    f"The node {self._shown} did not answer {method} ({problem}).",
                    hint="Nothing was lost. Check the network or name another node, then try again.",
                ) from (None if isinstance(error, InvalidURI) else error)
            except BaseException:
                # The answer may still come, and must not be taken for that of the next question.
                await self._drop()
                raise
        return read_result(method, answer)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._drop()

    async def _ask(self, method: str, params: Params) -> dict[str, Any]:
        if self._connection is None:
            self._connection = await self._connect()
        number = next(self._ids)
        await self._connection.send(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}))
        while True:
            body = await self._connection.receive()
            message = decode_json(body)
            if not isinstance(message, dict):
                raise ValueError("the answer is no JSON-RPC object")
            if message.get("id") == number:
                answer = decode_answer(body)
                if self.listener is not None:
                    self.listener(method, params, body if isinstance(body, str) else body.decode())
                return answer

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


async def _connect_websocket(url: str) -> _Connection:
    from websockets.asyncio.client import connect

    socket = await connect(url, max_size=_LONGEST_ANSWER)
    return _Connection(send=socket.send, receive=socket.recv, close=socket.close)


async def _connect_ipc(path: str) -> _Connection:
    reader, writer = await asyncio.open_unix_connection(path, limit=_LONGEST_ANSWER)

    async def send(text: str) -> None:
        writer.write(text.encode() + b"\n")
        await writer.drain()

    async def receive() -> bytes:
        line = await reader.readline()
        if not line:
            raise ConnectionResetError("the node closed the connection")
        return line

    async def close() -> None:
        writer.close()
        try:
            await writer.wait_closed()
        except ConnectionError:
            # It is closed, only not by us.
            return

    return _Connection(send=send, receive=receive, close=close)
