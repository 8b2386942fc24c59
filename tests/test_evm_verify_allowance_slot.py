"""Where tokens keep allowances: proved where code or token are known, and otherwise not claimed."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from approval_lab import APPROVE, UNIT, Lab, finding, open_lab, verdict
from eth_utils.crypto import keccak

from chains import get_chain
from chains.claims import ApprovalCheck, ApprovalClaim
from chains.errors import ContradictionError
from chains.evm.blocks import get_header
from chains.evm.codec.approval_logs import Pair
from chains.evm.verify.allowance_proof import AllowanceProof, prove_allowance
from chains.evm.verify.allowance_slot import KnownCode, allowance_slot, known_code
from chains.types import M0_ALLOWANCES, OPENZEPPELIN_5_ALLOWANCES, AllowanceLayout, Chain
from delegation.sandbox.artifacts import encode_call
from delegation.sandbox.document import KeyDocument

OWNER = "0x1111111111111111111111111111111111111111"
SPENDER = "0x9dd23A4a0845f10d65D293776B792af1131c7B30"
EIP_1967 = "360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc"
ZEPPELINOS = "7050c9e0f4ca769c69bd3a8ef740bc37934f8e2c036e5a723fd8ee048ed3f8c3"


@pytest.fixture(scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with open_lab("linea") as running:
        yield running


async def approval_of(lab: Lab, token: str, amount: int = UNIT) -> tuple[ApprovalClaim, KeyDocument]:
    key = await lab.wallet()
    sent = await lab.send(key, token, encode_call(APPROVE, lab.spender, amount))
    return lab.claim(sent, key.address, amount, token=replace(lab.token(), address=token)), key


async def approve_and_check(lab: Lab, token: str) -> ApprovalCheck:
    return await lab.check((await approval_of(lab, token))[0])


async def code_hash(lab: Lab, address: str) -> str:
    code = await lab.rpc.request("eth_getCode", [address, "latest"])
    return "0x" + keccak(bytes.fromhex(code[2:])).hex()


class TestFormulas:
    # Vectors that another implementation has computed.
    @pytest.mark.parametrize(
        ("base", "slot"),
        [
            (10, "641c8e6ce369957d76da55923a0a4af93aeed690eea6f7107295eb3fc7cc1778"),
            (5, "f524b1b201ad463cb513fb689162d26f5a1f3db9465e393f0616422ed3b8f190"),
            (OPENZEPPELIN_5_ALLOWANCES, "3281ace379de06f546d08f0e5f6618eacd58f82275cf8490138afc6e23ad5e4a"),
            (M0_ALLOWANCES, "e9fcee841782884288dcbee65885e577c2c344e9d5682eb1963283c93428f744"),
        ],
        ids=["usdc", "usdt", "openzeppelin-5", "musd"],
    )
    def test_slots_are_those_that_another_implementation_has_computed(self, base: int, slot: str):
        assert allowance_slot(OWNER, SPENDER, base).hex() == slot


class TestLayouts:
    @pytest.mark.parametrize("chain", [get_chain(name) for name in ("ethereum", "linea", "base")], ids=lambda c: c.name)
    def test_what_is_data_of_a_network_is_about_its_own_tokens(self, chain: Chain):
        tokens = {token.address: token.symbol for token in chain.tokens}
        known = {tokens[layout.token]: layout.base for layout in chain.allowance_layouts}
        assert known["USDC"] == 10
        assert known.get("USDT", 5) == 5

    @pytest.mark.parametrize(("currency", "base"), [("usdc", 10), ("usdt", 1), ("tether", 5)])
    async def test_the_sandboxs_tokens_are_known_by_the_hash_of_their_code(self, lab: Lab, currency: str, base: int):
        token = lab.token(currency).address
        check = await approve_and_check(lab, token)
        code = await lab.rpc.request("eth_getCode", [token, "latest"])
        hash_ = "0x" + keccak(bytes.fromhex(code[2:])).hex()
        assert not finding(check, "allowance").basis.word
        assert check.exhibits["slot_now"]["code"] == [hash_]
        assert int(check.exhibits["slot_now"]["base"], 16) == known_code().tokens[hash_] == base

    async def test_a62_an_allowance_of_code_that_nobody_knows_rests_on_the_nodes_word(self, lab: Lab):
        check = await approve_and_check(lab, await lab.contract("PermitToken"))
        assert (verdict(check), finding(check, "allowance").basis.word) == ("VERIFIED", True)
        assert "layout of its storage is not known" in check.exhibits["slot_now"]["problem"]

    @pytest.mark.parametrize("base", [1, 2, 77])
    async def test_a_layout_that_is_data_and_does_not_fit_proves_nothing_and_contradicts_nothing(
        self, lab: Lab, base: int
    ):
        """A token may be upgraded under its address."""
        token = lab.token().address
        claim, key = await approval_of(lab, token)
        right = replace(lab.chain, allowance_layouts=(AllowanceLayout(token, 10),))
        wrong = replace(lab.chain, allowance_layouts=(AllowanceLayout(token, base),))
        found = await get_header(lab.rpc, "latest")
        pair = Pair(token, key.address, lab.spender)
        assert not (await prove_allowance(lab.rpc, right, pair, found, UNIT)).basis.word
        proof = await prove_allowance(lab.rpc, wrong, pair, found, UNIT)
        assert (proof.basis.word, "holds another number" in proof.problem) == (True, True)
        assert verdict(await lab.check(claim)) == "VERIFIED"

    async def test_a_token_that_forwards_elsewhere_is_not_proved_by_its_own_storage(self, lab: Lab):
        token = lab.token("tether").address
        _, key = await approval_of(lab, token)
        found, pair = await get_header(lab.rpc, "latest"), Pair(token, key.address, lab.spender)
        for slots, proved in (((10,), True), ((0,), False)):  # slot 0 holds the issuer
            chain = replace(lab.chain, allowance_layouts=(AllowanceLayout(token, 5, slots),))
            proof = await prove_allowance(lab.rpc, chain, pair, found, UNIT)
            assert (not proof.basis.word, "forwards" in proof.problem) == (proved, not proved)


class TestProxies:
    @pytest.mark.parametrize("place", [EIP_1967, ZEPPELINOS], ids=["eip1967", "zeppelinos"])
    async def test_behind_a_proxy_the_proved_slot_names_code_that_must_be_known_as_well(self, lab: Lab, place: str):
        code = await lab.contract("PermitToken")
        token = await lab.deploy("Proxy", "constructor(bytes32,address)", bytes.fromhex(place), code)
        _, key = await approval_of(lab, token)
        proxy, behind = [await code_hash(lab, address) for address in (token, code)]
        found, pair = await get_header(lab.rpc, "latest"), Pair(token, key.address, lab.spender)

        async def prove(tokens: dict[str, int], proxies: dict[str, int]) -> AllowanceProof:
            return await prove_allowance(lab.rpc, lab.chain, pair, found, UNIT, KnownCode(tokens, proxies))

        proof = await prove({behind: 1}, {proxy: int(place, 16)})
        assert not proof.basis.word
        assert proof.layout is not None
        assert proof.layout.code == (proxy, behind)
        for tokens, proxies in (({}, {proxy: int(place, 16)}), ({behind: 1}, {}), ({behind: 1}, {proxy: 5})):
            assert (await prove(tokens, proxies)).basis.word

    async def test_a21_a_swapped_implementation_is_another_layout(self, lab: Lab):
        first, second = await lab.contract("PermitToken"), await lab.contract("MovedToken")
        token = await lab.deploy("Proxy", "constructor(bytes32,address)", bytes.fromhex(EIP_1967), first)
        _, key = await approval_of(lab, token, 5 * UNIT)
        hashes = [await code_hash(lab, address) for address in (token, first, second)]
        known = KnownCode({hashes[1]: 1, hashes[2]: 52}, {hashes[0]: int(EIP_1967, 16)})
        pair, then = Pair(token, key.address, lab.spender), await get_header(lab.rpc, "latest")
        await lab.send(key, token, encode_call("upgradeTo(address)", second))
        await lab.send(key, token, encode_call(APPROVE, lab.spender, 3 * UNIT))
        now = await get_header(lab.rpc, "latest")
        for found, amount, base in ((then, 5 * UNIT, 1), (now, 3 * UNIT, 52)):
            proof = await prove_allowance(lab.rpc, lab.chain, pair, found, amount, known)
            assert (proof.basis.word, proof.layout and proof.layout.base) == (False, base)
        with pytest.raises(ContradictionError):
            await prove_allowance(lab.rpc, lab.chain, pair, now, 5 * UNIT, known)
