"""What can become of a transaction, on a real local chain that is told when to mine, forget and reorganise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from evm_lab import ETHEREUM, FEE, UNKNOWN_HASH, Between, Lab, open_lab, sign

from chains import get_chain
from chains.errors import (
    NodeError,
    NoGasError,
    RpcError,
    TransactionDroppedError,
    TransactionPendingError,
    TransactionReplacedError,
    TransactionRevertedError,
    UnexpectedAllowanceError,
)
from chains.evm import nonces, watch
from chains.evm.node import EvmNode
from chains.rpc import HttpRpc, Params
from chains.types import (
    AllowanceIntent,
    ApproveStep,
    EvmTransaction,
    SentTransaction,
    SignedTransaction,
    Token,
)
from delegation.sandbox import Sandbox
from delegation.sandbox.nodes import RunningNode


@pytest.fixture
async def lab(anvil: RunningNode, contracts: tuple[str, str]) -> AsyncIterator[Lab]:
    async with open_lab(anvil.rpc_url, contracts) as lab:
        yield lab


async def test_sending_the_same_bytes_again_is_harmless_before_and_after_mining(lab: Lab) -> None:
    await lab.hold_mining()
    unsigned = await lab.prepare()
    signed = lab.sign(unsigned)
    await lab.node.send(signed)
    await lab.node.send(signed)
    await lab.mine()
    await lab.node.send(signed)
    settled = await lab.settle(unsigned, signed)
    assert settled.hash == signed.hash
    assert await lab.rpc.request("eth_getTransactionCount", [lab.owner, "latest"]) == "0x1"


async def test_the_fee_paid_is_what_the_owners_balance_lost(lab: Lab) -> None:
    unsigned = await lab.prepare()
    signed = lab.sign(unsigned)
    await lab.node.send(signed)
    settled = await lab.settle(unsigned, signed)
    assert int(await lab.rpc.request("eth_getBalance", [lab.owner, "latest"]), 16) == 10**18 - settled.fee_paid
    assert settled.finality == "included"


async def test_bytes_that_were_never_sent_are_sent_while_waiting(lab: Lab) -> None:
    unsigned = await lab.prepare()
    signed = lab.sign(unsigned)
    settled = await lab.settle(unsigned, signed)
    assert settled.hash == signed.hash


async def test_a_transaction_that_is_not_mined_in_time_is_pending_and_can_be_settled_later(lab: Lab) -> None:
    await lab.hold_mining()
    unsigned = await lab.prepare()
    signed = lab.sign(unsigned)
    await lab.node.send(signed)
    with pytest.raises(TransactionPendingError, match="not settled") as caught:
        await lab.settle(unsigned, signed, timeout=0.2)
    assert caught.value.hash == signed.hash
    assert "Nothing is lost" in caught.value.hint
    await lab.mine()
    assert (await lab.settle(unsigned, signed)).allowance == 5000


async def test_a_transaction_that_is_mined_late_is_waited_for(lab: Lab) -> None:
    await lab.hold_mining()
    unsigned = await lab.prepare()
    signed = lab.sign(unsigned)
    await lab.node.send(signed)
    waiting = asyncio.create_task(lab.settle(unsigned, signed))
    await asyncio.sleep(0.3)
    await lab.mine()
    assert (await waiting).hash == signed.hash


async def test_a_mined_transaction_that_failed_is_reverted_with_its_reason(lab: Lab) -> None:
    first, signed_first = await _prepare_and_sign(lab, 5000)
    await lab.node.send(signed_first)
    await lab.settle(first, signed_first)
    second, signed_second = await _prepare_and_sign(lab, 7000)
    await lab.node.send(signed_second)
    with pytest.raises(TransactionRevertedError, match="the contract gave no reason") as caught:
        await lab.settle(second, signed_second, amount=7000)
    assert caught.value.hash == signed_second.hash
    assert caught.value.fault == "network"


async def _prepare_and_sign(lab: Lab, amount: int) -> tuple[EvmTransaction, SignedTransaction]:
    unsigned = await lab.prepare(amount)
    return unsigned, lab.sign(unsigned)


async def test_a_transaction_that_ran_out_of_gas_says_so(lab: Lab) -> None:
    unsigned = await lab.prepare(fee=replace(FEE, gas_limit=30_000))
    signed = lab.sign(unsigned)
    await lab.node.send(signed)
    with pytest.raises(TransactionRevertedError, match="ran out of gas"):
        await lab.settle(unsigned, signed)


async def test_another_transaction_on_the_nonce_is_a_replacement_and_is_named(lab: Lab) -> None:
    unsigned = await lab.prepare()
    signed = lab.sign(unsigned)
    foreign = sign(unsigned, lab.key, to=lab.owner, data="0x")
    await lab.node.send(foreign)
    await lab.mine()
    with pytest.raises(TransactionReplacedError) as caught:
        await lab.settle(unsigned, signed)
    assert (caught.value.expected, caught.value.found) == (signed.hash, foreign.hash)
    with pytest.raises(TransactionReplacedError):
        await lab.node.send(signed)


async def test_a_transaction_that_a_wallet_sped_up_settles_under_its_new_hash(lab: Lab) -> None:
    await lab.hold_mining()
    unsigned = await lab.prepare()
    slow = lab.sign(unsigned)
    fast = sign(unsigned, lab.key, maxFeePerGas=40 * 10**9, maxPriorityFeePerGas=2 * 10**9)
    await lab.node.send(slow)
    await lab.node.send(fast)
    await lab.mine()
    settled = await lab.settle(unsigned, SentTransaction(slow.hash))
    assert (settled.hash, settled.allowance) == (fast.hash, 5000)


async def test_a_transaction_that_no_node_knows_is_dropped_after_a_while(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_DROPPED_AFTER", 0.5)
    unsigned = await lab.prepare()
    with pytest.raises(TransactionDroppedError, match="still free") as caught:
        await lab.settle(unsigned, SentTransaction(UNKNOWN_HASH))
    assert caught.value.hash == UNKNOWN_HASH


async def test_a_dropped_transaction_of_which_we_have_the_bytes_is_sent_again(lab: Lab) -> None:
    await lab.hold_mining()
    unsigned = await lab.prepare()
    signed = lab.sign(unsigned)
    await lab.node.send(signed)
    await lab.rpc.request("anvil_dropTransaction", [signed.hash])
    await lab.hold_mining(False)
    assert (await lab.settle(unsigned, signed)).hash == signed.hash


async def test_a_reorganisation_between_receipt_and_reading_is_waited_out_and_the_bytes_are_sent_again(
    lab: Lab, anvil: RunningNode
) -> None:
    happened: list[object] = []

    async def reorganise(_: Params) -> None:
        if not happened:
            happened.append(await lab.rpc.request("anvil_rollback", [1]))

    rpc = Between(HttpRpc(anvil.rpc_url), eth_call=reorganise)
    node = EvmNode(ETHEREUM, rpc)
    unsigned = await lab.prepare()
    signed = lab.sign(unsigned)
    await lab.node.send(signed)
    settled = await node.settle(lab.intent(), ApproveStep(5000, FEE), unsigned, signed, timeout=20)
    await node.aclose()
    assert happened
    assert settled.hash == signed.hash
    assert "eth_sendRawTransaction" in rpc.asked
    assert rpc.asked.count("eth_call") == 2


async def test_a_state_that_cannot_be_read_is_a_node_error_and_not_a_failure_of_the_transaction(
    lab: Lab, anvil: RunningNode
) -> None:
    async def fail(_: Params) -> None:
        raise RpcError("missing trie node", code=-32000)

    unsigned = await lab.prepare()
    signed = lab.sign(unsigned)
    await lab.node.send(signed)
    node = EvmNode(ETHEREUM, Between(HttpRpc(anvil.rpc_url), eth_call=fail))
    with pytest.raises(NodeError, match="missing trie node"):
        await node.settle(lab.intent(), ApproveStep(5000, FEE), unsigned, signed, timeout=20)
    await node.aclose()


async def test_an_amount_that_the_wallet_changed_is_found_in_the_state(lab: Lab) -> None:
    unsigned = await lab.prepare()
    edited = lab.sign(replace(unsigned, data=(await lab.prepare(9000)).data))
    await lab.node.send(edited)
    with pytest.raises(UnexpectedAllowanceError) as caught:
        await lab.settle(unsigned, SentTransaction(edited.hash))
    assert (caught.value.expected, caught.value.found) == (5000, 9000)


async def test_a_hash_that_is_not_the_approval_is_refused_even_if_the_allowance_is_already_right(lab: Lab) -> None:
    unsigned, signed = await _prepare_and_sign(lab, 5000)
    await lab.node.send(signed)
    await lab.settle(unsigned, signed)
    unsigned = await lab.prepare()
    other = sign(unsigned, lab.key, to=lab.owner, data="0x")
    await lab.node.send(other)
    with pytest.raises(UnexpectedAllowanceError, match="does not hold this approval"):
        await lab.settle(unsigned, SentTransaction(other.hash))


async def test_no_gas_at_the_moment_of_sending_is_named(lab: Lab) -> None:
    signed = lab.sign(await lab.prepare())
    await lab.rpc.request("anvil_setBalance", [lab.owner, "0x1"])
    with pytest.raises(NoGasError):
        await lab.node.send(signed)


async def test_an_approval_that_a_wallet_made_is_found_and_none_where_none_was_made(lab: Lab) -> None:
    step = ApproveStep(5000, FEE)
    unsigned, signed = await _prepare_and_sign(lab, 5000)
    assert await lab.node.find_approval(lab.intent(), step, unsigned) is None
    await lab.node.send(signed)
    await lab.settle(unsigned, signed)
    assert await lab.node.find_approval(lab.intent(), step, unsigned) == signed.hash
    # The next intent's transaction must not be mistaken for the one before it.
    later = await lab.prepare()
    assert await lab.node.find_approval(lab.intent(), step, later) is None


async def test_an_approval_under_a_later_nonce_is_found_if_it_is_the_same_call(lab: Lab) -> None:
    unsigned = await lab.prepare()
    await lab.node.send(sign(unsigned, lab.key, to=lab.owner, data="0x"))
    same = lab.sign(replace(unsigned, nonce=unsigned.nonce + 1))
    await lab.node.send(same)
    await lab.settle(replace(unsigned, nonce=unsigned.nonce + 1), same)
    assert await lab.node.find_approval(lab.intent(), ApproveStep(5000, FEE), unsigned) == same.hash
    assert await lab.node.find_approval(lab.intent(4999), ApproveStep(4999, FEE), unsigned) is None


async def test_a_pending_transaction_on_the_nonce_is_no_proof_that_nothing_was_made(lab: Lab) -> None:
    await lab.hold_mining()
    unsigned, signed = await _prepare_and_sign(lab, 5000)
    await lab.node.send(signed)
    with pytest.raises(TransactionPendingError, match="waits to be mined"):
        await lab.node.find_approval(lab.intent(), ApproveStep(5000, FEE), unsigned)


async def test_an_approval_further_back_than_one_window_is_found(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    unsigned, signed = await _prepare_and_sign(lab, 5000)
    await lab.node.send(signed)
    await lab.settle(unsigned, signed)
    await lab.rpc.request("anvil_mine", ["0x14"])
    monkeypatch.setattr(nonces, "_WINDOW", 8)
    assert await lab.node.find_approval(lab.intent(), ApproveStep(5000, FEE), unsigned) == signed.hash
    assert await lab.node.find_approval(lab.intent(7), ApproveStep(7, FEE), replace(unsigned, nonce=0)) == signed.hash
    monkeypatch.setattr(nonces, "_WINDOWS", 2)
    with pytest.raises(NodeError, match="could not be found"):
        await lab.node.find_approval(lab.intent(), ApproveStep(5000, FEE), unsigned)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-32602, "query exceeds max block range 3"),
        (-32005, "query returned more than 10000 results"),
        (-32000, "zu viel"),
    ],
)
async def test_logs_that_a_node_serves_for_few_blocks_only_are_asked_for_few_at_a_time(
    lab: Lab, code: int, words: str
) -> None:
    async def limit(params: Params) -> None:
        assert isinstance(params, list)
        if int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) > 3:
            raise RpcError(words, code=code)

    unsigned, signed = await _prepare_and_sign(lab, 5000)
    await lab.node.send(signed)
    await lab.settle(unsigned, signed)
    await lab.rpc.request("anvil_mine", ["0x14"])
    node = EvmNode(ETHEREUM, Between(lab.rpc, eth_getLogs=limit))
    assert await node.find_approval(lab.intent(), ApproveStep(5000, FEE), unsigned) == signed.hash


async def test_logs_that_a_node_does_not_serve_at_all_are_not_taken_for_none(lab: Lab) -> None:
    async def refuse(_: Params) -> None:
        raise RpcError("no logs here", code=-32602)

    unsigned, signed = await _prepare_and_sign(lab, 5000)
    await lab.node.send(signed)
    await lab.settle(unsigned, signed)
    node = EvmNode(ETHEREUM, Between(lab.rpc, eth_getLogs=refuse))
    with pytest.raises(RpcError, match="no logs here"):
        await node.find_approval(lab.intent(), ApproveStep(5000, FEE), unsigned)


async def test_a_replacement_is_named_by_a_node_that_keeps_the_state_of_the_newest_blocks_only(lab: Lab) -> None:
    await lab.rpc.request("anvil_mine", ["0xc8"])
    unsigned, signed = await _prepare_and_sign(lab, 5000)
    foreign = sign(unsigned, lab.key, to=lab.owner, data="0x")
    await lab.node.send(foreign)
    await lab.mine()
    newest = int(await lab.rpc.request("eth_blockNumber"), 16)

    async def prune(params: Params) -> None:
        assert isinstance(params, list)
        if params[1].startswith("0x") and int(params[1], 16) < newest - 127:
            raise RpcError("missing trie node", code=-32000)

    node = EvmNode(ETHEREUM, Between(lab.rpc, eth_getTransactionCount=prune))
    with pytest.raises(TransactionReplacedError) as caught:
        await node.settle(lab.intent(), ApproveStep(5000, FEE), unsigned, signed, timeout=20)
    assert caught.value.found == foreign.hash


async def test_a_spend_that_emits_approval_is_not_taken_for_the_owners_approval(sandbox: Sandbox) -> None:
    network = sandbox.document.networks["linea"]
    wallet = await sandbox.new_wallet("evm")
    node = EvmNode(get_chain("linea"), HttpRpc(network.rpc_url))
    token = Token("USDT", network.tokens["usdt"].address, 6)
    intent = AllowanceIntent(token, wallet.address, network.delegation_contract, 5000)
    plan = await node.plan_approval(intent)
    unsigned = await node.prepare(intent, plan.steps[0])
    signed = sign(unsigned, wallet.private_key)
    await node.send(signed)
    await node.settle(intent, plan.steps[0], unsigned, signed, timeout=20)
    spent = await sandbox.spend("linea", "usdt", wallet.address, 1200)
    assert await node.find_approval(intent, plan.steps[0], unsigned) == signed.hash
    # The spend leaves exactly the allowance of this other intent, and its log says so.
    other = replace(intent, amount=3800)
    later = await node.prepare(other, ApproveStep(3800, plan.steps[0].fee))
    assert await node.find_approval(other, ApproveStep(3800), later) is None
    with pytest.raises(TransactionPendingError):
        await node.settle(other, ApproveStep(3800), later, SentTransaction(UNKNOWN_HASH), timeout=1.5)
    assert spent != signed.hash
    await node.aclose()


async def test_a_node_that_will_not_take_the_bytes_again_is_not_the_judge_of_them(lab: Lab) -> None:
    await lab.hold_mining()
    unsigned, slow = await _prepare_and_sign(lab, 5000)
    fast = sign(unsigned, lab.key, maxFeePerGas=40 * 10**9, maxPriorityFeePerGas=2 * 10**9)
    await lab.node.send(slow)
    await lab.node.send(fast)
    waiting = asyncio.create_task(lab.settle(unsigned, slow))
    await asyncio.sleep(1.5)
    await lab.mine()
    settled = await waiting
    assert settled.hash == fast.hash


async def test_a_server_that_lags_one_block_behind_is_asked_again(lab: Lab, anvil: RunningNode) -> None:
    failures = [1, 2]

    async def lag(_: Params) -> None:
        if failures:
            failures.pop()
            raise RpcError("header not found", code=-32000)

    node = EvmNode(ETHEREUM, Between(HttpRpc(anvil.rpc_url), eth_call=lag))
    unsigned, signed = await _prepare_and_sign(lab, 5000)
    await lab.node.send(signed)
    settled = await node.settle(lab.intent(), ApproveStep(5000, FEE), unsigned, signed, timeout=20)
    assert (settled.allowance, failures) == (5000, [])
    await node.aclose()
