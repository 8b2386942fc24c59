"""The JSON-RPC door tells "the node said no" from "the node did not answer", over real HTTP."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from chains.errors import InputError, NodeUnreachableError, RpcError
from chains.http import redact_url, retry_pause
from chains.rpc import HttpRpc

Answer = Callable[[int, dict[str, object]], bytes]


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[str]:
    """Serve raw HTTP answers on loopback: `answer` gets the number of the request and its JSON."""
    count = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        )
        request = json.loads(await reader.readexactly(length))
        count += 1
        writer.write(answer(count, request))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def http(body: object, status: str = "200 OK", headers: str = "") -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return (
        f"HTTP/1.1 {status}\r\n{headers}content-length: {len(content)}\r\nconnection: close\r\n\r\n".encode() + content
    )


async def ask(url: str) -> object:
    rpc = HttpRpc(url, timeout=2, attempts=2)
    try:
        return await rpc.request("eth_chainId")
    finally:
        await rpc.aclose()


async def test_a_result_is_returned_also_when_it_is_null() -> None:
    async with serving(lambda _, request: http({"jsonrpc": "2.0", "id": request["id"], "result": None})) as url:
        assert await ask(url) is None


async def test_an_error_keeps_the_nodes_code_message_and_data() -> None:
    error = {"code": 3, "message": "execution reverted", "data": "0x08c379a0"}
    async with serving(lambda _, request: http({"id": request["id"], "error": error})) as url:
        with pytest.raises(RpcError, match="execution reverted") as caught:
            await ask(url)
    assert (caught.value.code, caught.value.data) == (3, "0x08c379a0")


@pytest.mark.parametrize("code", [-32002, -32005, -32016])
async def test_an_error_without_data_never_brings_the_process_down(code: int) -> None:
    error = {"code": code, "message": "no data here"}
    async with serving(lambda _, request: http({"id": request["id"], "error": error})) as url:
        with pytest.raises((RpcError, NodeUnreachableError)):
            await ask(url)


async def test_a_busy_node_is_asked_again_after_the_time_it_names() -> None:
    def busy_once(number: int, request: dict[str, object]) -> bytes:
        if number == 1:
            return http(b"slow down", "429 Too Many Requests", "retry-after: 0\r\n")
        return http({"id": request["id"], "result": "0x1"})

    async with serving(busy_once) as url:
        assert await ask(url) == "0x1"


async def test_a_node_is_asked_again_later_each_time_by_chance_so_that_many_do_not_come_back_together() -> None:
    asked_at: list[float] = []

    def always_busy(_number: int, _request: dict[str, object]) -> bytes:
        asked_at.append(time.monotonic())
        return http(b"slow down", "503 Service Unavailable")

    async with serving(always_busy) as url:
        rpc = HttpRpc(url, chance=iter((0.0, 0.25)).__next__)
        with pytest.raises(NodeUnreachableError, match="tried 3 times"):
            await rpc.request("eth_chainId")
        await rpc.aclose()
    first, second = asked_at[1] - asked_at[0], asked_at[2] - asked_at[1]
    assert 0.25 <= first < 0.5
    assert 0.75 <= second < 1.0


@pytest.mark.parametrize(
    ("attempt", "asked_for", "chance", "expected"),
    [
        (1, None, 0.0, 0.25),
        (1, None, 1.0, 0.75),
        (2, None, 0.5, 1.0),
        (1, 0.0, 0.0, 0.0),
        (1, 3.0, 0.0, 3.0),
        (2, 3.0, 0.5, 3.5),
    ],
)
def test_a_pause_is_spread_but_never_shorter_than_was_asked_for(
    attempt: int, asked_for: float | None, chance: float, expected: float
) -> None:
    assert retry_pause(attempt, asked_for, lambda: chance) == expected


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"id": 1}', b"\xff\xfe"])
async def test_an_answer_that_is_no_json_rpc_is_not_taken_for_a_no(body: bytes) -> None:
    async with serving(lambda _, request: http(body)) as url:
        with pytest.raises(NodeUnreachableError):
            await ask(url)


async def test_a_node_that_is_not_there_is_unreachable() -> None:
    with pytest.raises(NodeUnreachableError, match="tried 2 times"):
        await ask("http://127.0.0.1:1")


@pytest.mark.parametrize(
    "url", ["ftp://node", "node.example.com", "http://", "", "http://host:notaport", "http://[::1"]
)
def test_what_is_not_an_http_url_is_bad_input(url: str) -> None:
    with pytest.raises(InputError):
        HttpRpc(url)


@pytest.mark.parametrize(
    "url", ["https://user:SECRET@node.example/", "https://node.example/v3/SECRET", "https://node.example?key=SECRET"]
)
async def test_a_url_is_shown_without_the_key_in_it(url: str) -> None:
    assert "SECRET" not in redact_url(url)
    assert "node.example" in redact_url(url)
