"""The attacks of `tests/ATTACKS.md` that concern EVM approvals, each with its required outcome, on real chains."""

from collections.abc import AsyncIterator, Callable
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
    encode_operation,
    falsify,
    finding,
    is_proved,
    not_verified,
    open_lab,
    verdict,
)
from eth_utils.address import to_checksum_address

from chains import get_chain
from chains.claims import ApprovalClaim
from chains.errors import ContradictionError, RpcError
from chains.evm.blocks import get_head
from chains.evm.verify.approval import check_approval
from chains.types import Block
from delegation.sandbox.artifacts import encode_call
from delegation.sandbox.document import KeyDocument


@pytest.fixture(scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with open_lab("linea") as running:
        yield running


@pytest.fixture
async def own() -> AsyncIterator[Lab]:
    """A chain of one test's own, which may be reorganised."""
    async with open_lab("linea") as running:
        yield running


@pytest.fixture(scope="module")
async def approved(lab: Lab) -> tuple[KeyDocument, str]:
    """A wallet that let the spender have 5,000 USDC, and the transaction."""
    key = await lab.wallet(tokens=True)
    return key, await lab.approve(key, 5000 * UNIT)


@pytest.fixture(scope="module")
async def owner(lab: Lab) -> KeyDocument:
    """A wallet whose USDT a card spends."""
    key = await lab.wallet(tokens=True)
    await lab.approve(key, 5000 * UNIT, "usdt")
    return key


@pytest.fixture
def claim(lab: Lab, approved: tuple[KeyDocument, str]) -> ApprovalClaim:
    """The true claim; each test below makes one thing about it untrue."""
    key, sent = approved
    return lab.claim(sent, key.address, 5000 * UNIT)


class TestFalseClaims:
    async def test_a1_a_failed_transaction_with_perfect_calldata_is_refuted(self, lab: Lab):
        key = await lab.wallet()
        sent = await lab.approve(key, UNIT, gas=25_000)
        check = await lab.check(lab.claim(sent, key.address, UNIT))
        assert not_verified(check) == {"status": "REFUTED"}
        assert (check.state, check.amounts.authorised) == (None, None)

    async def test_a2_a_transaction_signed_for_another_chain_is_refuted(self, lab: Lab, claim: ApprovalClaim):
        head = await get_head(lab.chain, lab.rpc, "latest")
        check = await check_approval(replace(claim, chain=get_chain("base")), lab.rpc, head)
        found = finding(check, "chain")
        assert (found.verdict, found.expected, found.found) == ("REFUTED", "8453", "59144")
        assert not_verified(check) == {"chain": "REFUTED"}

    async def test_a2_bytes_signed_for_another_chain_are_refuted_although_no_node_knows_them(self, lab: Lab):
        key = await lab.wallet()
        call = encode_call(APPROVE, lab.spender, UNIT)
        raw, hash_ = await lab.sign(key, lab.token().address, call, chainId=8453)
        check = await lab.check(lab.claim(hash_, key.address, UNIT, raw=raw))
        assert not_verified(check) == {"chain": "REFUTED"}

    async def test_a3_a_fake_token_that_emits_a_perfect_approval_is_refuted(self, lab: Lab):
        key = await lab.wallet()
        fake = await lab.contract("FakeToken")
        for call in (
            encode_call(APPROVE, lab.spender, UNIT),
            encode_call("pretend(address,address,uint256)", key.address, lab.spender, UNIT),
        ):
            sent = await lab.send(key, fake, call)
            check = await lab.check(lab.claim(sent, key.address, UNIT))
            found = finding(check, "token")
            assert (found.verdict, found.expected, found.found) == ("REFUTED", lab.token().address, fake)

    async def test_a4_a_spender_one_nibble_off_is_refuted_and_shown_in_full(self, lab: Lab):
        key = await lab.wallet()
        digits = lab.spender[2:].lower()
        nibble = "0" if digits[20] != "0" else "1"
        thief = to_checksum_address("0x" + digits[:20] + nibble + digits[21:])
        assert (thief[:6].lower(), thief[-4:].lower()) == (lab.spender[:6].lower(), lab.spender[-4:].lower())
        wallet = await lab.deploy("BatchWallet", "constructor(address,address)", key.address, "0x" + "00" * 20)
        call = encode_call(APPROVE, thief, UNIT)
        direct = await lab.send(key, lab.token().address, call)
        batched = await lab.batch(key, wallet, [(lab.token().address, call)])
        for sent, owner in ((direct, key.address), (batched, wallet)):
            found = finding(await lab.check(lab.claim(sent, owner, UNIT)), "spender")
            assert (found.verdict, found.expected, found.found) == ("REFUTED", lab.spender, thief)
            assert thief in found.message
            assert lab.spender in found.message

    async def test_a6_an_approval_that_is_taken_back_in_the_same_batch_is_refuted(self, lab: Lab):
        key = await lab.wallet()
        wallet = await lab.deploy("SafeLike", "constructor(address)", key.address)
        calls = [(lab.token().address, encode_call(APPROVE, lab.spender, amount)) for amount in (5000 * UNIT, 0)]
        sent = await lab.batch(key, wallet, calls, "execTransaction")
        check = await lab.check(lab.claim(sent, wallet, 5000 * UNIT))
        assert not_verified(check) == {"amount": "REFUTED", "last-approval": "REFUTED"}
        assert "later in the same transaction" in finding(check, "last-approval").message
        assert verdict(await lab.check(lab.claim(sent, wallet, 0))) == "VERIFIED"

    async def test_a6_of_two_steps_in_one_block_only_the_second_counts(self, lab: Lab):
        key = await lab.wallet()
        await lab.approve(key, 100 * UNIT, "tether")
        await lab.rpc.request("evm_setAutomine", [False])
        try:
            reset = await lab.approve(key, 0, "tether", wait=False)
            second = await lab.approve(key, 200 * UNIT, "tether", wait=False)
        finally:
            await lab.rpc.request("evm_setAutomine", [True])
            await lab.mine()
        first = await lab.check(lab.claim(reset, key.address, 0, "tether"))
        # What the block's logs leave is what its state holds, so the state does not object.
        assert not_verified(first) == {"last-approval": "REFUTED"}
        assert second in finding(first, "last-approval").message
        check = await lab.check(lab.claim(second, key.address, 200 * UNIT, "tether"))
        assert (verdict(check), check.state, is_proved(check)) == ("VERIFIED", "active", True)

    async def test_a7_an_approval_that_is_revoked_later_was_made_and_is_revoked_now(self, lab: Lab):
        key = await lab.wallet()
        claim = lab.claim(await lab.approve(key, UNIT), key.address, UNIT)
        before = await lab.check(claim)
        assert (verdict(before), before.state) == ("VERIFIED", "active")
        await lab.approve(key, 0)
        check = await lab.check(claim)
        assert (verdict(check), check.state) == ("VERIFIED", "revoked")
        assert (check.amounts.authorised, check.amounts.remaining, check.amounts.spendable) == (UNIT, 0, 0)
        assert "revoked" in finding(check, "state").message

    async def test_a8_somebody_elses_approval_is_refuted(self, lab: Lab, claim: ApprovalClaim):
        me = (await lab.wallet()).address
        check = await lab.check(replace(claim, owner=me))
        found = finding(check, "owner")
        assert (found.verdict, found.expected, found.found) == ("REFUTED", me, claim.owner)
        assert not_verified(check) == {"owner": "REFUTED"}

    async def test_a10_base_units_taken_for_tokens_are_refuted_and_shown_in_both(self, lab: Lab):
        key = await lab.wallet()
        sent = await lab.approve(key, 5000)
        found = finding(await lab.check(lab.claim(sent, key.address, 5000 * UNIT)), "amount")
        assert (found.verdict, found.expected, found.found) == ("REFUTED", "5000000000", "5000")
        assert "5000 USDC (5000000000 base units)" in found.message
        assert "0.005 USDC (5000 base units)" in found.message
        assert "exactly the token's 6 decimals" in found.message

    async def test_a11_a_token_with_other_decimals_is_refuted(self, lab: Lab, claim: ApprovalClaim):
        check = await lab.check(replace(claim, token=replace(claim.token, decimals=18)))
        found = finding(check, "decimals")
        assert (found.verdict, found.expected, found.found) == ("REFUTED", "18", "6")

    async def test_a12_unlimited_stays_unlimited_when_the_token_counts_it_down(self, lab: Lab):
        key = await lab.wallet(tokens=True)
        sent = await lab.approve(key, MAX)
        await lab.network.spend("usdc", key.address, 5 * UNIT)
        check = await lab.check(lab.claim(sent, key.address, MAX))
        assert (verdict(check), check.state) == ("VERIFIED", "active")
        assert check.amounts.remaining == MAX - 5 * UNIT
        less = await lab.check(lab.claim(sent, key.address, 2**255))
        assert verdict(less) == "VERIFIED"
        assert verdict(await lab.check(lab.claim(sent, key.address, 2**255 - 1))) == "REFUTED"

    async def test_a49_the_hash_of_a_user_operation_is_explained_and_its_transaction_named(self, lab: Lab):
        key = await lab.wallet()
        entry = await lab.contract("EntryPointLike")
        wallet = await lab.deploy("BatchWallet", "constructor(address,address)", key.address, entry)
        call = (lab.token().address, encode_call(APPROVE, lab.spender, UNIT))
        sent = await lab.send(key, entry, encode_operation(wallet, [call]))
        receipt = await lab.rpc.request("eth_getTransactionReceipt", [sent])
        operation = receipt["logs"][-1]["topics"][1]
        found = finding(await lab.check(lab.claim(operation, wallet, UNIT)), "inclusion")
        assert (found.verdict, found.expected) == ("UNDETERMINED", sent)
        assert "ERC-4337 user operation" in found.message

    async def test_a49_a_hash_that_no_block_holds_is_undetermined_and_explained(self, lab: Lab):
        check = await lab.check(lab.claim("0x" + "ab" * 32, lab.spender, UNIT))
        assert not_verified(check) == {"inclusion": "UNDETERMINED"}
        assert "EIP-5792" in finding(check, "inclusion").message


class TestSpendsOfferedAsApprovals:
    async def test_a5_a_card_spend_with_an_approval_log_is_refuted(self, lab: Lab, owner: KeyDocument):
        sent = await lab.network.spend("usdt", owner.address, 1000 * UNIT)
        receipt = await lab.rpc.request("eth_getTransactionReceipt", [sent])
        left = int(receipt["logs"][0]["data"], 16)
        check = await lab.check(lab.claim(sent, owner.address, left, "usdt"))
        assert not_verified(check) == {"spend-log": "REFUTED"}
        assert (check.method, check.amounts.authorised) == (None, None)

    async def test_a5_a_spend_of_nothing_is_refuted_as_well(self, lab: Lab, owner: KeyDocument):
        sent = await lab.network.spend("usdt", owner.address, 0)
        receipt = await lab.rpc.request("eth_getTransactionReceipt", [sent])
        left = int(receipt["logs"][0]["data"], 16)
        assert not_verified(await lab.check(lab.claim(sent, owner.address, left, "usdt"))) == {"spend-log": "REFUTED"}

    async def test_a5_a_card_spend_of_a_token_that_logs_nothing_is_refuted(self, lab: Lab):
        key = await lab.wallet(tokens=True)
        await lab.approve(key, 5000 * UNIT)
        sent = await lab.network.spend("usdc", key.address, 1000 * UNIT)
        assert not_verified(await lab.check(lab.claim(sent, key.address, 4000 * UNIT))) == {"approval": "REFUTED"}

    async def test_a5_spends_that_strangers_bundle_are_refuted(self, lab: Lab):
        key, token = await lab.wallet(), await lab.contract("PermitToken")
        puller, bundler = await lab.contract("PermitPuller"), await lab.contract("Multicall")
        await lab.send(key, token, encode_call("mint(address,uint256)", key.address, 100 * UNIT))
        await lab.send(key, token, encode_call(APPROVE, puller, 100 * UNIT))
        pulls = [
            (puller, encode_call("pull(address,address,uint256)", token, key.address, part))
            for part in (UNIT, 2 * UNIT)
        ]
        sent = await lab.send(await lab.wallet(), bundler, encode_batch("aggregate", pulls))
        claim = lab.claim(sent, key.address, 97 * UNIT, spender=puller, token=replace(lab.token(), address=token))
        assert not_verified(await lab.check(claim)) == {"spend-log": "REFUTED"}
        assert not_verified(await lab.check(replace(claim, amount=99 * UNIT))) == {"spend-log": "REFUTED"}

        def prune(method: str, params: Any, answer: Any) -> Any:
            return (_ for _ in ()).throw(_pruned()) if method == "eth_call" else answer

        # Without the allowance before, it cannot be told that it was a spend; it is not accepted either.
        check = await lab.check(claim, rpc=Falsified(lab.rpc, prune))
        assert not_verified(check)["spend-log"] == "UNDETERMINED"

    async def test_a5_an_approval_and_a_card_spend_in_one_block_are_told_apart(self, lab: Lab):
        key = await lab.wallet(tokens=True)
        await lab.approve(key, 10 * UNIT, "usdt")
        spend = encode_call(
            "withdraw(address[],address[],uint256[])", [lab.token("usdt").address], [key.address], [UNIT]
        )
        await lab.rpc.request("evm_setAutomine", [False])
        try:
            raised = await lab.approve(key, 50 * UNIT, "usdt", wait=False, maxPriorityFeePerGas=40 * 10**9)
            spent = await lab.send(lab.network.operator, lab.spender, spend, wait=False)
        finally:
            await lab.rpc.request("evm_setAutomine", [True])
            await lab.mine()
        blocks = [
            (await lab.rpc.request("eth_getTransactionReceipt", [sent]))["blockNumber"] for sent in (raised, spent)
        ]
        assert blocks[0] == blocks[1]
        check = await lab.check(lab.claim(raised, key.address, 50 * UNIT, "usdt"))
        assert (verdict(check), check.state, check.amounts.remaining) == ("VERIFIED", "reduced", 49 * UNIT)
        assert "as what followed it in the block left it" in finding(check, "post-state").message
        assert not_verified(await lab.check(lab.claim(spent, key.address, 49 * UNIT, "usdt"))) == {
            "spend-log": "REFUTED"
        }


class TestLyingNodes:
    async def _lies(self, lab: Lab, claim: ApprovalClaim, change: Callable[[Any], Any], *methods: str) -> None:
        with pytest.raises(ContradictionError):
            await lab.check(claim, rpc=falsify(lab.rpc, *methods, change=change))

    @pytest.mark.parametrize("methods", [("Transaction",), ("Block",), ("Transaction", "Block")], ids="-".join)
    @pytest.mark.parametrize(
        "field", ["status", "data", "logsBloom", "cumulativeGasUsed", "address", "topic", "no-logs"]
    )
    async def test_a14_a_receipt_with_one_field_changed_is_not_believed(
        self, lab: Lab, claim: ApprovalClaim, field: str, methods: tuple[str, ...]
    ):
        def change(answer: Any) -> Any:
            receipt = answer[0] if isinstance(answer, list) else answer
            if field == "no-logs":
                receipt["logs"] = []
            elif field == "data":
                receipt["logs"][0]["data"] = "0x" + f"{9000 * UNIT:064x}"
            elif field == "address":
                receipt["logs"][0]["address"] = lab.token("usdt").address
            elif field == "topic":
                receipt["logs"][0]["topics"][2] = "0x" + "00" * 31 + "01"
            else:
                receipt[field] = {"status": "0x0", "cumulativeGasUsed": "0x1"}.get(field, "0x" + "00" * 256)
            return answer

        named = {"Transaction": "eth_getTransactionReceipt", "Block": "eth_getBlockReceipts"}
        await self._lies(lab, claim, change, *(named[method] for method in methods))

    @pytest.mark.parametrize("field", ["blockHash", "transactionHash", "blockNumber", "transactionIndex"])
    async def test_a14_a_receipt_of_another_place_is_not_believed(self, lab: Lab, claim: ApprovalClaim, field: str):
        def change(answer: Any) -> Any:
            answer[field] = "0x" + "11" * 32 if field.endswith("Hash") else hex(int(answer[field], 16) + 1)
            return answer

        await self._lies(lab, claim, change, "eth_getTransactionReceipt")

    @pytest.mark.parametrize("field", ["from", "to", "input", "nonce", "value", "s", "chainId", "blockHash"])
    async def test_a14_a_transaction_with_one_field_changed_is_not_believed(
        self, lab: Lab, claim: ApprovalClaim, field: str
    ):
        changed = {"from": lab.spender, "to": lab.spender, "input": "0x00", "chainId": "0x1"}

        def change(answer: Any) -> Any:
            return answer | {field: changed.get(field, "0x" + "11" * 32)}

        await self._lies(lab, claim, change, "eth_getTransactionByHash")

    @pytest.mark.parametrize("field", ["hash", "stateRoot", "receiptsRoot", "transactionsRoot", "number", "logsBloom"])
    async def test_a14_a_header_with_one_field_changed_is_not_believed(
        self, lab: Lab, claim: ApprovalClaim, field: str
    ):
        def change(answer: Any) -> Any:
            answer[field] = "0x9" if field == "number" else "0x" + "11" * (256 if field == "logsBloom" else 32)
            return answer

        await self._lies(lab, claim, change, "eth_getBlockByNumber")

    async def test_a14_a_block_that_lists_other_transactions_is_not_believed(self, lab: Lab, claim: ApprovalClaim):
        def change(answer: Any) -> Any:
            answer["transactions"] = answer["transactions"][:-1]
            return answer

        await self._lies(lab, claim, change, "eth_getBlockByNumber")

    async def test_a14_a_missing_receipt_of_the_block_is_not_believed(self, lab: Lab, claim: ApprovalClaim):
        await self._lies(lab, claim, lambda _: [], "eth_getBlockReceipts")

    async def test_a14_another_head_than_the_one_asked_for_is_not_believed(self, lab: Lab, claim: ApprovalClaim):
        older = await lab.rpc.request("eth_getBlockByNumber", ["0x1", False])

        def change(method: str, params: Any, answer: Any) -> Any:
            asked_for_head = method == "eth_getBlockByNumber" and params[0] not in {"latest", "safe", "finalized"}
            return older if asked_for_head and params[1] is False else answer

        with pytest.raises(ContradictionError):
            await lab.check(claim, rpc=Falsified(lab.rpc, change))

    async def test_a15_an_allowance_without_a_proof_is_not_called_proved(self, lab: Lab, claim: ApprovalClaim):
        def change(method: str, params: Any, answer: Any) -> Any:
            return (_ for _ in ()).throw(_pruned()) if method == "eth_getProof" else answer

        check = await lab.check(claim, rpc=Falsified(lab.rpc, change))
        assert finding(check, "allowance").basis.word
        assert finding(check, "post-state").basis.word

    @pytest.mark.parametrize("part", ["account", "storage", "node", "value", "code"])
    async def test_a15_a_truncated_or_changed_proof_is_a_contradiction(self, lab: Lab, claim: ApprovalClaim, part: str):
        def change(answer: Any) -> Any:
            if part == "account":
                answer["accountProof"] = answer["accountProof"][:-1]
            elif part != "code" and not answer["storageProof"]:
                return answer
            elif part == "storage":
                answer["storageProof"][0]["proof"] = answer["storageProof"][0]["proof"][:-1]
            elif part == "node":
                node = answer["storageProof"][0]["proof"][-1]
                answer["storageProof"][0]["proof"][-1] = node[:-1] + ("0" if node[-1] != "0" else "1")
            elif part == "value":
                answer["storageProof"][0]["value"] = "0x1"
            else:
                answer["codeHash"] = "0x" + "11" * 32
            return answer

        await self._lies(lab, claim, change, "eth_getProof")

    async def test_a15_a_proof_for_another_block_is_a_contradiction(self, lab: Lab, claim: ApprovalClaim):
        async def asked(method: str, params: Any = ()) -> Any:
            moved = [*params[:2], "0x6"] if method == "eth_getProof" else params
            return await lab.rpc.request(method, moved)

        honest = Falsified(lab.rpc, lambda _method, _params, answer: answer)
        honest.request = asked  # type: ignore[method-assign]
        with pytest.raises(ContradictionError):
            await lab.check(claim, rpc=honest)

    async def test_a15_an_allowance_that_the_proof_does_not_bear_out_is_a_contradiction(
        self, lab: Lab, claim: ApprovalClaim
    ):
        lie = "0x" + f"{9000 * UNIT:064x}"

        def change(method: str, params: Any, answer: Any) -> Any:
            if method == "eth_getStorageAt" and int(answer, 16) == 5000 * UNIT:
                return lie
            honest = method != "eth_call" or len(params) == 3 or not params[0]["data"].startswith("0xdd62ed3e")
            return answer if honest else lie

        with pytest.raises(ContradictionError, match="its proof says"):
            await lab.check(claim, rpc=Falsified(lab.rpc, change))

    async def test_a16_an_empty_storage_proof_never_means_revoked(self, lab: Lab, claim: ApprovalClaim):
        zero = "0x" + "00" * 32

        def change(method: str, params: Any, answer: Any) -> Any:
            if method == "eth_getProof" and answer["storageProof"]:
                answer["storageProof"][0] |= {"proof": [], "value": "0x0"}
            is_read = method == "eth_call" and len(params) == 2 and params[0]["data"].startswith("0xdd62ed3e")
            is_slot = method == "eth_getStorageAt" and int(answer, 16) == 5000 * UNIT
            return zero if is_read or is_slot else answer

        with pytest.raises(ContradictionError):
            await lab.check(claim, rpc=Falsified(lab.rpc, change))


class TestWhatNeverLanded:
    async def test_a17_an_approval_that_a_reorganisation_dropped_is_called_reorganised(self, own: Lab):
        key = await own.wallet()
        call = encode_call(APPROVE, own.spender, UNIT)
        raw, hash_ = await own.sign(key, own.token().address, call)
        await own.broadcast(raw)
        claim = own.claim(hash_, key.address, UNIT)
        check = await own.check(claim)
        assert verdict(check) == "VERIFIED"
        await own.mine()
        await own.rpc.request("anvil_reorg", [2, []])
        await own.rpc.request("anvil_dropTransaction", [hash_])
        known = replace(claim, block=check.included)
        for again in (known, replace(known, raw=raw)):
            check = await own.check(again)
            assert (verdict(check), check.state) == ("UNDETERMINED", "reorganised")
            assert "o not approve anew" in finding(check, "inclusion").message
        # The same bytes land again: it is the same approval in another block.
        await own.broadcast(raw)
        check = await own.check(known)
        assert (verdict(check), check.state) == ("VERIFIED", "active")
        assert check.included != known.block

    async def test_a17_a_node_that_still_shows_the_lost_block_is_told_from_a_liar(self, own: Lab):
        key = await own.wallet()
        claim = own.claim(await own.approve(key, UNIT), key.address, UNIT)
        kept = {
            method: await own.rpc.request(method, [claim.transaction])
            for method in ("eth_getTransactionByHash", "eth_getTransactionReceipt")
        }
        old = await own.rpc.request("eth_getBlockByHash", [kept["eth_getTransactionReceipt"]["blockHash"], False])
        await own.rpc.request("anvil_reorg", [1, []])

        def stale(method: str, params: Any, answer: Any) -> Any:
            return old if method == "eth_getBlockByHash" else kept.get(method, answer)

        check = await own.check(claim, rpc=Falsified(own.rpc, stale))
        assert (verdict(check), check.state) == ("UNDETERMINED", "reorganised")
        with pytest.raises(ContradictionError):
            await own.check(claim, rpc=Falsified(own.rpc, lambda method, _, answer: kept.get(method, answer)))

    async def test_a17_a_chain_that_was_rolled_back_leaves_the_transaction_dropped(self, own: Lab):
        key = await own.wallet()
        raw, hash_ = await own.sign(key, own.token().address, encode_call(APPROVE, own.spender, UNIT))
        await own.broadcast(raw)
        check = await own.check(own.claim(hash_, key.address, UNIT))
        await own.rpc.request("anvil_rollback", [1])
        check = await own.check(own.claim(hash_, key.address, UNIT, raw=raw, block=check.included))
        assert (verdict(check), check.state) == ("UNDETERMINED", "dropped")

    async def test_a18_a_pending_a_dropped_and_a_replaced_transaction_are_told_apart(self, own: Lab):
        key = await own.wallet()
        await own.rpc.request("evm_setAutomine", [False])
        raw, hash_ = await own.sign(key, own.token().address, encode_call(APPROVE, own.spender, UNIT))
        await own.rpc.request("eth_sendRawTransaction", [raw])
        claim = own.claim(hash_, key.address, UNIT, raw=raw)
        check = await own.check(claim)
        assert (verdict(check), check.state) == ("UNDETERMINED", "pending")

        await own.rpc.request("anvil_dropTransaction", [hash_])
        check = await own.check(claim)
        assert (verdict(check), check.state) == ("UNDETERMINED", "dropped")
        assert "can still land" in finding(check, "inclusion").message
        assert (await own.check(replace(claim, raw=None))).state is None

        await own.mine(3)
        other = await own.send(key, key.address, "0x", wait=False)
        await own.mine(4)
        check = await own.check(claim)
        assert (verdict(check), check.state) == ("REFUTED", "replaced")
        assert finding(check, "inclusion").found == other
        gone = replace(claim, block=Block(2, "0x" + "11" * 32))
        check = await own.check(gone)
        assert (verdict(check), check.state) == ("REFUTED", "replaced")
        assert "reorganised away" in finding(check, "inclusion").message

        def prune(method: str, params: Any, answer: Any) -> Any:
            if method == "eth_getTransactionCount" and int(params[1], 16) < 12:
                raise _pruned()
            return answer

        check = await own.check(claim, rpc=Falsified(own.rpc, prune))
        assert (verdict(check), check.state) == ("UNDETERMINED", None)

    async def test_a18_a_transaction_that_the_node_does_not_index_is_not_called_replaced(
        self, lab: Lab, approved: tuple[KeyDocument, str], claim: ApprovalClaim
    ):
        raw = (await lab.check(claim)).exhibits["transaction"]
        block = (await lab.check(claim)).included

        def forget(answer: Any) -> Any:
            return None

        forgetful = falsify(lab.rpc, "eth_getTransactionByHash", change=forget)
        for known in (replace(claim, raw=raw), replace(claim, raw=raw, block=block), replace(claim, block=block)):
            check = await lab.check(known, rpc=forgetful)
            assert (verdict(check), check.state) == ("UNDETERMINED", None)
            assert "does not find it by its hash" in finding(check, "inclusion").message


class TestWhatCannotBeSpent:
    async def test_a37_a_paused_token_is_authorised_and_blocked(self, lab: Lab, claim: ApprovalClaim):
        await lab.issue("usdc", "pause()")
        try:
            check = await lab.check(claim)
        finally:
            await lab.issue("usdc", "unpause()")
        assert (verdict(check), check.state, check.blocked) == ("VERIFIED", "active", ("paused",))
        assert (check.amounts.remaining, check.amounts.spendable) == (5000 * UNIT, 0)
        assert "paused" in finding(check, "blocked").message

    @pytest.mark.parametrize(
        ("currency", "function", "who", "blocked"),
        [
            ("usdc", "blacklist(address)", "owner", ("owner-blacklisted",)),
            ("usdc", "blacklist(address)", "spender", ("spender-blacklisted",)),
            ("tether", "addBlackList(address)", "owner", ("owner-blacklisted",)),
            ("tether", "addBlackList(address)", "spender", ()),
        ],
        ids=["usdc-owner", "usdc-spender", "tether-owner", "tether-spender"],
    )
    async def test_a37_a_blacklisted_party_is_named(
        self, lab: Lab, currency: str, function: str, who: str, blocked: tuple[str, ...]
    ):
        key, spender = await lab.wallet(tokens=True), await lab.deploy("Multicall")
        sent = await lab.approve(key, UNIT, currency, spender)
        account = key.address if who == "owner" else spender
        await lab.issue(currency, function, account)
        check = await lab.check(lab.claim(sent, key.address, UNIT, currency, spender=spender))
        assert (verdict(check), check.blocked) == ("VERIFIED", blocked)
        assert check.amounts.spendable == (0 if blocked else UNIT)

    async def test_a37_an_empty_wallet_is_authorised_and_can_spend_nothing(self, lab: Lab):
        key = await lab.wallet()
        check = await lab.check(lab.claim(await lab.approve(key, UNIT), key.address, UNIT))
        assert (check.amounts.remaining, check.amounts.balance, check.amounts.spendable) == (UNIT, 0, 0)


def _pruned() -> RpcError:
    return RpcError("the state of this block is not there any more", code=-32000)
