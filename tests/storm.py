"""A storm: many delegations of as many owners at once in one process, while a part of all calls goes wrong.

What came of it is counted where nothing can be glossed over: on the chains, and in what the platform accepted.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import cycle, islice
from pathlib import Path

from eth_utils.crypto import keccak
from line_lab import key_wallet
from relay import Weather, stormy_relay

from chains.errors import ToolkitError
from chains.evm.node import EvmNode
from chains.http import open_http_client
from chains.rpc import HttpRpc
from chains.solana.node import SolanaNode
from delegation import (
    Context,
    Delegation,
    DelegationRequest,
    Gateway,
    Journal,
    carry,
    carry_all,
    new_delegation,
    open_journal,
)
from delegation.profile import Profile
from delegation.sandbox import Sandbox
from delegation.sandbox.document import KeyDocument, SandboxDocument
from delegation.sandbox.profile import profile_of

AMOUNT = Decimal(5000)
_APPROVAL = "0x" + keccak(text="Approval(address,address,uint256)").hex()
# So many blocks after the funding, a node that lags has heard of it.
_OLD = 8


@dataclass(frozen=True)
class Owner:
    """A funded wallet and what it grants."""

    network: str
    currency: str
    key: KeyDocument

    @property
    def address(self) -> str:
        return self.key.address


async def fund_owners(sandbox: Sandbox, counts: Mapping[str, int]) -> list[Owner]:
    """Return new owners with gas and tokens, so many on each network, whose funding is some blocks old."""

    async def fund(network: str, currency: str) -> Owner:
        family = "solana" if network == "solana" else "evm"
        return Owner(network, currency, await sandbox.new_wallet(family, network=network))

    wanted = [
        (network, currency) for network, count in counts.items() for currency in islice(cycle(("usdc", "usdt")), count)
    ]
    owners = await asyncio.gather(*(fund(*each) for each in wanted))
    for network in counts.keys() - {"solana"}:
        async with open_rpc(sandbox.document.networks[network].rpc_url) as rpc:
            await rpc.request("anvil_mine", [hex(_OLD)])
    return owners


@asynccontextmanager
async def open_rpc(url: str) -> AsyncIterator[HttpRpc]:
    """Open a connection to a node on which nothing goes wrong."""
    rpc = HttpRpc(url)
    try:
        yield rpc
    finally:
        await rpc.aclose()


@dataclass
class Storm:
    """Delegations of these owners, carried over relays; `stopped` says how often which error ended a carrying."""

    document: SandboxDocument
    profile: Profile
    journal: Journal
    owners: Sequence[Owner]
    weather: Weather
    patience: float
    stopped: Counter[str] = field(default_factory=Counter)

    async def begin(self) -> None:
        """Carry a new delegation of every owner, all at once."""
        async with asyncio.TaskGroup() as group:
            for owner in self.owners:
                group.create_task(self._carry(owner))

    async def go_on(self) -> int:
        """Carry again what is unfinished, all at once; return how many there were."""
        by_address = {owner.address: owner for owner in self.owners}

        def open_for(d: Delegation) -> AbstractAsyncContextManager[Context]:
            return self._open_context(by_address[d.request.owner])

        outcomes = await carry_all(self.journal, open_for, at_once=len(self.owners))
        self.stopped.update(type(outcome.error).__name__ for outcome in outcomes if outcome.error is not None)
        return len(outcomes)

    async def _carry(self, owner: Owner) -> None:
        async with self._open_context(owner) as context:
            request = DelegationRequest(
                network=owner.network, currency=owner.currency, amount=AMOUNT, owner=owner.address
            )
            try:
                await carry(new_delegation(request, context), context)
            except ToolkitError as error:
                # What the line says of a storm; anything else is a fault of the line, and ends the test.
                self.stopped[type(error).__name__] += 1
            except Exception as error:
                error.add_note(f"It was the {owner.currency} of {owner.address} on {owner.network}.")
                raise

    @asynccontextmanager
    async def _open_context(self, owner: Owner) -> AsyncIterator[Context]:
        settings, chain = self.profile.gateway, self.profile.chain(owner.network)
        patience = self.patience
        gateway = Gateway(
            settings.base_url, settings.client_key, settings.access_token, timeout=patience, token_timeout=patience
        )
        rpc = HttpRpc(chain.rpc_url, timeout=patience)
        node = EvmNode(chain, rpc) if chain.family == "evm" else SolanaNode(chain, rpc)
        try:
            yield Context(
                gateway=gateway,
                node=node,
                journal=self.journal,
                terms=self.profile.statement_terms(),
                wallet=key_wallet(owner.key),
                # The owner is there and says yes again, to what died on its way and has to be signed anew.
                agree_again=lambda _: None,
                settle_timeout=60.0,
                list_timeout=5.0,
            )
        finally:
            await gateway.aclose()
            await node.aclose()

    async def count(self) -> list[str]:
        """Return what is not as it should be: every delegation done, every approval and every proof there once."""
        await self.weather.die_down()
        approvals, accepted = await self._count_approvals(), await self._count_accepted()
        listed = self.journal.list()
        known = {d.request.owner: d for d in listed}
        wrong = [f"{len(listed)} delegations of {len(self.owners)}"] if len(listed) != len(self.owners) else []
        for owner in self.owners:
            d, address = known.get(owner.address), owner.address
            if d is None or not finished(d) or (approvals[address], accepted[address]) != (1, 1):
                wrong.append(
                    f"{owner.network} {owner.currency} {address}: {_describe(d)}, "
                    f"{approvals[address]} approvals, {accepted[address]} accepted proofs"
                )
        return wrong

    async def _count_approvals(self) -> Counter[str]:
        """Count what each owner has sent, which was approved: on EVM networks by the logs, too, which nobody forges."""
        found: Counter[str] = Counter()
        for network in {owner.network for owner in self.owners}:
            owners = [owner.address for owner in self.owners if owner.network == network]
            known = self.document.networks[network]
            async with open_rpc(known.rpc_url) as rpc:
                if network == "solana":
                    found += await _count_solana_approvals(rpc, owners)
                else:
                    found += await _count_evm_approvals(rpc, owners, known.delegation_contract)
        return found

    async def _count_accepted(self) -> Counter[str]:
        gateway = self.document.gateway
        headers = {"x-client-key": gateway.client_key}
        async with open_http_client(gateway.base_url, base_url=gateway.base_url, headers=headers) as client:
            proofs = (await client.get("/sandbox/proofs")).raise_for_status().json()
        return Counter(proof["address"] for proof in proofs if proof["accepted"])


def finished(d: Delegation) -> bool:
    """Return whether a delegation is at the end of the line with a yes."""
    return d.verification is not None and d.verification.verdict == "VERIFIED"


def _describe(d: Delegation | None) -> str:
    if d is None:
        return "no delegation"
    failed = "" if d.ended is None else f" ({d.ended.kind}: {d.ended.reason})"
    return f"delegation {d.id} {'finished' if finished(d) else 'not finished'}{failed}"


async def _count_evm_approvals(rpc: HttpRpc, owners: Sequence[str], spender: str) -> Counter[str]:
    names = {"0x" + owner[2:].lower().rjust(64, "0"): owner for owner in owners}
    topics = [_APPROVAL, list(names), "0x" + spender[2:].lower().rjust(64, "0")]
    logs = await rpc.request("eth_getLogs", [{"fromBlock": "0x0", "toBlock": "latest", "topics": topics}])
    found = Counter(names[log["topics"][1]] for log in logs)
    for owner in owners:
        sent = int(await rpc.request("eth_getTransactionCount", [owner, "pending"]), 16)
        found[owner] = max(found[owner], sent)
    return found


async def _count_solana_approvals(rpc: HttpRpc, owners: Sequence[str]) -> Counter[str]:
    """Count the transactions that each owner paid for."""
    config = {"encoding": "json", "commitment": "confirmed", "maxSupportedTransactionVersion": 0}
    found: Counter[str] = Counter()
    for owner in owners:
        listed = await rpc.request("getSignaturesForAddress", [owner, {"commitment": "confirmed"}])
        for entry in listed:
            transaction = await rpc.request("getTransaction", [entry["signature"], config])
            found[owner] += transaction["transaction"]["message"]["accountKeys"][0] == owner
    return found


@asynccontextmanager
async def open_storm(
    document: SandboxDocument,
    directory: Path,
    owners: Sequence[Owner],
    *,
    seed: int,
    rate: float,
    patience: float,
) -> AsyncIterator[Storm]:
    """Put relays before every node and the platform; a `rate` of all calls goes wrong. `patience` is in seconds."""
    weather = Weather(seed, rate=rate, patience=patience)
    profile = profile_of(document, journal=directory / "journal.sqlite")
    async with AsyncExitStack() as stack:
        gateway = profile.gateway.model_copy(
            update={"base_url": await stack.enter_async_context(stormy_relay(profile.gateway.base_url, weather))}
        )
        networks = {
            name: settings.model_copy(
                update={"rpc_url": await stack.enter_async_context(stormy_relay(str(settings.rpc_url), weather))}
            )
            for name, settings in profile.networks.items()
        }
        profile = profile.model_copy(update={"gateway": gateway, "networks": networks})
        journal = open_journal(directory / "journal.sqlite")
        stack.callback(journal.close)
        yield Storm(document, profile, journal, owners, weather, patience)
