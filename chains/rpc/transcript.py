"""Transcripts: what a node was asked and the bodies of its answers, kept so that a check can be made again offline.

A check asks an `Rpc`. Asked through a `RecordingRpc` it leaves a transcript behind, and asked through a `ReplayRpc` of
that transcript it comes to the same result with no network at all.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from chains.errors import NodeUnreachableError
from chains.rpc import Listener, Params, Rpc, decode_answer, read_result

_T = TypeVar("_T")

_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), sort_keys=True)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question to a node, its params as JSON text, and the body of the answer; None where none could be read."""

    method: str
    params: str
    body: str | None


class RecordingRpc:
    """Passes questions on to another `Rpc` and keeps the exchanges.

    `secrets` are texts that must not be kept, such as the key in a node's URL: an answer that repeats one of them is
    kept as none at all.
    """

    def __init__(self, inner: Rpc, *, secrets: Iterable[str] = ()) -> None:
        self.calls = 0
        self.exchanges: list[Exchange] = []
        self.listener: Listener | None = None
        self._inner = inner
        self._secrets = tuple(secrets)
        inner.listener = self._keep

    async def request(self, method: str, params: Params = ()) -> Any:
        """Return the `result` of a call; raise `RpcError` or `NodeUnreachableError`."""
        self.calls += 1
        kept = len(self.exchanges)
        try:
            return await self._inner.request(method, params)
        finally:
            if len(self.exchanges) == kept:
                self.exchanges.append(Exchange(method, question(params), None))

    def _keep(self, method: str, params: Params, body: str) -> None:
        if any(secret in body for secret in self._secrets):
            # As a replay says it of an answer that is not there, so that both come to the same.
            raise NodeUnreachableError(
                f"The node's answer for {method} repeats the key of its own URL, so it cannot be kept as evidence.",
                hint="Nothing was lost. Name another node and try again.",
            )
        self.exchanges.append(Exchange(method, question(params), body))

    async def aclose(self) -> None:
        """Close the connection."""
        await self._inner.aclose()


class ReplayRpc:
    """Answers from a transcript, each question as often as it was asked; never touches a network."""

    def __init__(self, exchanges: Iterable[Exchange]) -> None:
        self.calls = 0
        self.listener: Listener | None = None
        self._answers: dict[tuple[str, str], deque[str | None]] = defaultdict(deque)
        for exchange in exchanges:
            self._answers[exchange.method, exchange.params].append(exchange.body)

    async def request(self, method: str, params: Params = ()) -> Any:
        """Return the `result` of a call as it was; raise `RpcError` as it was, else `NodeUnreachableError`."""
        self.calls += 1
        answers = self._answers.get((method, question(params)))
        body = answers.popleft() if answers else None
        if body is None:
            raise NodeUnreachableError(f"The evidence holds no answer of the node for {method}.")
        try:
            answer = decode_answer(body)
        except ValueError as error:
            raise NodeUnreachableError(f"What the evidence holds for {method} is no JSON-RPC answer.") from error
        return read_result(method, answer)

    async def aclose(self) -> None:
        """Do nothing: there is no connection."""


def question(params: Params) -> str:
    """Return the params of a question as canonical JSON text."""
    return _ENCODER.encode(params)


def run_offline(check: Coroutine[Any, Any, _T]) -> _T:
    """Return the result of a check that asks nothing but a `ReplayRpc`, without an event loop.

    Raises `RuntimeError` if it waits for something else.
    """
    try:
        check.send(None)
    except StopIteration as done:
        result: _T = done.value
        return result
    check.close()
    raise RuntimeError("an offline check waited for something outside its transcript")
