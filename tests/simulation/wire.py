"""The two doors to the outside as one process has them: a node's JSON-RPC and the platform's HTTP, faults on the way.

They stand where the sockets would: the code of the node's door and of the platform's client is the real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from json import dumps as _dump
from typing import Any, Final, Protocol

import httpx

from chains.errors import NodeUnreachableError, RpcError
from chains.rpc import Listener

from .faults import Fault, Faults, Process

_ATTEMPTS: Final = 3


class Chain(Protocol):
    """A model chain, seen from its node."""

    def answer(self, method: str, params: Sequence[Any] | Mapping[str, Any], *, behind: int = 0) -> Any: ...


class ModelRpc:
    """One process's way to the node of a model chain; asks up to three times, as the real one does."""

    def __init__(self, chain: Chain, name: str, process: Process, faults: Faults, watch: Any) -> None:
        self.calls = 0
        self.listener: Listener | None = None
        self._chain, self._name, self._process, self._faults, self._watch = chain, name, process, faults, watch

    async def request(self, method: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> Any:
        """Return the `result` of a call; raise `RpcError` or `NodeUnreachableError`."""
        problem = Fault.NONE
        for attempt in range(1, _ATTEMPTS + 1):
            self.calls += 1
            problem, refusal, answer = await self._attempt(method, params)
            if self._watch.verbose:
                said = problem.value if problem is not Fault.NONE else _shown(refusal or answer)
                self._watch.tell(f"{self._process.name}: {self._name} {method} {_shown(params)} -> {said}")
            if problem is Fault.NONE:
                if refusal is not None:
                    raise refusal
                return answer
            if attempt < _ATTEMPTS:
                await asyncio.sleep(0.25 * 2**attempt)
        raise NodeUnreachableError(
            f"The node of {self._name} did not answer {method} ({problem.value}), tried {_ATTEMPTS} times.",
            hint="Nothing was lost. Check the network or name another node, then try again.",
        )

    async def _attempt(self, method: str, params: Any) -> tuple[Fault, RpcError | None, Any]:
        """Return what was lost, if anything, else the node's refusal or its answer."""
        faults, process = self._faults, self._process
        self._watch.count_call(method)
        latency = faults.latency()
        if latency:
            await asyncio.sleep(latency)
        process.step()
        fault = faults.draw()
        if fault is Fault.DELAY:
            await asyncio.sleep(1 + 20 * faults.latency())
        if fault in (Fault.LOST_BEFORE, Fault.BUSY):
            return fault, None, None
        if method in _SENDS:
            self._watch.sees_sending(process, params[0])
        behind = 1 if faults.happens(faults.rate / 2) else 0
        refusal = answer = None
        try:
            answer = self._chain.answer(method, params, behind=behind)
        except RpcError as error:
            refusal = error
            if error.data is not None and method == "eth_sendRawTransaction":
                self._watch.sees_refusal(params[0], error.data)
        process.step()
        return Fault.LOST_AFTER if fault is Fault.LOST_AFTER else Fault.NONE, refusal, answer

    async def aclose(self) -> None:
        """There is no connection."""


_SENDS: Final = frozenset({"eth_sendRawTransaction", "sendTransaction"})


def _shown(what: object) -> str:
    text = str(what)
    return text if len(text) < 140 else text[:137] + "..."


class PlatformDoor:
    """One process's way to the model platform, below whatever speaks HTTP."""

    def __init__(self, platform: Any, process: Process, faults: Faults, watch: Any) -> None:
        self._platform, self._process, self._faults, self._watch = platform, process, faults, watch

    async def ask(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of the answer; raises httpx's errors for what is lost on the way."""
        faults, process, watch = self._faults, self._process, self._watch
        watch.count_call(path)
        latency = faults.latency()
        if latency:
            await asyncio.sleep(latency)
        process.step()
        fault = faults.draw()
        shown = f"{process.name}: platform {method} {path}"
        if fault is Fault.LOST_BEFORE:
            watch.tell(f"{shown} {fault.value}")
            # Refused at once, or swallowed: only the first is known not to have arrived.
            raise httpx.ConnectError("refused") if faults.happens(0.5) else httpx.ReadError("connection reset")
        if fault is Fault.BUSY:
            watch.tell(f"{shown} {fault.value}")
            return (429, {"retry-after": "1"}, b"") if faults.happens(0.5) else (503, {}, b"<html>busy</html>")
        if method == "POST":
            return await self._post(path, body, fault, shown)
        return await self._act(method, path, body, fault, shown)

    async def _post(self, path: str, body: bytes, fault: Fault, shown: str) -> tuple[int, dict[str, str], bytes]:
        watch = self._watch
        watch.sees_posting(self._process, body)
        # Until the answer is back the client cannot know what became of it.
        watch.unclear_posts.append(body)
        answer = await self._act("POST", path, body, fault, shown)
        if fault is not Fault.LOST_AFTER:
            watch.unclear_posts.remove(body)
        return answer

    async def _act(
        self, method: str, path: str, body: bytes, fault: Fault, shown: str
    ) -> tuple[int, dict[str, str], bytes]:
        faults, watch = self._faults, self._watch
        status, answer = self._platform.answer(method, path, body)
        if watch.verbose:
            watch.tell(f"{shown} -> {status} {_shown(answer)}{'' if fault is Fault.NONE else ', ' + fault.value}")
        self._process.step()
        if fault is Fault.DELAY:
            await asyncio.sleep(1 + 120 * faults.latency())
        if fault is Fault.LOST_AFTER:
            if faults.happens(0.3):
                return 502, {}, b"<html>bad gateway</html>"
            raise httpx.ReadTimeout("no answer")
        return status, {}, answer


class ModelTransport(httpx.AsyncBaseTransport):
    """The door below the whole of httpx."""

    def __init__(self, door: PlatformDoor) -> None:
        self._door = door

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the platform's answer."""
        status, headers, body = await self._door.ask(request.method, request.url.path, await request.aread())
        return httpx.Response(status, headers=headers, content=body, request=request)


class ShortClient:
    """The door in place of httpx's client, as far as the platform's client asks it: a third of a life's time is saved.

    That both give the same lives is a test.
    """

    def __init__(self, door: PlatformDoor) -> None:
        self._door = door

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, *, params: object = None, json: object = None, **settings: object
    ) -> AsyncIterator[_ShortResponse]:
        """Return the answer as httpx's client does."""
        body = b"" if json is None else _dump(json).encode()
        yield _ShortResponse(*await self._door.ask(method, "/" + url.split("/", 3)[3], body))

    async def aclose(self) -> None:
        """There is no connection."""


@dataclass(frozen=True, slots=True)
class _ShortResponse:
    status_code: int
    headers: dict[str, str]
    body: bytes

    async def aiter_bytes(self) -> AsyncIterator[bytes]:
        yield self.body
