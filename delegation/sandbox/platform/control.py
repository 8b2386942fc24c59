"""The endpoints under /sandbox/, which no real platform has: by them tests tell it to misbehave and look inside."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from delegation.sandbox.platform.context import Context, read_json
from delegation.sandbox.platform.errors import Refused
from delegation.sandbox.platform.limits import LimitInForce, parse_limit
from delegation.sandbox.platform.misbehaviour import parse_misbehaviour

_LONGEST_ADVANCE = 10 * 365 * 86_400.0
_CONFIG_FIELDS = {"chainId", "delegationContract", "environment", "tokens"}


async def post_misbehave(request: Request) -> Response:
    """POST /sandbox/misbehave {method, path, times?, ...}: what `Misbehaviour` lists"""
    Context.of(request).misbehaviours.append(parse_misbehaviour(await read_json(request)))
    return JSONResponse({"success": True})


async def delete_misbehave(request: Request) -> Response:
    """DELETE /sandbox/misbehave: behave again"""
    Context.of(request).misbehaviours.clear()
    return JSONResponse({"success": True})


async def post_limit(request: Request) -> Response:
    """POST /sandbox/limit {method, path, requests, seconds, retry_after?}: take only so many requests in a while"""
    state = Context.of(request).state
    state.limits.append(LimitInForce(parse_limit(await read_json(request))))
    return JSONResponse({"success": True})


async def delete_limit(request: Request) -> Response:
    """DELETE /sandbox/limit: take any number again"""
    Context.of(request).state.limits.clear()
    return JSONResponse({"success": True})


async def post_config(request: Request) -> Response:
    """POST /sandbox/config {network, chainId?, delegationContract?, environment?, tokens?}

    Changes what chain/config says of a network; proofs are judged as before.
    """
    state = Context.of(request).state
    body = await read_json(request)
    if not isinstance(body, dict) or body.get("network") not in state.world.networks:
        raise Refused(422, "Validation error: network must be a network of this platform")
    changes = {name: value for name, value in body.items() if name != "network"}
    if not changes.keys() <= _CONFIG_FIELDS:
        raise Refused(422, f"Validation error: only {', '.join(sorted(_CONFIG_FIELDS))} can be changed")
    state.config_overrides.setdefault(body["network"], {}).update(changes)
    return JSONResponse({"success": True})


async def delete_config(request: Request) -> Response:
    """DELETE /sandbox/config: tell the truth again"""
    Context.of(request).state.config_overrides.clear()
    return JSONResponse({"success": True})


async def post_clock(request: Request) -> Response:
    """POST /sandbox/clock {advance}: move the platform's clock by seconds"""
    state = Context.of(request).state
    body = await read_json(request)
    seconds = body.get("advance") if isinstance(body, dict) and body.keys() == {"advance"} else None
    if not isinstance(seconds, int | float) or not abs(seconds) < _LONGEST_ADVANCE:
        raise Refused(422, "Validation error: advance must be a number of seconds")
    state.clock_offset += timedelta(seconds=seconds)
    return JSONResponse({"now": state.now().isoformat()})


async def delete_clock(request: Request) -> Response:
    """DELETE /sandbox/clock: back to the time of the machine"""
    state = Context.of(request).state
    state.clock_offset = timedelta()
    return JSONResponse({"now": state.now().isoformat()})


async def delete_faucet(request: Request) -> Response:
    """DELETE /sandbox/faucet: forget that the user has had gas"""
    Context.of(request).state.faucet_used = False
    return JSONResponse({"success": True})


async def delete_wallets(request: Request) -> Response:
    """DELETE /sandbox/wallets: forget every wallet"""
    Context.of(request).state.wallets.clear()
    return JSONResponse({"success": True})


async def delete_transactions(request: Request) -> Response:
    """DELETE /sandbox/transactions: forget which transactions were used, so that each can be proved again"""
    Context.of(request).state.forget_transactions()
    return JSONResponse({"success": True})


async def get_proofs(request: Request) -> Response:
    """GET /sandbox/proofs: every proof received, and what was answered"""
    return JSONResponse([asdict(proof) for proof in Context.of(request).state.proofs])


async def get_requests(request: Request) -> Response:
    """GET /sandbox/requests: how often each method and path was called"""
    return JSONResponse(dict(Context.of(request).state.requests))
