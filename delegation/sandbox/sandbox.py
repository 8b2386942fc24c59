"""The sandbox as a whole: four local chains, our contracts and mints, funded wallets and the simulated platform."""

from __future__ import annotations

import asyncio
import secrets
import signal
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from delegation.errors import SandboxError
from delegation.sandbox.document import (
    GatewayDocument,
    KeyDocument,
    ProfileDocument,
    SandboxDocument,
    UserDocument,
)
from delegation.sandbox.world import PlatformWorld, WorldNetwork, WorldTenant, WorldToken

if TYPE_CHECKING:
    from chains.types import Family
    from delegation.sandbox.evm_network import EvmNetwork
    from delegation.sandbox.nodes import RunningNode
    from delegation.sandbox.solana_network import SolanaNetwork

WriteProfile = Callable[[SandboxDocument], Path]
"""Writes the profile `sandbox` of the command line for a running sandbox and returns its file."""

PROFILE_NAME: Final = "sandbox"
_WALLETS: Final = 5


@dataclass(frozen=True, slots=True)
class _EvmPlan:
    """An EVM network to start; `base_fee` is in wei: on Linea it rests at 7, on Base it is far below Ethereum's."""

    chain_id: int
    base_fee: int
    contracts: dict[str, str]


_EVM_NETWORKS: Final = {
    "ethereum": _EvmPlan(1, 1_000_000_000, {"usdc": "UsdcLike", "usdt": "TetherLike"}),
    "linea": _EvmPlan(59144, 7, {"usdc": "UsdcLike", "usdt": "OpenZeppelin4Like"}),
    "base": _EvmPlan(8453, 5_000_000, {"usdc": "UsdcLike", "usdt": "OpenZeppelin4Like"}),
}


@dataclass(slots=True)
class Sandbox:
    """A running sandbox; `document` says where everything is."""

    document: SandboxDocument
    _evm: dict[str, EvmNetwork]
    _solana: dict[str, SolanaNetwork]
    _nodes: list[RunningNode]

    async def new_wallet(
        self, family: Family, gas: bool = True, tokens: bool = True, *, network: str | None = None
    ) -> KeyDocument:
        """Return a fresh wallet with 100 ETH or SOL and 1,000,000 of each token on every network of the family.

        With `network` it gets them on that one alone, which is quicker where many are needed.
        """
        networks: Mapping[str, EvmNetwork | SolanaNetwork] = self._evm if family == "evm" else self._solana
        wanted = networks if network is None else {network: networks[network]}
        return await _new_wallet(wanted, family, gas=gas, tokens=tokens)

    async def spend(self, network: str, currency: str, owner: str, amount: int) -> str:
        """Have the operator pull `amount` base units from `owner`, as a card payment does; return the transaction.

        Raises `SandboxError` if nothing could be pulled.
        """
        running = self._evm.get(network) or self._solana[network]
        return await running.spend(currency, owner, amount)

    def check_running(self) -> None:
        """Raise `SandboxError` if a node has died."""
        for node in self._nodes:
            if node.process.poll() is not None:
                raise SandboxError(f"{node.name}, a node of the sandbox, has stopped.", hint="Start the sandbox again.")


@asynccontextmanager
async def open_sandbox(write_profile: WriteProfile | None = None) -> AsyncIterator[Sandbox]:
    """Start a sandbox and stop it at the end; raises `SandboxError` if it cannot be started."""
    async with AsyncExitStack() as stack:
        nodes: list[RunningNode] = []
        *evm_networks, solana_network = await _all(
            *(_start_evm(stack, nodes, name, plan) for name, plan in _EVM_NETWORKS.items()),
            _start_solana(stack, nodes),
        )
        evm: dict[str, EvmNetwork] = {network.name: network for network in evm_networks}
        solana: dict[str, SolanaNetwork] = {solana_network.name: solana_network}
        wallets = await _all(
            *(_new_wallet(evm, "evm", gas=True, tokens=True) for _ in range(_WALLETS)),
            *(_new_wallet(solana, "solana", gas=True, tokens=True) for _ in range(_WALLETS)),
        )
        document = SandboxDocument(
            profile=ProfileDocument(name=PROFILE_NAME, file=None),
            gateway=await _start_platform(stack, evm, solana),
            networks={name: network.document for name, network in (evm | solana).items()},
            wallets={"evm": wallets[:_WALLETS], "solana": wallets[_WALLETS:]},
        )
        if write_profile is not None:
            profile = ProfileDocument(name=PROFILE_NAME, file=str(write_profile(document)))
            document = document.model_copy(update={"profile": profile})
        yield Sandbox(document, evm, solana, nodes)


async def serve_sandbox(on_ready: Callable[[SandboxDocument], None], write_profile: WriteProfile | None = None) -> None:
    """Run a sandbox until SIGTERM or SIGINT, and leave no process behind.

    Raises `SandboxError` if it cannot be started or one of its nodes dies.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        async with open_sandbox(write_profile) as sandbox:
            if not stop.is_set():
                on_ready(sandbox.document)
            while not stop.is_set():
                sandbox.check_running()
                await _wait(stop, seconds=1.0)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


async def _all(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    """Run everything at once and return the results in order; the first failure cancels the rest and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in work]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return [task.result() for task in tasks]


async def _start_evm(stack: AsyncExitStack, nodes: list[RunningNode], name: str, plan: _EvmPlan) -> EvmNetwork:
    from delegation.sandbox.evm_network import open_evm_network
    from delegation.sandbox.linea_proxy import create_linea_proxy
    from delegation.sandbox.nodes import start_anvil
    from delegation.sandbox.servers import RunningServer

    node = await _start_node(stack, start_anvil, plan.chain_id, "--block-base-fee-per-gas", str(plan.base_fee))
    nodes.append(node)
    rpc_url = node.rpc_url
    if name == "linea":
        rpc_url = (await stack.enter_async_context(RunningServer(create_linea_proxy(node.rpc_url)))).base_url
    network = await open_evm_network(name, plan.chain_id, node.rpc_url, rpc_url, plan.contracts)
    stack.push_async_callback(network.rpc.aclose)
    return network


async def _start_solana(stack: AsyncExitStack, nodes: list[RunningNode]) -> SolanaNetwork:
    from delegation.sandbox.nodes import start_surfpool
    from delegation.sandbox.solana_network import open_solana_network

    node = await _start_node(stack, start_surfpool)
    nodes.append(node)
    network = await open_solana_network("solana", node.rpc_url)
    stack.push_async_callback(network.rpc.aclose)
    return network


async def _start_node(stack: AsyncExitStack, start: Callable[..., RunningNode], *arguments: int | str) -> RunningNode:
    """Start a node in a thread, its end arranged beforehand: a thread goes on when its task is cancelled."""
    starting = asyncio.create_task(asyncio.to_thread(start, *arguments))
    stack.push_async_callback(_stop_node, starting)
    return await asyncio.shield(starting)


async def _stop_node(starting: asyncio.Task[RunningNode]) -> None:
    await asyncio.wait([starting])
    if not starting.cancelled() and starting.exception() is None:
        await asyncio.to_thread(starting.result().stop)


async def _new_wallet(
    networks: Mapping[str, EvmNetwork | SolanaNetwork], family: Family, *, gas: bool, tokens: bool
) -> KeyDocument:
    from delegation.sandbox.evm_network import make_evm_key
    from delegation.sandbox.solana_network import make_solana_key

    wallet = make_evm_key() if family == "evm" else make_solana_key()
    await _all(*(network.fund(wallet.address, gas=gas, tokens=tokens) for network in networks.values()))
    return wallet


async def _start_platform(
    stack: AsyncExitStack, evm: Mapping[str, EvmNetwork], solana: Mapping[str, SolanaNetwork]
) -> GatewayDocument:
    from delegation.sandbox.platform import create_app
    from delegation.sandbox.servers import RunningServer, find_free_port

    tenant = WorldTenant(
        secret_key=f"sandbox-secret-{secrets.token_hex(16)}",
        redirect_uris=(f"http://127.0.0.1:{find_free_port()}/callback",),
        password=secrets.token_urlsafe(9),
    )
    # The platform has nodes of its own: it need not go through what stands before one for users.
    networks = {name: _world_network(network, "evm", network.node_url) for name, network in evm.items()}
    networks |= {name: _world_network(network, "solana", network.rpc_url) for name, network in solana.items()}
    world = PlatformWorld(f"sandbox-{secrets.token_hex(16)}", str(uuid.uuid4()), networks, tenant)
    server = await stack.enter_async_context(RunningServer(create_app(world)))
    return GatewayDocument(
        base_url=server.base_url,
        client_key=world.client_key,
        access_token=world.access_token,
        client_id=tenant.client_id,
        secret_key=tenant.secret_key,
        redirect_uri=tenant.redirect_uris[0],
        user=UserDocument(email=tenant.email, password=tenant.password, phone_url=f"{server.base_url}/sandbox/phone"),
    )


def _world_network(network: EvmNetwork | SolanaNetwork, family: Family, node_url: str) -> WorldNetwork:
    known = network.document
    return WorldNetwork(
        name=network.name,
        family=family,
        chain_id=str(known.chain_id),
        rpc_url=node_url,
        delegation_contract=known.delegation_contract,
        tokens={currency: WorldToken(token.address, token.decimals) for currency, token in known.tokens.items()},
        faucet_private_key=network.faucet.private_key,
    )
