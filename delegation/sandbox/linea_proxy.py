"""A stand-in for a Linea node: a proxy before anvil that adds `linea_estimateGas` and passes everything else through.

It is not Linea: only the shape of the answer, its way of failing and the size of its fees are those of the real method.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from starlette.applications import Starlette

# 0.071 gwei, the tip in the example of Linea's documentation of linea_estimateGas.
_PRIORITY_FEE: Final = 0x43A82A4


def create_linea_proxy(node_url: str) -> Starlette:
    """Return the ASGI application that stands before the node at `node_url`."""
    import httpx
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with httpx.AsyncClient(base_url=node_url, timeout=60) as client:
            app.state.client = client
            yield

    async def answer(request: Request) -> Response:
        client: httpx.AsyncClient = request.app.state.client
        body = await request.body()
        call = _parse_call(body)
        if call is not None and call.get("method") == "linea_estimateGas":
            return JSONResponse(await _estimate_gas(client, call))
        passed = await client.post("/", content=body, headers={"content-type": "application/json"})
        return Response(passed.content, passed.status_code, media_type="application/json")

    return Starlette(routes=[Route("/", answer, methods=["POST"])], lifespan=lifespan)


def _parse_call(body: bytes) -> dict[str, Any] | None:
    """Return the call if the body is a single one; a batch or nonsense is for the node to answer."""
    if b"linea_estimateGas" not in body:
        return None
    try:
        call = json.loads(body)
    except ValueError:
        return None
    return call if isinstance(call, dict) else None


async def _estimate_gas(client: Any, call: dict[str, Any]) -> dict[str, Any]:
    """Answer as Linea does: three hex quantities, or the error of the estimation with its revert data."""
    estimate = await _ask(client, "eth_estimateGas", call.get("params", []))
    if "error" in estimate:
        return {"jsonrpc": "2.0", "id": call.get("id"), "error": estimate["error"]}
    pending = await _ask(client, "eth_getBlockByNumber", ["pending", False])
    fees = {
        "gasLimit": estimate["result"],
        "baseFeePerGas": pending["result"]["baseFeePerGas"],
        "priorityFeePerGas": hex(_PRIORITY_FEE),
    }
    return {"jsonrpc": "2.0", "id": call.get("id"), "result": fees}


async def _ask(client: Any, method: str, params: Any) -> dict[str, Any]:
    response = await client.post("/", json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    answer: dict[str, Any] = response.json()
    return answer
