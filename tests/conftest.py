"""What all tests share: one sandbox for the whole run, since tests use wallets of their own in it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from delegation.sandbox import Sandbox, open_sandbox


@pytest.fixture(scope="session")
async def sandbox() -> AsyncIterator[Sandbox]:
    """A running sandbox: real local chains, our contracts, and the simulated platform."""
    async with open_sandbox() as running:
        yield running
