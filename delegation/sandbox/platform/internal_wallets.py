"""The wallets that the platform keeps itself, of which the simulated one has none."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response


async def get_internal_wallets(_request: Request) -> Response:
    """GET /v1/wallet/internal: answered on custodial tenants alone"""
    return JSONResponse([])
