"""What every endpoint gets at: the state, the chains, and the body of its request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.requests import Request

from delegation.sandbox.platform.chain_evm import EvmChain
from delegation.sandbox.platform.chain_solana import SolanaChain
from delegation.sandbox.platform.errors import Refused
from delegation.sandbox.platform.misbehaviour import Misbehaviour
from delegation.sandbox.platform.sharing import SharedReading
from delegation.sandbox.platform.state import PlatformState

Chains = Mapping[str, EvmChain | SolanaChain]
"""The chains by the names of their networks."""


_JUDGED_AT_ONCE = 4
_DEEPEST = 100


@dataclass(frozen=True, slots=True)
class Context:
    """The one platform that an application serves; `wallet_list` reads the list of external wallets.

    `judging` bounds how many proofs are judged at once: of many that come together the first are answered early,
    while all at once would all be answered late, when their senders have given up.
    """

    state: PlatformState
    chains: Chains
    wallet_list: SharedReading[list[dict[str, str]]]
    judging: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_JUDGED_AT_ONCE))
    misbehaviours: list[Misbehaviour] = field(default_factory=list)

    @staticmethod
    def of(request: Request) -> Context:
        """Return the context of the application that got the request."""
        context: Context = request.app.state.context
        return context


async def read_json(request: Request) -> object:
    """Return the decoded body; raises `Refused` if it is not JSON, or not declared as JSON."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(400, "Bad request: Content-Type must be application/json")
    content = await request.body()
    if _is_deep(content):
        raise Refused(400, "Bad request: the body is nested too deeply")
    try:
        body: object = json.loads(content)
        # What Python reads as JSON and nobody can write as JSON again: NaN, and lone surrogates (RFC 8259, 6 and 8.2).
        json.dumps(body, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        raise Refused(400, "Bad request: the body is not JSON") from None
    return body


def _is_deep(content: bytes) -> bool:
    """Return whether JSON may be nested so deeply that to read it would end the process.

    A library of the judges raises Python's recursion limit too far. Brackets in texts count as well; no documented body
    comes near.
    """
    depth = 0
    for byte in content:
        if byte in b"[{":
            depth += 1
            if depth > _DEEPEST:
                return True
        elif byte in b"]}":
            depth -= 1
    return False
