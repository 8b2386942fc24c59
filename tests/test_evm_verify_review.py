"""What an approval that has settled is worth later, after spends, other approvals and reorganisations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from evm_lab import ETHEREUM, Between, Lab, open_lab

from chains import get_chain
from chains.errors import NodeError, RpcError
from chains.evm.node import EvmNode
from chains.rpc import HttpRpc, Params
from chains.types import AllowanceIntent, Settlement, Token
from delegation.sandbox import Sandbox
from delegation.sandbox.nodes import RunningNode


@pytest.fixture
async def lab(anvil: RunningNode, contracts: tuple[str, str]) -> AsyncIterator[Lab]:
    async with open_lab(anvil.rpc_url, contracts) as lab:
        yield lab


async def approve(lab: Lab, amount: int = 5000) -> Settlement:
    unsigned = await lab.prepare(amount)
    signed = lab.sign(unsigned)
    await lab.node.send(signed)
    settlement = await lab.settle(unsigned, signed, amount=amount)
    assert isinstance(settlement, Settlement)
    return settlement


async def test_an_approval_is_active_until_another_replaces_or_revokes_it(lab: Lab) -> None:
    first = await approve(lab)
    review = await lab.node.review(lab.intent(), first)
    assert (review.canonical, review.finality, review.state) == (True, "included", "active")
    assert review.now is not None
    assert (review.now.allowance, review.now.block) == (5000, first.block)

    revocation = await approve(lab, 0)
    review = await lab.node.review(lab.intent(), first)
    assert (review.canonical, review.state) == (True, "revoked")
    assert review.now is not None
    assert (review.now.allowance, review.now.block) == (0, revocation.block)
    assert (await lab.node.review(lab.intent(0), revocation)).state == "revoked"

    await approve(lab, 3000)
    assert (await lab.node.review(lab.intent(), first)).state == "replaced"
    assert (await lab.node.review(lab.intent(0), revocation)).state == "exceeds"
    await lab.rpc.request("anvil_mine", ["0x5"])
    assert (await lab.node.review(lab.intent(), first)).finality == "finalized"


async def test_what_the_spender_took_reduces_it(sandbox: Sandbox) -> None:
    network, wallet = sandbox.document.networks["linea"], await sandbox.new_wallet("evm")
    rpc = HttpRpc(network.rpc_url)
    node = EvmNode(replace(get_chain("linea"), settle_depth=1), rpc)
    token = Token("USDC", network.tokens["usdc"].address, 6)
    lab = Lab(rpc, node, token, network.delegation_contract, wallet.address, wallet.private_key)
    intent = AllowanceIntent(token, wallet.address, network.delegation_contract, 5000)
    settlement = await approve(lab)
    await sandbox.spend("linea", "usdc", wallet.address, 1200)
    review = await node.review(intent, settlement)
    assert review.state == "reduced"
    assert review.finality in {"soft", "hard"}
    assert review.now is not None
    assert review.now.allowance == 3800
    await node.aclose()


async def test_what_only_logs_could_tell_is_not_told_where_a_node_serves_none(lab: Lab, anvil: RunningNode) -> None:
    async def refuse(_: Params) -> None:
        raise RpcError("no logs here", code=-32005)

    first = await approve(lab)
    await approve(lab, 0)
    node = EvmNode(ETHEREUM, Between(HttpRpc(anvil.rpc_url), eth_getLogs=refuse))
    review = await node.review(lab.intent(), first)
    assert (review.canonical, review.state) == (True, None)
    assert review.now is not None
    assert review.now.allowance == 0
    await node.aclose()


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("mined", [0, 5])
async def test_a_settled_approval_whose_block_was_reorganised_away_is_not_canonical(
    lab: Lab, blocks: int, mined: int
) -> None:
    await lab.rpc.request("anvil_mine", ["0x5"])
    settlement = await approve(lab)
    await lab.rpc.request("anvil_rollback", [blocks])
    await lab.rpc.request("anvil_dropAllTransactions")
    if mined:
        await lab.rpc.request("anvil_mine", [hex(mined)])
    review = await lab.node.review(lab.intent(), settlement)
    assert (review.canonical, review.state, review.finality, review.now) == (
        False,
        "reorganised",
        "reorganised",
        None,
    )
    # The saved bytes bring it back, in another block, which is looked at again.
    assert (await approve(lab)).block != settlement.block


async def test_a_node_that_is_behind_cannot_say_whether_the_block_is_canonical(lab: Lab, anvil: RunningNode) -> None:
    settlement = await approve(lab)

    class Behind(Between):
        async def request(self, method: str, params: Params = ()) -> Any:
            if method == "eth_getBlockByNumber" and list(params)[:1] == [hex(settlement.block.number)]:
                return None
            return await super().request(method, params)

    node = EvmNode(ETHEREUM, Behind(HttpRpc(anvil.rpc_url)))
    with pytest.raises(NodeError, match="The node is behind") as caught:
        await node.review(lab.intent(), settlement)
    assert caught.value.expected == settlement.block.number
    await node.aclose()
