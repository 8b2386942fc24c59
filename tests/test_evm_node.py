"""The door to an EVM network, on real local chains: what it reads, plans, refuses and pays."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from chains import get_chain, open_node
from chains.errors import (
    ChainError,
    FeeTooHighError,
    InputError,
    InvalidAddressError,
    NodeError,
    NodeUnreachableError,
    NoGasError,
    RpcError,
    SpenderRefusedError,
    TokenRefusedError,
    WillRevertError,
    WrongChainError,
)
from chains.evm.codec.erc20 import decode_approve
from chains.evm.node import EvmNode
from chains.evm.refusals import PERMIT2
from chains.family import verify_signed
from chains.rpc import HttpRpc, Params
from chains.types import (
    AllowanceIntent,
    ApproveOptions,
    ApproveStep,
    Block,
    EvmFee,
    EvmTransaction,
    Settlement,
    SignedTransaction,
    Token,
)
from delegation.sandbox import Sandbox
from delegation.sandbox.artifacts import encode_call, encode_creation
from delegation.sandbox.evm_network import transact
from delegation.sandbox.nodes import start_anvil

# A local chain mines what is sent to it and no more, so that no block would ever lie on the last approval.
ETHEREUM = replace(get_chain("ethereum"), settle_depth=1)
GWEI = 10**9
UNLIMITED = 2**256 - 1
# A base fee of 10 gwei after ten full blocks (EIP-1559: an eighth each), rounded up.
RISEN = 32_473_210_255


class Between:
    """A real connection with a person in between who may answer some methods otherwise."""

    def __init__(self, rpc: HttpRpc, **answers: Callable[[Params], Awaitable[Any]]) -> None:
        self._rpc = rpc
        self._answers = answers
        self.asked: list[str] = []
        self.calls = 0

    async def request(self, method: str, params: Params = ()) -> Any:
        self.calls += 1
        self.asked.append(method)
        if method in self._answers:
            return await self._answers[method](params)
        return await self._rpc.request(method, params)

    async def aclose(self) -> None:
        await self._rpc.aclose()


def refuse(message: str, code: int = -32601, data: object = None) -> Callable[[Params], Awaitable[Any]]:
    async def answer(_: Params) -> Any:
        raise RpcError(message, code=code, data=data)

    return answer


def say(value: Any) -> Callable[[Params], Awaitable[Any]]:
    async def answer(_: Params) -> Any:
        return value

    return answer


def get_token(sandbox: Sandbox, network: str, currency: str) -> Token:
    token = sandbox.document.networks[network].tokens[currency]
    return Token(currency.upper(), token.address, token.decimals)


@pytest.fixture
async def nodes(sandbox: Sandbox) -> AsyncIterator[dict[str, EvmNode]]:
    opened = {
        name: EvmNode(replace(get_chain(name), settle_depth=1), HttpRpc(sandbox.document.networks[name].rpc_url))
        for name in ("ethereum", "linea", "base")
    }
    yield opened
    for node in opened.values():
        await node.aclose()


async def make_intent(
    sandbox: Sandbox, network: str = "ethereum", currency: str = "usdc", amount: int = 5000 * 10**6, gas: bool = True
) -> tuple[AllowanceIntent, str]:
    """Return an intent of a fresh wallet, and the wallet's key."""
    wallet = await sandbox.new_wallet("evm", gas=gas)
    spender = sandbox.document.networks[network].delegation_contract
    return AllowanceIntent(get_token(sandbox, network, currency), wallet.address, spender, amount), wallet.private_key


def sign(unsigned: EvmTransaction, key: str) -> SignedTransaction:
    signed = Account.sign_transaction(
        {
            "type": 2,
            "chainId": unsigned.chain_id,
            "nonce": unsigned.nonce,
            "to": unsigned.to,
            "value": 0,
            "data": unsigned.data,
            "gas": unsigned.fee.gas_limit,
            "maxFeePerGas": unsigned.fee.max_fee_per_gas,
            "maxPriorityFeePerGas": unsigned.fee.max_priority_fee_per_gas,
        },
        key,
    )
    return SignedTransaction("0x" + signed.raw_transaction.hex(), "0x" + signed.hash.hex())


async def approve(node: EvmNode, intent: AllowanceIntent, key: str) -> list[Settlement]:
    """Carry an intent to the end and return the settlement of each step."""
    settlements = []
    plan = await node.plan_approval(intent)
    for step in plan.steps:
        unsigned = await node.prepare(intent, step)
        signed = sign(unsigned, key)
        verify_signed(unsigned, signed)
        await node.send(signed)
        settlements.append(await node.settle(intent, step, unsigned, signed, timeout=20))
    return settlements


async def deploy(node: EvmNode, creation: str) -> str:
    assert isinstance(node.rpc, HttpRpc)
    accounts = await node.rpc.request("eth_accounts")
    receipt = await transact(node.rpc, {"from": accounts[0], "data": creation})
    return str(receipt["contractAddress"])


async def put_token(node: EvmNode, approve_code: str, other_answer: str = "600602") -> Token:
    """Put a token of a few bytes on the chain: `decimals` is 6, everything else 0, `approve` as given."""
    head = "60003560e01c8063095ea7b31460"
    tail = "57" + "63313ce56714" + other_answer + "60005260206000f3"
    target = (len(head) + len(tail)) // 2 + 1
    code = head + f"{target:02x}" + tail + "5b" + approve_code
    address = "0x" + Account.create().address[2:]
    await node.rpc.request("anvil_setCode", [address, "0x" + code])
    return Token("ODD", address, 6)


REVERT_WITH_CUSTOM_ERROR = "63deadbeef60e01b60005260046000fd"
RETURN_FALSE = "600060005260206000f3"
RETURN_TRUE_AND_KEEP_NOTHING = "600160005260206000f3"
BURN_ALL_GAS = "fe"


@pytest.mark.parametrize("network", ["ethereum", "linea", "base"])
async def test_a_grant_settles_with_the_allowance_read_from_its_own_block_in_ten_calls(
    sandbox: Sandbox, nodes: dict[str, EvmNode], network: str
) -> None:
    intent, key = await make_intent(sandbox, network)
    node = nodes[network]
    await node.check_chain()
    [settlement] = await approve(node, intent, key)
    assert node.rpc.calls <= 10
    assert (settlement.allowance, settlement.finality) == (intent.amount, "included")
    assert settlement.fee_paid > 0
    state = await node.get_allowance(intent.token, intent.owner, intent.spender, block=settlement.block)
    assert state.allowance == intent.amount
    assert state.block == settlement.block
    assert state.balance == 1_000_000 * 10**6
    assert state.native_balance == 100 * 10**18 - settlement.fee_paid


async def test_a_spend_is_seen_in_the_newest_block(sandbox: Sandbox, nodes: dict[str, EvmNode]) -> None:
    intent, key = await make_intent(sandbox, "linea")
    [settlement] = await approve(nodes["linea"], intent, key)
    await sandbox.spend("linea", "usdc", intent.owner, 1200 * 10**6)
    now = await nodes["linea"].get_allowance(intent.token, intent.owner, intent.spender)
    then = await nodes["linea"].get_allowance(intent.token, intent.owner, intent.spender, block=settlement.block)
    assert (now.allowance, then.allowance) == (3800 * 10**6, 5000 * 10**6)
    assert now.block.number > then.block.number


async def test_a13_a_token_that_demands_zero_first_takes_two_steps_found_by_trying(
    sandbox: Sandbox, nodes: dict[str, EvmNode]
) -> None:
    node = nodes["ethereum"]
    intent, key = await make_intent(sandbox, currency="usdt")
    assert len(await approve(node, intent, key)) == 1
    raised = replace(intent, amount=10_000 * 10**6)
    plan = await node.plan_approval(raised)
    assert [step.amount for step in plan.steps] == [0, 10_000 * 10**6]
    assert plan.steps[0].fee is not None
    assert plan.steps[1].fee is None
    assert any("nothing can be spent" in warning for warning in plan.warnings)
    assert any("5000 USDT" in warning for warning in plan.warnings)
    assert [settlement.allowance for settlement in await approve(node, raised, key)] == [0, 10_000 * 10**6]
    revoked = replace(intent, amount=0)
    assert [settlement.allowance for settlement in await approve(node, revoked, key)] == [0]


@pytest.mark.parametrize(("network", "currency"), [("ethereum", "usdc"), ("linea", "usdt"), ("base", "usdt")])
async def test_other_tokens_take_one_step_to_raise_and_to_revoke(
    sandbox: Sandbox, nodes: dict[str, EvmNode], network: str, currency: str
) -> None:
    intent, key = await make_intent(sandbox, network, currency)
    for amount in (intent.amount, 2 * intent.amount, 0):
        settlements = await approve(nodes[network], replace(intent, amount=amount), key)
        assert [settlement.allowance for settlement in settlements] == [amount]


async def test_an_allowance_that_is_already_right_is_still_one_step_because_the_platform_needs_a_hash(
    sandbox: Sandbox, nodes: dict[str, EvmNode]
) -> None:
    intent, key = await make_intent(sandbox)
    await approve(nodes["ethereum"], intent, key)
    plan = await nodes["ethereum"].plan_approval(intent)
    assert [step.amount for step in plan.steps] == [intent.amount]
    assert plan.warnings == ("The allowance is already 5000 USDC; approving it again changes nothing.",)


async def test_warnings_name_an_unlimited_allowance_and_one_above_the_balance(
    sandbox: Sandbox, nodes: dict[str, EvmNode]
) -> None:
    intent, key = await make_intent(sandbox, amount=UNLIMITED)
    plan = await nodes["ethereum"].plan_approval(intent)
    assert any("unlimited" in warning for warning in plan.warnings)
    above = await nodes["ethereum"].plan_approval(replace(intent, amount=1_000_001 * 10**6))
    assert any("1000000 USDC" in warning for warning in above.warnings)
    await approve(nodes["ethereum"], intent, key)
    lowered = await nodes["ethereum"].plan_approval(replace(intent, amount=1))
    assert "This replaces an unlimited allowance." in lowered.warnings


async def _refuse_overrides(rpc: HttpRpc, params: Params) -> Any:
    if len(params) > 2:
        raise RpcError("too many arguments, want at most 2", code=-32602)
    return await rpc.request("eth_call", params)


async def _ignore_overrides(rpc: HttpRpc, params: Params) -> Any:
    return await rpc.request("eth_call", list(params)[:2])


@pytest.mark.parametrize("eth_call", [_refuse_overrides, _ignore_overrides])
async def test_a_node_without_state_overrides_is_asked_one_by_one_and_the_plan_is_the_same(
    sandbox: Sandbox, nodes: dict[str, EvmNode], eth_call: Callable[[HttpRpc, Params], Awaitable[Any]]
) -> None:
    intent, key = await make_intent(sandbox, currency="usdt")
    rpc = HttpRpc(sandbox.document.networks["ethereum"].rpc_url)
    poor = EvmNode(ETHEREUM, Between(rpc, eth_call=lambda params: eth_call(rpc, params)))
    try:
        [settlement] = await approve(poor, intent, key)
        assert settlement.allowance == intent.amount
        raised = replace(intent, amount=10_000 * 10**6)
        ours, theirs = await poor.plan_approval(raised), await nodes["ethereum"].plan_approval(raised)
        assert [step.amount for step in ours.steps] == [0, 10_000 * 10**6]
        assert (ours.state, ours.warnings) == (theirs.state, theirs.warnings)
        state = await poor.get_allowance(intent.token, intent.owner, intent.spender, block=ours.state.block)
        assert state == ours.state
        nothing_there = replace(intent, token=replace(intent.token, address="0x" + "ab" * 20))
        with pytest.raises(TokenRefusedError):
            await poor.plan_approval(nothing_there)
        with pytest.raises(SpenderRefusedError):
            await poor.plan_approval(replace(intent, spender=Account.create().address))
    finally:
        await poor.aclose()


async def test_a_node_of_another_chain_is_refused(sandbox: Sandbox) -> None:
    node = open_node(get_chain("linea"), sandbox.document.networks["ethereum"].rpc_url)
    with pytest.raises(WrongChainError) as caught:
        await node.check_chain()
    assert (caught.value.expected, caught.value.found) == (59144, 1)
    await node.aclose()


@pytest.mark.parametrize(
    ("spender", "says"),
    [
        (lambda _: "0x" + "0" * 40, "zero address"),
        (lambda intent: intent.owner, "owner's own address"),
        (lambda intent: intent.owner.lower(), "owner's own address"),
        (lambda intent: intent.token.address, "token itself"),
        (lambda _: PERMIT2, "Permit2"),
        (lambda _: Account.create().address, "not a contract"),
    ],
)
async def test_spenders_that_must_never_be_approved_are_refused(
    sandbox: Sandbox, nodes: dict[str, EvmNode], spender: Callable[[AllowanceIntent], str], says: str
) -> None:
    intent, _ = await make_intent(sandbox)
    with pytest.raises(SpenderRefusedError, match=says):
        await nodes["ethereum"].plan_approval(replace(intent, spender=spender(intent)))


async def test_a_key_that_delegated_itself_is_no_contract(sandbox: Sandbox, nodes: dict[str, EvmNode]) -> None:
    intent, _ = await make_intent(sandbox)
    account = Account.create().address
    await nodes["ethereum"].rpc.request("anvil_setCode", [account, "0xef0100" + intent.spender[2:]])
    with pytest.raises(SpenderRefusedError, match="plain key"):
        await nodes["ethereum"].plan_approval(replace(intent, spender=account))


async def test_an_allowance_of_a_plain_key_or_of_permit2_can_still_be_revoked(
    sandbox: Sandbox, nodes: dict[str, EvmNode]
) -> None:
    intent, _ = await make_intent(sandbox, amount=0)
    for spender in (Account.create().address, PERMIT2):
        plan = await nodes["ethereum"].plan_approval(replace(intent, spender=spender))
        assert [step.amount for step in plan.steps] == [0]


async def test_a_wrong_checksum_is_refused_before_the_node_is_asked(
    sandbox: Sandbox, nodes: dict[str, EvmNode]
) -> None:
    intent, _ = await make_intent(sandbox)
    swapped = intent.spender[:2] + intent.spender[2:].swapcase()
    with pytest.raises(InvalidAddressError):
        await nodes["ethereum"].plan_approval(replace(intent, spender=swapped))
    assert nodes["ethereum"].rpc.calls == 0


async def test_an_address_without_a_token_is_refused(sandbox: Sandbox, nodes: dict[str, EvmNode]) -> None:
    intent, _ = await make_intent(sandbox)
    token = replace(intent.token, address=Account.create().address)
    with pytest.raises(TokenRefusedError, match="does not answer"):
        await nodes["ethereum"].plan_approval(replace(intent, token=token))
    with pytest.raises(TokenRefusedError, match="does not answer"):
        await nodes["ethereum"].get_allowance(token, intent.owner, intent.spender)


async def test_decimals_that_differ_from_the_chains_are_refused(sandbox: Sandbox, nodes: dict[str, EvmNode]) -> None:
    intent, _ = await make_intent(sandbox)
    with pytest.raises(TokenRefusedError) as caught:
        await nodes["ethereum"].plan_approval(replace(intent, token=replace(intent.token, decimals=18)))
    assert (caught.value.expected, caught.value.found) == (18, 6)


async def test_a_paused_token_is_found_out_beforehand_with_its_own_reason(
    sandbox: Sandbox, nodes: dict[str, EvmNode]
) -> None:
    intent, _ = await make_intent(sandbox)
    node = nodes["ethereum"]
    paused = await deploy(node, encode_creation("UsdcLike", "constructor()"))
    assert isinstance(node.rpc, HttpRpc)
    accounts = await node.rpc.request("eth_accounts")
    await transact(node.rpc, {"from": accounts[0], "to": paused, "data": encode_call("pause()")})
    token = replace(intent.token, address=paused)
    with pytest.raises(WillRevertError, match="Pausable: paused"):
        await node.plan_approval(replace(intent, token=token))
    with pytest.raises(WillRevertError, match="Pausable: paused"):
        await node.prepare(replace(intent, token=token), ApproveStep(intent.amount))


@pytest.mark.parametrize(
    ("approve_code", "says"),
    [
        (REVERT_WITH_CUSTOM_ERROR, "custom error 0xdeadbeef"),
        (RETURN_FALSE, "not success"),
        (BURN_ALL_GAS, "no reason"),
    ],
)
async def test_an_approve_that_fails_in_whatever_way_is_found_out_beforehand(
    sandbox: Sandbox, nodes: dict[str, EvmNode], approve_code: str, says: str
) -> None:
    intent, _ = await make_intent(sandbox)
    token = await put_token(nodes["ethereum"], approve_code)
    with pytest.raises(WillRevertError, match=says):
        await nodes["ethereum"].plan_approval(replace(intent, token=token))


async def test_a_token_that_says_yes_and_keeps_nothing_is_refused(sandbox: Sandbox, nodes: dict[str, EvmNode]) -> None:
    intent, _ = await make_intent(sandbox)
    token = await put_token(nodes["ethereum"], RETURN_TRUE_AND_KEEP_NOTHING)
    with pytest.raises(TokenRefusedError, match="After approving"):
        await nodes["ethereum"].plan_approval(replace(intent, token=token))


async def test_without_gas_the_plan_says_how_much_is_needed_and_there(
    sandbox: Sandbox, nodes: dict[str, EvmNode]
) -> None:
    intent, _ = await make_intent(sandbox, gas=False)
    with pytest.raises(NoGasError, match="faucet") as caught:
        await nodes["ethereum"].plan_approval(intent)
    assert caught.value.found == 0
    assert isinstance(caught.value.expected, int)
    assert caught.value.expected > 21_000


async def test_gas_for_one_step_is_not_enough_for_two(sandbox: Sandbox, nodes: dict[str, EvmNode]) -> None:
    node = nodes["ethereum"]
    intent, key = await make_intent(sandbox, currency="usdt")
    await approve(node, intent, key)
    raised = replace(intent, amount=1)
    fee = (await node.plan_approval(raised)).steps[0].fee
    assert isinstance(fee, EvmFee)
    await node.rpc.request("anvil_setBalance", [intent.owner, hex(2 * fee.max_cost)])
    with pytest.raises(NoGasError):
        await node.plan_approval(raised)


async def test_the_fee_on_linea_is_a_quarter_above_the_tip_that_linea_asks_for(
    sandbox: Sandbox, nodes: dict[str, EvmNode]
) -> None:
    intent, _ = await make_intent(sandbox, "linea")
    fee = (await nodes["linea"].plan_approval(intent)).steps[0].fee
    assert isinstance(fee, EvmFee)
    call = {"from": intent.owner, "to": intent.token.address, "data": encode_call_of(intent)}
    asked = await nodes["linea"].rpc.request("linea_estimateGas", [call])
    # The tip is what moves there; a base fee of 7 wei has no headroom to give.
    assert fee.max_priority_fee_per_gas == ceil(Fraction(int(asked["priorityFeePerGas"], 16) * 5, 4))
    base_fee = ceil(int(asked["baseFeePerGas"], 16) * Fraction(9, 8) ** 10)
    assert fee.max_fee_per_gas == base_fee + fee.max_priority_fee_per_gas
    assert fee.gas_limit == -(-int(asked["gasLimit"], 16) * 6 // 5)


def encode_call_of(intent: AllowanceIntent) -> str:
    return encode_call("approve(address,uint256)", intent.spender, intent.amount)


@pytest.mark.parametrize(
    "missing", [refuse("Method not found"), refuse("the method linea_estimateGas is not available", code=-32000)]
)
async def test_a_linea_node_without_its_method_is_asked_for_the_fee_history_with_lineas_floor(
    sandbox: Sandbox, missing: Callable[[Params], Awaitable[Any]]
) -> None:
    intent, _ = await make_intent(sandbox, "linea")
    history = {"baseFeePerGas": ["0x7", "0x7"], "reward": [["0x0"]], "oldestBlock": "0x1", "gasUsedRatio": [0.0]}
    rpc = Between(
        HttpRpc(sandbox.document.networks["linea"].rpc_url), linea_estimateGas=missing, eth_feeHistory=say(history)
    )
    node = EvmNode(get_chain("linea"), rpc)
    policy = node.chain.fees
    assert policy is not None
    fee = (await node.plan_approval(intent)).steps[0].fee
    await node.aclose()
    assert isinstance(fee, EvmFee)
    tip = policy.tip_floor * 5 // 4
    assert (fee.max_priority_fee_per_gas, fee.max_fee_per_gas) == (tip, tip + 23)
    assert fee.max_fee_per_gas < GWEI


async def test_a_linea_estimate_that_reverts_is_the_answer_and_not_a_reason_to_ask_otherwise(
    sandbox: Sandbox,
) -> None:
    intent, _ = await make_intent(sandbox, "linea")
    reverts = refuse("execution reverted", code=3, data="0xdeadbeef")
    rpc = Between(HttpRpc(sandbox.document.networks["linea"].rpc_url), linea_estimateGas=reverts)
    node = EvmNode(get_chain("linea"), rpc)
    with pytest.raises(WillRevertError, match="0xdeadbeef"):
        await node.prepare(intent, ApproveStep(intent.amount))
    await node.aclose()
    assert rpc.asked == ["linea_estimateGas"]


async def test_a_tip_that_linea_needs_is_not_cut_to_the_cap_but_refused(sandbox: Sandbox) -> None:
    with pytest.raises(FeeTooHighError):
        await prepare_on_linea(sandbox, 6 * GWEI)


@pytest.mark.parametrize(
    ("asked", "cap", "tip"),
    [
        (4 * GWEI, None, 5 * GWEI),
        (4 * GWEI + 8, None, 5 * GWEI),
        (GWEI, GWEI + 107, GWEI + 100),
        (GWEI, GWEI + 7, GWEI),
    ],
)
async def test_the_headroom_of_the_tip_ends_at_the_caps_of_the_network_and_of_the_person(
    sandbox: Sandbox, asked: int, cap: int | None, tip: int
) -> None:
    fee = await prepare_on_linea(sandbox, asked, cap)
    assert fee.max_priority_fee_per_gas == tip
    assert fee.max_fee_per_gas == (cap or tip + 23)
    with pytest.raises(FeeTooHighError):
        await prepare_on_linea(sandbox, asked, asked + 6)


async def prepare_on_linea(sandbox: Sandbox, tip: int, cap: int | None = None) -> EvmFee:
    """Return the fee of an approval on Linea, where the network asks for this tip and a base fee of 7 wei."""
    intent, _ = await make_intent(sandbox, "linea")
    asked = {"gasLimit": "0xc350", "baseFeePerGas": "0x7", "priorityFeePerGas": hex(tip)}
    rpc = Between(HttpRpc(sandbox.document.networks["linea"].rpc_url), linea_estimateGas=say(asked))
    node = EvmNode(get_chain("linea"), rpc)
    try:
        capped = replace(intent, options=ApproveOptions(max_fee_cap=cap))
        return (await node.prepare(capped, ApproveStep(intent.amount))).fee
    finally:
        await node.aclose()


@pytest.mark.parametrize(
    ("base_fees", "rewards", "tip", "max_fee"),
    [
        (["0x1", hex(10 * GWEI)], [[hex(GWEI)], ["0x0"], [hex(3 * GWEI)], [hex(2 * GWEI)]], 2 * GWEI, RISEN + 2 * GWEI),
        (["0x1", hex(10 * GWEI)], [["0x0"], ["0x0"]], GWEI // 100, RISEN + GWEI // 100),
        (["0x1", hex(10 * GWEI)], [], GWEI // 100, RISEN + GWEI // 100),
        (["0x1", hex(10 * GWEI)], [[hex(900 * GWEI)]], 5 * GWEI, RISEN + 5 * GWEI),
        (["0x1", hex(200 * GWEI)], [[hex(GWEI)]], GWEI, 300 * GWEI),
    ],
    ids=["median of tips above zero", "floor", "floor without rewards", "tip cap", "fee cap"],
)
async def test_fees_elsewhere_come_from_the_fee_history_within_the_policy(
    sandbox: Sandbox, base_fees: list[str], rewards: list[list[str]], tip: int, max_fee: int
) -> None:
    intent, _ = await make_intent(sandbox)
    history = {"baseFeePerGas": base_fees, "reward": rewards, "oldestBlock": "0x1", "gasUsedRatio": []}
    rpc = Between(HttpRpc(sandbox.document.networks["ethereum"].rpc_url), eth_feeHistory=say(history))
    node = EvmNode(ETHEREUM, rpc)
    unsigned = await node.prepare(intent, ApproveStep(intent.amount))
    await node.aclose()
    assert (unsigned.fee.max_priority_fee_per_gas, unsigned.fee.max_fee_per_gas) == (tip, max_fee)


@pytest.mark.parametrize(("network", "most"), [("ethereum", 3.3), ("base", 3.3)])
async def test_the_maximum_fee_outlasts_the_rise_of_as_many_full_blocks_as_the_network_says(
    sandbox: Sandbox, network: str, most: float
) -> None:
    intent, _ = await make_intent(sandbox, network)
    history = {"baseFeePerGas": ["0x1", hex(GWEI)], "reward": [], "oldestBlock": "0x1", "gasUsedRatio": []}
    node = EvmNode(
        get_chain(network), Between(HttpRpc(sandbox.document.networks[network].rpc_url), eth_feeHistory=say(history))
    )
    fee = (await node.prepare(intent, ApproveStep(intent.amount))).fee
    await node.aclose()
    policy = get_chain(network).fees
    assert policy is not None
    part, whole = policy.base_fee_rise
    base_fee = Fraction(GWEI)
    for _ in range(policy.rising_blocks):
        assert fee.max_fee_per_gas >= base_fee + fee.max_priority_fee_per_gas
        base_fee += base_fee * part / whole
    assert base_fee <= fee.max_fee_per_gas - fee.max_priority_fee_per_gas < base_fee + 1
    assert 2 * GWEI < base_fee < most * GWEI, "room for more than six blocks of Ethereum, without asking for a fortune"


async def test_a_fee_above_the_cap_stops_the_plan(sandbox: Sandbox, nodes: dict[str, EvmNode]) -> None:
    intent, _ = await make_intent(sandbox)
    capped = replace(intent, options=ApproveOptions(max_fee_cap=5))
    for network in ("ethereum", "linea"):
        own = replace(capped, token=get_token(sandbox, network, "usdc"))
        own = replace(own, spender=sandbox.document.networks[network].delegation_contract)
        with pytest.raises(FeeTooHighError) as caught:
            await nodes[network].plan_approval(own)
        assert caught.value.expected == 5
        assert isinstance(caught.value.found, int)
        assert caught.value.found > 5


async def test_the_fee_of_the_plan_is_the_fee_of_the_transaction_and_is_not_asked_again(
    sandbox: Sandbox, nodes: dict[str, EvmNode]
) -> None:
    intent, _ = await make_intent(sandbox)
    node = nodes["ethereum"]
    plan = await node.plan_approval(intent)
    before = node.rpc.calls
    unsigned = await node.prepare(intent, plan.steps[0])
    assert node.rpc.calls == before + 1
    assert unsigned.fee == plan.steps[0].fee
    assert (unsigned.chain_id, unsigned.sender, unsigned.to, unsigned.nonce) == (
        1,
        intent.owner,
        intent.token.address,
        0,
    )
    assert decode_approve(bytes.fromhex(unsigned.data[2:])) == (intent.spender, intent.amount)


async def test_a_step_without_a_fee_is_not_prepared_for_an_owner_who_cannot_pay(
    sandbox: Sandbox, nodes: dict[str, EvmNode]
) -> None:
    intent, _ = await make_intent(sandbox, gas=False)
    with pytest.raises(NoGasError):
        await nodes["ethereum"].prepare(intent, ApproveStep(intent.amount))


async def test_a_block_that_is_not_on_the_chain_is_an_error_and_not_an_allowance_of_zero(
    sandbox: Sandbox, nodes: dict[str, EvmNode]
) -> None:
    intent, _ = await make_intent(sandbox)
    with pytest.raises(NodeError):
        await nodes["ethereum"].get_allowance(
            intent.token, intent.owner, intent.spender, block=Block(1, "0x" + "11" * 32)
        )


GARBAGE: list[Any] = [None, [], {}, "", "0x", "0xzz", 7, {"number": "0x1"}, {"number": "x", "hash": "0x1"}, ["0x"]]


@pytest.mark.parametrize(
    "method",
    ["eth_chainId", "eth_getBlockByNumber", "eth_call", "eth_estimateGas", "eth_feeHistory", "eth_getTransactionCount"],
)
@pytest.mark.parametrize("garbage", GARBAGE, ids=repr)
async def test_a_nodes_nonsense_is_always_a_chain_error(sandbox: Sandbox, method: str, garbage: Any) -> None:
    wallet = sandbox.document.wallets["evm"][0]
    spender = sandbox.document.networks["ethereum"].delegation_contract
    intent = AllowanceIntent(get_token(sandbox, "ethereum", "usdc"), wallet.address, spender, 1)
    rpc = Between(HttpRpc(sandbox.document.networks["ethereum"].rpc_url), **{method: say(garbage)})
    node = EvmNode(ETHEREUM, rpc)

    async def walk() -> None:
        await node.check_chain()
        await node.plan_approval(intent)
        await node.prepare(intent, ApproveStep(1))

    with pytest.raises(ChainError):
        await walk()
    await node.aclose()


async def test_a_node_that_is_not_there_is_unreachable() -> None:
    node = EvmNode(ETHEREUM, HttpRpc("http://127.0.0.1:9", attempts=1))
    with pytest.raises(NodeUnreachableError):
        await node.check_chain()
    await node.aclose()


async def test_websocket_and_ipc_are_doors_like_http(tmp_path: Path) -> None:
    socket = tmp_path / "node.ipc"
    with start_anvil(8453, "--ipc", str(socket)) as anvil:
        for url in (anvil.rpc_url, anvil.rpc_url.replace("http://", "ws://"), str(socket)):
            node = open_node(get_chain("base"), url)
            await node.check_chain()
            assert isinstance(node, EvmNode)
            assert await node.rpc.request("eth_blockNumber") == "0x0"
            with pytest.raises(RpcError) as caught:
                await node.rpc.request("eth_sendRawTransaction", ["0x02"])
            assert caught.value.code == -32602
            assert await node.rpc.request("eth_chainId", []) == "0x2105"
            assert node.rpc.calls == 4
            await node.aclose()
        left = [open_node(get_chain("base"), url) for url in (anvil.rpc_url.replace("http://", "ws://"), str(socket))]
        for node in left:
            await node.check_chain()
    for node in left:
        assert isinstance(node, EvmNode)
        with pytest.raises(NodeUnreachableError):
            await node.rpc.request("eth_blockNumber")
        await node.aclose()


@pytest.mark.parametrize("url", ["ftp://node", "nowhere", "/etc/passwd", "ws://", "http://"])
def test_a_url_that_is_no_door_is_refused(url: str) -> None:
    with pytest.raises(InputError):
        open_node(get_chain("base"), url)
