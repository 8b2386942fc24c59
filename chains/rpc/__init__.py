"""JSON-RPC over HTTP, read from the raw JSON: one place that tells "the node said no" from "the node did not answer".

Used for EVM networks and for Solana, because the response parsers of the Solana libraries abort the whole process on
some error answers, and because an audit needs the answers as they were given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from random import random
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

from chains.errors import InputError, NodeUnreachableError, RpcError
from chains.http import hide_url_secrets, open_http_client, redact_url, retry_after, retry_pause
from chains.json_text import decode_json

if TYPE_CHECKING:
    import httpx

Params = Sequence[Any] | Mapping[str, Any]

_RATE_LIMITED: Final = frozenset({429, -32005, -32029})
_LONGEST_PAUSE: Final = 20.0
# The receipts of a full block take a few MiB.
_LONGEST_ANSWER: Final = 64 * 2**20


Listener = Callable[[str, Params, str], None]
"""Told of every JSON-RPC answer: the method, the params and the body exactly as it was received."""


class Rpc(Protocol):
    """A way to ask one node; `calls` counts the questions asked so far, `listener` hears the answers."""

    calls: int
    listener: Listener | None

    async def request(self, method: str, params: Params = ()) -> Any:
        """Return the `result` of a call; raise `RpcError` or `NodeUnreachableError`."""
        ...

    async def aclose(self) -> None:
        """Close the connection."""
        ...


def parse_node_url(url: str) -> str:
    """Return a URL, or the path of a node's socket; raises `ValueError` if it has no parts that can be told apart."""
    if not url or not url.isprintable() or " " in url:
        raise ValueError("it is empty, or has spaces or invisible characters")
    parts = urlsplit(url)
    if "://" in url and (not parts.hostname or parts.port == 0):
        raise ValueError("it names no host, or port 0")
    (parts.hostname or "host").encode("idna")
    return url


def require_node_url(url: str) -> None:
    """Raise `InputError`, which does not repeat it, unless this can be the URL or the socket of a node."""
    try:
        parse_node_url(url)
    except ValueError as error:
        raise InputError(
            f"The URL given for the node cannot be used: {error}.", hint="Give the whole of it, such as https://host."
        ) from None


def _is_http_url(url: str) -> bool:
    import httpx

    try:
        parts = urlsplit(url)
        httpx.URL(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except (ValueError, httpx.InvalidURL):
        # Brackets that do not close or hold no IPv6 address, or a port that is no number.
        return False


class HttpRpc:
    """JSON-RPC 2.0 over HTTP POST.

    Every call is repeated up to `attempts` times when the connection fails or the node says that it is busy: reads are
    harmless, and the only writes of this package, signed transactions, are the same bytes each time.
    `timeout` is in seconds for one attempt; `chance` gives numbers from 0 to 1, which spread the pauses between them.
    """

    def __init__(
        self, url: str, *, timeout: float = 15.0, attempts: int = 3, chance: Callable[[], float] = random
    ) -> None:
        if not _is_http_url(url):
            raise InputError("This is not the URL of an HTTP node.", hint="Give a URL that starts with https://.")
        self.calls = 0
        self.listener: Listener | None = None
        self._shown = redact_url(url)
        self._url = url
        self._attempts = attempts
        self._chance = chance
        self._ids = count(1)
        self._client = open_http_client(url, timeout=timeout)

    async def request(self, method: str, params: Params = ()) -> Any:
        """Return the `result` of a call; raise `RpcError` or `NodeUnreachableError`."""
        import httpx

        payload = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        problem = ""
        for attempt in range(1, self._attempts + 1):
            self.calls += 1
            asked_for: float | None = None
            try:
                async with self._client.stream("POST", self._url, json=payload) as response:
                    body = await self._read(method, response)
            except httpx.RequestError as error:
                problem = f"{type(error).__name__}: {error}".rstrip(": ")
            else:
                if response.status_code == 429 or response.status_code >= 502:
                    problem = f"HTTP {response.status_code}"
                    asked_for = retry_after(response.headers.get("retry-after", ""))
                else:
                    answer = self._decode(method, response.status_code, body)
                    failure = None if answer.get("error") is None else rpc_error(method, answer["error"])
                    if failure is None or failure.code not in _RATE_LIMITED:
                        if self.listener is not None:
                            # Decoded as it was read, whatever charset the header names.
                            self.listener(method, params, body.decode())
                        return read_result(method, answer)
                    problem = hide_url_secrets(failure.message, self._url)
            if attempt < self._attempts:
                await asyncio.sleep(min(retry_pause(attempt, asked_for, self._chance), _LONGEST_PAUSE))
        raise NodeUnreachableError(
            f"The node {self._shown} did not answer {method} ({problem}), tried {self._attempts} times.",
            hint="Nothing was lost. Check the network or name another node, then try again.",
        )

    async def _read(self, method: str, response: httpx.Response) -> bytes:
        """Return the body of an answer; raise `NodeUnreachableError` for one without end."""
        parts, size = [], 0
        async for part in response.aiter_bytes():
            parts.append(part)
            size += len(part)
            if size > _LONGEST_ANSWER:
                raise NodeUnreachableError(
                    f"The node {self._shown} answered {method} with more than {_LONGEST_ANSWER} bytes.",
                    hint="Nothing was lost. Name another node and try again.",
                )
        return b"".join(parts)

    def _decode(self, method: str, status: int, body: bytes) -> dict[str, Any]:
        try:
            return decode_answer(body)
        except ValueError:
            raise NodeUnreachableError(
                f"The node {self._shown} answered {method} with HTTP {status} and no JSON-RPC result.",
                hint="Check that the URL is that of a JSON-RPC node and that its API key, if any, is right.",
                found=hide_url_secrets(body[:200].decode(errors="replace"), self._url),
            ) from None

    async def aclose(self) -> None:
        """Close the connection."""
        await self._client.aclose()


def decode_answer(body: str | bytes) -> dict[str, Any]:
    """Return a JSON-RPC answer, which has a result or an error; raises `ValueError` if the body is none."""
    answer = decode_json(body)
    if isinstance(answer, dict) and (answer.get("error") is not None or "result" in answer):
        return answer
    raise ValueError("the body has neither result nor error")


def read_result(method: str, answer: Mapping[str, Any]) -> Any:
    """Return the `result` of a JSON-RPC answer; raise the `RpcError` of its `error`."""
    if answer.get("error") is not None:
        raise rpc_error(method, answer["error"])
    return answer["result"]


def rpc_error(method: str, error: Any) -> RpcError:
    """Return the error for the `error` member of a JSON-RPC answer."""
    if not isinstance(error, dict):
        return RpcError(f"{method} failed: {error}", code=0)
    code = error.get("code")
    return RpcError(
        f"{method} failed: {error.get('message', 'no message')}",
        code=code if isinstance(code, int) else 0,
        data=error.get("data"),
    )
