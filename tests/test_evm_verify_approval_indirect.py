"""Approvals without a plain `approve`: contract wallets, user operations, EIP-7702, permits; and what only looks so."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from approval_lab import (
    APPROVE,
    UNIT,
    Falsified,
    Lab,
    encode_batch,
    encode_calls,
    encode_operation,
    finding,
    is_proved,
    not_verified,
    open_lab,
    verdict,
)
from eth_account import Account
from eth_keys.datatypes import PrivateKey
from eth_utils.crypto import keccak

from chains.claims import ApprovalClaim, proved_under
from chains.errors import RpcError
from delegation.sandbox.artifacts import encode_call
from delegation.sandbox.document import KeyDocument

TRANSFER = "transfer(address,uint256)"
NOBODY = "0x" + "00" * 20


@pytest.fixture(scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with open_lab("linea") as running:
        yield running


@pytest.fixture(scope="module")
async def key(lab: Lab) -> KeyDocument:
    return await lab.wallet()


def approve(lab: Lab, amount: int, currency: str = "usdt") -> tuple[str, str]:
    return lab.token(currency).address, encode_call(APPROVE, lab.spender, amount)


def pay(lab: Lab, amount: int, currency: str = "usdt") -> tuple[str, str]:
    return lab.token(currency).address, encode_call(TRANSFER, lab.network.deployer, amount)


async def make_safe(lab: Lab, key: KeyDocument) -> str:
    """Return a Safe-like wallet that holds tokens."""
    wallet = await lab.deploy("SafeLike", "constructor(address)", key.address)
    await lab.network.fund(wallet, gas=False, tokens=True)
    return wallet


async def sign_permit(lab: Lab, key: KeyDocument, token: str, spender: str, value: int) -> tuple[Any, ...]:
    """Return deadline, v, r and s of a permit with the owner's next nonce."""
    nonce = await lab.rpc.request(
        "eth_call", [{"to": token, "data": encode_call("nonces(address)", key.address)}, "latest"]
    )
    signed = Account.sign_typed_data(
        key.private_key,
        {"chainId": lab.chain.chain_id, "verifyingContract": token},
        {
            "Permit": [
                {"name": "owner", "type": "address"},
                {"name": "spender", "type": "address"},
                {"name": "value", "type": "uint256"},
                {"name": "nonce", "type": "uint256"},
                {"name": "deadline", "type": "uint256"},
            ]
        },
        {"owner": key.address, "spender": spender, "value": value, "nonce": int(nonce, 16), "deadline": 2**40},
    )
    return 2**40, signed.v, signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big")


class TestWhatCarriedIt:
    async def test_a_safe_is_named(self, lab: Lab, key: KeyDocument):
        wallet = await make_safe(lab, key)
        sent = await lab.batch(key, wallet, [approve(lab, 5000 * UNIT)], "execTransaction")
        check = await lab.check(lab.claim(sent, wallet, 5000 * UNIT, "usdt"))
        assert (verdict(check), check.method, check.via, check.state) == ("VERIFIED", "logs", "safe", "active")
        assert is_proved(check)
        assert check.amounts.spendable == 5000 * UNIT

    async def test_a_contract_wallet_without_a_log_of_its_own_is_a_batch(self, lab: Lab, key: KeyDocument):
        wallet = await lab.deploy("BatchWallet", "constructor(address,address)", key.address, NOBODY)
        calls = [approve(lab, UNIT, "usdc"), approve(lab, 2 * UNIT, "usdt")]
        sent = await lab.batch(key, wallet, calls)
        for currency, amount in (("usdc", UNIT), ("usdt", 2 * UNIT)):
            check = await lab.check(lab.claim(sent, wallet, amount, currency))
            assert (verdict(check), check.via, is_proved(check)) == ("VERIFIED", "batch", True)

    async def test_a_user_operation_is_named_and_its_bundler_is_not_the_owner(self, lab: Lab, key: KeyDocument):
        entry = await lab.contract("EntryPointLike")
        wallet = await lab.deploy("BatchWallet", "constructor(address,address)", key.address, entry)
        sent = await lab.send(await lab.wallet(), entry, encode_operation(wallet, [approve(lab, UNIT)]))
        check = await lab.check(lab.claim(sent, wallet, UNIT, "usdt"))
        assert (verdict(check), check.via, is_proved(check)) == ("VERIFIED", "erc4337", True)

    async def test_a_user_operation_that_failed_inside_approved_nothing(self, lab: Lab, key: KeyDocument):
        entry = await lab.contract("EntryPointLike")
        wallet = await lab.deploy("BatchWallet", "constructor(address,address)", key.address, entry)
        calls = [approve(lab, UNIT), pay(lab, UNIT)]
        sent = await lab.send(key, entry, encode_operation(wallet, calls))
        check = await lab.check(lab.claim(sent, wallet, UNIT, "usdt"))
        assert finding(check, "status").verdict == "VERIFIED"
        assert not_verified(check) == {"approval": "REFUTED"}
        assert "failed, although the transaction succeeded" in finding(check, "approval").message

    async def test_a_safe_whose_call_failed_approved_nothing(self, lab: Lab, key: KeyDocument):
        wallet = await lab.deploy("SafeLike", "constructor(address)", key.address)
        sent = await lab.batch(key, wallet, [pay(lab, UNIT)], "execTransaction")
        check = await lab.check(lab.claim(sent, wallet, UNIT, "usdt"))
        assert "failed, although the transaction succeeded" in finding(check, "approval").message

    @pytest.mark.parametrize("sponsored", [False, True], ids=["own", "sponsored"])
    async def test_an_account_that_runs_code_is_named(self, lab: Lab, sponsored: bool):
        key, code = await lab.wallet(), await lab.contract("Delegate7702")
        calls = [approve(lab, UNIT)]
        # The account's own transaction uses up a nonce before its authorization does (EIP-7702).
        signed = Account.sign_authorization(
            {"chainId": lab.chain.chain_id, "address": code, "nonce": 0 if sponsored else 1}, key.private_key
        )
        changes = {"type": 4, "authorizationList": [signed]}
        if sponsored:
            digest = keccak(encode_calls(calls))
            proof = PrivateKey(bytes.fromhex(key.private_key[2:])).sign_msg_hash(digest)
            data = encode_call(
                "executeSigned(address[],bytes[],uint8,bytes32,bytes32)",
                [call[0] for call in calls],
                [bytes.fromhex(call[1][2:]) for call in calls],
                27 + proof.v,
                proof.r.to_bytes(32, "big"),
                proof.s.to_bytes(32, "big"),
            )
            sent = await lab.send(await lab.wallet(), key.address, data, **changes)
        else:
            sent = await lab.send(key, key.address, encode_batch("execute", calls), **changes)
        check = await lab.check(lab.claim(sent, key.address, UNIT, "usdt"))
        assert (verdict(check), check.method, check.via, is_proved(check)) == ("VERIFIED", "logs", "eip7702", True)

    async def test_a_permit_is_named_whoever_brought_it(self, lab: Lab):
        key, token = await lab.wallet(), await lab.contract("PermitToken")
        permit = await sign_permit(lab, key, token, lab.spender, 5000 * UNIT)
        call = encode_call(
            "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)",
            key.address,
            lab.spender,
            5000 * UNIT,
            *permit,
        )
        sent = await lab.send(await lab.wallet(), token, call)
        claim = lab.claim(sent, key.address, 5000 * UNIT, token=replace(lab.token(), address=token))
        check = await lab.check(claim)
        assert (verdict(check), check.method, check.via) == ("VERIFIED", "logs", "permit")
        assert check.included is not None
        assert finding(check, "amount").basis == proved_under(check.included)
        assert finding(check, "post-state").basis.word, "nothing is known of this token's code"

    async def test_raising_an_allowance_counts_as_what_it_left(self, lab: Lab, key: KeyDocument):
        await lab.approve(key, 2 * UNIT, "usdt")
        for function, change, left in (("increase", 3, 5), ("decrease", 1, 4)):
            call = encode_call(f"{function}Allowance(address,uint256)", lab.spender, change * UNIT)
            sent = await lab.send(key, lab.token("usdt").address, call)
            check = await lab.check(lab.claim(sent, key.address, left * UNIT, "usdt"))
            assert (verdict(check), check.method, check.via) == ("VERIFIED", "logs", f"{function}-allowance")
            refuted = await lab.check(lab.claim(sent, key.address, change * UNIT, "usdt"))
            assert not_verified(refuted) == {"amount": "REFUTED"}

    async def test_a_contract_that_brings_a_permit_and_takes_a_part_at_once_is_an_approval(self, lab: Lab):
        key, token = await lab.wallet(), await lab.contract("PermitToken")
        puller = await lab.contract("PermitPuller")
        await lab.send(key, token, encode_call("mint(address,uint256)", key.address, 100 * UNIT))
        permit = await sign_permit(lab, key, token, puller, 50 * UNIT)
        call = encode_call(
            "deposit(address,address,uint256,uint256,uint256,uint8,bytes32,bytes32)",
            token,
            key.address,
            50 * UNIT,
            8 * UNIT,
            *permit,
        )
        sent = await lab.send(await lab.wallet(), puller, call)
        claim = lab.claim(sent, key.address, 50 * UNIT, spender=puller, token=replace(lab.token(), address=token))
        check = await lab.check(claim)
        assert (verdict(check), check.via, check.state) == ("VERIFIED", "contract", "reduced")
        # What is left of it is not what the owner approved.
        assert not_verified(await lab.check(replace(claim, amount=42 * UNIT))) == {"amount": "REFUTED"}


class TestPermitsBesideSpends:
    """A spender's transaction may hold the owner's permit and a spend: arithmetic tells which log is which."""

    @pytest.mark.parametrize("kind", ["PermitToken", "QuietPermitToken"])
    async def test_a58_a_permit_below_what_stands_that_is_spent_at_once_is_an_approval(self, lab: Lab, kind: str):
        claim, puller, key = await standing(lab, kind, 2000 * UNIT)
        permit = await sign_permit(lab, key, claim.token.address, puller, 1000 * UNIT)
        sent = await lab.send(await lab.wallet(), puller, deposit(claim, 1000 * UNIT, 1000 * UNIT, permit))
        check = await lab.check(replace(claim, transaction=sent, amount=1000 * UNIT))
        assert (verdict(check), check.amounts.authorised, check.amounts.remaining) == ("VERIFIED", 1000 * UNIT, 0)

    @pytest.mark.parametrize("kind", ["PermitToken", "QuietPermitToken"])
    async def test_a58_a_spend_before_a_permit_of_what_it_left_can_be_read_either_way(self, lab: Lab, kind: str):
        """Standing 2000, 1000 are taken and 1000 are permitted: the log of the spend would be the same."""
        claim, _, key = await standing(lab, kind, 2000 * UNIT, contract="PullFirst")
        permit = await sign_permit(lab, key, claim.token.address, claim.spender, 1000 * UNIT)
        call = encode_call(
            "pullThenPermit(address,address,uint256,uint256,uint256,uint8,bytes32,bytes32)",
            claim.token.address,
            claim.owner,
            1000 * UNIT,
            1000 * UNIT,
            *permit,
        )
        sent = await lab.send(await lab.wallet(), claim.spender, call)
        check = await lab.check(replace(claim, transaction=sent, amount=1000 * UNIT))
        if kind == "QuietPermitToken":
            assert not_verified(check) == {"spend-log": "UNDETERMINED"}
        else:
            # Two logs and one transfer: the second log is of no spend.
            assert verdict(check) in {"VERIFIED", "UNDETERMINED"}

    @pytest.mark.parametrize("kind", ["PermitToken", "QuietPermitToken"])
    async def test_a58_a_plain_spend_stays_a_spend(self, lab: Lab, kind: str):
        claim, puller, _ = await standing(lab, kind, 2000 * UNIT)
        pull = encode_call("pull(address,address,uint256)", claim.token.address, claim.owner, 700 * UNIT)
        sent = await lab.send(await lab.wallet(), puller, pull)
        check = await lab.check(replace(claim, transaction=sent, amount=1300 * UNIT))
        rule = "spend-log" if kind == "PermitToken" else "approval"
        assert not_verified(check) == {rule: "REFUTED"}

    @pytest.mark.parametrize("kind", ["PermitToken", "QuietPermitToken"])
    async def test_a58_what_lowers_it_in_a_transaction_of_the_spender_and_moves_nothing_is_left_open(
        self, lab: Lab, kind: str
    ):
        claim, puller, key = await standing(lab, kind, 2000 * UNIT)
        permit = await sign_permit(lab, key, claim.token.address, puller, 500 * UNIT)
        sent = await lab.send(await lab.wallet(), puller, deposit(claim, 500 * UNIT, 0, permit))
        lowered = replace(claim, transaction=sent, amount=500 * UNIT)
        assert not_verified(await lab.check(lowered)) == {"spend-log": "UNDETERMINED"}
        permit = await sign_permit(lab, key, claim.token.address, puller, 3000 * UNIT)
        sent = await lab.send(await lab.wallet(), puller, deposit(claim, 3000 * UNIT, 0, permit))
        raised = await lab.check(replace(claim, transaction=sent, amount=3000 * UNIT))
        assert (verdict(raised), raised.via) == ("VERIFIED", "contract")


async def standing(
    lab: Lab, kind: str, amount: int, contract: str = "PermitPuller"
) -> tuple[ApprovalClaim, str, KeyDocument]:
    """Return a claim about an allowance that a spending contract has, that contract, and the owner's key."""
    key, token, spender = await lab.wallet(), await lab.contract(kind), await lab.contract(contract)
    await lab.send(key, token, encode_call("mint(address,uint256)", key.address, 10_000 * UNIT))
    sent = await lab.send(key, token, encode_call(APPROVE, spender, amount))
    claim = lab.claim(sent, key.address, amount, spender=spender, token=replace(lab.token(), address=token))
    assert verdict(await lab.check(claim)) == "VERIFIED"
    return claim, spender, key


def deposit(claim: ApprovalClaim, value: int, part: int, permit: tuple[Any, ...]) -> str:
    function = "deposit(address,address,uint256,uint256,uint256,uint8,bytes32,bytes32)"
    return encode_call(function, claim.token.address, claim.owner, value, part, *permit)


class TestApprovalsBesidePayments:
    """A wallet may approve and pay in one batch; what could as well be a spend is not accepted (attack A5)."""

    async def test_a_batch_that_approves_and_pays_is_an_approval(self, lab: Lab, key: KeyDocument):
        wallet = await make_safe(lab, key)
        sent = await lab.batch(key, wallet, [approve(lab, 5000 * UNIT), pay(lab, 70 * UNIT)], "execTransaction")
        check = await lab.check(lab.claim(sent, wallet, 5000 * UNIT, "usdt"))
        assert (verdict(check), check.via, is_proved(check)) == ("VERIFIED", "safe", True)

    async def test_a_batch_that_lowers_the_allowance_and_pays_is_an_approval(self, lab: Lab, key: KeyDocument):
        wallet = await make_safe(lab, key)
        await lab.batch(key, wallet, [approve(lab, 5000 * UNIT)], "execTransaction")
        sent = await lab.batch(key, wallet, [approve(lab, 1000 * UNIT), pay(lab, 70 * UNIT)], "execTransaction")
        check = await lab.check(lab.claim(sent, wallet, 1000 * UNIT, "usdt"))
        assert (verdict(check), check.state) == ("VERIFIED", "active")

    async def test_a5_a_batch_that_leaves_what_a_spend_would_leave_is_not_accepted(self, lab: Lab, key: KeyDocument):
        wallet = await make_safe(lab, key)
        await lab.batch(key, wallet, [approve(lab, 5000 * UNIT)], "execTransaction")
        sent = await lab.batch(key, wallet, [approve(lab, 4000 * UNIT), pay(lab, 1000 * UNIT)], "execTransaction")
        check = await lab.check(lab.claim(sent, wallet, 4000 * UNIT, "usdt"))
        assert not_verified(check) == {"spend-log": "UNDETERMINED"}

    async def test_a5_a_safe_that_asks_the_spender_to_pull_did_not_approve(self, lab: Lab, key: KeyDocument):
        token, puller = await lab.contract("PermitToken"), await lab.contract("PermitPuller")
        wallet = await make_safe(lab, key)
        await lab.send(key, token, encode_call("mint(address,uint256)", wallet, 100 * UNIT))
        await lab.batch(key, wallet, [(token, encode_call(APPROVE, puller, 50 * UNIT))], "execTransaction")
        pull = (puller, encode_call("pull(address,address,uint256)", token, wallet, 20 * UNIT))
        sent = await lab.batch(key, wallet, [pull], "execTransaction")
        claim = lab.claim(sent, wallet, 30 * UNIT, spender=puller, token=replace(lab.token(), address=token))
        assert not_verified(await lab.check(claim)) == {"spend-log": "UNDETERMINED"}


class TestWhatIsRequired:
    async def test_without_the_state_after_it_an_indirect_approval_is_not_accepted(self, lab: Lab, key: KeyDocument):
        wallet = await make_safe(lab, key)
        sent = await lab.batch(key, wallet, [approve(lab, UNIT)], "execTransaction")
        await lab.mine()

        def prune(method: str, params: Any, answer: Any) -> Any:
            if method == "eth_call" and isinstance(params[1], dict) and params[1]["blockHash"] == included:
                raise RpcError("missing trie node", code=-32000)
            return answer

        receipt = await lab.rpc.request("eth_getTransactionReceipt", [sent])
        included = receipt["blockHash"]
        check = await lab.check(lab.claim(sent, wallet, UNIT, "usdt"), rpc=Falsified(lab.rpc, prune))
        assert not_verified(check) == {"post-state": "UNDETERMINED"}

    async def test_a_log_that_the_state_does_not_bear_out_is_refuted(self, lab: Lab, key: KeyDocument):
        fake = await lab.contract("FakeToken")
        sent = await lab.send(
            key, fake, encode_call("pretend(address,address,uint256)", key.address, lab.spender, UNIT)
        )
        claim = lab.claim(sent, key.address, UNIT, token=replace(lab.token(), address=fake))
        found = finding(await lab.check(claim), "post-state")
        assert (found.verdict, found.expected, found.found) == ("REFUTED", str(UNIT), "0")

    async def test_a_transaction_that_approves_nothing_is_refuted(self, lab: Lab, key: KeyDocument):
        sent = await lab.send(key, key.address, "0x")
        assert not_verified(await lab.check(lab.claim(sent, key.address, UNIT))) == {"approval": "REFUTED"}

    async def test_a8_the_approval_of_another_wallet_in_a_bundle_is_refuted(self, lab: Lab, key: KeyDocument):
        wallet = await make_safe(lab, key)
        sent = await lab.batch(key, wallet, [approve(lab, UNIT)], "execTransaction")
        found = finding(await lab.check(lab.claim(sent, key.address, UNIT, "usdt")), "owner")
        assert (found.verdict, found.expected, found.found) == ("REFUTED", key.address, wallet)
