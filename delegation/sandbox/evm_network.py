"""One local EVM network: anvil, our contracts on it, and the operator who pulls what owners allow."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import Any, Final

from chains.rpc import HttpRpc
from delegation.errors import SandboxError
from delegation.sandbox.artifacts import encode_call, encode_creation
from delegation.sandbox.document import KeyDocument, NetworkDocument, TokenDocument

DECIMALS: Final = 6
WALLET_TOKENS: Final = 1_000_000 * 10**DECIMALS
WALLET_WEI: Final = 100 * 10**18
_RICH_WEI: Final = 10**9 * 10**18
_RECEIPT_TIMEOUT: Final = 20.0
_WITHDRAW_GAS: Final = 500_000
_TIP: Final = 100_000_000


@dataclass(slots=True)
class EvmNetwork:
    """A running EVM network. `rpc_url` is what users are given; the node behind it, at `node_url`, we ask by `rpc`.

    `deployer` is an unlocked account of the node: it owns the tokens, so it can mint, pause and block.
    """

    name: str
    chain_id: int
    node_url: str
    rpc_url: str
    rpc: HttpRpc
    deployer: str
    operator: KeyDocument
    faucet: KeyDocument
    tokens: dict[str, TokenDocument]
    delegation_contract: str
    _operator_turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _deployer_turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def document(self) -> NetworkDocument:
        """This network's part of the sandbox's document."""
        return NetworkDocument(
            rpc_url=self.rpc_url,
            chain_id=self.chain_id,
            delegation_contract=self.delegation_contract,
            operator=self.operator,
            tokens=self.tokens,
        )

    async def fund(self, address: str, *, gas: bool, tokens: bool) -> None:
        """Give an address 100 ETH and 1,000,000 of each token, or only one of the two."""
        async with self._deployer_turn:
            if gas:
                # By a transaction: what anvil is told to set changes the state of a block that is mined already, whose
                # header then no longer fits what the node proves of it.
                await transact(self.rpc, {"from": self.deployer, "to": address, "value": hex(WALLET_WEI)})
            if tokens:
                call = encode_call("mint(address,uint256)", address, WALLET_TOKENS)
                for token in self.tokens.values():
                    await transact(self.rpc, {"from": self.deployer, "to": token.address, "data": call})

    async def spend(self, currency: str, owner: str, amount: int) -> str:
        """Have the operator pull `amount` base units through the delegation contract; return the transaction's hash.

        Raises `SandboxError` if the contract reports that the transfer failed.
        """
        from eth_account import Account

        token = self.tokens[currency].address
        call = encode_call("withdraw(address[],address[],uint256[])", [token], [owner], [amount])
        async with self._operator_turn:
            block = await self.rpc.request("eth_getBlockByNumber", ["latest", False])
            nonce = await self.rpc.request("eth_getTransactionCount", [self.operator.address, "pending"])
            signed = Account.sign_transaction(
                {
                    "type": 2,
                    "chainId": self.chain_id,
                    "nonce": int(nonce, 16),
                    "to": self.delegation_contract,
                    "value": 0,
                    "data": call,
                    "gas": _WITHDRAW_GAS,
                    "maxPriorityFeePerGas": _TIP,
                    "maxFeePerGas": 2 * int(block["baseFeePerGas"], 16) + _TIP,
                },
                self.operator.private_key,
            )
            sent: str = await self.rpc.request("eth_sendRawTransaction", ["0x" + signed.raw_transaction.hex()])
        receipt = await get_receipt(self.rpc, sent)
        if not _withdrawal_succeeded(receipt, self.delegation_contract):
            raise SandboxError(
                f"The operator could not pull {amount} base units of {currency} on {self.name} from {owner}.",
                hint="The owner's allowance or balance is too small, or the token is paused or blocks somebody.",
                expected=amount,
                found=sent,
            )
        return sent


async def open_evm_network(
    name: str, chain_id: int, node_url: str, rpc_url: str, contracts: dict[str, str]
) -> EvmNetwork:
    """Deploy `contracts` (currency to contract name) and the delegation contract on the node at `node_url`."""
    rpc = HttpRpc(node_url)
    try:
        operator, faucet, treasury = make_evm_key(), make_evm_key(), make_evm_key()
        deployer: str = (await rpc.request("eth_accounts"))[0]
        for address in (deployer, operator.address, faucet.address):
            await rpc.request("anvil_setBalance", [address, hex(_RICH_WEI)])
        tokens = {
            currency: TokenDocument(
                address=await _deploy(rpc, deployer, encode_creation(contract, "constructor()")), decimals=DECIMALS
            )
            for currency, contract in contracts.items()
        }
        creation = encode_creation(
            "DelegationContract", "constructor(address,address[])", treasury.address, [operator.address]
        )
        spender = await _deploy(rpc, deployer, creation)
        return EvmNetwork(name, chain_id, node_url, rpc_url, rpc, deployer, operator, faucet, tokens, spender)
    except BaseException:
        await rpc.aclose()
        raise


def make_evm_key() -> KeyDocument:
    """Return a new random key with its EIP-55 address."""
    from eth_account import Account

    key = "0x" + secrets.token_hex(32)
    return KeyDocument(address=Account.from_key(key).address, private_key=key)


async def transact(rpc: HttpRpc, transaction: dict[str, Any]) -> dict[str, Any]:
    """Send a transaction of an unlocked account, or a creation without `to`; return its receipt.

    Raises `SandboxError` if it fails.
    """
    sent: str = await rpc.request("eth_sendTransaction", [transaction])
    receipt = await get_receipt(rpc, sent)
    if receipt["status"] != "0x1":
        raise SandboxError(f"A transaction of the sandbox's own failed: {sent}.", found=receipt)
    return receipt


async def get_receipt(rpc: HttpRpc, transaction_hash: str) -> dict[str, Any]:
    """Wait for a receipt and return it as the node gave it; raises `SandboxError` if none comes."""
    deadline = asyncio.get_running_loop().time() + _RECEIPT_TIMEOUT
    while asyncio.get_running_loop().time() < deadline:
        receipt: dict[str, Any] | None = await rpc.request("eth_getTransactionReceipt", [transaction_hash])
        if receipt is not None:
            return receipt
        await asyncio.sleep(0.005)
    raise SandboxError(
        f"The local node did not mine {transaction_hash} in {_RECEIPT_TIMEOUT:.0f} s.",
        hint="If automatic mining was turned off, turn it on again or mine a block.",
        found=transaction_hash,
    )


async def _deploy(rpc: HttpRpc, deployer: str, creation: str) -> str:
    from eth_utils.address import to_checksum_address

    receipt = await transact(rpc, {"from": deployer, "data": creation})
    return to_checksum_address(receipt["contractAddress"])


def _withdrawal_succeeded(receipt: dict[str, Any], contract: str) -> bool:
    """Return whether `WithdrawalStatus` of a batch of one reports success."""
    from eth_utils.crypto import keccak

    topic = "0x" + keccak(text="WithdrawalStatus(uint256,uint16)").hex()
    return any(
        log["address"].lower() == contract.lower() and log["topics"][0] == topic and int(log["data"][2:66], 16) == 1
        for log in receipt["logs"]
    )
