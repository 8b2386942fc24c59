"""What all tests share: one sandbox for the whole run, the option --all, and a word about what was skipped.

Tests use wallets of their own in the sandbox. What is marked `long` is left out unless --all is given; properties
without a number of examples of their own, and those of test_fuzz.py, are then tried with ten times as many.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from evm_lab import deploy_contracts
from hypothesis import settings
from platform_lab import PlatformLab, run_platform
from postgresql_lab import create_database, run_postgresql

from delegation.sandbox import Sandbox, open_sandbox
from delegation.sandbox.nodes import RunningNode, start_anvil

# In the background of a shell Ctrl-C is ignored, also by the processes that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

_running: list[Sandbox] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --all."""
    parser.addoption("--all", action="store_true", help="also run the tests marked long, and ten times the examples")


def pytest_configure(config: pytest.Config) -> None:
    """Choose the number of examples, before the tests are imported that read it."""
    if config.getoption("all"):
        settings.register_profile("all", settings(), max_examples=10 * settings().max_examples, deadline=None)
        settings.load_profile("all")


def pytest_report_header(config: pytest.Config) -> str:
    """Say which tests run."""
    return f"long tests: {'run too' if config.getoption('all') else 'left out (--all runs them too)'}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is long, unless --all is given."""
    if config.getoption("all"):
        return
    long = [item for item in items if item.get_closest_marker("long")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Say at the very end how many tests were skipped, and why."""
    yield
    reports = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reports)
    if reasons:
        words = "; ".join(f"{count} because {reason}" for reason, count in reasons.most_common())
        terminalreporter.write_line(f"Skipped {reasons.total()}: {words}")


@pytest.fixture(scope="session")
async def sandbox() -> AsyncIterator[Sandbox]:
    """A running sandbox: real local chains, our contracts, and the simulated platform."""
    async with open_sandbox() as running:
        _running.append(running)
        yield running
        _running.clear()


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A PostgreSQL server of our own."""
    with run_postgresql() as url:
        yield url


@pytest.fixture
def database(postgresql_url: str) -> str:
    """The URL of an empty database of our own."""
    return create_database(postgresql_url)


@pytest.fixture(scope="module", autouse=True)
async def forgotten_wallets() -> None:
    """The platform's list without the wallets of earlier modules: it reads each of them from the chain."""
    for sandbox in _running:
        gateway = sandbox.document.gateway
        headers = {"x-client-key": gateway.client_key, "authorization": f"Bearer {gateway.access_token}"}
        async with httpx.AsyncClient(base_url=gateway.base_url, headers=headers) as client:
            (await client.delete("/sandbox/wallets")).raise_for_status()


@pytest.fixture(scope="module")
def anvil() -> Iterator[RunningNode]:
    """A chain of its own for each module that says when it mines."""
    with start_anvil(1) as running:
        yield running


@pytest.fixture(scope="module")
async def contracts(anvil: RunningNode) -> tuple[str, str]:
    """The token and the spender of that chain."""
    return await deploy_contracts(anvil.rpc_url)


@pytest.fixture(scope="session")
async def running_platform() -> AsyncIterator[PlatformLab]:
    """A simulated platform without chains, for whoever signs in."""
    async with run_platform() as lab:
        yield lab


@pytest.fixture
async def platform(running_platform: PlatformLab) -> PlatformLab:
    """The platform with nobody signed in, doing as it is documented."""
    await running_platform.reset()
    return running_platform
