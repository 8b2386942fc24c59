"""How the simulated platform reads and uses Solana: raw JSON-RPC, because the parsers of solders panic on errors."""

from __future__ import annotations

import asyncio
import base64
import itertools
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from delegation.sandbox.platform.errors import ChainUnavailableError
from delegation.sandbox.world import WorldNetwork, WorldToken

if TYPE_CHECKING:
    import httpx
    from solders.pubkey import Pubkey

_ATA_PROGRAM = "ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL"
_POLL_SECONDS = 0.1
# What getMultipleAccounts takes in one request.
_MOST_ACCOUNTS = 100


class SolanaChain:
    """Solana, as the platform's own node shows it. Raises `ChainUnavailableError` where it cannot be asked."""

    def __init__(self, network: WorldNetwork) -> None:
        self.network = network
        self._http: httpx.AsyncClient | None = None
        self._ids = itertools.count(1)
        self._token_programs: dict[str, str] = {}

    async def connect(self) -> httpx.AsyncClient:
        """Return the connection."""
        import httpx

        if self._http is None:
            self._http = httpx.AsyncClient(timeout=10)
        return self._http

    async def get_transaction(self, signature: str) -> dict[str, Any] | None:
        """Return the confirmed transaction in base64 and its `meta`, or None if the node does not know it."""
        options = {"encoding": "base64", "commitment": "confirmed", "maxSupportedTransactionVersion": 0}
        found: dict[str, Any] | None = await self._ask("getTransaction", signature, options)
        return found

    async def get_token_program(self, mint: str) -> str:
        """Return the program that owns the mint: SPL Token or Token-2022."""
        if mint not in self._token_programs:
            (account,) = await self._get_accounts([mint])
            if account is None:
                raise ChainUnavailableError(f"the mint {mint} is not on the chain")
            self._token_programs[mint] = account["owner"]
        return self._token_programs[mint]

    async def get_token_account_address(self, mint: str, owner: str) -> Pubkey:
        """Return the address of the owner's associated token account."""
        from solders.pubkey import Pubkey

        program = Pubkey.from_string(await self.get_token_program(mint))
        seeds = [bytes(Pubkey.from_string(owner)), bytes(program), bytes(Pubkey.from_string(mint))]
        return Pubkey.find_program_address(seeds, Pubkey.from_string(_ATA_PROGRAM))[0]

    async def get_balances_and_allowances(self, wallets: Sequence[tuple[WorldToken, str]]) -> list[tuple[int, int]]:
        """Return each owner's balance and what the platform's delegate may still take of it, in base units."""
        addresses = [str(await self.get_token_account_address(asset.address, owner)) for asset, owner in wallets]
        parts = [addresses[start : start + _MOST_ACCOUNTS] for start in range(0, len(addresses), _MOST_ACCOUNTS)]
        found = await asyncio.gather(*(self._get_accounts(part) for part in parts))
        return [self._read_token_account(account) for accounts in found for account in accounts]

    def _read_token_account(self, account: dict[str, Any] | None) -> tuple[int, int]:
        from solders.pubkey import Pubkey

        if account is None:
            return 0, 0
        data = base64.b64decode(account["data"][0])
        # The layout of an SPL token account: amount @64, delegate option @72 and key @76, delegated amount @121.
        has_delegate = int.from_bytes(data[72:76], "little") == 1
        is_ours = has_delegate and data[76:108] == bytes(Pubkey.from_string(self.network.delegation_contract))
        return int.from_bytes(data[64:72], "little"), int.from_bytes(data[121:129], "little") if is_ours else 0

    async def send_native(self, to: str, lamports: int, *, wait_seconds: float) -> bool | None:
        """Send native coins from the faucet; return whether it succeeded, or None if unconfirmed in time."""
        from solders.hash import Hash
        from solders.keypair import Keypair
        from solders.message import MessageV0
        from solders.pubkey import Pubkey
        from solders.system_program import TransferParams, transfer
        from solders.transaction import VersionedTransaction

        faucet = Keypair.from_base58_string(self.network.faucet_private_key)
        latest = await self._ask("getLatestBlockhash", {"commitment": "confirmed"})
        payment = transfer(
            TransferParams(from_pubkey=faucet.pubkey(), to_pubkey=Pubkey.from_string(to), lamports=lamports)
        )
        blockhash = Hash.from_string(latest["value"]["blockhash"])
        message = MessageV0.try_compile(faucet.pubkey(), [payment], [], blockhash)
        raw = base64.b64encode(bytes(VersionedTransaction(message, [faucet]))).decode()
        signature = await self._ask("sendTransaction", raw, {"encoding": "base64", "preflightCommitment": "confirmed"})
        deadline = time.monotonic() + wait_seconds
        while time.monotonic() < deadline:
            status = (await self._ask("getSignatureStatuses", [signature]))["value"][0]
            if status is not None and status["confirmationStatus"] in ("confirmed", "finalized"):
                return status["err"] is None
            await asyncio.sleep(_POLL_SECONDS)
        return None

    async def aclose(self) -> None:
        """Close the connection."""
        if self._http is not None:
            await self._http.aclose()

    async def _get_accounts(self, addresses: Sequence[str]) -> list[dict[str, Any] | None]:
        options = {"encoding": "base64", "commitment": "confirmed"}
        answer = await self._ask("getMultipleAccounts", addresses, options)
        accounts: list[dict[str, Any] | None] = answer["value"]
        return accounts

    async def _ask(self, method: str, *params: object) -> Any:
        import httpx

        http = await self.connect()
        call = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        try:
            answer = (await http.post(self.network.rpc_url, json=call)).raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise ChainUnavailableError(f"{method}: {error}") from error
        if "error" in answer:
            raise ChainUnavailableError(f"{method}: {answer['error']}")
        return answer["result"]
