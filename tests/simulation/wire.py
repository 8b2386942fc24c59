"""The two doors to the outside as one process has them: a node's JSON-RPC and the platform's HTTP, faults on the way.

They stand where the sockets would: the code of the node's door and of the platform's client is the real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import httpx

from chains.errors import NodeUnreachableError, RpcError
from chains.rpc import Listener

from .clock import StuckError
from .faults import Fault, Faults, Process

_ATTEMPTS: Final = 3
_MOST_CALLS: Final = 30_000
"""No life needs as many: who asks more asks for ever without getting on."""


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
        faults, process = self._faults, self._process
        problem = ""
        for attempt in range(1, _ATTEMPTS + 1):
            self.calls += 1
            self._watch.calls += 1
            if self._watch.calls > _MOST_CALLS:
                raise StuckError(f"{_MOST_CALLS} calls in one life, the last is {method}")
            await asyncio.sleep(faults.latency())
            process.step()
            fault = faults.draw()
            if fault is Fault.DELAY:
                await asyncio.sleep(1 + 20 * faults.latency())
            if fault in (Fault.LOST_BEFORE, Fault.BUSY):
                problem = fault.value
            else:
                if method in _SENDS:
                    self._watch.sees_sending(process, params[0])
                behind = 1 if faults.happens(faults.rate / 2) else 0
                refusal = None
                try:
                    answer = self._chain.answer(method, params, behind=behind)
                except RpcError as error:
                    refusal, answer = error, None
                process.step()
                if fault is not Fault.LOST_AFTER:
                    if self._watch.verbose:
                        self._watch.tell(
                            f"{process.name}: {self._name} {method} {_shown(params)} -> {_shown(refusal or answer)}"
                        )
                    if refusal is not None:
                        raise refusal
                    return answer
                problem = fault.value
            if self._watch.verbose:
                self._watch.tell(f"{process.name}: {self._name} {method} {_shown(params)} {problem}")
            if attempt < _ATTEMPTS:
                await asyncio.sleep(0.25 * 2**attempt)
        raise NodeUnreachableError(
            f"The node of {self._name} did not answer {method} ({problem}), tried {_ATTEMPTS} times.",
            hint="Nothing was lost. Check the network or name another node, then try again.",
        )

    async def aclose(self) -> None:
        """There is no connection."""


_SENDS: Final = frozenset({"eth_sendRawTransaction", "sendTransaction"})


def _shown(what: object) -> str:
    text = str(what)
    return text if len(text) < 140 else text[:137] + "..."


class ModelTransport(httpx.AsyncBaseTransport):
    """One process's way to the model platform."""

    def __init__(self, platform: Any, process: Process, faults: Faults, watch: Any) -> None:
        self._platform, self._process, self._faults, self._watch = platform, process, faults, watch

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the platform's answer; raises httpx's errors for what is lost on the way."""
        faults, process, watch = self._faults, self._process, self._watch
        body = await request.aread()
        watch.calls += 1
        if watch.calls > _MOST_CALLS:
            raise StuckError(f"{_MOST_CALLS} calls in one life, the last is {request.url.path}")
        await asyncio.sleep(faults.latency())
        process.step()
        fault = faults.draw()
        shown = f"{process.name}: platform {request.method} {request.url.path}"
        if fault is Fault.LOST_BEFORE:
            watch.tell(f"{shown} {fault.value}")
            # Refused at once, or swallowed: only the first is known not to have arrived.
            if faults.happens(0.5):
                raise httpx.ConnectError("connection refused", request=request)
            raise httpx.ReadError("connection reset", request=request)
        if fault is Fault.BUSY:
            watch.tell(f"{shown} {fault.value}")
            if faults.happens(0.5):
                return httpx.Response(429, headers={"retry-after": "1"}, content=b"", request=request)
            return httpx.Response(503, content=b"<html>busy</html>", request=request)
        posts = request.method == "POST"
        if posts:
            watch.sees_posting(process, body)
            # Until the answer is back the client cannot know what became of it.
            watch.unclear_posts.append(body)
        status, answer = self._platform.answer(request.method, request.url.path, request.url.params, body)
        if watch.verbose:
            watch.tell(f"{shown} -> {status} {_shown(answer)}{'' if fault is Fault.NONE else ', ' + fault.value}")
        process.step()
        if fault is Fault.DELAY:
            await asyncio.sleep(120 * faults.latency())
        if fault is Fault.LOST_AFTER:
            if faults.happens(0.3):
                return httpx.Response(502, content=b"<html>bad gateway</html>", request=request)
            raise httpx.ReadTimeout("no answer", request=request)
        if posts:
            watch.unclear_posts.remove(body)
        return httpx.Response(status, content=answer, request=request)
