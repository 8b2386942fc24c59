"""Serves an ASGI application on a free loopback port, in a thread with an event loop of its own.

A thread, so that a caller who blocks the event loop (a test that waits for a command) does not block the sandbox, and
so that signals stay with the caller.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Final

from delegation.errors import SandboxError

if TYPE_CHECKING:
    from starlette.applications import Starlette

_START_TIMEOUT: Final = 15.0


class RunningServer:
    """A running server; `base_url` is where it answers. Its application's lifespan ends before `stop` returns."""

    def __init__(self, app: Starlette, host: str = "127.0.0.1") -> None:
        import uvicorn

        self._socket = socket.create_server((host, 0))
        # asyncio sets this only on sockets of a named protocol; without it every answer waits 40 ms for an ACK.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.base_url = f"http://{host}:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                lifespan="on",
                ws="none",
                log_config=None,
                log_level="error",
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(target=self._serve, name=f"server {self.base_url}", daemon=True)

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])

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
