"""The sandbox under load: what the platform's list costs its nodes, 200 delegations at once, and a stop amid them."""

import asyncio
import signal
import time
from pathlib import Path

import pytest
from relay import Weather, stormy_relay
from storm import Owner, finished, fund_owners, open_rpc, open_storm
from test_cli_sandbox import any_alive, descendants, start_sandbox

from delegation.sandbox import Sandbox
from delegation.sandbox.artifacts import encode_call
from delegation.sandbox.document import NetworkDocument, SandboxDocument
from delegation.sandbox.evm_network import make_evm_key, transact
from delegation.sandbox.platform.chain_evm import EvmChain
from delegation.sandbox.platform.chain_solana import SolanaChain
from delegation.sandbox.platform.sharing import SharedReading
from delegation.sandbox.solana_network import make_solana_key
from delegation.sandbox.world import WorldNetwork, WorldToken

UNIT = 10**6


def network_at(sandbox: Sandbox, name: str, rpc_url: str) -> WorldNetwork:
    known = sandbox.document.networks[name]
    tokens = {currency: WorldToken(token.address, token.decimals) for currency, token in known.tokens.items()}
    family = "solana" if name == "solana" else "evm"
    return WorldNetwork(name, family, str(known.chain_id), rpc_url, known.delegation_contract, tokens, "")


async def test_the_wallets_of_an_evm_network_are_read_in_few_requests_and_in_their_order(sandbox: Sandbox) -> None:
    known = sandbox.document.networks["base"]
    rich = (await sandbox.new_wallet("evm", network="base")).address
    owners = [make_evm_key().address for _ in range(119)]
    owners.insert(70, rich)
    weather = Weather(0, rate=0, patience=1)
    async with stormy_relay(known.rpc_url, weather) as url, open_rpc(known.rpc_url) as rpc:
        call = encode_call("approve(address,uint256)", known.delegation_contract, 7 * UNIT)
        await rpc.request("anvil_impersonateAccount", [rich])
        await transact(rpc, {"from": rich, "to": known.tokens["usdt"].address, "data": call})
        chain = EvmChain(network_at(sandbox, "base", url))
        usdt = chain.network.tokens["usdt"]
        held = await chain.get_balances_and_allowances([(usdt, owner) for owner in owners])
        await chain.aclose()
    assert held == [(10**6 * UNIT, 7 * UNIT) if owner == rich else (0, 0) for owner in owners]
    assert weather.calls == 3, "240 calls, 100 in a request"


async def test_the_wallets_of_solana_are_read_in_few_requests_and_in_their_order(sandbox: Sandbox) -> None:
    rich = (await sandbox.new_wallet("solana")).address
    owners = [make_solana_key().address for _ in range(119)]
    owners.insert(110, rich)
    weather = Weather(0, rate=0, patience=1)
    async with stormy_relay(sandbox.document.networks["solana"].rpc_url, weather) as url:
        chain = SolanaChain(network_at(sandbox, "solana", url))
        usdc = chain.network.tokens["usdc"]
        held = await chain.get_balances_and_allowances([(usdc, owner) for owner in owners])
        await chain.aclose()
    assert held == [(10**6 * UNIT if owner == rich else 0, 0) for owner in owners]
    assert weather.calls == 3, "the mint's program once, then 100 accounts in a request"


class Reading:
    """Counts the readings that began, each of which ends when it is let."""

    def __init__(self) -> None:
        self.begun = 0
        self.let = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        await self.let.wait()
        if number == 2:
            raise ConnectionError("the second one fails")
        return number


async def test_who_asks_while_a_reading_is_under_way_shares_the_next_with_all_others_who_do() -> None:
    reading = Reading()
    shared = SharedReading(reading)
    first = [asyncio.create_task(shared.get()) for _ in range(100)]
    await asyncio.sleep(0.01)
    assert reading.begun == 1
    later = [asyncio.create_task(shared.get()) for _ in range(100)]
    await asyncio.sleep(0.01)
    assert reading.begun == 1, "one at a time"
    reading.let.set()
    assert set(await asyncio.gather(*first)) == {1}
    outcomes = await asyncio.gather(*later, return_exceptions=True)
    assert {str(outcome) for outcome in outcomes} == {"the second one fails"}
    assert await shared.get() == 3, "a failure is told to those who shared it, and to nobody after"


async def test_who_goes_away_takes_the_reading_from_nobody() -> None:
    reading = Reading()
    shared = SharedReading(reading)
    gone, waiting = asyncio.create_task(shared.get()), asyncio.create_task(shared.get())
    await asyncio.sleep(0.01)
    gone.cancel()
    reading.let.set()
    assert await waiting == 1
    await shared.aclose()
    assert gone.cancelled()


@pytest.mark.parametrize(
    ("evm", "solana"),
    [(27, 13), pytest.param(140, 60, marks=[pytest.mark.long, pytest.mark.load])],
    ids=["a part", "200"],
)
async def test_many_at_once_end_without_being_carried_again(
    sandbox: Sandbox, tmp_path: Path, evm: int, solana: int
) -> None:
    third = evm // 3
    counts = {"ethereum": evm - 2 * third, "linea": third, "base": third, "solana": solana}
    owners = await fund_owners(sandbox, counts)
    async with open_storm(sandbox.document, tmp_path, owners, seed=0, rate=0, patience=15) as storm:
        await storm.begin()
        assert not storm.stopped
        assert await storm.count() == []


async def fund_from_outside(known: NetworkDocument, network: str, count: int) -> list[Owner]:
    """Return new owners with gas from an account that the node signs for."""
    owners = [Owner(network, "usdc", make_evm_key()) for _ in range(count)]
    async with open_rpc(known.rpc_url) as rpc:
        rich = (await rpc.request("eth_accounts"))[0]
        for owner in owners:
            await transact(rpc, {"from": rich, "to": owner.address, "value": hex(10**18)})
    return owners


@pytest.mark.long
@pytest.mark.load
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_stops_within_five_seconds_amid_200_at_once(tmp_path: Path, number: signal.Signals) -> None:
    process, said = await start_sandbox(tmp_path)
    try:
        document = SandboxDocument.model_validate(said)
        owners = [Owner("solana", "usdc", key) for key in document.wallets["solana"]]
        for network in ("ethereum", "linea", "base"):
            owners += await fund_from_outside(document.networks[network], network, 65)
        assert len(owners) == 200
        children = descendants(process.pid)
        async with open_storm(document, tmp_path, owners, seed=0, rate=0, patience=15) as storm:
            load = asyncio.create_task(storm.begin())
            async with asyncio.timeout(60):
                while not any(map(finished, storm.journal.list())):  # noqa: ASYNC110 - only the journal tells
                    await asyncio.sleep(0.05)
            started = time.monotonic()
            process.send_signal(number)
            _, err = await asyncio.wait_for(process.communicate(), 30)
            taken = time.monotonic() - started
            left = any_alive(children)
            assert not all(map(finished, storm.journal.list())), "it was not under load"
            load.cancel()
            await asyncio.gather(load, return_exceptions=True)
    except BaseException:
        if process.returncode is None:
            process.kill()
            await process.communicate()
        raise
    assert not left
    assert taken < 5
    assert process.returncode == 0
    assert err.decode().splitlines()[1:] == ["The sandbox has stopped."], "a stop is no failure to report"
