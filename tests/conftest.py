"""What all tests share: one sandbox for the whole run, since tests use wallets of their own in it."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator

import httpx
import pytest

from delegation.sandbox import Sandbox, open_sandbox

# In the background of a shell Ctrl-C is ignored, also by the processes that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

_running: list[Sandbox] = []


@pytest.fixture(scope="session")
async def sandbox() -> AsyncIterator[Sandbox]:
    """A running sandbox: real local chains, our contracts, and the simulated platform."""
    async with open_sandbox() as running:
        _running.append(running)
        yield running
        _running.clear()


@pytest.fixture(scope="module", autouse=True)
async def forgotten_wallets() -> None:
    """The platform's list without the wallets of earlier modules: it reads each of them from the chain."""
    for sandbox in _running:
        gateway = sandbox.document.gateway
        headers = {"x-client-key": gateway.client_key, "authorization": f"Bearer {gateway.access_token}"}
        async with httpx.AsyncClient(base_url=gateway.base_url, headers=headers) as client:
            (await client.delete("/sandbox/wallets")).raise_for_status()
