"""What the tests of the line share: a wallet with open context, a wallet app, and the platform told what to do.

What chain and platform hold is read here without the code under test.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
from eth_account import Account
from eth_account.messages import encode_defunct
from solders.keypair import Keypair
from solders.signature import Signature

from chains.http import open_http_client
from chains.rpc import HttpRpc
from chains.types import SignedTransaction, UnsignedTransaction
from chains.wallets import EvmKeyWallet, SendingWallet, SolanaKeyWallet
from delegation import Context, Delegation, DelegationRequest, carry, new_delegation, open_context
from delegation.models import Station
from delegation.sandbox import Sandbox
from delegation.sandbox.artifacts import encode_call
from delegation.sandbox.document import KeyDocument, NetworkDocument
from delegation.sandbox.profile import profile_of

UNIT = 10**6
POST_APPROVAL = "/v1/delegation/evm/post-approval"
SOLANA_POST_APPROVAL = "/v1/delegation/solana/post-approval"
WALLET_LIST = "/v1/wallet/external"


class CrashError(BaseException):
    """The process dies here."""


def die_at(words: str) -> Callable[[Station, str], None]:
    """Return a listener to progress at which the process dies when it hears these words."""

    def progress(station: Station, said: str) -> None:
        if words in said:
            raise CrashError

    return progress


@dataclass
class Clock:
    """A clock that tests can move."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Line:
    """One wallet of its own and the context of one network."""

    sandbox: Sandbox
    network: str
    currency: str
    key: KeyDocument
    context: Context
    rpc: HttpRpc
    platform: Platform
    journal: Path
    heard: list[str] = field(default_factory=list)

    @property
    def owner(self) -> str:
        return self.key.address

    @property
    def known(self) -> NetworkDocument:
        return self.sandbox.document.networks[self.network]

    def request(self, amount: str, **changes: Any) -> DelegationRequest:
        fields = {"network": self.network, "currency": self.currency, "amount": amount, "owner": self.owner}
        return DelegationRequest(**fields | changes)

    def new(self, amount: str, **changes: Any) -> Delegation:
        return new_delegation(self.request(amount, **changes), self.context)

    async def carry(self, amount: str, **changes: Any) -> Delegation:
        return await carry(self.new(amount, **changes), self.context)

    def only(self) -> Delegation:
        """Return the newest delegation of the journal, as a program that starts again finds it."""
        return self.context.journal.list()[-1]

    async def allowance(self) -> int:
        """Return what the chain says, in base units."""
        token = self.known.tokens[self.currency].address
        if self.network != "solana":
            call = encode_call("allowance(address,address)", self.owner, self.known.delegation_contract)
            return int(await self.rpc.request("eth_call", [{"to": token, "data": call}, "latest"]), 16)
        config = {"encoding": "jsonParsed", "commitment": "confirmed"}
        accounts = await self.rpc.request("getTokenAccountsByOwner", [self.owner, {"mint": token}, config])
        held = accounts["value"][0]["account"]["data"]["parsed"]["info"]
        return int(held["delegatedAmount"]["amount"]) if held.get("delegate") == self.known.delegation_contract else 0

    async def count_signed(self) -> int:
        """Count the owner's transactions on the chain and in the mempool."""
        if self.network != "solana":
            return int(await self.rpc.request("eth_getTransactionCount", [self.owner, "pending"]), 16)
        listed = await self.rpc.request("getSignaturesForAddress", [self.owner, {"commitment": "confirmed"}])
        config = {"encoding": "json", "commitment": "confirmed", "maxSupportedTransactionVersion": 0}
        count = 0
        for entry in listed:
            found = await self.rpc.request("getTransaction", [entry["signature"], config])
            count += found["transaction"]["message"]["accountKeys"][0] == self.owner
        return count

    async def send_directly(self, data: str, **changes: Any) -> str:
        """Send a transaction of the owner behind the toolkit's back (EVM)."""
        nonce = await self.rpc.request("eth_getTransactionCount", [self.owner, "latest"])
        fields = {"to": self.known.tokens[self.currency].address, "data": data, "nonce": int(nonce, 16)}
        fields |= {"type": 2, "chainId": self.known.chain_id, "value": 0, "gas": 100_000}
        fields |= {"maxFeePerGas": 50 * 10**9, "maxPriorityFeePerGas": 2 * 10**9}
        signed = Account.sign_transaction(fields | changes, self.key.private_key)
        return await self.broadcast("0x" + signed.raw_transaction.hex())

    async def broadcast(self, raw: str) -> str:
        """Send signed bytes (EVM); where anvil mines at once, return when it says so, which is a moment later."""
        sent: str = await self.rpc.request("eth_sendRawTransaction", [raw])
        return await self.mined(sent) if await self.rpc.request("anvil_getAutomine") else sent

    async def approve_directly(self, amount: int, **changes: Any) -> str:
        """Change the allowance behind the toolkit's back, and return when a block holds it (EVM)."""
        call = encode_call("approve(address,uint256)", self.known.delegation_contract, amount)
        return await self.send_directly(call, **changes)

    async def mined(self, hash_: str) -> str:
        """Return the hash of a transaction once a block holds it, which anvil says a moment after it took it (EVM)."""
        async with asyncio.timeout(20):
            while True:
                sent = await self.rpc.request("eth_getTransactionByHash", [hash_])
                if sent is not None and sent.get("blockNumber") is not None:
                    return hash_
                await asyncio.sleep(0.005)

    async def call_as_issuer(self, signature: str) -> None:
        """Call the token as its issuer does, for example to pause it, and return when a block holds it (EVM)."""
        issuer = (await self.rpc.request("eth_accounts"))[0]
        token = self.known.tokens[self.currency].address
        call = {"from": issuer, "to": token, "data": encode_call(signature)}
        await self.mined(await self.rpc.request("eth_sendTransaction", [call]))

    async def listed(self) -> Decimal | None:
        """Return the allowance that the platform lists for this wallet."""
        for row in await self.platform.ask("GET", WALLET_LIST):
            if (row["address"], row["currency"], row["network"]) == (self.owner, self.currency, self.network):
                return Decimal(row["allowance"])
        return None

    async def proofs(self) -> list[dict[str, Any]]:
        """Return the proofs that the platform has got for this wallet, the first first."""
        return [proof for proof in await self.platform.ask("GET", "/sandbox/proofs") if proof["address"] == self.owner]

    async def statuses(self) -> list[int]:
        """Return what the platform answered to the proofs of this wallet."""
        return [proof["status"] for proof in await self.proofs()]


@dataclass
class Platform:
    """The simulated platform, told what to do."""

    client: httpx.AsyncClient

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        response = await self.client.request(method, path, json=body)
        response.raise_for_status()
        return response.json()

    async def misbehave(self, path: str, *, method: str = "POST", **how: Any) -> None:
        await self.ask("POST", "/sandbox/misbehave", {"method": method, "path": path, **how})

    async def advance(self, seconds: float) -> None:
        await self.ask("POST", "/sandbox/clock", {"advance": seconds})

    async def reset(self) -> None:
        for what in ("misbehave", "config", "clock"):
            await self.ask("DELETE", f"/sandbox/{what}")


@asynccontextmanager
async def open_line(
    sandbox: Sandbox,
    directory: Path,
    network: str,
    currency: str = "usdc",
    *,
    gas: bool = True,
    key: KeyDocument | None = None,
    **rest: Any,
) -> AsyncIterator[Line]:
    """Open the context of a new wallet, or of `key`, with further fields; the platform behaves again at the end."""
    key = key or await sandbox.new_wallet("solana" if network == "solana" else "evm", gas=gas)
    heard: list[str] = []
    fields: dict[str, Any] = {"wallet": key_wallet(key), "progress": lambda station, _: heard.append(station)} | rest
    journal = directory / f"{key.address[:10]}.sqlite"
    profile = profile_of(sandbox.document, journal=journal)
    rpc = HttpRpc(sandbox.document.networks[network].rpc_url)
    gateway = sandbox.document.gateway
    headers = {"x-client-key": gateway.client_key, "Authorization": f"Bearer {gateway.access_token}"}
    client = open_http_client(gateway.base_url, base_url=gateway.base_url, headers=headers)
    platform = Platform(client)
    try:
        async with open_context(profile, network, **fields) as context:
            yield Line(sandbox, network, currency, key, context, rpc, platform, journal, heard)
    finally:
        await platform.reset()
        await client.aclose()
        await rpc.aclose()


def key_wallet(key: KeyDocument) -> EvmKeyWallet | SolanaKeyWallet:
    """Return a wallet that signs with this key."""
    evm = key.address.startswith("0x")
    return EvmKeyWallet(key.private_key) if evm else SolanaKeyWallet(key.private_key)


@dataclass
class WalletApp:
    """A wallet elsewhere, with the owner's key and a node of its own; it sends what it signs.

    `before` and `after` happen around the sending of a transaction, and may raise.
    """

    line: Line
    before: Callable[[], Awaitable[None]] | None = None
    after: Callable[[str], Awaitable[str]] | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def wallet(self) -> SendingWallet:
        return SendingWallet(self.line.owner, "solana" if self.line.network == "solana" else "evm", self.ask)

    @property
    def transactions(self) -> list[dict[str, Any]]:
        """What it was asked to send, without the texts."""
        return [request for request in self.asked if "ransaction" in request["method"]]

    async def ask(self, request: dict[str, Any]) -> str:
        self.asked.append(request)
        if request not in self.transactions:
            return sign_text(request, self.line.key)
        if self.before is not None:
            await self.before()
        sent = await self.send(request)
        return sent if self.after is None else await self.after(sent)

    async def send(self, request: dict[str, Any]) -> str:
        raw = sign_request(request, self.line.key, **self.changes)
        if self.line.network != "solana":
            return await self.line.broadcast(raw)
        return str(await self.line.rpc.request("sendTransaction", [raw, {"encoding": "base64"}]))


def sign_request(request: dict[str, Any], key: KeyDocument, **changes: Any) -> str:
    """Sign the transaction that a wallet is asked for, and return its bytes in 0x hex or base64."""
    if request["method"] == "signTransaction":
        message = base64.b64decode(request["transaction"])[65:]
        signature = Keypair.from_base58_string(key.private_key).sign_message(message)
        return base64.b64encode(bytes([1]) + bytes(signature) + message).decode()
    assert request["method"] == "eth_sendTransaction"
    (asked,) = request["params"]
    fields = {name: asked[name] for name in ("to", "value", "data", "nonce", "gas", "chainId", "type")}
    fields |= {name: asked[name] for name in ("maxFeePerGas", "maxPriorityFeePerGas")}
    return "0x" + Account.sign_transaction(fields | changes, key.private_key).raw_transaction.hex()


def sign_text(request: dict[str, Any], key: KeyDocument) -> str:
    """Sign the text that a wallet is asked for."""
    if request["method"] == "signMessage":
        keypair = Keypair.from_base58_string(key.private_key)
        return str(keypair.sign_message(base64.b64decode(request["message_base64"])))
    assert request["method"] == "personal_sign"
    text = encode_defunct(hexstr=request["params"][0])
    return "0x" + Account.sign_message(text, key.private_key).signature.hex()


def hash_of(raw: str, key: KeyDocument) -> str:
    """Return the hash of signed bytes, or their base58 signature."""
    if not key.address.startswith("0x"):
        return str(Signature.from_bytes(base64.b64decode(raw)[1:65]))
    from eth_utils.crypto import keccak

    return "0x" + keccak(hexstr=raw).hex()


@dataclass
class TamperedWallet:
    """A key wallet around whose signing something happens; `texts` are the texts that it signed."""

    key: KeyDocument
    before_text: Callable[[], Awaitable[None]] | None = None
    after: Callable[[SignedTransaction], Awaitable[SignedTransaction]] | None = None
    texts: list[str] = field(default_factory=list)
    signed: list[SignedTransaction] = field(default_factory=list)
    sends: bool = False

    def __post_init__(self) -> None:
        self._wallet = key_wallet(self.key)
        self.address, self.family = self._wallet.address, self._wallet.family

    async def authorise(self, transaction: UnsignedTransaction) -> SignedTransaction:
        signed = await self._wallet.authorise(transaction)
        self.signed.append(signed)
        return signed if self.after is None else await self.after(signed)

    async def sign_message(self, message: str) -> str:
        if self.before_text is not None:
            await self.before_text()
        self.texts.append(message)
        return await self._wallet.sign_message(message)
