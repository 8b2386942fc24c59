"""Published contracts of others: each is deployed and answers one call as its authors wrote it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from eth_abi.abi import decode, encode
from third_party import SOURCES, deploy, deploy_safe, deploy_usdc, first_account

from chains.errors import RpcError
from chains.rpc import HttpRpc
from delegation.sandbox.artifacts import encode_call
from delegation.sandbox.evm_network import transact
from delegation.sandbox.nodes import start_anvil

SPENDER = "0x" + "be" * 20


@pytest.fixture(scope="module")
async def rpc() -> AsyncIterator[HttpRpc]:
    with start_anvil(59144) as node:
        rpc = HttpRpc(node.rpc_url)
        try:
            yield rpc
        finally:
            await rpc.aclose()


async def ask(rpc: HttpRpc, to: str, returns: str, signature: str, *arguments: Any) -> Any:
    answer = await rpc.request("eth_call", [{"to": to, "data": encode_call(signature, *arguments)}, "latest"])
    return decode([returns], bytes.fromhex(answer[2:]))[0]


def test_every_package_is_pinned_by_its_hash():
    lock = json.loads((SOURCES / "package-lock.json").read_text())["packages"]
    assert all(each["integrity"].startswith("sha512-") for path, each in lock.items() if path)


@pytest.mark.parametrize("name", ["OpenZeppelin4Token", "OpenZeppelin5Token", "SoladyToken", "usdc", "WETH9"])
async def test_a_token_of_others_keeps_an_allowance(rpc: HttpRpc, name: str):
    token = await deploy_usdc(rpc) if name == "usdc" else await deploy(rpc, name)
    owner = await first_account(rpc)
    if name == "WETH9":
        await transact(rpc, {"from": owner, "to": token, "value": hex(1000)})
    else:
        await transact(rpc, {"from": owner, "to": token, "data": encode_call("mint(address,uint256)", owner, 1000)})
    approval = encode_call("approve(address,uint256)", SPENDER, 700)
    receipt = await transact(rpc, {"from": owner, "to": token, "data": approval})
    assert len(receipt["logs"]) == 1
    assert await ask(rpc, token, "uint256", "allowance(address,address)", owner, SPENDER) == 700
    assert await ask(rpc, token, "uint256", "balanceOf(address)", owner) == 1000
    assert await ask(rpc, token, "uint8", "decimals()") == (18 if name == "WETH9" else 6)


async def test_the_safe_of_others_knows_its_owners_and_its_version(rpc: HttpRpc):
    owner = await first_account(rpc)
    safe = await deploy_safe(rpc, [owner])
    assert await ask(rpc, safe, "string", "VERSION()") == "1.4.1"
    assert await ask(rpc, safe, "bool", "isOwner(address)", owner)
    # Its handler answers through the proxy: an empty signature means "signed on chain", which this was not.
    with pytest.raises(RpcError, match="Hash not approved"):
        await ask(rpc, safe, "bytes4", "isValidSignature(bytes32,bytes)", bytes(32), b"")


async def test_the_entry_point_of_others_counts_the_operations_of_an_account(rpc: HttpRpc):
    entry = await deploy(rpc, "EntryPoint")
    factory = await deploy(rpc, "SimpleAccountFactory", entry)
    owner = await first_account(rpc)
    creation = encode_call("createAccount(address,uint256)", owner, 7)
    await transact(rpc, {"from": owner, "to": factory, "data": creation})
    account = await ask(rpc, factory, "address", "getAddress(address,uint256)", owner, 7)
    assert await ask(rpc, account, "address", "owner()") == owner.lower()
    assert await ask(rpc, account, "address", "entryPoint()") == entry.lower()
    assert await ask(rpc, entry, "uint256", "getNonce(address,uint192)", account, 0) == 0


async def test_the_multicall_of_others_calls_a_token(rpc: HttpRpc):
    multicall, token = await deploy(rpc, "Multicall3"), await deploy(rpc, "OpenZeppelin5Token")
    call = bytes.fromhex(encode_call("decimals()")[2:])
    data = "0x82ad56cb" + encode(["(address,bool,bytes)[]"], [[(token, False, call)]]).hex()  # aggregate3
    answer = await rpc.request("eth_call", [{"to": multicall, "data": data}, "latest"])
    ((succeeded, returned),) = decode(["(bool,bytes)[]"], bytes.fromhex(answer[2:]))[0]
    assert succeeded
    assert int.from_bytes(returned) == 6


async def test_permit2_of_others_passes_on_what_it_was_allowed(rpc: HttpRpc):
    permit2, token = await deploy(rpc, "Permit2"), await deploy(rpc, "OpenZeppelin5Token")
    owner, spender = (await rpc.request("eth_accounts"))[:2]
    for to, call in (
        (token, encode_call("mint(address,uint256)", owner, 1000)),
        (token, encode_call("approve(address,uint256)", permit2, 2**256 - 1)),
        (permit2, encode_call("approve(address,address,uint160,uint48)", token, spender, 600, 2**40)),
    ):
        await transact(rpc, {"from": owner, "to": to, "data": call})
    spend = encode_call("transferFrom(address,address,uint160,address)", owner, SPENDER, 250, token)
    await transact(rpc, {"from": spender, "to": permit2, "data": spend})
    assert await ask(rpc, token, "uint256", "balanceOf(address)", SPENDER) == 250
