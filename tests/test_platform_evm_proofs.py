"""How the simulated platform judges proofs from EVM networks, and its list of wallets, over real HTTP and chains."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from eth_abi.abi import encode
from eth_account import Account
from eth_account.messages import encode_defunct
from judges import require_agreement
from web3 import AsyncHTTPProvider, AsyncWeb3

from delegation.sandbox.platform import create_app
from delegation.sandbox.servers import RunningServer
from delegation.sandbox.world import PlatformWorld, WorldNetwork, WorldToken

POST_APPROVAL = "/v1/delegation/evm/post-approval"
APPROVE = bytes.fromhex("095ea7b3")
TRANSFER = bytes.fromhex("a9059cbb")
USDC_5000 = 5_000_000_000
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

Proof = dict[str, Any]


@dataclass
class Bench:
    """What these tests work with: the platform's door, the chains, and wallets of their own."""

    sandbox: Any
    client: httpx.AsyncClient
    nodes: dict[str, AsyncWeb3[Any]]

    async def send(self, network: str, wallet: Any, to: str, data: bytes, *, wait: bool = True) -> str:
        web3 = self.nodes[network]
        base_fee = (await web3.eth.get_block("latest"))["baseFeePerGas"]
        transaction = {
            "chainId": self.sandbox.document.networks[network].chain_id,
            "nonce": await web3.eth.get_transaction_count(wallet.address, "pending"),
            "to": to,
            "data": data,
            "gas": 200_000,
            "maxFeePerGas": 2 * base_fee + 10**9,
            "maxPriorityFeePerGas": 10**9,
        }
        raw = Account.sign_transaction(transaction, wallet.private_key).raw_transaction
        sent = await web3.eth.send_raw_transaction(raw)
        if wait:
            await web3.eth.wait_for_transaction_receipt(sent, poll_latency=0.01)
        return sent.to_0x_hex()

    async def approve(self, wallet: Any, amount: int, network: str = "base", currency: str = "usdc") -> str:
        known = self.sandbox.document.networks[network]
        data = approve_calldata(known.delegation_contract, amount)
        return await self.send(network, wallet, known.tokens[currency].address, data)

    async def make_proof(
        self, wallet: Any, tx_hash: str, amount: str = "5000", network: str = "base", currency: str = "usdc"
    ) -> Proof:
        issued = (await self.client.get("/v1/delegation/token")).json()
        text = statement(wallet.address, self.sandbox.document.networks[network].chain_id, issued["nonce"])
        return {
            "address": wallet.address,
            "network": network,
            "currency": currency,
            "amount": amount,
            "txHash": tx_hash,
            "sigHash": sign(wallet, text),
            "sigMessage": text,
            "token": issued["token"],
        }

    async def delegate(self, wallet: Any, amount: int, network: str = "base", currency: str = "usdc") -> None:
        tx_hash = await self.approve(wallet, amount * 10**6, network, currency)
        answer = await self.post(await self.make_proof(wallet, tx_hash, str(amount), network, currency))
        assert answer == (201, "")

    async def post(self, proof: Any, *, narrower: bool = False) -> tuple[int, str]:
        response = await self.client.post(POST_APPROVAL, json=proof)
        if response.status_code == 201:
            assert response.json() == {"success": True}
            return 201, ""
        message = response.json()["message"]
        await require_agreement(self.client, proof, message, narrower=narrower)
        return response.status_code, message

    async def rows(self, wallet: Any) -> list[dict[str, str]]:
        listed = (await self.client.get("/v1/wallet/external")).raise_for_status().json()
        return [row for row in listed if row["address"] == wallet.address]

    async def priorities(self) -> list[dict[str, Any]]:
        response = await self.client.get("/v1/wallet/external/priority")
        return list(response.raise_for_status().json())


def approve_calldata(spender: str, amount: int) -> bytes:
    return APPROVE + encode(["address", "uint256"], [spender, amount])


def statement(address: str, chain_id: int, nonce: str) -> str:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return (
        f"wallet.example wants you to sign in with your Ethereum account:\n{address}\n\nProve address ownership\n\n"
        f"URI: https://wallet.example\nVersion: 1\nChain ID: {chain_id}\nNonce: {nonce}\nIssued At: {now}"
    )


def sign(wallet: Any, text: str) -> str:
    return Account.sign_message(encode_defunct(text=text), wallet.private_key).signature.to_0x_hex()


@pytest.fixture(scope="module")
async def bench(sandbox: Any) -> AsyncIterator[Bench]:
    gateway = sandbox.document.gateway
    headers = {"x-client-key": gateway.client_key, "Authorization": f"Bearer {gateway.access_token}"}
    nodes = {
        name: AsyncWeb3(AsyncHTTPProvider(sandbox.document.networks[name].rpc_url))
        for name in ("ethereum", "linea", "base")
    }
    async with httpx.AsyncClient(base_url=gateway.base_url, headers=headers) as client:
        yield Bench(sandbox, client, nodes)
    for web3 in nodes.values():
        await web3.provider.disconnect()


@pytest.fixture(scope="module")
async def owner(bench: Bench) -> Any:
    return await bench.sandbox.new_wallet("evm")


@pytest.fixture(scope="module")
async def approval(bench: Bench, owner: Any) -> str:
    return await bench.approve(owner, USDC_5000)


@pytest.fixture
async def proof(bench: Bench, owner: Any, approval: str) -> Proof:
    """A true proof of 5000 USDC on Base; each test below makes one thing in it untrue."""
    return await bench.make_proof(owner, approval)


class TestAcceptance:
    @pytest.mark.parametrize("network", ["ethereum", "linea", "base"])
    @pytest.mark.parametrize("currency", ["usdc", "usdt"])
    async def test_a_true_proof_registers_the_wallet(self, bench: Bench, network: str, currency: str):
        wallet = await bench.sandbox.new_wallet("evm")
        await bench.delegate(wallet, 5000, network, currency)
        assert await bench.rows(wallet) == [
            {
                "address": wallet.address,
                "currency": currency,
                "balance": "1000000",
                "allowance": "5000",
                "network": network,
            }
        ]

    async def test_fractions_are_exact(self, bench: Bench):
        wallet = await bench.sandbox.new_wallet("evm")
        proof = await bench.make_proof(wallet, await bench.approve(wallet, 1), "0.000001")
        assert await bench.post(proof) == (201, "")
        assert (await bench.rows(wallet))[0]["allowance"] == "0.000001"

    async def test_the_list_shows_what_is_left_after_a_spend(self, bench: Bench):
        wallet = await bench.sandbox.new_wallet("evm")
        await bench.delegate(wallet, 5000)
        await bench.sandbox.spend("base", "usdc", wallet.address, 1_200_500_000)
        row = (await bench.rows(wallet))[0]
        assert (row["balance"], row["allowance"]) == ("998799.5", "3799.5")

    async def test_delegating_again_keeps_id_and_priority(self, bench: Bench):
        wallet = await bench.sandbox.new_wallet("evm")
        await bench.delegate(wallet, 5000)
        before = await bench.priorities()
        await bench.delegate(wallet, 10_000)
        assert await bench.priorities() == before
        assert [row["allowance"] for row in await bench.rows(wallet)] == ["10000"]

    async def test_amount_0_is_a_proof_of_revocation_and_the_row_stays(self, bench: Bench):
        wallet = await bench.sandbox.new_wallet("evm")
        await bench.delegate(wallet, 5000)
        await bench.delegate(wallet, 0)
        assert [row["allowance"] for row in await bench.rows(wallet)] == ["0"]

    async def test_a_revocation_that_the_platform_was_not_told_of_shows_in_the_list(self, bench: Bench):
        wallet = await bench.sandbox.new_wallet("evm")
        await bench.delegate(wallet, 5000)
        await bench.approve(wallet, 0)
        assert [row["allowance"] for row in await bench.rows(wallet)] == ["0"]

    async def test_it_is_quick(self, bench: Bench):
        wallet = await bench.sandbox.new_wallet("evm")
        proof = await bench.make_proof(wallet, await bench.approve(wallet, USDC_5000))
        start = asyncio.get_running_loop().time()
        assert await bench.post(proof) == (201, "")
        # A tenth of a second is the goal; the rest is for a busy machine.
        assert asyncio.get_running_loop().time() - start < 0.5


MALFORMED: list[tuple[str, Any, str]] = [
    ("address", "0x11", "address must match"),
    ("address", "0X" + "1" * 40, "address must match"),
    ("address", "0x" + "1" * 40 + "\n", "address must match"),
    ("txHash", "0x" + "1" * 63, "txHash must match"),
    ("txHash", "1" * 64, "txHash must match"),
    ("sigHash", "0x" + "1" * 156, "sigHash must match"),
    ("amount", "1e3", "amount must match"),
    ("amount", "-1", "amount must match"),
    ("amount", " 5", "amount must match"),
    ("amount", "5,000", "amount must match"),
    ("amount", "5.", "amount must match"),
    ("amount", "\uff15", "amount must match"),
    ("amount", "5000.0000001", "amount has more than 6 decimals"),
    ("amount", 5000, "amount must be a non-empty string"),
    ("amount", None, "amount must be a non-empty string"),
    ("token", "", "token must be a non-empty string"),
    ("network", "moon", "network is not supported"),
    ("network", "solana", "network is not supported"),
    ("network", "Base", "network is not supported"),
    ("currency", "eure", "currency is not supported"),
    ("currency", "USDC", "currency is not supported"),
]


class TestMalformedProofs:
    @pytest.mark.parametrize(("field", "value", "reason"), MALFORMED)
    async def test_a_field_that_breaks_its_pattern_is_422(
        self, bench: Bench, proof: Proof, field: str, value: Any, reason: str
    ):
        status, text = await bench.post(proof | {field: value})
        assert (status, text[: len("Validation error: " + reason)]) == (422, "Validation error: " + reason)

    @pytest.mark.parametrize(
        "field", ["address", "network", "currency", "amount", "txHash", "sigHash", "sigMessage", "token"]
    )
    async def test_a_missing_field_is_422(self, bench: Bench, proof: Proof, field: str):
        del proof[field]
        assert await bench.post(proof) == (422, f"Validation error: {field} must be a non-empty string")

    async def test_a_ninth_field_is_422(self, bench: Bench, proof: Proof):
        assert await bench.post(proof | {"nonce": "x"}) == (422, "Validation error: unknown field nonce")

    async def test_a_list_is_422(self, bench: Bench, proof: Proof):
        assert await bench.post([proof]) == (422, "Validation error: the body must be a JSON object")

    @pytest.mark.parametrize("body", [b"", b"{'a':", b"\xff", b'{"amount": NaN}', b'{"network": "\\ud800"}'])
    async def test_a_body_that_is_not_json_is_400(self, bench: Bench, body: bytes):
        headers = {"content-type": "application/json"}
        response = await bench.client.post(POST_APPROVAL, content=body, headers=headers)
        assert (response.status_code, response.json()) == (400, {"message": "Bad request: the body is not JSON"})

    async def test_a_body_that_is_not_declared_as_json_is_400(self, bench: Bench, proof: Proof):
        response = await bench.client.post(POST_APPROVAL, content=json.dumps(proof))
        answer = {"message": "Bad request: Content-Type must be application/json"}
        assert (response.status_code, response.json()) == (400, answer)


class TestDelegationTokens:
    async def test_an_unknown_token_is_refused(self, bench: Bench, proof: Proof):
        token = f"SBX_{secrets.token_hex(16)}"
        assert await bench.post(proof | {"token": token}) == (400, "Delegation token not found")

    async def test_a_token_lives_ten_minutes_of_the_platforms_clock(self, bench: Bench, proof: Proof):
        try:
            await bench.client.post("/sandbox/clock", json={"advance": 595})
            assert (await bench.post(proof | {"amount": "1"}))[1] == "Approval amount does not match"
            await bench.client.post("/sandbox/clock", json={"advance": 6})
            assert await bench.post(proof) == (400, "Delegation token expired")
        finally:
            await bench.client.delete("/sandbox/clock")

    async def test_a_token_is_burned_by_success_and_only_by_success(self, bench: Bench):
        wallet = await bench.sandbox.new_wallet("evm", tokens=False)
        proof = await bench.make_proof(wallet, await bench.approve(wallet, USDC_5000))
        assert (await bench.post(proof | {"amount": "1"}))[0] == 400
        assert await bench.post(proof) == (201, "")
        assert await bench.post(proof) == (400, "Delegation token already used")

    async def test_of_two_proofs_at_the_same_time_one_is_taken(self, bench: Bench):
        wallet = await bench.sandbox.new_wallet("evm", tokens=False)
        proof = await bench.make_proof(wallet, await bench.approve(wallet, USDC_5000))
        answers = await asyncio.gather(*(bench.post(proof, narrower=True) for _ in range(2)))
        assert sorted(answers) == [(201, ""), (400, "Delegation token already used")]

    async def test_an_approval_whose_proof_came_too_late_can_be_proven_with_a_new_token(self, bench: Bench):
        wallet = await bench.sandbox.new_wallet("evm", tokens=False)
        tx_hash = await bench.approve(wallet, USDC_5000)
        assert (await bench.post(await bench.make_proof(wallet, tx_hash) | {"token": "lost"}))[0] == 400
        assert await bench.post(await bench.make_proof(wallet, tx_hash)) == (201, "")

    async def test_a9_a_transaction_that_was_accepted_is_not_taken_a_second_time(self, bench: Bench):
        wallet = await bench.sandbox.new_wallet("evm", tokens=False)
        tx_hash = await bench.approve(wallet, USDC_5000)
        assert await bench.post(await bench.make_proof(wallet, tx_hash)) == (201, "")
        again = await bench.make_proof(wallet, tx_hash.upper().replace("0X", "0x"))
        assert await bench.post(again, narrower=True) == (409, "Transaction already used")


class TestStatementsAndSignatures:
    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (lambda text: text.replace("Chain ID: 8453", "Chain ID: 1"), "chain id is 1, expected 8453"),
            (lambda text: text.replace("Nonce: ", "Nonce: 0"), "nonce is "),
            (lambda text: text.replace("Ethereum", "Solana"), "account kind is Solana"),
            (lambda text: text + "\nExpiration Time: 2020-01-01T00:00:00Z", "expired"),
            (lambda text: text.replace("\n", "\r\n"), "not an EIP-4361 statement"),
            (lambda text: "Prove address ownership", "not an EIP-4361 statement"),
        ],
    )
    async def test_a_signed_statement_that_is_not_the_right_one_is_refused(
        self, bench: Bench, owner: Any, proof: Proof, change: Callable[[str], str], reason: str
    ):
        text = change(proof["sigMessage"])
        status, answer = await bench.post(proof | {"sigMessage": text, "sigHash": sign(owner, text)})
        assert status == 400
        assert answer.startswith(f"Invalid sigMessage: {reason}")

    async def test_a_statement_by_another_address_is_refused(self, bench: Bench, proof: Proof):
        other = await bench.sandbox.new_wallet("evm", gas=False, tokens=False)
        text = proof["sigMessage"].replace(proof["address"], other.address)
        status, answer = await bench.post(proof | {"sigMessage": text, "sigHash": sign(other, text)})
        assert (status, answer.startswith("Invalid sigMessage: address is")) == (400, True)

    async def test_an_address_in_lower_case_is_refused_as_the_platform_does(
        self, bench: Bench, owner: Any, proof: Proof
    ):
        address = proof["address"].lower()
        text = proof["sigMessage"].replace(proof["address"], address)
        spelt = proof | {"address": address, "sigMessage": text, "sigHash": sign(owner, text)}
        answer = await bench.post(spelt)
        assert answer == (400, "Invalid sigMessage: address is not in its EIP-55 spelling")

    async def test_a_text_that_was_changed_after_signing_is_refused(self, bench: Bench, proof: Proof):
        text = proof["sigMessage"].replace("wallet.example wants", "wallets.example wants")
        assert await bench.post(proof | {"sigMessage": text}) == (400, "Invalid signature")

    async def test_a_signature_by_another_key_is_refused(self, bench: Bench, proof: Proof):
        other = await bench.sandbox.new_wallet("evm", gas=False, tokens=False)
        signature = sign(other, proof["sigMessage"])
        assert await bench.post(proof | {"sigHash": signature}) == (400, "Invalid signature")

    @pytest.mark.parametrize("form", ["high s", "v is 0 or 1", "v is 35 or more", "r is zero", "all zero"])
    async def test_a_signature_in_a_form_that_is_not_canonical_is_refused(self, bench: Bench, proof: Proof, form: str):
        signature = bytes.fromhex(proof["sigHash"][2:])
        r, s, v = signature[:32], signature[32:64], signature[64]
        changed = {
            "high s": r + (CURVE_ORDER - int.from_bytes(s, "big")).to_bytes(32, "big") + bytes([27 + 28 - v]),
            "v is 0 or 1": r + s + bytes([v - 27]),
            "v is 35 or more": r + s + bytes([v - 27 + 35]),
            "r is zero": bytes(32) + s + bytes([v]),
            "all zero": bytes(65),
        }[form]
        # v 0 or 1 is put right by the toolkit, which says so; the platform takes the canonical form alone.
        answer = await bench.post(proof | {"sigHash": "0x" + changed.hex()}, narrower=form == "v is 0 or 1")
        assert answer == (400, "Invalid signature")


class TestTransactions:
    async def refuse(
        self, bench: Bench, wallet: Any, tx_hash: str, reason: str, amount: str = "5000", *, narrower: bool = False
    ) -> None:
        proof = await bench.make_proof(wallet, tx_hash, amount)
        assert await bench.post(proof, narrower=narrower) == (400, reason)
        assert await bench.rows(wallet) == []

    async def test_one_that_nobody_knows_is_refused(self, bench: Bench, proof: Proof):
        assert await bench.post(proof | {"txHash": "0x" + "11" * 32}) == (400, "Transaction not found")

    async def test_one_of_another_network_is_refused(self, bench: Bench):
        wallet = await bench.sandbox.new_wallet("evm", tokens=False)
        await self.refuse(bench, wallet, await bench.approve(wallet, USDC_5000, "linea"), "Transaction not found")

    async def test_one_that_is_still_pending_is_refused_and_taken_once_confirmed(self, bench: Bench):
        wallet = await bench.sandbox.new_wallet("evm", tokens=False)
        known = bench.sandbox.document.networks["base"]
        data = approve_calldata(known.delegation_contract, USDC_5000)
        request = bench.nodes["base"].provider.make_request
        await request("evm_setAutomine", [False])
        try:
            tx_hash = await bench.send("base", wallet, known.tokens["usdc"].address, data, wait=False)
            proof = await bench.make_proof(wallet, tx_hash)
            assert await bench.post(proof) == (400, "Transaction not confirmed")
        finally:
            await request("evm_setAutomine", [True])
            await request("evm_mine", [])
        assert await bench.post(proof) == (201, "")

    async def test_one_that_failed_is_refused(self, bench: Bench):
        wallet = await bench.sandbox.new_wallet("evm", tokens=False)
        await bench.approve(wallet, 1, "ethereum", "usdt")
        failed = await bench.approve(wallet, USDC_5000, "ethereum", "usdt")  # the zero-first rule of Tether
        proof = await bench.make_proof(wallet, failed, network="ethereum", currency="usdt")
        assert await bench.post(proof) == (400, "Transaction failed")

    async def test_one_by_another_wallet_is_refused(self, bench: Bench, approval: str):
        wallet = await bench.sandbox.new_wallet("evm", tokens=False)
        await self.refuse(bench, wallet, approval, "Transaction was not sent by the wallet")

    async def test_one_to_another_token_is_refused(self, bench: Bench):
        wallet = await bench.sandbox.new_wallet("evm", tokens=False)
        tx_hash = await bench.approve(wallet, USDC_5000, currency="usdt")
        await self.refuse(bench, wallet, tx_hash, "Transaction is not to the token contract")

    async def test_one_that_does_something_else_is_refused(self, bench: Bench):
        wallet = await bench.sandbox.new_wallet("evm")
        known = bench.sandbox.document.networks["base"]
        data = TRANSFER + encode(["address", "uint256"], [known.delegation_contract, USDC_5000])
        tx_hash = await bench.send("base", wallet, known.tokens["usdc"].address, data)
        await self.refuse(bench, wallet, tx_hash, "Transaction is not an approve")

    async def test_one_with_more_than_an_approve_in_it_is_refused(self, bench: Bench):
        wallet = await bench.sandbox.new_wallet("evm", tokens=False)
        known = bench.sandbox.document.networks["base"]
        data = approve_calldata(known.delegation_contract, USDC_5000) + b"\x00"
        tx_hash = await bench.send("base", wallet, known.tokens["usdc"].address, data)
        await self.refuse(bench, wallet, tx_hash, "Transaction is not an approve", narrower=True)

    async def test_one_for_another_spender_is_refused(self, bench: Bench):
        wallet = await bench.sandbox.new_wallet("evm", tokens=False)
        known = bench.sandbox.document.networks["base"]
        spender = known.delegation_contract[:-1] + ("0" if known.delegation_contract[-1] != "0" else "1")
        data = approve_calldata(spender.lower(), USDC_5000)
        tx_hash = await bench.send("base", wallet, known.tokens["usdc"].address, data)
        await self.refuse(bench, wallet, tx_hash, "Approval is for another spender")

    @pytest.mark.parametrize("approved", [5000, USDC_5000 - 1, USDC_5000 + 1, 2**256 - 1])
    async def test_one_of_another_amount_is_refused(self, bench: Bench, approved: int):
        wallet = await bench.sandbox.new_wallet("evm", tokens=False)
        await self.refuse(bench, wallet, await bench.approve(wallet, approved), "Approval amount does not match")


class TestForgetting:
    async def test_all_wallets_can_be_forgotten_and_are_listed_again_by_a_new_proof(self, bench: Bench):
        wallet = await bench.sandbox.new_wallet("evm")
        await bench.delegate(wallet, 5)
        (await bench.client.delete("/sandbox/wallets")).raise_for_status()
        assert await bench.rows(wallet) == []
        await bench.delegate(wallet, 6)
        assert [row["allowance"] for row in await bench.rows(wallet)] == ["6"]


class TestProofLog:
    async def test_it_tells_what_was_received_and_answered_but_never_the_token(self, bench: Bench):
        wallet = await bench.sandbox.new_wallet("evm", tokens=False)
        proof = await bench.make_proof(wallet, await bench.approve(wallet, USDC_5000))
        await bench.post(proof | {"amount": "1"})
        await bench.post(proof)
        response = await bench.client.get("/sandbox/proofs")
        assert proof["token"] not in response.text
        known = {
            "network": "base",
            "currency": "usdc",
            "address": wallet.address,
            "tx_hash": proof["txHash"],
        }
        received = [entry for entry in response.json() if entry["address"] == wallet.address]
        for entry in received:
            assert datetime.fromisoformat(entry.pop("received_at")).tzinfo is not None
        assert received == [
            known
            | {"amount": "1", "accepted": False, "status": 400, "message": "Approval amount does not match"}
            | {"second_judge": "REFUTED"},
            known | {"amount": "5000", "accepted": True, "status": 201, "message": "", "second_judge": "VERIFIED"},
        ]

    async def test_a_proof_whose_answer_was_lost_was_accepted(self, bench: Bench):
        wallet = await bench.sandbox.new_wallet("evm", tokens=False)
        proof = await bench.make_proof(wallet, await bench.approve(wallet, USDC_5000))
        lose = {"method": "POST", "path": POST_APPROVAL, "lose_answer": True}
        await bench.client.post("/sandbox/misbehave", json=lose)
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await bench.post(proof)
        assert [row["allowance"] for row in await bench.rows(wallet)] == ["5000"]


class TestPriorities:
    async def put(self, bench: Bench, wallets: Any) -> tuple[int, Any]:
        response = await bench.client.put("/v1/wallet/external/priority", json={"wallets": wallets})
        return response.status_code, response.json()

    async def test_a_new_wallet_is_last_and_its_id_is_new(self, bench: Bench):
        wallet = await bench.sandbox.new_wallet("evm", tokens=False)
        before = await bench.priorities()
        await bench.delegate(wallet, 5)
        *others, last = await bench.priorities()
        assert others == before
        assert last == {
            "id": max((row["id"] for row in before), default=550) + 1,
            "address": wallet.address,
            "currency": "usdc",
            "network": "base",
            "priority": max((row["priority"] for row in before), default=0) + 1,
        }

    async def test_all_wallets_can_be_put_in_another_order(self, bench: Bench):
        await bench.delegate(await bench.sandbox.new_wallet("evm", tokens=False), 5)
        await bench.delegate(await bench.sandbox.new_wallet("evm", tokens=False), 5)
        ids = [row["id"] for row in await bench.priorities()]
        wanted = [{"id": number, "priority": place} for place, number in enumerate(reversed(ids), 1)]
        assert await self.put(bench, wanted) == (200, {"success": True})
        assert [row["id"] for row in await bench.priorities()] == ids[::-1]

    async def test_what_is_not_an_order_of_all_wallets_is_refused_and_changes_nothing(self, bench: Bench):
        await bench.delegate(await bench.sandbox.new_wallet("evm", tokens=False), 5)
        await bench.delegate(await bench.sandbox.new_wallet("evm", tokens=False), 5)
        before = await bench.priorities()
        whole = [{"id": row["id"], "priority": row["priority"]} for row in before]
        duplicate = (422, {"message": "Duplicate priority values not allowed"})
        invalid = (422, {"message": "Invalid priority configuration"})
        assert await self.put(bench, [row | {"priority": 1} for row in whole]) == duplicate
        assert await self.put(bench, whole[1:]) == invalid
        assert await self.put(bench, [*whole, {"id": 1, "priority": 9999}]) == invalid
        assert await self.put(bench, [*whole, {"id": whole[0]["id"], "priority": 9999}]) == invalid
        assert await self.put(bench, [row | {"priority": str(row["priority"])} for row in whole]) == invalid
        assert await self.put(bench, [row | {"priority": -row["priority"]} for row in whole]) == invalid
        assert await self.put(bench, [row | {"network": "base"} for row in whole]) == invalid
        assert await self.put(bench, "all") == invalid
        assert await bench.priorities() == before


async def test_a_platform_that_cannot_reach_the_chain_answers_500_and_not_a_verdict(bench: Bench, proof: Proof):
    known = bench.sandbox.document.networks["base"]
    tokens = {"usdc": WorldToken(known.tokens["usdc"].address, 6)}
    network = WorldNetwork(
        "base", "evm", "8453", "http://127.0.0.1:1", known.delegation_contract, tokens, "0x" + "1" * 64
    )
    world = PlatformWorld("key", "token", {"base": network})
    headers = {"x-client-key": "key", "Authorization": "Bearer token"}
    async with (
        RunningServer(create_app(world)) as server,
        httpx.AsyncClient(base_url=server.base_url, headers=headers) as client,
    ):
        cut_off = Bench(bench.sandbox, client, bench.nodes)
        wallet = await bench.sandbox.new_wallet("evm", tokens=False)
        answer = await cut_off.post(await cut_off.make_proof(wallet, proof["txHash"]))
        assert answer == (500, "Internal server error")
        query = {"faucet": "true", "network": "base", "address": wallet.address}
        dripped = await client.get("/v1/delegation/token", params=query)
        assert (dripped.status_code, dripped.json()["faucetStatus"]) == (207, "declined")
