"""How long a transaction is waited for: as deep as the chain asks, through reorganisations, and no longer than said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from evm_lab import ETHEREUM, FEE, UNKNOWN_HASH, Between, Lab, open_lab, sign

from chains import get_chain
from chains.errors import (
    ChainError,
    RpcError,
    TransactionDroppedError,
    TransactionPendingError,
    TransactionReplacedError,
    TransactionRevertedError,
)
from chains.evm import watch
from chains.evm.node import EvmNode
from chains.evm.verify import review
from chains.rpc import HttpRpc, Params
from chains.types import ApproveStep, EvmTransaction, Rival, SentTransaction, SignedTransaction
from delegation.sandbox.nodes import RunningNode

DEEP = replace(ETHEREUM, settle_depth=2)


@pytest.fixture
async def lab(anvil: RunningNode, contracts: tuple[str, str]) -> AsyncIterator[Lab]:
    async with open_lab(anvil.rpc_url, contracts) as lab:
        lab.node = EvmNode(DEEP, lab.rpc)
        yield lab


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at nonce and mempool more often, so that the tests need not wait."""
    monkeypatch.setattr(watch, "_CHECK_EVERY", 0.2)


async def send(lab: Lab, amount: int = 5000) -> tuple[EvmTransaction, SignedTransaction]:
    unsigned = await lab.prepare(amount)
    signed = lab.sign(unsigned)
    await lab.node.send(signed)
    return unsigned, signed


async def have_mined(lab: Lab, amount: int = 5000) -> tuple[EvmTransaction, SignedTransaction]:
    unsigned, signed = await send(lab, amount)
    await lab.mined(signed)
    return unsigned, signed


async def until_known(lab: Lab, signed: SignedTransaction) -> None:
    """Wait until the node has the bytes, in its mempool or in a block."""
    for _ in range(500):
        if await lab.node.get_nonce(signed.hash) is not None:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the bytes were not sent again")


def test_ethereum_waits_for_a_second_block_and_sequencers_are_taken_at_their_word() -> None:
    depths = {name: get_chain(name).settle_depth for name in ("ethereum", "ethereum-sepolia", "linea", "base")}
    assert depths == {"ethereum": 2, "ethereum-sepolia": 2, "linea": 1, "base": 1}


async def test_an_approval_settles_once_another_block_lies_on_it(lab: Lab) -> None:
    unsigned, signed = await have_mined(lab)
    with pytest.raises(TransactionPendingError, match=r"is in block \d+ and waits for one more block") as caught:
        await lab.settle(unsigned, signed, timeout=0.2)
    assert caught.value.hash == signed.hash
    assert caught.value.unseen_for is None
    waiting = asyncio.create_task(lab.settle(unsigned, signed))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await lab.mine()
    settled = await waiting
    assert (settled.hash, settled.allowance) == (signed.hash, 5000)
    head = int(await lab.rpc.request("eth_blockNumber"), 16)
    assert settled.block.number == head - 1


async def test_where_nobody_else_sends_the_wait_says_how_many_blocks_are_missing(lab: Lab) -> None:
    lab.node = EvmNode(replace(DEEP, settle_depth=4), lab.rpc)
    unsigned, signed = await have_mined(lab)
    for missing in ("3 more blocks", "2 more blocks", "one more block"):
        with pytest.raises(TransactionPendingError, match=f"waits for {missing}"):
            await lab.settle(unsigned, signed, timeout=0)
        await lab.mine()
    assert (await lab.settle(unsigned, signed, timeout=0)).hash == signed.hash


@pytest.mark.parametrize("blocks", [1, 3])
async def test_a_reorganisation_before_it_lies_deep_enough_is_waited_out_and_the_bytes_are_sent_again(
    lab: Lab, impatient: None, blocks: int
) -> None:
    await lab.rpc.request("anvil_mine", ["0x5"])
    unsigned, signed = await send(lab)
    lost = await lab.mined(signed)
    waiting = asyncio.create_task(lab.settle(unsigned, signed))
    await asyncio.sleep(0.3)
    await lab.hold_mining()
    await lab.rpc.request("anvil_rollback", [blocks])
    await lab.rpc.request("anvil_dropAllTransactions")
    assert await lab.rpc.request("eth_getTransactionCount", [lab.owner, "latest"]) == "0x0"
    await until_known(lab, signed)
    assert not waiting.done()
    await lab.rpc.request("anvil_mine", ["0x2"])
    settled = await waiting
    assert settled.hash == signed.hash
    assert settled.block.hash != lost
    assert await lab.rpc.request("eth_getTransactionCount", [lab.owner, "latest"]) == "0x1"


async def test_after_a_reorganisation_the_newest_is_sent_again_although_the_first_had_been_in_a_block(
    lab: Lab, impatient: None
) -> None:
    await lab.hold_mining()
    first, grant = await send(lab)
    newest = await lab.node.replace(lab.intent(0), ApproveStep(0), first)
    assert isinstance(newest, EvmTransaction)
    revoke = lab.sign(newest)
    await lab.mine()
    await lab.mined(grant)
    waiting = asyncio.create_task(
        lab.node.settle(lab.intent(0), ApproveStep(0), newest, revoke, timeout=20, rivals=[Rival(first, grant.hash)])
    )
    await asyncio.sleep(0.5)
    assert not waiting.done(), "what lies one block deep has not replaced anything for good"
    await lab.rpc.request("anvil_rollback", [1])
    await lab.rpc.request("anvil_dropAllTransactions")
    await until_known(lab, revoke)
    await lab.rpc.request("anvil_mine", ["0x2"])
    settled = await waiting
    assert (settled.hash, settled.allowance) == (revoke.hash, 0)


async def test_a_failure_and_a_replacement_count_only_once_they_lie_deep_enough(lab: Lab) -> None:
    unsigned = await lab.prepare()
    failing = lab.sign(replace(unsigned, fee=replace(FEE, gas_limit=30_000)))
    await lab.node.send(failing)
    await lab.mined(failing)
    with pytest.raises(TransactionPendingError, match="waits for one more block"):
        await lab.settle(unsigned, failing, timeout=0)
    await lab.mine()
    with pytest.raises(TransactionRevertedError):
        await lab.settle(unsigned, failing, timeout=0)

    unsigned = await lab.prepare()
    foreign = sign(unsigned, lab.key, to=lab.owner, data="0x")
    await lab.node.send(foreign)
    await lab.mined(foreign)
    with pytest.raises(TransactionPendingError, match="may still be replaced"):
        await lab.settle(unsigned, lab.sign(unsigned), timeout=2)
    await lab.mine()
    with pytest.raises(TransactionReplacedError) as caught:
        await lab.settle(unsigned, lab.sign(unsigned), timeout=0)
    assert caught.value.found == foreign.hash


async def test_a_cancellation_is_waited_for_as_deep(lab: Lab) -> None:
    await lab.hold_mining()
    first, grant = await send(lab)
    newest = await lab.node.replace(lab.intent(), None, first)
    assert isinstance(newest, EvmTransaction)
    cancellation = lab.sign(newest)
    await lab.node.send(cancellation)
    await lab.mine()
    rivals = [Rival(first, grant.hash)]
    with pytest.raises(TransactionPendingError, match="waits for one more block"):
        await lab.node.settle_cancellation(newest, cancellation, timeout=0, rivals=rivals)
    await lab.mine()
    assert await lab.node.settle_cancellation(newest, cancellation, timeout=0, rivals=rivals) == cancellation.hash


async def test_a_receipt_of_a_block_that_is_not_canonical_any_more_counts_for_nothing(
    lab: Lab, anvil: RunningNode, impatient: None
) -> None:
    await lab.rpc.request("anvil_mine", ["0x2"])
    lab.node = EvmNode(ETHEREUM, lab.rpc)
    cancelled = await lab.node.replace(lab.intent(), None, await lab.prepare())
    assert isinstance(cancelled, EvmTransaction)
    signed = lab.sign(cancelled)
    await lab.node.send(signed)
    await lab.mined(signed)
    stale = await lab.rpc.request("eth_getTransactionReceipt", [signed.hash])
    await lab.hold_mining()
    await lab.rpc.request("anvil_rollback", [1])
    await lab.rpc.request("anvil_dropAllTransactions")
    await lab.rpc.request("anvil_mine", ["0x2"])

    class Stale(Between):
        async def request(self, method: str, params: Params = ()) -> Any:
            answer = await super().request(method, params)
            return stale if method == "eth_getTransactionReceipt" and answer is None else answer

    node = EvmNode(ETHEREUM, Stale(HttpRpc(anvil.rpc_url)))
    with pytest.raises(TransactionPendingError):
        await node.settle_cancellation(cancelled, signed, timeout=0)
    await until_known(lab, signed)
    await lab.mine()
    assert await node.settle_cancellation(cancelled, signed, timeout=20) == signed.hash
    await node.aclose()


async def test_a_block_that_another_server_behind_the_same_url_does_not_have_yet_is_waited_for(
    lab: Lab, anvil: RunningNode
) -> None:
    class Lagging(Between):
        behind = 3

        async def request(self, method: str, params: Params = ()) -> object:
            if method == "eth_getBlockByNumber" and self.behind:
                self.behind -= 1
                return None
            return await super().request(method, params)

    unsigned, signed = await have_mined(lab)
    rpc = Lagging(HttpRpc(anvil.rpc_url))
    node = EvmNode(ETHEREUM, rpc)
    settled = await node.settle(lab.intent(), ApproveStep(5000), unsigned, signed, timeout=20)
    assert (settled.hash, rpc.behind) == (signed.hash, 0)
    assert "eth_sendRawTransaction" not in rpc.asked
    await node.aclose()


async def test_bytes_that_a_node_takes_and_never_mines_are_pending_until_something_takes_their_place(lab: Lab) -> None:
    await lab.hold_mining()
    unsigned, signed = await send(lab)
    for timeout in (0, 0.3):
        with pytest.raises(TransactionPendingError, match="may still land") as caught:
            await lab.settle(unsigned, signed, timeout=timeout)
        assert caught.value.unseen_for is None, "bytes that are sent again cannot be lost"
    assert await lab.node.get_time_left(unsigned) is None
    assert await lab.node.can_land(unsigned)


async def test_what_a_wallet_sent_is_known_again_and_its_clock_starts_anew(lab: Lab) -> None:
    await lab.hold_mining()
    unsigned, signed = await send(lab)
    with pytest.raises(TransactionPendingError) as caught:
        await lab.settle_sent(unsigned, signed.hash, unseen_for=119)
    assert caught.value.unseen_for == 0.0
    await lab.rpc.request("anvil_dropTransaction", [signed.hash])
    with pytest.raises(TransactionPendingError) as caught:
        await lab.settle_sent(unsigned, signed.hash, unseen_for=119)
    assert caught.value.unseen_for is not None
    assert 119 <= caught.value.unseen_for < 120
    with pytest.raises(TransactionDroppedError, match="still free"):
        await lab.settle_sent(unsigned, signed.hash, unseen_for=120)


async def test_what_no_node_knows_is_dropped_after_its_time_in_total_however_short_each_call(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_DROPPED_AFTER", 1.5)
    unsigned = await lab.prepare()
    clock = asyncio.get_running_loop().time
    started, unseen = clock(), 0.0
    for _ in range(4):
        at = clock()
        with pytest.raises(TransactionPendingError) as caught:
            await lab.settle_sent(unsigned, UNKNOWN_HASH, unseen_for=unseen)
        assert caught.value.unseen_for is not None
        assert caught.value.unseen_for >= unseen
        await asyncio.sleep(0.25)
        unseen = caught.value.unseen_for + clock() - at
    await asyncio.sleep(max(0, started + 1.5 - clock()))
    with pytest.raises(TransactionDroppedError):
        await lab.settle_sent(unsigned, UNKNOWN_HASH, unseen_for=unseen + 0.5)


async def test_what_a_wallet_sent_is_not_dropped_while_a_rival_of_it_is_known(lab: Lab) -> None:
    await lab.hold_mining()
    first, grant = await send(lab)
    newest = await lab.node.replace(lab.intent(0), ApproveStep(0), first)
    for rivals in ([Rival(first, grant.hash)], [Rival(first, None), Rival(first, grant.hash)]):
        with pytest.raises(TransactionPendingError):
            await lab.node.settle(
                lab.intent(0),
                ApproveStep(0),
                newest,
                SentTransaction(UNKNOWN_HASH),
                timeout=0,
                rivals=rivals,
                unseen_for=500,
            )
    await lab.rpc.request("anvil_dropTransaction", [grant.hash])
    with pytest.raises(TransactionDroppedError):
        await lab.node.settle(
            lab.intent(0),
            ApproveStep(0),
            newest,
            SentTransaction(UNKNOWN_HASH),
            timeout=0,
            rivals=[Rival(first, grant.hash)],
            unseen_for=500,
        )


async def test_nonce_and_mempool_are_looked_at_in_every_call_and_a_replacement_is_told_in_one_without_time(
    lab: Lab,
) -> None:
    unsigned = await lab.prepare()
    foreign = sign(unsigned, lab.key, to=lab.owner, data="0x")
    await lab.node.send(foreign)
    await lab.mined(foreign)
    await lab.mine()
    clock = asyncio.get_running_loop().time
    started = clock()
    with pytest.raises(TransactionReplacedError) as caught:
        await lab.settle(unsigned, lab.sign(unsigned), timeout=0)
    assert caught.value.found == foreign.hash
    assert clock() - started < 3


async def test_what_only_a_server_ahead_knows_of_the_nonce_is_no_verdict_against_our_own_bytes(
    lab: Lab, anvil: RunningNode, impatient: None
) -> None:
    unsigned, signed = await have_mined(lab)
    clock = asyncio.get_running_loop().time
    caught_up = clock() + 2
    head = int(await lab.rpc.request("eth_blockNumber"), 16)

    class Behind(Between):
        """Servers of which those that know receipts, logs and blocks have not seen the newest block yet."""

        async def request(self, method: str, params: Params = ()) -> object:
            if clock() < caught_up:
                lagging = {"eth_getTransactionReceipt": None, "eth_getTransactionByHash": None, "eth_getLogs": []}
                if method in lagging:
                    return lagging[method]
                if method == "eth_blockNumber":
                    return hex(head - 1)
            return await super().request(method, params)

    node = EvmNode(ETHEREUM, Behind(HttpRpc(anvil.rpc_url)))
    with pytest.raises(TransactionPendingError):
        await node.settle(lab.intent(), ApproveStep(5000), unsigned, signed, timeout=0)
    settled = await node.settle(lab.intent(), ApproveStep(5000), unsigned, signed, timeout=20)
    await node.aclose()
    assert settled.hash == signed.hash
    assert clock() >= caught_up


async def test_where_history_does_not_tell_what_used_the_nonce_it_is_replaced_all_the_same(
    lab: Lab, anvil: RunningNode
) -> None:
    unsigned = await lab.prepare()
    foreign = sign(unsigned, lab.key, to=lab.owner, data="0x")
    await lab.node.send(foreign)
    await lab.mined(foreign)
    newest = hex(int(await lab.rpc.request("eth_blockNumber"), 16))

    async def prune(params: Params) -> None:
        assert isinstance(params, list)
        if params[1] not in {"latest", "pending", newest}:
            raise RpcError("missing trie node", code=-32000)

    node = EvmNode(ETHEREUM, Between(HttpRpc(anvil.rpc_url), eth_getTransactionCount=prune))
    with pytest.raises(TransactionReplacedError) as caught:
        await node.settle(lab.intent(), ApproveStep(5000), unsigned, lab.sign(unsigned), timeout=0)
    await node.aclose()
    assert caught.value.found is None


async def test_a_node_that_cannot_be_asked_about_the_nonce_ends_the_wait_in_words_and_in_time(
    lab: Lab, anvil: RunningNode
) -> None:
    unsigned, foreign = await lab.prepare(), sign(await lab.prepare(), lab.key, to=lab.owner, data="0x")
    await lab.node.send(foreign)
    await lab.mined(foreign)
    failing = False

    async def sometimes(_: Params) -> None:
        nonlocal failing
        failing = not failing
        if not failing:
            raise RpcError("busy", code=-32000)

    node = EvmNode(ETHEREUM, Between(HttpRpc(anvil.rpc_url), eth_getTransactionCount=sometimes))
    clock = asyncio.get_running_loop().time
    started = clock()
    with pytest.raises(TransactionPendingError, match="could not say what became of its nonce: busy"):
        await node.settle(lab.intent(), ApproveStep(5000), unsigned, lab.sign(unsigned), timeout=0)
    assert clock() - started < 3
    await node.aclose()


GARBAGE: list[Any] = [None, [], {}, "", "0x", "0xzz", 7, {"number": "0x1"}, {"blockHash": "x"}, [None], True]


@pytest.mark.parametrize(
    "method",
    [
        "eth_getTransactionReceipt",
        "eth_getTransactionByHash",
        "eth_getBlockByNumber",
        "eth_blockNumber",
        "eth_getTransactionCount",
        "eth_getLogs",
        "eth_call",
        "eth_getBalance",
        "eth_estimateGas",
        "eth_feeHistory",
        "eth_sendRawTransaction",
    ],
)
async def test_a_nodes_nonsense_is_always_a_chain_error(
    lab: Lab, anvil: RunningNode, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("_LOOK_AGAIN", 0.01), ("_READ_PAUSE", 0.01), ("_CHECK_EVERY", 0.01)):
        monkeypatch.setattr(watch, name, value)
    monkeypatch.setattr(review, "_LAG_PAUSES", ())
    unsigned, signed = await have_mined(lab)
    await lab.mine()
    settled = await lab.settle(unsigned, signed)
    later = await lab.prepare(7)
    rivals = [Rival(later, None), Rival(later, UNKNOWN_HASH)]

    class Odd(Between):
        says: Any = None

        async def request(self, asked: str, params: Params = ()) -> Any:
            return self.says if asked == method else await super().request(asked, params)

    rpc = Odd(HttpRpc(anvil.rpc_url))
    node, step = EvmNode(DEEP, rpc), ApproveStep(5000)
    waits: list[Callable[[], Awaitable[object]]] = [
        lambda: node.settle(lab.intent(), step, unsigned, signed, timeout=0, rivals=rivals),
        lambda: node.settle(lab.intent(), step, unsigned, SentTransaction(signed.hash), timeout=0, rivals=rivals),
        lambda: node.settle(lab.intent(), step, later, SentTransaction(UNKNOWN_HASH), timeout=0, unseen_for=500),
        lambda: node.settle_cancellation(unsigned, SentTransaction(UNKNOWN_HASH), timeout=0, rivals=rivals),
        lambda: node.replace(lab.intent(), step, later),
        lambda: node.replace(lab.intent(), None, later),
        lambda: node.review(lab.intent(), settled),
        lambda: node.get_nonce(signed.hash),
    ]
    for rpc.says in GARBAGE:
        for wait in waits:
            with suppress(ChainError):
                await wait()
    await node.aclose()
