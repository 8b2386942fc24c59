"""Serves an ASGI application on a free loopback port, in a thread with an event loop of its own.

A thread, so that a caller who blocks the event loop (a test that waits for a command) does not block the sandbox, and
so that signals stay with the caller.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Final, cast

from delegation.errors import SandboxError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_START_TIMEOUT: Final = 15.0


def find_free_port() -> int:
    """Return a loopback port for another program to listen on later.

    It lies below those that systems give out by themselves, so that no connection of anybody takes it meanwhile.
    """
    while True:
        port = 20_000 + secrets.randbelow(10_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


async def hang_up(receive: Receive, send: Send) -> None:
    """Close the connection of a request without an answer, which ASGI has no way to do.

    `send` of uvicorn is a method of the object that holds the connection; once the server has noticed the end of it, it
    expects no answer and logs nothing. Nothing may stand between the server and who calls this.
    """
    send.__self__.transport.close()  # type: ignore[attr-defined]
    while (await receive())["type"] != "http.disconnect":
        pass


class _Stoppable:
    """An application whose requests under way end when the server stops, which would wait for them and then complain.

    Whoever asked finds the connection closed, as when any server goes away.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._stopping = False
        self._under_way: set[asyncio.Task[object]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._stopping:
            await hang_up(receive, send)
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = cast("asyncio.Task[object]", asyncio.current_task())
        self._under_way.add(task)
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            await hang_up(receive, send)
        finally:
            self._under_way.discard(task)

    def stop(self) -> None:
        """End what is under way, and whatever comes; to be called in the server's own event loop."""
        self._stopping = True
        for task in self._under_way:
            task.cancel()


class RunningServer:
    """A running server; `base_url` is where it answers. Its application's lifespan ends before `stop` returns."""

    def __init__(self, app: ASGIApp, host: str = "127.0.0.1") -> None:
        import uvicorn

        self._app = _Stoppable(app)
        self._socket = socket.create_server((host, 0))
        # asyncio sets this only on sockets of a named protocol; without it every answer waits 40 ms for an ACK.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.base_url = f"http://{host}:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._app,
                lifespan="on",
                ws="none",
                log_config=None,
                log_level="error",
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(target=self._serve, name=f"server {self.base_url}", daemon=True)

    def _serve(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._server.serve(sockets=[self._socket])

    async def start(self) -> None:
        """Return when the application answers; raises `SandboxError` if it does not come up."""
        self._thread.start()
        async with asyncio.timeout(_START_TIMEOUT):
            while not self._server.started:
                if not self._thread.is_alive():
                    self._socket.close()
                    raise SandboxError("A server of the sandbox did not start; its log says why.")
                await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Stop serving and wait until the application is shut down."""
        with suppress(RuntimeError):  # its loop is closed already if it ended by itself
            self._loop.call_soon_threadsafe(self._app.stop)
        self._server.should_exit = True
        await asyncio.to_thread(self._thread.join)
        self._socket.close()

    async def __aenter__(self) -> RunningServer:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
