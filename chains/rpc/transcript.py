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

from chains.errors import NodeError, NodeUnreachableError, RpcError
from chains.rpc import Listener, Params, Rpc, decode_answer, read_result

_T = TypeVar("_T")

# The code for errors that have none of their own (JSON-RPC 2.0, section 5.1).
_NOT_RECORDED: Final = -32000

_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), sort_keys=True)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question to a node, its params as JSON text, and the body of the answer; where there is none, `problem`."""

    method: str
    params: str
    body: str | None
    problem: str | None = None


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
        except NodeError as error:
            if len(self.exchanges) == kept:
                self.exchanges.append(Exchange(method, question(params), None, error.message))
            raise

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
        self._answers: dict[tuple[str, str], deque[Exchange]] = defaultdict(deque)
        for exchange in exchanges:
            self._answers[exchange.method, exchange.params].append(exchange)

    async def request(self, method: str, params: Params = ()) -> Any:
        """Return the `result` of a call as it was; raise `RpcError` as it was, else `NodeUnreachableError`.

        What was never asked is an `RpcError`, as of a node that does not serve it: it takes proofs away and gives none.
        """
        self.calls += 1
        answers = self._answers.get((method, question(params)))
        if not answers:
            raise RpcError(f"What was recorded holds no answer of the node for {method}.", code=_NOT_RECORDED)
        exchange = answers.popleft()
        if exchange.body is None:
            problem = exchange.problem or f"What was recorded holds no answer of the node for {method}."
            raise NodeUnreachableError(problem)
        try:
            answer = decode_answer(exchange.body)
        except ValueError as error:
            raise NodeUnreachableError(f"What was recorded for {method} is no JSON-RPC answer.") from error
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
