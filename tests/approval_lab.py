"""What the tests of EVM approvals share: a chain of their own, wallets on it, and a node that lies in one place.

Transactions are made here without the code under test.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from eth_abi.abi import encode
from eth_account import Account

from chains import get_chain
from chains.claims import ApprovalCheck, ApprovalClaim, Finding, verdict_of
from chains.evm.blocks import get_head
from chains.evm.verify.approval import check_approval
from chains.rpc import HttpRpc, Listener, Params, Rpc
from chains.rpc.socket import open_socket_rpc
from chains.rpc.transcript import RecordingRpc, ReplayRpc, run_offline
from chains.types import Chain, Token
from delegation.sandbox.artifacts import encode_call, encode_creation
from delegation.sandbox.document import KeyDocument
from delegation.sandbox.evm_network import EvmNetwork, make_evm_key, open_evm_network, transact
from delegation.sandbox.nodes import start_anvil

CONTRACTS = Path(__file__).parent / "contracts"
UNIT = 10**6
MAX = 2**256 - 1
APPROVE = "approve(address,uint256)"
_TOKENS = {"usdc": "UsdcLike", "usdt": "OpenZeppelin4Like", "tether": "TetherLike"}


@dataclass
class Lab:
    """One local chain with tokens on it; `spender` is the platform's contract, whose operator `network.spend` is."""

    chain: Chain
    network: EvmNetwork
    rpc: Rpc
    made: dict[str, str] = field(default_factory=dict)

    @property
    def spender(self) -> str:
        return self.network.delegation_contract

    def token(self, currency: str = "usdc") -> Token:
        return Token(currency.upper(), self.network.tokens[currency].address, 6)

    async def wallet(self, *, tokens: bool = False) -> KeyDocument:
        key = make_evm_key()
        # A gift is no transaction: anvil puts it into the state of the block before and into the root of the next one.
        await self.mine()
        await self.network.fund(key.address, gas=True, tokens=tokens)
        await self.mine()
        return key

    async def deploy(self, name: str, signature: str = "constructor()", *arguments: Any) -> str:
        creation = encode_creation(name, signature, *arguments, directory=CONTRACTS)
        receipt = await transact(self.network.rpc, {"from": self.network.deployer, "data": creation})
        return to_checksum(receipt["contractAddress"])

    async def contract(self, name: str) -> str:
        """Return a contract that takes no arguments, the same one for all who ask."""
        if name not in self.made:
            self.made[name] = await self.deploy(name)
        return self.made[name]

    async def sign(self, key: KeyDocument, to: str, data: str, **changes: Any) -> tuple[str, str]:
        """Return the bytes of a transaction and its hash."""
        count = await self.rpc.request("eth_getTransactionCount", [key.address, "pending"])
        fields = {
            "type": 2,
            "chainId": self.chain.chain_id,
            "nonce": int(count, 16),
            "to": to,
            "data": data,
            "value": 0,
        }
        fields |= {"gas": 800_000, "maxFeePerGas": 50 * 10**9, "maxPriorityFeePerGas": 2 * 10**9} | changes
        given = {name: value for name, value in fields.items() if value is not None}
        signed = Account.sign_transaction(given, key.private_key)
        return "0x" + signed.raw_transaction.hex(), "0x" + signed.hash.hex()

    async def send(self, key: KeyDocument, to: str, data: str, *, wait: bool = True, **changes: Any) -> str:
        raw, hash_ = await self.sign(key, to, data, **changes)
        await self.rpc.request("eth_sendRawTransaction", [raw])
        if wait:
            await self.receipt(hash_)
        return hash_

    async def receipt(self, hash_: str) -> Any:
        """Return the receipt of a transaction; anvil answers before it has mined it, and before it says so of it."""
        for _ in range(2000):
            receipt = await self.rpc.request("eth_getTransactionReceipt", [hash_])
            if receipt is not None:
                sent = await self.rpc.request("eth_getTransactionByHash", [hash_])
                if sent is not None and sent.get("blockNumber") is not None:
                    return receipt
            await asyncio.sleep(0.002)
        raise AssertionError(f"no block holds {hash_}")

    async def broadcast(self, raw: str) -> None:
        """Send signed bytes and wait until a block holds them."""
        await self.receipt(await self.rpc.request("eth_sendRawTransaction", [raw]))

    async def issue(self, currency: str, signature: str, *arguments: Any) -> None:
        """Call a token as its issuer does, for example to pause it."""
        call = {"from": self.network.deployer, "to": self.token(currency).address}
        await transact(self.network.rpc, call | {"data": encode_call(signature, *arguments)})

    async def approve(
        self, key: KeyDocument, amount: int, currency: str = "usdc", spender: str = "", **changes: Any
    ) -> str:
        call = encode_call(APPROVE, spender or self.spender, amount)
        return await self.send(key, self.token(currency).address, call, **changes)

    async def batch(
        self, key: KeyDocument, wallet: str, calls: list[tuple[str, str]], function: str = "execute"
    ) -> str:
        return await self.send(key, wallet, encode_batch(function, calls))

    async def mine(self, blocks: int = 1) -> None:
        await self.rpc.request("anvil_mine", [hex(blocks)])

    def claim(self, transaction: str, owner: str, amount: int, currency: str = "usdc", **changes: Any) -> ApprovalClaim:
        claim = ApprovalClaim(
            chain=self.chain,
            transaction=transaction,
            token=self.token(currency),
            owner=owner,
            spender=self.spender,
            amount=amount,
            token_pinned=True,
        )
        return replace(claim, **changes)

    async def check(self, claim: ApprovalClaim, *, rpc: Rpc | None = None, at: str = "latest") -> ApprovalCheck:
        asked = rpc or self.rpc
        return await check_approval(claim, asked, await get_head(self.chain, asked, at))


@asynccontextmanager
async def open_lab(network: str = "linea", *options: str) -> AsyncIterator[Lab]:
    """Start a chain of the network's id, with tokens and a spender on it."""
    chain = get_chain(network)
    assert chain.chain_id is not None
    node = await asyncio.to_thread(start_anvil, chain.chain_id, *options)
    try:
        running = await open_evm_network(network, chain.chain_id, node.rpc_url, node.rpc_url, _TOKENS)
        # One connection that stays open: ten times as fast as a request of its own for each question.
        rpc = open_socket_rpc(node.rpc_url.replace("http://", "ws://"))
        try:
            yield Lab(chain, running, rpc)
        finally:
            await rpc.aclose()
            await running.rpc.aclose()
    finally:
        await asyncio.to_thread(node.stop)


def encode_batch(function: str, calls: list[tuple[str, str]]) -> str:
    return encode_call(function + "(address[],bytes[])", *_columns(calls))


def encode_operation(wallet: str, calls: list[tuple[str, str]]) -> str:
    return encode_call("handleOp(address,address[],bytes[])", wallet, *_columns(calls))


def encode_calls(calls: list[tuple[str, str]]) -> bytes:
    return encode(["address[]", "bytes[]"], _columns(calls))


def _columns(calls: list[tuple[str, str]]) -> tuple[list[str], list[bytes]]:
    return [to for to, _ in calls], [bytes.fromhex(data[2:]) for _, data in calls]


def to_checksum(address: str) -> str:
    from eth_utils.address import to_checksum_address

    return to_checksum_address(address)


def verdict(check: ApprovalCheck) -> str:
    return verdict_of(each for each in check.findings if each.about == "claim")


def is_proved(check: ApprovalCheck) -> bool:
    """Return whether a verdict on the claim was reached, and nothing of it rests on the node's word."""
    return verdict(check) != "UNDETERMINED" and not any(
        each.basis.word for each in check.findings if each.about == "claim" and each.verdict in {"VERIFIED", "REFUTED"}
    )


def finding(check: ApprovalCheck, rule: str) -> Finding:
    """Return the only finding of a rule."""
    (found,) = [each for each in check.findings if each.rule == rule]
    return found


def not_verified(check: ApprovalCheck) -> dict[str, str]:
    """Return rule and verdict of what was not found in order about the claim."""
    return {
        each.rule: each.verdict
        for each in check.findings
        if each.about == "claim" and each.verdict in {"REFUTED", "UNDETERMINED"}
    }


@dataclass
class Falsified:
    """A node that changes its answers for the given methods and tells the truth otherwise."""

    inner: Rpc
    change: Callable[[str, Any, Any], Any]
    calls: int = 0
    listener: Listener | None = None

    async def request(self, method: str, params: Params = ()) -> Any:
        answer = copy.deepcopy(await self.inner.request(method, params))
        return self.change(method, params, answer)

    async def aclose(self) -> None:
        """Do nothing: the connection belongs to somebody else."""


def falsify(rpc: Rpc, *methods: str, change: Callable[[Any], Any]) -> Falsified:
    """Return a node whose answers for `methods` are changed."""
    return Falsified(rpc, lambda method, _, answer: change(answer) if method in methods else answer)


async def record(lab: Lab, claim: ApprovalClaim) -> tuple[ApprovalCheck, ApprovalCheck]:
    """Return a check by a node, and the same one from the transcript of it, made without a network."""
    rpc = HttpRpc(lab.network.rpc_url)
    try:
        recording = RecordingRpc(rpc)
        head = await get_head(lab.chain, recording, "latest")
        check = await check_approval(claim, recording, head)
    finally:
        await rpc.aclose()

    async def again() -> ApprovalCheck:
        replay = ReplayRpc(recording.exchanges)
        return await check_approval(claim, replay, await get_head(lab.chain, replay, "latest"))

    return check, run_offline(again())
