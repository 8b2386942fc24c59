"""What is believed of a node that answers an error to signed bytes: a real chain behind a relay with other words."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from relay import Words, relay
from solana_lab import Signed, SolanaLab, Wallet, new_spender, open_lab
from solders.hash import Hash

from chains.errors import (
    ChainError,
    ContradictionError,
    NodeUnreachableError,
    NoGasError,
    RpcError,
    TransactionExpiredError,
    TransactionPendingError,
    WillRevertError,
)
from chains.rpc import HttpRpc
from chains.solana import settlement
from chains.solana.node import SolanaNode
from chains.solana.sending import Kind, read_refusal
from chains.solana.transactions import attach_signature
from chains.types import AllowanceIntent, ApproveStep, Settlement, SignedTransaction, SolanaTransaction
from delegation.sandbox import Sandbox

SEND = "sendTransaction"


def simulation(words: str, err: Any = None) -> dict[str, Any]:
    error: dict[str, Any] = {"code": -32002, "message": f"Transaction simulation failed: {words}"}
    return error if err is None else error | {"data": {"err": err, "logs": [], "unitsConsumed": 0}}


HAS_IT: list[Any] = [
    simulation("This transaction has already been processed", "AlreadyProcessed"),
    simulation("This transaction has already been processed"),
    simulation("esta transação já foi feita", "AlreadyProcessed"),
    {
        "code": -32002,
        "message": "Transaction verification failed for transaction Internal error: "
        '"Transaction error: This transaction has already been processed"',
    },
    {"code": -32603, "message": "AlreadyProcessed"},
    {"code": -32003, "message": "Transaction already processed"},
    {"code": -32000, "message": "transaction already known", "data": None},
    {"code": -32602, "message": "duplicate transaction"},
    {"code": -32603, "message": "tx already exists in cache"},
    {"code": -32603, "message": "already in mempool"},
    "Transaction has already been received",
]
UNKNOWN: list[Any] = [
    simulation("Blockhash not found", "BlockhashNotFound"),
    simulation("Blockhash not found"),
    {"code": -32002, "message": "この取引は受付済みです"},
    {"code": -32002, "message": ""},
    {"code": -32002},
    {},
    {"code": "E", "message": None, "data": ["err"]},
    {"code": -32002, "message": "no", "data": {"err": None, "logs": None}},
    {"code": -32603, "message": "Internal error"},
    {"code": -32004, "message": "Block not available for slot 1"},
    "quelque chose",
    "",
    True,
]
REFUSED: list[tuple[type[ChainError], Kind, str, Any]] = [
    (WillRevertError, "would fail", "AccountFrozen", simulation("…", {"InstructionError": [1, {"Custom": 17}]})),
    (
        WillRevertError,
        "would fail",
        "AccountFrozen",
        simulation("Error processing Instruction 1: custom program error: 0x11"),
    ),
    (
        WillRevertError,
        "would fail",
        "OwnerMismatch",
        {"code": 0, "message": "…", "data": {"err": {"InstructionError": [1, {"Custom": 4}]}}},
    ),
    (
        WillRevertError,
        "would fail",
        "invalid account data",
        simulation("Error processing Instruction 1: invalid account data for instruction"),
    ),
    (
        WillRevertError,
        "would fail",
        "InvalidAccountData",
        simulation("…", {"InstructionError": [1, "InvalidAccountData"]}),
    ),
    (WillRevertError, "would fail", "AccountInUse", simulation("Account in use", "AccountInUse")),
    (
        NoGasError,
        "no gas",
        "InsufficientFundsForFee",
        simulation("Insufficient funds for fee", "InsufficientFundsForFee"),
    ),
    (NoGasError, "no gas", "Insufficient funds for fee", simulation("Insufficient funds for fee")),
    (NoGasError, "no gas", "AccountNotFound", simulation("…", "AccountNotFound")),
    (
        NoGasError,
        "no gas",
        "prior credit",
        simulation("Attempt to debit an account but found no record of a prior credit."),
    ),
    (NoGasError, "no gas", "account_index", simulation("…", {"InsufficientFundsForRent": {"account_index": 0}})),
    (RpcError, "rejected", "signature", {"code": -32003, "message": "Transaction signature verification failure"}),
    (RpcError, "rejected", "SignatureFailure", simulation("…", "SignatureFailure")),
    (RpcError, "rejected", "deserialize", {"code": -32602, "message": "failed to deserialize solana_sdk::transaction"}),
    (RpcError, "not served", "not found", {"code": -32601, "message": "Method not found"}),
]


def words(value: Any) -> str:
    return ascii(value)[:70]


@dataclass
class Approval:
    """An approval of a wallet of its own, signed and not sent."""

    lab: SolanaLab
    url: str
    wallet: Wallet
    intent: AllowanceIntent
    unsigned: SolanaTransaction
    signed: SignedTransaction

    @asynccontextmanager
    async def behind(self, said: Words) -> AsyncIterator[SolanaNode]:
        """Open a node whose answers to sending are `said`; bytes that it does not take never reach the chain."""
        async with said.open(self.url) as url:
            node = SolanaNode(self.lab.chain, HttpRpc(url, attempts=1))
            try:
                yield node
            finally:
                await node.aclose()

    async def settle(self, node: SolanaNode, *, within: float = 30) -> Settlement:
        return await node.settle(self.intent, ApproveStep(5000), self.unsigned, self.signed, timeout=within)

    async def landed(self) -> int:
        """Count the transactions on the chain that have this signature."""
        listed = await self.lab.rpc.request("getSignaturesForAddress", [self.wallet.account])
        return [entry["signature"] for entry in listed].count(self.signed.hash)


@pytest.fixture(scope="module")
async def lab(sandbox: Sandbox) -> AsyncIterator[SolanaLab]:
    async with open_lab(sandbox) as lab:
        yield lab


@pytest.fixture
async def approval(sandbox: Sandbox, lab: SolanaLab) -> Approval:
    wallet = await lab.wallet()
    intent = AllowanceIntent(lab.token, wallet.address, new_spender(), 5000)
    node = SolanaNode(lab.chain, lab.rpc)
    plan = await node.plan_approval(intent)
    unsigned = await node.prepare(intent, plan.steps[0])
    url = sandbox.document.networks["solana"].rpc_url
    return Approval(lab, url, wallet, intent, unsigned, sign(unsigned, wallet))


def sign(unsigned: SolanaTransaction, wallet: Wallet) -> SignedTransaction:
    return attach_signature(unsigned, bytes(wallet.key.sign_message(b64decode(unsigned.message))))


def thinned(cases: list[Any], every: int) -> list[Any]:
    """Return the cases with all but every n-th marked long: each waits for the chain to be final."""
    return [case if not n % every else pytest.param(case, marks=pytest.mark.long) for n, case in enumerate(cases)]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send again more often, so that the tests need not wait."""
    monkeypatch.setattr(settlement, "_RESEND_AFTER", 0.2)


@pytest.mark.parametrize("error", thinned([*HAS_IT, *UNKNOWN, *(error for *_, error in REFUSED)], 6), ids=words)
async def test_bytes_that_the_chain_has_are_sent_whatever_the_node_says(approval: Approval, error: Any) -> None:
    await approval.lab.send(as_sent(approval))
    async with approval.behind(Words(error)) as node:
        await node.send(approval.signed)
        assert (await approval.settle(node)).hash == approval.signed.hash
        await node.send(approval.signed)
    assert await approval.landed() == 1


@pytest.mark.parametrize("error", [*HAS_IT[::4], *UNKNOWN[::4]], ids=words)
async def test_bytes_that_the_node_took_just_now_with_an_error_in_its_mouth_are_settled(
    approval: Approval, error: Any
) -> None:
    async with approval.behind(Words(error)) as node:
        await node.send(approval.signed)
        assert (await approval.settle(node)).hash == approval.signed.hash


@pytest.mark.parametrize("error", thinned([*HAS_IT, *UNKNOWN], 2), ids=words)
async def test_bytes_that_nobody_shows_and_no_reason_refuses_are_on_their_way_and_sent_again_until_they_land(
    approval: Approval, error: Any
) -> None:
    said = Words(error, takes=False)
    async with approval.behind(said) as node:
        await node.send(approval.signed)
        with pytest.raises(TransactionPendingError, match="may still take effect") as caught:
            await approval.settle(node, within=0.1)
        assert caught.value.hash == approval.signed.hash
        assert await approval.landed() == 0
        said.takes = True
        assert (await approval.settle(node)).hash == approval.signed.hash
    assert set(said.sent) == {approval.signed.raw}
    assert await approval.landed() == 1


@pytest.mark.parametrize(("kind", "refusal", "reason", "error"), REFUSED, ids=words)
async def test_a_refusal_that_names_its_reason_is_an_error_of_its_own_class(
    approval: Approval, kind: type[ChainError], refusal: Kind, reason: str, error: Any
) -> None:
    async with approval.behind(Words(error, takes=False)) as node:
        with pytest.raises(kind, match=reason) as caught:
            await node.send(approval.signed)
    assert type(caught.value) is kind
    assert "othing" in caught.value.hint
    assert await approval.landed() == 0
    read = read_refusal(RpcError(error["message"], code=error["code"], data=error.get("data")))
    assert read is not None
    assert read.kind == refusal


@pytest.mark.parametrize(("kind", "error"), [(kind, error) for kind, _, _, error in REFUSED[::3]], ids=words)
async def test_a_reason_that_is_named_stands_where_the_chain_cannot_be_asked(
    approval: Approval, kind: type[ChainError], error: Any
) -> None:
    async with approval.behind(Words(error, takes=False, reads=False)) as node:
        with pytest.raises(kind):
            await node.send(approval.signed)


@pytest.mark.parametrize("error", [*HAS_IT[:3], *UNKNOWN[:4]], ids=words)
async def test_a_chain_that_cannot_be_asked_has_not_said_no(approval: Approval, error: Any) -> None:
    said = Words(error, reads=False)
    async with approval.behind(said) as node:
        await node.send(approval.signed)
        said.reads = True
        assert (await approval.settle(node)).hash == approval.signed.hash


@pytest.mark.parametrize("error", [error for *_, error in REFUSED[::3]], ids=words)
async def test_a_refusal_does_not_end_the_waiting_because_other_nodes_may_have_the_bytes(
    approval: Approval, error: Any
) -> None:
    said = Words(error, takes=False)
    async with approval.behind(said) as node:
        with pytest.raises(TransactionPendingError, match="would not take it again"):
            await approval.settle(node, within=0.1)
        await approval.lab.send(as_sent(approval))
        assert (await approval.settle(node)).hash == approval.signed.hash


@pytest.mark.parametrize("status", [None, 503], ids=words)
async def test_bytes_that_never_land_expire_and_nothing_was_paid(approval: Approval, status: int | None) -> None:
    message = b64decode(approval.unsigned.message)
    known, never = (bytes(one) for one in (Hash.from_string(approval.unsigned.blockhash), Hash.new_unique()))
    lost = replace(approval.unsigned, message=b64encode(message.replace(known, never)).decode())
    gone = replace(approval, unsigned=replace(lost, last_valid_block_height=1), signed=sign(lost, approval.wallet))
    async with gone.behind(Words(HAS_IT[3], status=status, takes=False)) as node:
        if status is None:
            await node.send(gone.signed)
        with pytest.raises(TransactionExpiredError, match="never be taken") as caught:
            await gone.settle(node, within=10)
        assert caught.value.hash == gone.signed.hash


async def test_an_answer_that_is_lost_is_looked_up_on_the_chain(approval: Approval) -> None:
    said = Words(status=503, takes=False)
    async with approval.behind(said) as node:
        with pytest.raises(NodeUnreachableError):
            await node.send(approval.signed)
        await approval.lab.send(as_sent(approval))
        await node.send(approval.signed)
        assert (await approval.settle(node)).hash == approval.signed.hash


async def test_a_node_that_names_another_signature_than_that_of_the_bytes_is_not_trusted(approval: Approval) -> None:
    other = str(approval.wallet.key.sign_message(b"another"))
    async with behind_relay(approval, lambda answer: answer | {"result": other}) as node:
        with pytest.raises(ContradictionError) as caught:
            await node.send(approval.signed)
    assert (caught.value.expected, caught.value.found) == (approval.signed.hash, other)


@pytest.mark.parametrize("result", [None, True, "", {}], ids=words)
async def test_a_success_that_names_no_signature_is_settled_by_the_chain(approval: Approval, result: Any) -> None:
    async with behind_relay(approval, lambda answer: answer | {"result": result}) as node:
        await node.send(approval.signed)
        assert (await approval.settle(node)).hash == approval.signed.hash


@asynccontextmanager
async def behind_relay(approval: Approval, edit: Callable[[Any], Any]) -> AsyncIterator[SolanaNode]:
    def change(method: str, _: Any, answer: Any) -> Any:
        return edit(answer) if method == SEND else answer

    async with relay(approval.url, change) as url:
        node = SolanaNode(approval.lab.chain, HttpRpc(url))
        try:
            yield node
        finally:
            await node.aclose()


def as_sent(approval: Approval) -> Signed:
    return Signed(approval.signed.hash, approval.signed.raw)
