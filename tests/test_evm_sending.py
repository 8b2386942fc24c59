"""What is believed of a node that answers an error to signed bytes: a real chain behind a relay with other words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from eth_account import Account
from relay import Words, relay

from chains import get_chain
from chains.errors import (
    ChainError,
    ContradictionError,
    FeeTooLowError,
    NodeUnreachableError,
    NoGasError,
    NonceOccupiedError,
    RpcError,
    TransactionPendingError,
    TransactionReplacedError,
)
from chains.evm import watch
from chains.evm.addresses import parse_address
from chains.evm.node import EvmNode
from chains.evm.sending import Refusal, read_refusal
from chains.rpc import HttpRpc
from chains.types import AllowanceIntent, ApproveStep, EvmFee, EvmTransaction, Settlement, SignedTransaction, Token
from delegation.sandbox.artifacts import encode_creation
from delegation.sandbox.evm_network import transact
from delegation.sandbox.nodes import RunningNode

FEE = EvmFee(gas_limit=100_000, max_fee_per_gas=20 * 10**9, max_priority_fee_per_gas=10**9)
SEND = "eth_sendRawTransaction"

HAS_IT: list[Any] = [
    {"code": -32000, "message": "already known"},
    {"code": -32000, "message": "known transaction: 0x8d0a…"},
    {"code": -32000, "message": "Known transaction"},
    {"code": -32010, "message": "AlreadyKnown"},
    {"code": -32010, "message": "AlreadyKnown, known hash 0x8d0a"},
    {"code": -32010, "message": "Transaction with the same hash was already imported."},
    {"code": -32003, "message": "transaction already imported"},
    {"code": -32000, "message": "existing tx with same hash"},
    {"code": -32603, "message": "tx already exists in cache"},
    {"code": -32603, "message": "tx already in mempool"},
    {"code": -32000, "message": "transaction already in pool"},
    {"code": -32000, "message": "ALREADY_EXISTS: already known", "data": {"reason": "nonce too low"}},
    {"code": -32603, "message": "Internal error", "data": {"message": "already known"}},
    {"code": 3, "message": "transaction was already received and is being processed"},
]
UNKNOWN: list[Any] = [
    {"code": -32000, "message": "esta transação foi recebida anteriormente"},
    {"code": -32000, "message": "取引は受付済みです"},
    {"code": -32000, "message": ""},
    {"code": -32000},
    {"message": "no code at all"},
    {},
    {"code": "E1", "message": None, "data": [1]},
    {"code": -32603, "message": "Internal error"},
    {"code": -32000, "message": "txpool is full"},
    "already there",
    "",
    "something went wrong",
    True,
    [],
]
OCCUPIED = {"code": -32000, "message": "replacement transaction underpriced"}
REFUSED: list[tuple[type[ChainError], Refusal, Any]] = [
    (
        NoGasError,
        "no gas",
        {"code": -32000, "message": "insufficient funds for gas * price + value: balance 0, tx cost 1"},
    ),
    (NoGasError, "no gas", {"code": -32010, "message": "InsufficientFunds, Account balance: 0, cumulative cost: 9"}),
    (NoGasError, "no gas", {"code": -32004, "message": "Upfront cost exceeds account balance"}),
    (NoGasError, "no gas", {"code": -32000, "message": "Sender doesn't have enough funds to send tx."}),
    (NoGasError, "no gas", {"code": -32603, "message": "Internal error", "data": {"message": "insufficient funds"}}),
    (FeeTooLowError, "fee too low", {"code": -32000, "message": "transaction underpriced"}),
    (FeeTooLowError, "fee too low", {"code": -32010, "message": "FeeTooLow, MaxFeePerGas too low"}),
    (
        FeeTooLowError,
        "fee too low",
        {"code": -32000, "message": "max fee per gas less than block base fee: address 0x1"},
    ),
    (FeeTooLowError, "fee too low", {"code": -32009, "message": "Gas price below configured minimum gas price"}),
    (FeeTooLowError, "fee too low", {"code": -32010, "message": "Transaction gas price is too low."}),
    (NonceOccupiedError, "nonce occupied", OCCUPIED),
    (NonceOccupiedError, "nonce occupied", {"code": -32010, "message": "ReplacementNotAllowed"}),
    (NonceOccupiedError, "nonce occupied", {"code": -32000, "message": "could not replace existing tx"}),
    (
        NonceOccupiedError,
        "nonce occupied",
        {
            "code": -32010,
            "message": "There is another transaction with same nonce in the queue. Try increasing the fee.",
        },
    ),
    (RpcError, "rejected", {"code": -32000, "message": "invalid sender"}),
    (RpcError, "rejected", {"code": -32000, "message": "intrinsic gas too low: gas 100, minimum needed 21000"}),
    (RpcError, "rejected", {"code": -32000, "message": "transaction type not supported"}),
    (RpcError, "rejected", {"code": -32602, "message": "Ungültige Parameter"}),
    (RpcError, "not served", {"code": -32601, "message": "the method eth_sendRawTransaction does not exist"}),
]
NONCE_USED: list[Any] = [
    {"code": -32000, "message": "nonce too low: next nonce 1, tx nonce 0"},
    {"code": -32010, "message": "OldNonce, Current nonce: 1, nonce of rejected tx: 0"},
    {"code": -32001, "message": "Nonce too low"},
    {"code": -32000, "message": "nonce has already been used"},
    {"code": -32010, "message": "Transaction nonce is too low. Try incrementing the nonce."},
    {"code": -32000, "message": "Transaction nonce 0 is lower than the account's nonce 1"},
]


def words(value: Any) -> str:
    return ascii(value)[:60]


# A local chain mines what is sent to it and no more, so that no block would ever lie on the last approval.
ETHEREUM = replace(get_chain("ethereum"), settle_depth=1)


@dataclass
class Lab:
    """A chain with a token, an owner with gas, the real node, and the same behind a relay."""

    rpc: HttpRpc
    url: str
    token: Token
    spender: str
    owner: str
    key: str

    @property
    def intent(self) -> AllowanceIntent:
        return AllowanceIntent(self.token, self.owner, self.spender, 5000)

    async def prepare(self) -> tuple[EvmTransaction, SignedTransaction]:
        unsigned = await EvmNode(ETHEREUM, self.rpc).prepare(self.intent, ApproveStep(5000, FEE))
        return unsigned, self.sign(unsigned)

    def sign(self, unsigned: EvmTransaction, **changes: Any) -> SignedTransaction:
        fields = {"type": 2, "chainId": 1, "nonce": unsigned.nonce, "to": unsigned.to, "value": 0, "gas": 100_000}
        fields |= {"data": unsigned.data, "maxFeePerGas": 20 * 10**9, "maxPriorityFeePerGas": 10**9} | changes
        signed = Account.sign_transaction(fields, self.key)
        return SignedTransaction("0x" + signed.raw_transaction.hex(), "0x" + signed.hash.hex())

    async def settle(
        self, node: EvmNode, unsigned: EvmTransaction, signed: SignedTransaction, *, within: float = 20
    ) -> Settlement:
        return await node.settle(self.intent, ApproveStep(5000, FEE), unsigned, signed, timeout=within)

    async def used_nonces(self) -> int:
        return int(await self.rpc.request("eth_getTransactionCount", [self.owner, "latest"]), 16)

    @asynccontextmanager
    async def behind(self, said: Words) -> AsyncIterator[EvmNode]:
        """Open a node whose answers to sending are `said`; bytes that it does not take never reach the chain."""
        async with said.open(self.url) as url:
            node = EvmNode(ETHEREUM, HttpRpc(url, attempts=1))
            try:
                yield node
            finally:
                await node.aclose()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at nonce and mempool more often, so that the tests need not wait."""
    monkeypatch.setattr(watch, "_CHECK_EVERY", 0.1)


@pytest.fixture(scope="module")
async def contracts(anvil: RunningNode) -> tuple[str, str]:
    rpc = HttpRpc(anvil.rpc_url)
    account = (await rpc.request("eth_accounts"))[0]
    made = [
        await transact(rpc, {"from": account, "data": encode_creation("UsdcLike", "constructor()")}) for _ in range(2)
    ]
    await rpc.aclose()
    token, spender = (parse_address(receipt["contractAddress"]) for receipt in made)
    return token, spender


@pytest.fixture
async def lab(anvil: RunningNode, contracts: tuple[str, str]) -> AsyncIterator[Lab]:
    rpc = HttpRpc(anvil.rpc_url)
    account = Account.create()
    await rpc.request("anvil_setBalance", [account.address, hex(10**18)])
    token, spender = contracts
    yield Lab(rpc, anvil.rpc_url, Token("USDC", token, 6), spender, account.address, "0x" + account.key.hex())
    await rpc.request("anvil_dropAllTransactions")
    await rpc.request("evm_setAutomine", [True])
    await rpc.aclose()


@pytest.mark.parametrize("error", [*HAS_IT, *UNKNOWN, *NONCE_USED, *(error for _, _, error in REFUSED)], ids=words)
async def test_bytes_that_the_chain_has_are_sent_whatever_the_node_says(lab: Lab, error: Any) -> None:
    unsigned, signed = await lab.prepare()
    async with lab.behind(Words(error)) as node:
        await node.send(signed)
        await node.send(signed)
        assert (await lab.settle(node, unsigned, signed)).hash == signed.hash
        await node.send(signed)
    assert await lab.used_nonces() == 1


@pytest.mark.parametrize("error", [HAS_IT[0], UNKNOWN[0], NONCE_USED[0], REFUSED[0][2], REFUSED[10][2]], ids=words)
async def test_bytes_that_wait_in_the_mempool_are_sent_whatever_the_node_says(lab: Lab, error: Any) -> None:
    await lab.rpc.request("evm_setAutomine", [False])
    unsigned, signed = await lab.prepare()
    async with lab.behind(Words(error)) as node:
        await node.send(signed)
        await lab.rpc.request("evm_mine")
        assert (await lab.settle(node, unsigned, signed)).hash == signed.hash


@pytest.mark.parametrize("error", [*HAS_IT, *UNKNOWN], ids=words)
async def test_bytes_that_nobody_shows_and_no_reason_refuses_are_on_their_way_and_sent_again_until_they_land(
    lab: Lab, error: Any
) -> None:
    unsigned, signed = await lab.prepare()
    said = Words(error, takes=False)
    async with lab.behind(said) as node:
        await node.send(signed)
        with pytest.raises(TransactionPendingError, match="may still land") as caught:
            await lab.settle(node, unsigned, signed, within=0.1)
        assert caught.value.hash == signed.hash
        assert await lab.used_nonces() == 0
        said.takes = True
        assert (await lab.settle(node, unsigned, signed)).hash == signed.hash
    assert set(said.sent) == {signed.raw}
    assert await lab.used_nonces() == 1


async def test_what_a_node_keeps_saying_of_the_bytes_is_told_when_the_waiting_ends(lab: Lab) -> None:
    unsigned, signed = await lab.prepare()
    async with lab.behind(Words({"code": -32000, "message": "kein Platz"}, takes=False)) as node:
        with pytest.raises(TransactionPendingError, match=r"would not take it again: .*kein Platz"):
            await lab.settle(node, unsigned, signed, within=0.3)


@pytest.mark.parametrize(("kind", "refusal", "error"), REFUSED, ids=words)
async def test_a_refusal_that_names_its_reason_is_an_error_of_its_own_class(
    lab: Lab, kind: type[ChainError], refusal: Refusal, error: Any
) -> None:
    _, signed = await lab.prepare()
    async with lab.behind(Words(error, takes=False)) as node:
        with pytest.raises(kind) as caught:
            await node.send(signed)
    assert type(caught.value) is kind
    assert "othing" in caught.value.hint
    assert await lab.used_nonces() == 0
    assert read_refusal(RpcError(error["message"], code=error["code"], data=error.get("data"))) == refusal


@pytest.mark.parametrize("error", [error for _, _, error in REFUSED], ids=words)
async def test_a_refusal_with_a_reason_does_not_end_the_waiting_because_other_nodes_may_have_the_bytes(
    lab: Lab, error: Any
) -> None:
    unsigned, signed = await lab.prepare()
    said = Words(error, takes=False)
    async with lab.behind(said) as node:
        with pytest.raises(TransactionPendingError, match="would not take it again") as caught:
            await lab.settle(node, unsigned, signed, within=0.3)
        assert type(caught.value) is TransactionPendingError
        await lab.rpc.request(SEND, [signed.raw])
        assert (await lab.settle(node, unsigned, signed)).hash == signed.hash


@pytest.mark.parametrize("error", [*NONCE_USED, OCCUPIED], ids=words)
async def test_a_nonce_that_another_transaction_used_is_a_replacement(lab: Lab, error: Any) -> None:
    unsigned, signed = await lab.prepare()
    await lab.rpc.request(SEND, [lab.sign(unsigned, to=lab.owner, data="0x").raw])
    async with lab.behind(Words(error, takes=False)) as node:
        with pytest.raises(TransactionReplacedError) as caught:
            await node.send(signed)
        assert caught.value.expected == signed.hash
        with pytest.raises(TransactionReplacedError):
            await lab.settle(node, unsigned, signed)


@pytest.mark.parametrize("error", NONCE_USED, ids=words)
async def test_a_nonce_that_is_used_in_words_and_free_on_the_chain_is_not_used(lab: Lab, error: Any) -> None:
    unsigned, signed = await lab.prepare()
    said = Words(error, takes=False)
    async with lab.behind(said) as node:
        await node.send(signed)
        said.takes = True
        assert (await lab.settle(node, unsigned, signed)).hash == signed.hash


@pytest.mark.parametrize("error", [*HAS_IT[:3], *UNKNOWN[:3], *NONCE_USED], ids=words)
async def test_a_chain_that_cannot_be_asked_has_not_said_no(lab: Lab, error: Any) -> None:
    unsigned, signed = await lab.prepare()
    said = Words(error, reads=False)
    async with lab.behind(said) as node:
        await node.send(signed)
        with pytest.raises(TransactionPendingError, match="indexing is in progress"):
            await lab.settle(node, unsigned, signed, within=0.5)
        said.reads = True
        assert (await lab.settle(node, unsigned, signed)).hash == signed.hash


@pytest.mark.parametrize(("kind", "error"), [(kind, error) for kind, _, error in REFUSED], ids=words)
async def test_a_reason_that_is_named_stands_where_the_chain_cannot_be_asked(
    lab: Lab, kind: type[ChainError], error: Any
) -> None:
    _, signed = await lab.prepare()
    async with lab.behind(Words(error, takes=False, reads=False)) as node:
        with pytest.raises(kind):
            await node.send(signed)


async def test_our_own_bytes_in_the_place_of_others_are_named_as_not_taken_by_a_real_node(lab: Lab) -> None:
    await lab.rpc.request("evm_setAutomine", [False])
    unsigned, signed = await lab.prepare()
    dearer = lab.sign(unsigned, to=lab.owner, data="0x", maxFeePerGas=40 * 10**9, maxPriorityFeePerGas=4 * 10**9)
    await lab.rpc.request(SEND, [dearer.raw])
    node = EvmNode(ETHEREUM, lab.rpc)
    with pytest.raises(NonceOccupiedError, match="waits to be mined") as caught:
        await node.send(signed)
    assert caught.value.hash == signed.hash
    assert "run it again" in caught.value.hint
    await lab.rpc.request("anvil_dropTransaction", [dearer.hash])
    await node.send(signed)
    await lab.rpc.request("evm_mine")
    assert (await lab.settle(node, unsigned, signed)).hash == signed.hash


async def test_a_fee_below_the_base_fee_is_named_by_a_real_node(lab: Lab) -> None:
    unsigned, _ = await lab.prepare()
    cheap = lab.sign(unsigned, maxFeePerGas=1, maxPriorityFeePerGas=1)
    with pytest.raises(FeeTooLowError):
        await EvmNode(ETHEREUM, lab.rpc).send(cheap)


async def test_an_answer_that_is_lost_is_looked_up_on_the_chain(lab: Lab) -> None:
    unsigned, signed = await lab.prepare()
    said = Words(status=503)
    async with lab.behind(said) as node:
        await node.send(signed)
        assert (await lab.settle(node, unsigned, signed)).hash == signed.hash
        said.takes = False
        _, second = await lab.prepare()
        with pytest.raises(NodeUnreachableError):
            await node.send(second)


@pytest.mark.parametrize("result", [None, True, "0x", "ok", {}], ids=words)
async def test_a_success_that_names_no_hash_is_looked_up_on_the_chain(lab: Lab, result: Any) -> None:
    unsigned, signed = await lab.prepare()
    async with relay(
        lab.url, lambda method, _, answer: answer | {"result": result} if method == SEND else answer
    ) as url:
        node = EvmNode(ETHEREUM, HttpRpc(url))
        await node.send(signed)
        assert (await lab.settle(node, unsigned, signed)).hash == signed.hash
        await node.aclose()


async def test_a_node_that_names_another_hash_than_that_of_the_bytes_is_not_trusted(lab: Lab) -> None:
    _, signed = await lab.prepare()
    other = "0x" + "ab" * 32
    async with relay(
        lab.url, lambda method, _, answer: answer | {"result": other} if method == SEND else answer
    ) as url:
        node = EvmNode(ETHEREUM, HttpRpc(url))
        with pytest.raises(ContradictionError) as caught:
            await node.send(signed)
        assert (caught.value.expected, caught.value.found) == (signed.hash, other)
        await node.aclose()


async def test_a_node_that_shows_another_transaction_for_our_hash_does_not_show_ours(lab: Lab) -> None:
    unsigned, signed = await lab.prepare()
    other = replace(signed, hash="0x" + "ab" * 32)

    def change(method: str, _: Any, answer: Any) -> Any:
        if method == SEND:
            return {"error": {"code": -32000, "message": "insufficient funds"}}
        return answer | {"result": {"hash": other.hash}} if method == "eth_getTransactionByHash" else answer

    async with relay(lab.url, change, before=lambda asked: asked | {"method": "eth_chainId", "params": []}) as url:
        node = EvmNode(ETHEREUM, HttpRpc(url))
        with pytest.raises(NoGasError):
            await node.send(signed)
        await node.aclose()
    assert unsigned.nonce == 0
