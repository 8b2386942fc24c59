"""What one lying node, or an honest one that knows only a part, must not achieve: a false yes, no or proof."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from approval_lab import (
    APPROVE,
    UNIT,
    Falsified,
    Lab,
    encode_batch,
    encode_calls,
    finding,
    is_proved,
    not_verified,
    open_lab,
    verdict,
)
from eth_account import Account
from eth_keys.datatypes import PrivateKey
from eth_utils.crypto import keccak
from test_evm_codec_approval_logs import PAIR, approval, transaction, transfer

from chains.claims import ApprovalClaim
from chains.errors import ContradictionError, RpcError
from chains.evm.codec.approval_logs import Execution, walk
from chains.evm.codec.headers import hash_header
from delegation.sandbox.artifacts import encode_call
from delegation.sandbox.document import KeyDocument

ALLOWANCE = "0xdd62ed3e"
DECIMALS = "0x313ce567"
WITHDRAW = "withdraw(address[],address[],uint256[])"


@pytest.fixture(scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with open_lab("linea") as running:
        yield running


@pytest.fixture(scope="module")
async def claim(lab: Lab) -> ApprovalClaim:
    """The true claim of an approval that was spent from later."""
    key = await lab.wallet(tokens=True)
    sent = await lab.approve(key, 5000 * UNIT, "usdt")
    await lab.network.spend("usdt", key.address, 1000 * UNIT)
    await lab.mine()
    return lab.claim(sent, key.address, 5000 * UNIT, "usdt")


def word(number: int) -> str:
    return f"0x{number:064x}"


async def block_of(lab: Lab, sent: str) -> Any:
    receipt = await lab.receipt(sent)
    return await lab.rpc.request("eth_getBlockByHash", [receipt["blockHash"], False])


def says_allowance(lab: Lab, block_hash: str, number: int) -> Falsified:
    """Return a node that answers another allowance at one block."""

    def change(method: str, params: Any, answer: Any) -> Any:
        is_read = method == "eth_call" and len(params) == 2 and params[0]["data"].startswith(ALLOWANCE)
        return word(number) if is_read and params[1]["blockHash"] == block_hash else answer

    return Falsified(lab.rpc, change)


def without_proofs(method: str, params: Any, answer: Any) -> Any:
    """Answer as a node that serves no proofs."""
    if method == "eth_getProof":
        raise RpcError("the method eth_getProof does not exist/is not available", code=-32601)
    return answer


class TestWhatIsCalledProved:
    async def test_a_true_claim_is_proved(self, lab: Lab, claim: ApprovalClaim):
        check = await lab.check(claim)
        assert (verdict(check), check.state, is_proved(check)) == ("VERIFIED", "reduced", True)

    async def test_a16_zero_is_proved_where_the_slot_is_empty_and_known(self, lab: Lab):
        key = await lab.wallet()
        await lab.approve(key, 10 * UNIT)
        revoked = lab.claim(await lab.approve(key, 0), key.address, 0)
        again = lab.claim(await lab.approve(key, 0), key.address, 0)
        for each in (revoked, again):
            check = await lab.check(each)
            assert (verdict(check), check.state, is_proved(check)) == ("VERIFIED", "revoked", True)
            assert not finding(check, "allowance").basis.word

    @pytest.mark.parametrize("said", [0, 7])
    async def test_a16_an_allowance_that_its_proof_does_not_bear_out_is_a_contradiction(self, lab: Lab, said: int):
        key = await lab.wallet()
        claim = lab.claim(await lab.approve(key, 10 * UNIT), key.address, 10 * UNIT)
        head = await lab.rpc.request("eth_getBlockByNumber", ["latest", False])
        with pytest.raises(ContradictionError, match="its proof says 10000000"):
            await lab.check(claim, rpc=says_allowance(lab, head["hash"], said))

    async def test_a5_a_spend_is_not_proved_to_be_an_approval_by_a_lie_about_the_state_before(self, lab: Lab):
        key = await lab.wallet(tokens=True)
        await lab.approve(key, 50 * UNIT, "usdt")
        spent = await lab.network.spend("usdt", key.address, 10 * UNIT)
        parent = (await block_of(lab, spent))["parentHash"]
        false = lab.claim(spent, key.address, 40 * UNIT, "usdt")
        refuted = await lab.check(false)
        assert (not_verified(refuted), is_proved(refuted)) == ({"spend-log": "REFUTED"}, True)
        lying = says_allowance(lab, parent, 0)
        with pytest.raises(ContradictionError):
            await lab.check(false, rpc=lying)
        proofless = await lab.check(false, rpc=Falsified(lying, without_proofs))
        assert not is_proved(proofless)
        assert finding(proofless, "amount").basis.word

    async def test_a_refutation_by_a_state_without_proof_is_not_called_proved(self, lab: Lab, claim: ApprovalClaim):
        included = (await block_of(lab, claim.transaction))["hash"]
        check = await lab.check(claim, rpc=Falsified(says_allowance(lab, included, 7), without_proofs))
        assert not_verified(check) == {"post-state": "REFUTED"}
        assert not is_proved(check)

    async def test_a11_a_refutation_by_what_the_token_is_said_to_answer_is_not_called_proved(
        self, lab: Lab, claim: ApprovalClaim
    ):
        def change(method: str, params: Any, answer: Any) -> Any:
            return word(18) if method == "eth_call" and params[0]["data"] == DECIMALS else answer

        check = await lab.check(claim, rpc=Falsified(lab.rpc, change))
        assert not_verified(check) == {"decimals": "REFUTED"}
        assert not is_proved(check)

    async def test_a5_that_an_account_runs_code_is_proved_where_the_judgement_hangs_on_it(self, lab: Lab):
        key, relay = await lab.wallet(tokens=True), await lab.contract("Multicall")
        code = await lab.contract("Delegate7702")
        token = lab.token("usdt").address
        await lab.approve(key, 50 * UNIT, "usdt")
        signed = Account.sign_authorization(
            {"chainId": lab.chain.chain_id, "address": code, "nonce": 2}, key.private_key
        )
        await lab.send(key, key.address, "0x", type=4, authorizationList=[signed])
        calls = [
            (token, encode_call(APPROVE, lab.spender, 40 * UNIT)),
            (token, encode_call("transfer(address,uint256)", lab.network.deployer, 3 * UNIT)),
        ]
        proof = PrivateKey(bytes.fromhex(key.private_key[2:])).sign_msg_hash(keccak(encode_calls(calls)))
        data = encode_call(
            "executeSigned(address[],bytes[],uint8,bytes32,bytes32)",
            [token, token],
            [bytes.fromhex(call[2:]) for _, call in calls],
            27 + proof.v,
            proof.r.to_bytes(32, "big"),
            proof.s.to_bytes(32, "big"),
        )
        sent = await lab.send(await lab.wallet(), relay, encode_batch("aggregate", [(key.address, data)]))
        check = await lab.check(lab.claim(sent, key.address, 40 * UNIT, "usdt"))
        assert (verdict(check), check.via, is_proved(check)) == ("VERIFIED", "eip7702", True)
        claim = lab.claim(sent, key.address, 40 * UNIT, "usdt")

        def codeless(method: str, params: Any, answer: Any) -> Any:
            return "0x" if method == "eth_getCode" and params[0] == key.address else answer

        with pytest.raises(ContradictionError, match="not the one that its proof names"):
            await lab.check(claim, rpc=Falsified(lab.rpc, codeless))
        proofless = await lab.check(claim, rpc=Falsified(lab.rpc, without_proofs))
        assert (verdict(proofless), finding(proofless, "amount").basis.word) == ("VERIFIED", True)


class TestBlocks:
    @pytest.mark.parametrize("ahead", [0, 1], ids=["the-same-number", "the-next-number"])
    async def test_a14_a_head_that_is_not_of_the_chain_of_the_included_block_is_not_believed(
        self, lab: Lab, ahead: int
    ):
        key = await lab.wallet()
        sent = await lab.approve(key, UNIT)
        number = int((await block_of(lab, sent))["number"], 16) + ahead
        await lab.mine(2)

        def change(method: str, params: Any, answer: Any) -> Any:
            if method != "eth_getBlockByNumber" or params != [hex(number), False]:
                return answer
            fork = answer | {"extraData": "0x1234", "parentHash": word(1)}
            return fork | {"hash": hash_header(fork)}

        with pytest.raises(ContradictionError, match="chain"):
            await lab.check(lab.claim(sent, key.address, UNIT), rpc=Falsified(lab.rpc, change), at=str(number))

    async def _approve_and_spend_in_one_block(self, lab: Lab) -> tuple[KeyDocument, str, str]:
        key = await lab.wallet(tokens=True)
        await lab.approve(key, 10 * UNIT, "usdt")
        spend = encode_call(WITHDRAW, [lab.token("usdt").address], [key.address], [UNIT])
        await lab.rpc.request("evm_setAutomine", [False])
        try:
            raised = await lab.approve(key, 50 * UNIT, "usdt", wait=False, maxPriorityFeePerGas=40 * 10**9)
            spent = await lab.send(lab.network.operator, lab.spender, spend, wait=False)
        finally:
            await lab.rpc.request("evm_setAutomine", [True])
            await lab.mine()
        assert await block_of(lab, raised) == await block_of(lab, spent)
        return key, raised, spent

    async def test_a5_a_spend_after_an_approval_in_a_block_that_is_not_known_whole_is_no_approval(self, lab: Lab):
        key, raised, spent = await self._approve_and_spend_in_one_block(lab)

        def change(method: str, params: Any, answer: Any) -> Any:
            if method == "eth_getBlockReceipts":
                answer[0]["type"] = "0x63"
            return answer

        partial = Falsified(lab.rpc, change)
        assert verdict(await lab.check(lab.claim(spent, key.address, 49 * UNIT, "usdt"), rpc=partial)) != "VERIFIED"
        check = await lab.check(lab.claim(raised, key.address, 50 * UNIT, "usdt"), rpc=partial)
        assert not_verified(check) == {"post-state": "UNDETERMINED"}

    async def test_a6_what_a_later_approval_of_the_block_took_back_is_called_revoked(self, lab: Lab):
        key = await lab.wallet()
        await lab.rpc.request("evm_setAutomine", [False])
        try:
            first = await lab.approve(key, 50 * UNIT, wait=False)
            last = await lab.approve(key, 0, wait=False)
        finally:
            await lab.rpc.request("evm_setAutomine", [True])
            await lab.mine()
        check = await lab.check(lab.claim(first, key.address, 50 * UNIT))
        assert not_verified(check) == {"last-approval": "REFUTED"}
        assert check.state == "revoked"
        assert last in finding(check, "state").message


async def test_spends_of_a_token_that_rounds_are_no_approvals(lab: Lab, claim: ApprovalClaim):
    """A token that rebases may take a base unit more from the allowance than it moves."""

    def change(method: str, _: Any, answer: Any) -> Any:
        for log in answer if method == "eth_getLogs" else ():
            if log["data"] == word(4000 * UNIT):
                log["data"] = word(4000 * UNIT - 1)
        return answer

    check = await lab.check(claim, rpc=Falsified(lab.rpc, change))
    assert check.state == "reduced"
    assert "The spender took 1000 USDT" in finding(check, "state").message


async def test_a18_a_nonce_that_nothing_in_the_block_uses_does_not_refute(lab: Lab):
    key = await lab.wallet()
    raw, hash_ = await lab.sign(key, lab.token().address, encode_call(APPROVE, lab.spender, UNIT))
    await lab.broadcast(raw)

    def hide(method: str, params: Any, answer: Any) -> Any:
        if method == "eth_getTransactionByHash":
            return None
        if method == "eth_getBlockByNumber" and params[1]:
            for each in answer["transactions"]:
                each["from"] = lab.spender
        return answer

    check = await lab.check(lab.claim(hash_, key.address, UNIT, raw=raw), rpc=Falsified(lab.rpc, hide))
    assert (verdict(check), check.state) == ("UNDETERMINED", None)


def test_a_transaction_of_a_hundred_thousand_logs_is_walked_in_seconds():
    logs = [log for left in range(50_000, 0, -1) for log in (approval(left), transfer(1))]
    start = time.process_time()
    walked = walk(PAIR, [Execution(transaction(), tuple(logs))], 50_001)
    assert time.process_time() - start < 3
    assert {log.kind for log in walked.approvals} <= {"spend", "unclear"}
