"""Where tokens keep allowances: found, tried and proved on real chains, and not claimed where it is not sure."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from approval_lab import APPROVE, UNIT, Falsified, Lab, finding, open_lab, verdict

from chains.claims import ApprovalCheck
from chains.evm.codec.approval_logs import Pair
from chains.evm.verify.allowance_slot import allowance_slot, candidate_bases, match_slot
from delegation.sandbox.artifacts import encode_call

OWNER = "0x1111111111111111111111111111111111111111"
SPENDER = "0x9dd23A4a0845f10d65D293776B792af1131c7B30"
OPENZEPPELIN_5 = 0x52C63247E1F47DB19D5CE0460030C497F067CA4CEBF71BA98EEADABE20BACE00 + 1
M0 = 0xCBBE23EFB65C1EABA394256C463812C20ABDB5376E247EBA1D0E1E92054DA100
EIP_1967 = "360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc"
ZEPPELINOS = "7050c9e0f4ca769c69bd3a8ef740bc37934f8e2c036e5a723fd8ee048ed3f8c3"


@pytest.fixture(scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with open_lab("linea") as running:
        yield running


async def approve_and_check(lab: Lab, token: str, amount: int = UNIT) -> ApprovalCheck:
    key = await lab.wallet()
    sent = await lab.send(key, token, encode_call(APPROVE, lab.spender, amount))
    return await lab.check(lab.claim(sent, key.address, amount, token=replace(lab.token(), address=token)))


class TestFormulas:
    # Vectors that another implementation has computed.
    @pytest.mark.parametrize(
        ("base", "slot"),
        [
            (10, "641c8e6ce369957d76da55923a0a4af93aeed690eea6f7107295eb3fc7cc1778"),
            (5, "f524b1b201ad463cb513fb689162d26f5a1f3db9465e393f0616422ed3b8f190"),
            (52, "a65f3e58dc6c674d6f081233cf057985221b1d7a73af41de98cc005039a1821a"),
            (OPENZEPPELIN_5, "3281ace379de06f546d08f0e5f6618eacd58f82275cf8490138afc6e23ad5e4a"),
            (M0, "e9fcee841782884288dcbee65885e577c2c344e9d5682eb1963283c93428f744"),
        ],
        ids=["usdc", "usdt", "linea-usdt", "openzeppelin-5", "musd"],
    )
    def test_slots_are_those_of_the_fact_sheet(self, base: int, slot: str):
        assert allowance_slot(OWNER, SPENDER, base, "solidity").hex() == slot
        assert match_slot(Pair(OWNER, OWNER, SPENDER), {bytes.fromhex(slot)}) == (base, "solidity")

    def test_every_base_up_to_300_is_tried_once_in_both_orders(self):
        bases = list(candidate_bases())
        assert sorted(bases) == [*range(301), OPENZEPPELIN_5, M0]
        key = allowance_slot(OWNER, SPENDER, 300, "vyper")
        assert match_slot(Pair(OWNER, OWNER, SPENDER), {key}) == (300, "vyper")
        assert match_slot(Pair(OWNER, OWNER, SPENDER), {bytes(32)}) is None


class TestLayouts:
    @pytest.mark.parametrize(("currency", "base"), [("usdc", 10), ("usdt", 1), ("tether", 5)])
    async def test_the_slots_of_the_sandboxs_tokens_are_found_and_proved(self, lab: Lab, currency: str, base: int):
        token = lab.token(currency).address
        check = await approve_and_check(lab, token)
        slot = check.exhibits["slot"]
        assert check.proved
        assert (int(slot["base"], 16), slot["order"], slot["implementation"]) == (base, "solidity", token)

    async def test_the_order_of_vyper_is_recognised(self, lab: Lab):
        check = await approve_and_check(lab, await lab.deploy("VyperOrderToken"))
        assert (int(check.exhibits["slot"]["base"], 16), check.exhibits["slot"]["order"]) == (7, "vyper")
        assert check.proved

    async def test_a_slot_that_holds_more_than_the_allowance_is_not_claimed(self, lab: Lab):
        check = await approve_and_check(lab, await lab.deploy("PackedToken"))
        assert (verdict(check), check.proved) == ("VERIFIED", False)
        assert "does not answer what is put into the slot" in check.exhibits["slot"]["problem"]
        assert "not proved" in finding(check, "storage-proof").message

    async def test_a_token_that_asks_its_successor_has_no_slot_of_its_own(self, lab: Lab):
        successor = await lab.deploy("ForwardingToken", "constructor(address)", "0x" + "00" * 20)
        token = await lab.deploy("ForwardingToken", "constructor(address)", successor)
        check = await approve_and_check(lab, token)
        assert (verdict(check), check.proved) == ("VERIFIED", False)
        assert "asks another contract" in check.exhibits["slot"]["problem"]

    async def test_two_pairs_must_agree(self, lab: Lab):
        """A node whose access list for the second pair names another slot does not lead to a claim."""
        key = await lab.wallet()
        sent = await lab.approve(key, UNIT)
        twin = encode_call("allowance(address,address)", lab.spender, key.address)

        def change(method: str, params: Any, answer: Any) -> Any:
            if method == "eth_createAccessList" and params[0]["data"] == twin:
                answer["accessList"][0]["storageKeys"] = ["0x" + "11" * 32]
            return answer

        check = await lab.check(lab.claim(sent, key.address, UNIT), rpc=Falsified(lab.rpc, change))
        assert not check.proved
        assert "does not fit another one" in check.exhibits["slot"]["problem"]


class TestProxies:
    @pytest.mark.parametrize("place", [EIP_1967, ZEPPELINOS], ids=["eip1967", "zeppelinos"])
    async def test_the_implementation_behind_a_proxy_is_recorded(self, lab: Lab, place: str):
        code = await lab.contract("PermitToken")
        token = await lab.deploy("Proxy", "constructor(bytes32,address)", bytes.fromhex(place), code)
        check = await approve_and_check(lab, token)
        assert check.proved
        assert check.exhibits["slot"]["implementation"] == code

    async def test_the_implementation_behind_a_beacon_is_recorded(self, lab: Lab):
        code = await lab.contract("PermitToken")
        beacon = await lab.deploy("Beacon", "constructor(address)", code)
        token = await lab.deploy("BeaconProxy", "constructor(address)", beacon)
        check = await approve_and_check(lab, token)
        assert check.proved
        assert check.exhibits["slot"]["implementation"] == code

    async def test_a21_a_swapped_implementation_is_probed_again_and_its_code_recorded(self, lab: Lab):
        key = await lab.wallet()
        first, second = await lab.contract("PermitToken"), await lab.deploy("MovedToken")
        token = await lab.deploy("Proxy", "constructor(bytes32,address)", bytes.fromhex(EIP_1967), first)
        sent = await lab.send(key, token, encode_call(APPROVE, lab.spender, 5 * UNIT))
        claim = lab.claim(sent, key.address, 5 * UNIT, token=replace(lab.token(), address=token))
        before = await lab.check(claim)
        await lab.send(key, token, encode_call("upgradeTo(address)", second))
        await lab.send(key, token, encode_call(APPROVE, lab.spender, 3 * UNIT))
        after = await lab.check(claim)
        assert (verdict(after), after.state, after.proved) == ("VERIFIED", "replaced", True)
        assert [int(check.exhibits["slot"]["base"], 16) for check in (before, after)] == [1, 52]
        assert before.exhibits["slot"]["code_hash"] != after.exhibits["slot"]["code_hash"]
        # At the block of the approval the old code ran: it is probed there by itself.
        assert after.exhibits["slot_at_included"] == before.exhibits["slot"]
        assert after.exhibits["proof_at_included"]["storageProof"][0]["value"] == hex(5 * UNIT)
