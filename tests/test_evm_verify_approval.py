"""Checks of direct EVM approvals on real chains: what is found, what became of it, and what could not be asked."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from approval_lab import (
    APPROVE,
    MAX,
    UNIT,
    Falsified,
    Lab,
    encode_batch,
    finding,
    is_proved,
    not_verified,
    open_lab,
    record,
    verdict,
)

from chains import get_chain
from chains.errors import InputError, InvalidAddressError, NodeError, RpcError, WrongChainError
from chains.evm.blocks import get_head
from chains.evm.verify.approval import check_approval
from chains.rpc import Rpc
from chains.types import Block
from delegation.sandbox.artifacts import encode_call


@pytest.fixture(scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with open_lab("linea") as running:
        yield running


def refusing(rpc: Rpc, *refused: str, code: int = -32601) -> Falsified:
    """Return a node that does not serve some methods; `method@tag` refuses it for one first parameter only."""

    def change(method: str, params: Any, answer: Any) -> Any:
        if method in refused or (params and f"{method}@{params[0]}" in refused):
            raise RpcError(f"{method} failed: the method does not exist/is not available", code=code)
        return answer

    return Falsified(rpc, change)


class TestHead:
    @pytest.mark.parametrize("at", ["latest", "safe", "finalized", "3"])
    async def test_a_head_is_the_block_that_the_node_gives_for_a_tag_or_a_number(self, lab: Lab, at: str):
        tag = at if not at.isdigit() else hex(int(at))
        block = await lab.rpc.request("eth_getBlockByNumber", [tag, False])
        assert await get_head(lab.chain, lab.rpc, at) == Block(int(block["number"], 16), block["hash"])

    @pytest.mark.parametrize("at", ["", "pending", "0x10", "-1", "1e3", "٣", "9" * 30])
    async def test_any_other_text_is_bad_input(self, lab: Lab, at: str):
        with pytest.raises(InputError):
            await get_head(lab.chain, lab.rpc, at)

    async def test_a_block_that_the_node_does_not_have_is_a_node_error(self, lab: Lab):
        with pytest.raises(NodeError, match="does not have block"):
            await get_head(lab.chain, lab.rpc, "999999")

    async def test_a_node_of_another_chain_is_not_asked_further(self, lab: Lab):
        with pytest.raises(WrongChainError):
            await get_head(get_chain("base"), lab.rpc, "latest")


class TestDirectForm:
    @pytest.mark.parametrize("currency", ["usdc", "usdt", "tether"])
    async def test_an_approve_of_the_owner_is_verified_and_proved(self, lab: Lab, currency: str):
        key = await lab.wallet(tokens=True)
        sent = await lab.approve(key, 5000 * UNIT, currency)
        check = await lab.check(lab.claim(sent, key.address, 5000 * UNIT, currency))
        assert (verdict(check), check.method, check.via, check.state) == ("VERIFIED", "direct", None, "active")
        assert is_proved(check)
        assert check.blocked == ()
        amounts = check.amounts
        assert (amounts.authorised, amounts.remaining, amounts.spendable) == (5000 * UNIT,) * 3
        assert amounts.balance == 1_000_000 * UNIT

    async def test_findings_and_exhibits_hold_what_the_node_said(self, lab: Lab):
        key = await lab.wallet(tokens=True)
        sent = await lab.approve(key, 7 * UNIT)
        check = await lab.check(lab.claim(sent, key.address, 7 * UNIT))
        block = await lab.rpc.request("eth_getBlockByNumber", ["latest", False])
        assert check.included == check.head == Block(int(block["number"], 16), block["hash"])
        found = {"inclusion": block["hash"], "amount": str(7 * UNIT), "post-state": str(7 * UNIT), "state": "active"}
        found |= {"allowance": str(7 * UNIT), "balance": str(1_000_000 * UNIT), "spendable": str(7 * UNIT)}
        found |= {"still-active": str(7 * UNIT), "decimals": "6", "finality": "soft"}
        assert {rule: finding(check, rule).found for rule in found} == found
        assert check.exhibits["log"]["transactionHash"] == sent
        assert check.exhibits["transaction"].startswith("0x02f8")
        assert int(check.exhibits["slot_now"]["base"], 16) == 10

    async def test_bytes_after_the_calldata_are_accepted_and_flagged(self, lab: Lab):
        key = await lab.wallet()
        call = encode_call(APPROVE, lab.spender, UNIT) + "c0ffee"
        sent = await lab.send(key, lab.token().address, call)
        check = await lab.check(lab.claim(sent, key.address, UNIT))
        assert verdict(check) == "VERIFIED"
        assert "3 bytes too many" in finding(check, "approval").message

    async def test_a64_a_token_that_logs_nothing_is_judged_by_its_state(self, lab: Lab):
        key = await lab.wallet()
        address = await lab.deploy("SilentToken")
        sent = await lab.send(key, address, encode_call(APPROVE, lab.spender, UNIT))
        claim = lab.claim(sent, key.address, UNIT, token=replace(lab.token(), address=address))
        check = await lab.check(claim)
        assert (verdict(check), check.method, is_proved(check)) == ("VERIFIED", "direct", False)
        pruned = refusing(lab.rpc, "eth_call", code=-32000)
        open_ = {"effect": "UNDETERMINED", "post-state": "UNDETERMINED"}
        assert not_verified(await lab.check(claim, rpc=pruned)) == open_
        again = await lab.send(key, address, encode_call(APPROVE, lab.spender, UNIT))
        assert not_verified(await lab.check(replace(claim, transaction=again))) == {"effect": "REFUTED"}

    async def test_an_approve_that_changed_nothing_is_refuted_by_the_state(self, lab: Lab):
        key = await lab.wallet()
        address = await lab.deploy("SilentToken")
        await lab.send(key, address, encode_call("forget()"))
        sent = await lab.send(key, address, encode_call(APPROVE, lab.spender, UNIT))
        check = await lab.check(lab.claim(sent, key.address, UNIT, token=replace(lab.token(), address=address)))
        found = finding(check, "post-state")
        assert (found.verdict, found.expected, found.found) == ("REFUTED", str(UNIT), "0")

    async def test_an_approve_sent_to_an_address_without_code_is_refuted(self, lab: Lab):
        key = await lab.wallet()
        nobody = (await lab.wallet()).address
        sent = await lab.send(key, nobody, encode_call(APPROVE, lab.spender, UNIT))
        check = await lab.check(lab.claim(sent, key.address, UNIT, token=replace(lab.token(), address=nobody)))
        assert "not the contract of a token" in finding(check, "post-state").message
        assert verdict(check) == "REFUTED"

    @pytest.mark.parametrize("kind", ["legacy", "replayable", "access-list"])
    async def test_older_kinds_of_transactions_are_read_as_well(self, lab: Lab, kind: str):
        key = await lab.wallet()
        changes: dict[str, Any] = {"maxFeePerGas": None, "maxPriorityFeePerGas": None, "gasPrice": 50 * 10**9}
        changes |= {"type": 1, "accessList": []} if kind == "access-list" else {"type": None}
        if kind == "replayable":
            changes["chainId"] = None
        sent = await lab.approve(key, UNIT, **changes)
        check = await lab.check(lab.claim(sent, key.address, UNIT))
        assert (verdict(check), is_proved(check)) == ("VERIFIED", True)
        assert ("other chains" in finding(check, "chain").message) == (kind == "replayable")

    async def test_a_neighbour_in_the_block_changes_nothing(self, lab: Lab):
        one, other = await lab.wallet(), await lab.wallet()
        await lab.rpc.request("evm_setAutomine", [False])
        try:
            first = await lab.approve(one, UNIT, wait=False)
            second = await lab.approve(other, 2 * UNIT, wait=False)
        finally:
            await lab.rpc.request("evm_setAutomine", [True])
            await lab.mine()
        for sent, key, amount in ((first, one, UNIT), (second, other, 2 * UNIT)):
            check = await lab.check(lab.claim(sent, key.address, amount))
            assert (verdict(check), check.state, is_proved(check)) == ("VERIFIED", "active", True)


class TestWhatBecameOfIt:
    async def test_spending_reduces_it_and_is_explained_without_a_log_of_the_token(self, lab: Lab):
        key = await lab.wallet(tokens=True)
        sent = await lab.approve(key, 5000 * UNIT)
        await lab.network.spend("usdc", key.address, 1200 * UNIT)
        await lab.network.spend("usdc", key.address, 300 * UNIT)
        check = await lab.check(lab.claim(sent, key.address, 5000 * UNIT))
        assert (verdict(check), check.state, is_proved(check)) == ("VERIFIED", "reduced", True)
        assert (check.amounts.authorised, check.amounts.remaining) == (5000 * UNIT, 3500 * UNIT)
        message = finding(check, "state").message
        assert "The spender took 1500 USDC (1500000000 base units) in 2 transaction(s)" in message

    @pytest.mark.parametrize("currency", ["usdc", "usdt"])
    async def test_spent_down_to_nothing_is_not_revoked(self, lab: Lab, currency: str):
        key = await lab.wallet(tokens=True)
        sent = await lab.approve(key, 100 * UNIT, currency)
        await lab.network.spend(currency, key.address, 100 * UNIT)
        check = await lab.check(lab.claim(sent, key.address, 100 * UNIT, currency))
        assert (verdict(check), check.state, check.amounts.remaining) == ("VERIFIED", "reduced", 0)

    async def test_another_approval_replaces_it(self, lab: Lab):
        key = await lab.wallet(tokens=True)
        sent = await lab.approve(key, 5000 * UNIT)
        later = await lab.approve(key, 3000 * UNIT)
        await lab.network.spend("usdc", key.address, 1000 * UNIT)
        check = await lab.check(lab.claim(sent, key.address, 5000 * UNIT))
        assert (verdict(check), check.state) == ("VERIFIED", "replaced")
        assert later in finding(check, "state").message

    async def test_a_raised_allowance_is_said_loudly(self, lab: Lab):
        key = await lab.wallet()
        sent = await lab.approve(key, 10 * UNIT)
        await lab.approve(key, 1000 * UNIT)
        check = await lab.check(lab.claim(sent, key.address, 10 * UNIT))
        assert (verdict(check), check.state) == ("VERIFIED", "exceeds")
        assert "WARNING: the chain now allows 1000 USDC" in finding(check, "state").message

    async def test_a_revocation_can_be_claimed_itself(self, lab: Lab):
        key = await lab.wallet()
        await lab.approve(key, 10 * UNIT)
        sent = await lab.approve(key, 0)
        check = await lab.check(lab.claim(sent, key.address, 0))
        assert (verdict(check), check.state, is_proved(check)) == ("VERIFIED", "revoked", True)

    async def test_without_logs_nothing_left_is_not_called_revoked(self, lab: Lab):
        key = await lab.wallet()
        sent = await lab.approve(key, 10 * UNIT)
        await lab.approve(key, 0)
        check = await lab.check(lab.claim(sent, key.address, 10 * UNIT), rpc=refusing(lab.rpc, "eth_getLogs"))
        assert (verdict(check), check.state) == ("VERIFIED", None)
        assert "Not all is explained" in finding(check, "state").message
        assert finding(check, "state").verdict == "UNDETERMINED"
        assert finding(check, "still-active").verdict == "REFUTED", "nothing is left, which needs no history"

    async def test_the_state_at_an_older_block_can_be_asked_for(self, lab: Lab):
        key = await lab.wallet()
        sent = await lab.approve(key, 10 * UNIT)
        block = int(await lab.rpc.request("eth_blockNumber"), 16)
        await lab.approve(key, 0)
        claim = lab.claim(sent, key.address, 10 * UNIT)
        assert (await lab.check(claim, at=str(block))).state == "active"
        check = await lab.check(claim, at=str(block - 1))
        assert (verdict(check), check.state) == ("VERIFIED", None)
        assert "before its block" in finding(check, "state").message
        assert finding(check, "still-active").verdict == "UNDETERMINED"


class TestFinality:
    async def test_on_linea_soft_becomes_hard(self, lab: Lab):
        key = await lab.wallet()
        claim = lab.claim(await lab.approve(key, UNIT), key.address, UNIT)
        assert (await lab.check(claim)).finality == "soft"
        await lab.mine(2)
        assert (await lab.check(claim)).finality == "hard"

    async def test_elsewhere_included_becomes_safe_and_finalized(self):
        async with open_lab("ethereum") as lab:
            key = await lab.wallet()
            claim = lab.claim(await lab.approve(key, UNIT), key.address, UNIT)
            levels = []
            for _ in range(3):
                levels.append((await lab.check(claim)).finality)
                await lab.mine()
            assert levels == ["included", "safe", "finalized"]

            def refuse_tags(method: str, params: Any, answer: Any) -> Any:
                if method == "eth_getBlockByNumber" and params[0] in {"safe", "finalized"}:
                    raise RpcError("eth_getBlockByNumber failed: unknown tag", code=-32602)
                return answer

            check = await lab.check(claim, rpc=Falsified(lab.rpc, refuse_tags))
            assert (verdict(check), check.finality) == ("VERIFIED", "included")
            assert "does not say which block is finalized or safe" in finding(check, "finality").message


class TestWhatCouldNotBeAsked:
    async def test_without_proofs_the_verdict_stands_and_is_not_proved(self, lab: Lab):
        key = await lab.wallet()
        claim = lab.claim(await lab.approve(key, UNIT), key.address, UNIT)
        check = await lab.check(claim, rpc=refusing(lab.rpc, "eth_getProof"))
        assert (verdict(check), is_proved(check)) == ("VERIFIED", True), "calldata and log need no state"
        assert finding(check, "post-state").verdict == "NOTED"
        assert finding(check, "allowance").basis.word
        assert "eth_getProof" in check.exhibits["slot_now"]["problem"]

    async def test_without_all_receipts_at_once_they_are_asked_one_by_one(self, lab: Lab):
        key = await lab.wallet()
        claim = lab.claim(await lab.approve(key, UNIT), key.address, UNIT)
        check = await lab.check(claim, rpc=refusing(lab.rpc, "eth_getBlockReceipts"))
        assert (verdict(check), is_proved(check)) == ("VERIFIED", True)

    async def test_a_neighbour_of_an_unknown_kind_leaves_the_inclusion_unproved(self, lab: Lab):
        key = await lab.wallet()
        claim = lab.claim(await lab.approve(key, UNIT), key.address, UNIT)

        def renumber(method: str, params: Any, answer: Any) -> Any:
            if method == "eth_getBlockReceipts":
                answer[0]["type"] = "0x63"
            return answer

        check = await lab.check(claim, rpc=Falsified(lab.rpc, renumber))
        assert (verdict(check), is_proved(check)) == ("VERIFIED", False)
        assert finding(check, "inclusion").basis.word
        assert "is not proved" in finding(check, "inclusion-proof").message

    async def test_pruned_state_leaves_a_logged_direct_approval_verified_then_and_open_now(self, lab: Lab):
        key = await lab.wallet()
        claim = lab.claim(await lab.approve(key, UNIT), key.address, UNIT)
        check = await lab.check(claim, rpc=refusing(lab.rpc, "eth_call", code=-32000))
        assert finding(check, "post-state").verdict == "NOTED"
        assert (verdict(check), check.state) == ("VERIFIED", None)
        for rule in ("allowance", "state", "still-active"):
            assert finding(check, rule).verdict == "UNDETERMINED"
        assert check.amounts.remaining is None

    async def test_a_node_without_the_receipt_is_a_node_that_could_not_be_asked(self, lab: Lab):
        key = await lab.wallet()
        claim = lab.claim(await lab.approve(key, UNIT), key.address, UNIT)
        for method in ("eth_getTransactionReceipt", "eth_getBlockByNumber"):
            head = await get_head(lab.chain, lab.rpc, "latest")

            def forget(asked: str, _: Any, answer: Any, method: str = method) -> Any:
                return None if asked == method else answer

            with pytest.raises(NodeError):
                await check_approval(claim, Falsified(lab.rpc, forget), head)


class TestTheClaimItself:
    @pytest.mark.parametrize("transaction", ["0x12", "0x" + "g" * 64, "0x" + "A" * 64, "1" * 64, "0x" + "1" * 130, ""])
    async def test_what_is_no_hash_is_bad_input(self, lab: Lab, transaction: str):
        key = await lab.wallet()
        with pytest.raises(InputError, match="no transaction hash"):
            await lab.check(lab.claim(transaction, key.address, UNIT))

    async def test_bytes_of_another_transaction_are_bad_input(self, lab: Lab):
        key = await lab.wallet()
        raw, _ = await lab.sign(key, lab.token().address, encode_call(APPROVE, lab.spender, 1))
        for given in (raw, "0x", "0x1234", "zz", "0x63" + raw[4:]):
            with pytest.raises(InputError):
                await lab.check(lab.claim("0x" + "11" * 32, key.address, UNIT, raw=given))

    async def test_a46_an_address_with_a_wrong_checksum_is_refused_and_lower_case_is_not(self, lab: Lab):
        key = await lab.wallet()
        sent = await lab.approve(key, UNIT)
        lower = lab.claim(sent, key.address.lower(), UNIT, spender=lab.spender.lower())
        assert verdict(await lab.check(lower)) == "VERIFIED"
        with pytest.raises(InvalidAddressError):
            await lab.check(lab.claim(sent, "0x" + key.address[2:].swapcase(), UNIT))

    @pytest.mark.parametrize("amount", [-1, 2**256])
    async def test_an_amount_outside_256_bits_is_bad_input(self, lab: Lab, amount: int):
        with pytest.raises(InputError):
            await lab.check(lab.claim("0x" + "11" * 32, lab.spender, amount))


class TestTranscripts:
    async def test_a_check_of_a_direct_approval_is_made_again_offline(self, lab: Lab):
        key = await lab.wallet(tokens=True)
        sent = await lab.approve(key, 5000 * UNIT, "usdt")
        await lab.network.spend("usdt", key.address, 100 * UNIT)
        online, offline = await record(lab, lab.claim(sent, key.address, 5000 * UNIT, "usdt"))
        assert online.state == "reduced"
        assert is_proved(online)
        assert offline == online

    async def test_a_check_of_an_indirect_approval_is_made_again_offline(self, lab: Lab):
        key = await lab.wallet()
        wallet = await lab.deploy("SafeLike", "constructor(address)", key.address)
        call = (lab.token().address, encode_call(APPROVE, lab.spender, MAX))
        sent = await lab.send(key, wallet, encode_batch("execTransaction", [call]))
        online, offline = await record(lab, lab.claim(sent, wallet, MAX))
        assert (verdict(online), online.method, online.via) == ("VERIFIED", "logs", "safe")
        assert is_proved(online)
        assert offline == online
