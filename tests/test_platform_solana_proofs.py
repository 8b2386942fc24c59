"""How the simulated platform judges proofs from Solana, over real HTTP and a real Solana node."""

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from judges import require_agreement
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

POST_APPROVAL = "/v1/delegation/solana/post-approval"
TOKEN_PROGRAM = Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
ATA_PROGRAM = Pubkey.from_string("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
COMPUTE_BUDGET = Pubkey.from_string("ComputeBudget111111111111111111111111111111")
SYSTEM_PROGRAM = Pubkey.from_string("11111111111111111111111111111111")
USDC_5000 = 5_000_000_000
# The order of the prime subgroup of edwards25519.
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493

Proof = dict[str, Any]


@dataclass
class Bench:
    """What these tests work with: the platform's door, the chain, and wallets of their own."""

    sandbox: Any
    client: httpx.AsyncClient

    @property
    def delegate(self) -> Pubkey:
        return Pubkey.from_string(self.sandbox.document.networks["solana"].delegation_contract)

    def mint(self, currency: str = "usdc") -> Pubkey:
        return Pubkey.from_string(self.sandbox.document.networks["solana"].tokens[currency].address)

    async def rpc(self, method: str, *params: Any) -> Any:
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = (await self.client.post(self.sandbox.document.networks["solana"].rpc_url, json=call)).json()
        assert "error" not in answer, answer
        return answer["result"]

    async def send(self, *instructions: Instruction, by: Sequence[Keypair], legacy: bool = False) -> str:
        latest = await self.rpc("getLatestBlockhash", {"commitment": "confirmed"})
        blockhash = Hash.from_string(latest["value"]["blockhash"])
        payer = by[0].pubkey()
        message = (
            Message.new_with_blockhash(instructions, payer, blockhash)
            if legacy
            else MessageV0.try_compile(payer, instructions, [], blockhash)
        )
        raw = base64.b64encode(bytes(VersionedTransaction(message, by))).decode()
        options = {"encoding": "base64", "skipPreflight": True}
        signature: str = await self.rpc("sendTransaction", raw, options)
        for _ in range(500):
            status = (await self.rpc("getSignatureStatuses", [signature]))["value"][0]
            if status is not None and status["confirmationStatus"] in ("confirmed", "finalized"):
                return signature
            await asyncio.sleep(0.01)
        raise AssertionError(f"{signature} was not confirmed")

    async def make_proof(self, wallet: Any, tx_hash: str, amount: str = "5000", currency: str = "usdc") -> Proof:
        issued = (await self.client.get("/v1/delegation/token")).json()
        text = statement(wallet.address, issued["nonce"])
        return {
            "address": wallet.address,
            "network": "solana",
            "currency": currency,
            "amount": amount,
            "txHash": tx_hash,
            "sigHash": sign(wallet, text),
            "sigMessage": text,
            "token": issued["token"],
        }

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


def key(wallet: Any) -> Keypair:
    return Keypair.from_base58_string(wallet.private_key)


def statement(address: str, nonce: str) -> str:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return (
        f"wallet.example wants you to sign in with your Solana account:\n{address}\n\nProve address ownership\n\n"
        f"URI: https://wallet.example\nVersion: 1\nChain ID: 1\nNonce: {nonce}\nIssued At: {now}"
    )


def sign(wallet: Any, text: str) -> str:
    return str(key(wallet).sign_message(text.encode()))


def token_account(owner: Pubkey, mint: Pubkey) -> Pubkey:
    return Pubkey.find_program_address([bytes(owner), bytes(TOKEN_PROGRAM), bytes(mint)], ATA_PROGRAM)[0]


def approve(source: Pubkey, delegate: Pubkey, owner: Pubkey, amount: int) -> Instruction:
    accounts = [AccountMeta(source, False, True), AccountMeta(delegate, False, False), AccountMeta(owner, True, False)]
    return Instruction(TOKEN_PROGRAM, b"\x04" + amount.to_bytes(8, "little"), accounts)


def approve_checked(source: Pubkey, mint: Pubkey, delegate: Pubkey, owner: Pubkey, amount: int) -> Instruction:
    accounts = [
        AccountMeta(source, False, True),
        AccountMeta(mint, False, False),
        AccountMeta(delegate, False, False),
        AccountMeta(owner, True, False),
    ]
    return Instruction(TOKEN_PROGRAM, b"\x0d" + amount.to_bytes(8, "little") + b"\x06", accounts)


def revoke(source: Pubkey, owner: Pubkey) -> Instruction:
    return Instruction(TOKEN_PROGRAM, b"\x05", [AccountMeta(source, False, True), AccountMeta(owner, True, False)])


def create_token_account(owner: Pubkey, mint: Pubkey, data: bytes) -> Instruction:
    accounts = [
        AccountMeta(owner, True, True),
        AccountMeta(token_account(owner, mint), False, True),
        AccountMeta(owner, False, False),
        AccountMeta(mint, False, False),
        AccountMeta(SYSTEM_PROGRAM, False, False),
        AccountMeta(TOKEN_PROGRAM, False, False),
    ]
    return Instruction(ATA_PROGRAM, data, accounts)


@pytest.fixture(scope="module")
async def bench(sandbox: Any) -> AsyncIterator[Bench]:
    gateway = sandbox.document.gateway
    headers = {"x-client-key": gateway.client_key, "Authorization": f"Bearer {gateway.access_token}"}
    async with httpx.AsyncClient(base_url=gateway.base_url, headers=headers) as client:
        yield Bench(sandbox, client)


class Owner:
    """A fresh wallet with its USDC account, and the instructions that it may send."""

    def __init__(self, bench: Bench, wallet: Any) -> None:
        self.wallet = wallet
        self.key = key(wallet)
        self.address = self.key.pubkey()
        self.source = token_account(self.address, bench.mint())
        self.bench = bench

    def approve(self, amount: int, delegate: Pubkey | None = None) -> Instruction:
        return approve(self.source, delegate or self.bench.delegate, self.address, amount)

    def approve_checked(self, amount: int) -> Instruction:
        return approve_checked(self.source, self.bench.mint(), self.bench.delegate, self.address, amount)

    def revoke(self) -> Instruction:
        return revoke(self.source, self.address)

    async def send(self, *instructions: Instruction) -> str:
        return await self.bench.send(*instructions, by=[self.key])

    async def submit(self, *instructions: Instruction, amount: str = "5000", narrower: bool = False) -> tuple[int, str]:
        """Send the transaction and post its proof."""
        proof = await self.bench.make_proof(self.wallet, await self.send(*instructions), amount)
        return await self.bench.post(proof, narrower=narrower)


@pytest.fixture
async def owner(bench: Bench) -> Owner:
    return Owner(bench, await bench.sandbox.new_wallet("solana"))


@pytest.fixture(scope="module")
async def approved(bench: Bench) -> tuple[Owner, str]:
    owner = Owner(bench, await bench.sandbox.new_wallet("solana"))
    return owner, await owner.send(owner.approve(USDC_5000))


@pytest.fixture
async def proof(bench: Bench, approved: tuple[Owner, str]) -> Proof:
    """A true proof of 5000 USDC; the tests make one thing in it untrue."""
    owner, tx_hash = approved
    return await bench.make_proof(owner.wallet, tx_hash)


class TestAcceptance:
    async def test_a_plain_approve_registers_the_wallet(self, bench: Bench, owner: Owner):
        assert await owner.submit(owner.approve(USDC_5000)) == (201, "")
        assert await bench.rows(owner.wallet) == [
            {
                "address": owner.wallet.address,
                "currency": "usdc",
                "balance": "1000000",
                "allowance": "5000",
                "network": "solana",
            }
        ]

    async def test_the_order_of_the_shipping_client_is_taken(self, owner: Owner):
        price = Instruction(COMPUTE_BUDGET, b"\x03" + (10_000).to_bytes(8, "little"), [])
        limit = Instruction(COMPUTE_BUDGET, b"\x02" + (40_000).to_bytes(4, "little"), [])
        assert await owner.submit(price, owner.approve(USDC_5000), limit) == (201, "")

    async def test_the_token_account_may_be_created_on_the_way(self, bench: Bench):
        owner = Owner(bench, await bench.sandbox.new_wallet("solana", tokens=False))
        create = create_token_account(owner.address, bench.mint(), b"")
        assert await owner.submit(create, owner.approve(USDC_5000)) == (201, "")
        row = (await bench.rows(owner.wallet))[0]
        assert (row["balance"], row["allowance"]) == ("0", "5000")

    async def test_a_transaction_in_the_legacy_format_is_taken(self, bench: Bench, owner: Owner):
        tx_hash = await bench.send(owner.approve(USDC_5000), by=[owner.key], legacy=True)
        assert await bench.post(await bench.make_proof(owner.wallet, tx_hash)) == (201, "")

    async def test_the_list_shows_what_is_left_after_a_spend(self, bench: Bench, owner: Owner):
        assert await owner.submit(owner.approve(USDC_5000)) == (201, "")
        await bench.sandbox.spend("solana", "usdc", owner.wallet.address, 1_200_000_000)
        row = (await bench.rows(owner.wallet))[0]
        assert (row["balance"], row["allowance"]) == ("998800", "3800")

    async def test_a_delegate_that_took_our_place_leaves_nothing(self, bench: Bench, owner: Owner):
        assert await owner.submit(owner.approve(USDC_5000)) == (201, "")
        await owner.send(owner.approve(USDC_5000, delegate=Keypair().pubkey()))
        assert (await bench.rows(owner.wallet))[0]["allowance"] == "0"

    async def test_an_approve_of_0_proves_a_revocation_also_with_a_revoke_after_it(self, bench: Bench, owner: Owner):
        assert await owner.submit(owner.approve(USDC_5000)) == (201, "")
        assert await owner.submit(owner.approve(0), amount="0") == (201, "")
        assert await owner.submit(owner.approve(0), owner.revoke(), amount="0") == (201, "")
        assert [row["allowance"] for row in await bench.rows(owner.wallet)] == ["0"]

    async def test_the_last_approve_of_a_transaction_counts(self, owner: Owner):
        assert await owner.submit(owner.approve(1), owner.approve(USDC_5000)) == (201, "")


class TestWhatIsNotIndexed:
    async def test_approve_checked(self, bench: Bench, owner: Owner):
        assert await owner.submit(owner.approve_checked(USDC_5000), narrower=True) == (400, "Approval not found")
        assert await bench.rows(owner.wallet) == []

    async def test_an_approve_in_a_transaction_with_create_idempotent(self, bench: Bench, owner: Owner):
        create = create_token_account(owner.address, bench.mint(), b"\x01")
        assert await owner.submit(create, owner.approve(USDC_5000), narrower=True) == (400, "Approval not found")

    async def test_an_approve_that_the_same_transaction_took_back(self, owner: Owner):
        assert await owner.submit(owner.approve(USDC_5000), owner.revoke()) == (400, "Approval not found")

    async def test_an_approve_that_the_same_transaction_replaced(self, owner: Owner):
        instructions = owner.approve(USDC_5000), owner.approve_checked(1)
        assert await owner.submit(*instructions) == (400, "Approval not found")

    async def test_a_revoke_alone(self, owner: Owner):
        assert await owner.submit(owner.revoke(), amount="0", narrower=True) == (400, "Approval not found")

    async def test_an_approve_of_another_token(self, bench: Bench, owner: Owner):
        source = token_account(owner.address, bench.mint("usdt"))
        other = approve(source, bench.delegate, owner.address, USDC_5000)
        assert await owner.submit(other) == (400, "Approval not found")

    async def test_an_approve_of_somebody_elses_account(self, bench: Bench, owner: Owner):
        other = Owner(bench, await bench.sandbox.new_wallet("solana"))
        tx_hash = await bench.send(other.approve(USDC_5000), by=[owner.key, other.key])
        proof = await bench.make_proof(owner.wallet, tx_hash)
        assert await bench.post(proof) == (400, "Approval not found")


class TestTransactions:
    async def test_one_that_nobody_knows_is_refused(self, bench: Bench, proof: Proof):
        unknown = str(Signature(bytes(range(1, 65))))
        assert await bench.post(proof | {"txHash": unknown}) == (400, "Transaction not found")

    async def test_one_that_failed_is_refused(self, bench: Bench):
        owner = Owner(bench, await bench.sandbox.new_wallet("solana", tokens=False))  # it has no token account
        assert await owner.submit(owner.approve(USDC_5000)) == (400, "Transaction failed")

    async def test_one_by_another_wallet_is_refused(self, bench: Bench, owner: Owner, approved: tuple[Owner, str]):
        answer = await bench.post(await bench.make_proof(owner.wallet, approved[1]))
        assert answer == (400, "Transaction was not signed by the wallet")

    async def test_one_for_another_delegate_is_refused(self, owner: Owner):
        other = Keypair().pubkey()
        answer = await owner.submit(owner.approve(USDC_5000, delegate=other))
        assert answer == (400, "Approval is for another delegate")

    @pytest.mark.parametrize("amount", [5000, USDC_5000 + 1, 0])
    async def test_one_of_another_amount_is_refused(self, owner: Owner, amount: int):
        assert await owner.submit(owner.approve(amount)) == (400, "Approval amount does not match")

    async def test_a9_one_that_was_accepted_is_not_taken_a_second_time(self, bench: Bench, owner: Owner):
        tx_hash = await owner.send(owner.approve(USDC_5000))
        assert await bench.post(await bench.make_proof(owner.wallet, tx_hash)) == (201, "")
        again = await bench.post(await bench.make_proof(owner.wallet, tx_hash), narrower=True)
        assert again == (409, "Transaction already used")


class TestStatementsAndSignatures:
    @pytest.mark.parametrize(
        ("old", "new", "reason"),
        [
            ("Chain ID: 1", "Chain ID: mainnet", "not an EIP-4361 statement"),
            ("Chain ID: 1", "Chain ID: 101", "chain id is 101, expected 1"),
            ("Nonce: ", "Nonce: 0", "nonce is "),
            ("Solana account", "Ethereum account", "account kind is Ethereum"),
            ("\n", " ", "not an EIP-4361 statement"),
        ],
    )
    async def test_a_signed_statement_that_is_not_the_right_one_is_refused(
        self, bench: Bench, approved: tuple[Owner, str], proof: Proof, old: str, new: str, reason: str
    ):
        text = proof["sigMessage"].replace(old, new)
        status, answer = await bench.post(proof | {"sigMessage": text, "sigHash": sign(approved[0].wallet, text)})
        assert status == 400
        assert answer.startswith(f"Invalid sigMessage: {reason}")

    async def test_the_free_text_of_the_documentation_is_refused(
        self, bench: Bench, approved: tuple[Owner, str], proof: Proof
    ):
        text = "Prove wallet ownership for delegation"
        answer = await bench.post(proof | {"sigMessage": text, "sigHash": sign(approved[0].wallet, text)})
        assert answer == (400, "Invalid sigMessage: not an EIP-4361 statement")

    async def test_a_signature_by_another_key_is_refused(self, bench: Bench, owner: Owner, proof: Proof):
        signature = sign(owner.wallet, proof["sigMessage"])
        assert await bench.post(proof | {"sigHash": signature}) == (400, "Invalid signature")

    async def test_a_malleated_signature_is_refused(self, bench: Bench, proof: Proof):
        raw = bytes(Signature.from_string(proof["sigHash"]))
        higher = (int.from_bytes(raw[32:], "little") + ED25519_ORDER).to_bytes(32, "little")
        malleated = str(Signature(raw[:32] + higher))
        assert await bench.post(proof | {"sigHash": malleated}) == (400, "Invalid signature")

    async def test_a_key_of_small_order_proves_nothing(self, bench: Bench, proof: Proof):
        identity = Pubkey(b"\x01" + bytes(31))  # with it, this one signature verifies for any text in lax libraries
        text = proof["sigMessage"].replace(proof["address"], str(identity))
        forged = {"address": str(identity), "sigMessage": text, "sigHash": str(Signature(b"\x01" + bytes(63)))}
        assert await bench.post(proof | forged) == (400, "Invalid signature")


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("address", "0x" + "11" * 20, "address must be base58 of 32 bytes"),
        ("address", "1" * 33, "address must be base58 of 32 bytes"),
        ("txHash", "0x" + "11" * 32, "txHash must be base58 of 64 bytes"),
        ("sigHash", "1" * 65, "sigHash must be base58 of 64 bytes"),
        ("sigHash", base64.b64encode(bytes(64)).decode(), "sigHash must be base58 of 64 bytes"),
        ("network", "base", "network is not supported by this endpoint"),
        ("currency", "eure", "currency is not supported on this network"),
        ("amount", "0.0000001", "amount has more than 6 decimals"),
    ],
)
async def test_a_field_that_breaks_its_pattern_is_422(bench: Bench, proof: Proof, field: str, value: str, reason: str):
    assert await bench.post(proof | {field: value}) == (422, f"Validation error: {reason}")
