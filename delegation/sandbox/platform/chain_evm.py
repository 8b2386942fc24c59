"""How the simulated platform reads and uses an EVM chain: web3.py, with one connection per network."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from delegation.sandbox.platform.errors import ChainUnavailableError
from delegation.sandbox.world import WorldNetwork, WorldToken

if TYPE_CHECKING:
    from web3 import AsyncWeb3

APPROVE_SELECTOR = bytes.fromhex("095ea7b3")
_ALLOWANCE_SELECTOR = bytes.fromhex("dd62ed3e")
_BALANCE_OF_SELECTOR = bytes.fromhex("70a08231")
_POLL_SECONDS = 0.1
# Calls in one request; nodes bound them, anvil by 10 MB.
_BATCH = 100


class EvmChain:
    """One EVM network, as the platform's own node shows it. Raises `ChainUnavailableError` where it cannot be asked."""

    def __init__(self, network: WorldNetwork) -> None:
        self.network = network
        self._web3: AsyncWeb3[Any] | None = None

    async def connect(self) -> AsyncWeb3[Any]:
        """Return the connection; web3 takes over a second to import, so that is done in a thread."""
        if self._web3 is None:
            await asyncio.to_thread(import_module, "web3")
        return self._open()

    def _open(self) -> AsyncWeb3[Any]:
        from aiohttp import ClientError
        from web3 import AsyncHTTPProvider, AsyncWeb3
        from web3.providers.rpc.utils import ExceptionRetryConfiguration

        if self._web3 is None:
            # One retry, for a connection that the node has closed while it was idle; web3's default waits 2 s in all.
            retry = ExceptionRetryConfiguration(errors=(ClientError, TimeoutError), retries=2, backoff_factor=0.05)
            provider = AsyncHTTPProvider(self.network.rpc_url, exception_retry_configuration=retry)
            self._web3 = AsyncWeb3(provider)
        return self._web3

    async def get_transaction(self, tx_hash: str) -> Mapping[str, Any] | None:
        """Return the transaction, or None if the node does not know it."""
        web3 = await self.connect()
        from web3.exceptions import TransactionNotFound

        with _asking():
            try:
                return cast(Mapping[str, Any], await web3.eth.get_transaction(cast(Any, tx_hash)))
            except TransactionNotFound:
                return None

    async def get_receipt(self, tx_hash: str) -> Mapping[str, Any] | None:
        """Return the receipt, or None if the transaction is not in a block."""
        web3 = await self.connect()
        from web3.exceptions import TransactionNotFound

        with _asking():
            try:
                return cast(Mapping[str, Any], await web3.eth.get_transaction_receipt(cast(Any, tx_hash)))
            except TransactionNotFound:
                return None

    async def get_balances_and_allowances(self, wallets: Sequence[tuple[WorldToken, str]]) -> list[tuple[int, int]]:
        """Return each owner's balance and what the delegation contract may still take of it, in base units."""
        calls = [call for asset, owner in wallets for call in self._reading_calls(asset, owner)]
        batches = [calls[start : start + _BATCH] for start in range(0, len(calls), _BATCH)]
        answers = await asyncio.gather(*(self._call_many(batch) for batch in batches))
        numbers = [number for batch in answers for number in batch]
        return list(zip(numbers[::2], numbers[1::2], strict=True))

    def _reading_calls(self, asset: WorldToken, owner: str) -> list[list[object]]:
        from eth_abi.abi import encode

        balance_of = _BALANCE_OF_SELECTOR + encode(["address"], [owner])
        allowance = _ALLOWANCE_SELECTOR + encode(["address", "address"], [owner, self.network.delegation_contract])
        return [[{"to": asset.address, "data": "0x" + data.hex()}, "latest"] for data in (balance_of, allowance)]

    async def _call_many(self, calls: Sequence[list[object]]) -> list[int]:
        """Return the numbers that these `eth_call`s give: one request, and none of web3's formatters."""
        web3 = await self.connect()
        with _asking():
            answers = await web3.provider.make_batch_request([(cast(Any, "eth_call"), call) for call in calls])
        if not isinstance(answers, list) or any("result" not in answer for answer in answers):
            raise ChainUnavailableError(f"eth_call: {answers}")
        return [int(answer["result"], 16) for answer in answers]

    async def send_native(self, to: str, wei: int, *, wait_seconds: float) -> bool | None:
        """Send native coins from the faucet; return whether it succeeded, or None if unconfirmed in time."""
        web3 = await self.connect()
        from eth_account import Account

        faucet = Account.from_key(self.network.faucet_private_key)
        with _asking():
            nonce = await web3.eth.get_transaction_count(faucet.address, "pending")
            base_fee = (await web3.eth.get_block("latest"))["baseFeePerGas"]
            transaction = {
                "chainId": int(self.network.chain_id),
                "nonce": nonce,
                "to": to,
                "value": wei,
                "gas": 21_000,
                "maxFeePerGas": 2 * base_fee + 10**9,
                "maxPriorityFeePerGas": 10**9,
            }
            signed = Account.sign_transaction(transaction, self.network.faucet_private_key)
            tx_hash = (await web3.eth.send_raw_transaction(signed.raw_transaction)).to_0x_hex()
        deadline = time.monotonic() + wait_seconds
        while time.monotonic() < deadline:
            receipt = await self.get_receipt(tx_hash)
            if receipt is not None:
                return bool(receipt["status"] == 1)
            await asyncio.sleep(_POLL_SECONDS)
        return None

    async def aclose(self) -> None:
        """Close the connection."""
        if self._web3 is not None:
            await self._web3.provider.disconnect()


@contextmanager
def _asking() -> Iterator[None]:
    from aiohttp import ClientError
    from web3.exceptions import Web3Exception

    try:
        yield
    except (Web3Exception, ClientError, OSError, TimeoutError) as error:
        raise ChainUnavailableError(str(error)) from error
