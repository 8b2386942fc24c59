"""What takes the place of a transaction that does not land, and which of them it is that lands in the end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from evm_lab import ETHEREUM, FEE, Between, Lab, open_lab, sign

from chains import get_chain
from chains.errors import (
    FeeTooHighError,
    InputError,
    NoGasError,
    RpcError,
    TransactionPendingError,
    TransactionReplacedError,
    TransactionRevertedError,
    WillRevertError,
)
from chains.evm.node import EvmNode
from chains.family import transaction_request, verify_signed
from chains.rpc import HttpRpc, Params
from chains.types import (
    AllowanceIntent,
    ApproveOptions,
    ApproveStep,
    EvmFee,
    EvmTransaction,
    Rival,
    SentTransaction,
    Settlement,
    SignedTransaction,
)
from delegation.sandbox.nodes import RunningNode

GWEI = 10**9
UNKNOWN = "0x" + "ab" * 32


@pytest.fixture
async def lab(anvil: RunningNode, contracts: tuple[str, str]) -> AsyncIterator[Lab]:
    async with open_lab(anvil.rpc_url, contracts) as lab:
        yield lab


async def refuse(_: Params) -> None:
    raise RpcError("no logs here", code=-32005)


@dataclass
class Race:
    """An approval that does not land, and what is made to take its place; logs are served to nobody."""

    lab: Lab
    node: EvmNode
    amount: int
    newest: EvmTransaction
    sent: SignedTransaction | SentTransaction
    rivals: list[Rival] = field(default_factory=list)
    signed: list[SignedTransaction] = field(default_factory=list)

    async def overtake(self, amount: int | None, *, wallet_keeps_silent: bool = False) -> None:
        """Put a transaction for `amount`, or one for nothing at all, in the place of the newest, and send it."""
        step = None if amount is None else ApproveStep(amount)
        made = await self.node.replace(self.lab.intent(amount or 0), step, self.newest)
        assert isinstance(self.sent, SignedTransaction)
        self.rivals.append(Rival(self.newest, None if wallet_keeps_silent else self.sent.hash))
        self.newest, self.sent = made, self.lab.sign(made)
        self.amount = amount or 0
        verify_signed(made, self.sent)
        await self.node.send(self.sent)
        self.signed.append(self.sent)

    async def let_win(self, number: int) -> None:
        """Have the mempool forget all but one of the transactions, and mine that."""
        await self.lab.rpc.request("anvil_dropAllTransactions")
        await self.lab.rpc.request("eth_sendRawTransaction", [self.signed[number].raw])
        await self.lab.mine()

    async def settle(self, within: float = 20) -> Settlement:
        step = ApproveStep(self.amount)
        intent = self.lab.intent(self.amount)
        return await self.node.settle(intent, step, self.newest, self.sent, timeout=within, rivals=self.rivals[::-1])

    async def settle_cancellation(self, within: float = 20) -> str:
        return await self.node.settle_cancellation(self.newest, self.sent, timeout=within, rivals=self.rivals[::-1])


async def start(lab: Lab, amount: int = 5000) -> Race:
    await lab.hold_mining()
    node = EvmNode(ETHEREUM, Between(lab.rpc, eth_getLogs=refuse))
    unsigned = await lab.prepare(amount)
    signed = lab.sign(unsigned)
    await node.send(signed)
    return Race(lab, node, amount, unsigned, signed, signed=[signed])


def eighth_more(fee: int) -> int:
    return -(-fee * 9 // 8)


async def test_of_an_approval_that_was_sped_up_three_times_in_a_row_only_the_last_lands(lab: Lab) -> None:
    race = await start(lab)
    for _ in range(3):
        old = race.newest
        await race.overtake(5000)
        new = race.newest
        assert (new.sender, new.nonce, new.to, new.data) == (old.sender, old.nonce, old.to, old.data)
        assert new.fee.max_fee_per_gas >= eighth_more(old.fee.max_fee_per_gas)
        assert new.fee.max_priority_fee_per_gas == eighth_more(old.fee.max_priority_fee_per_gas)
    await lab.mine()
    settled = await race.settle()
    assert (settled.hash, settled.allowance) == (race.signed[3].hash, 5000)
    assert await lab.rpc.request("eth_getTransactionCount", [lab.owner, "latest"]) == "0x1"


@pytest.mark.parametrize("winner", [0, 1])
async def test_an_earlier_one_that_wins_the_race_makes_the_step_and_is_found_without_any_logs(
    lab: Lab, winner: int
) -> None:
    race = await start(lab)
    await race.overtake(5000)
    await race.overtake(5000)
    await race.let_win(winner)
    settled = await race.settle()
    assert (settled.hash, settled.allowance) == (race.signed[winner].hash, 5000)
    between = race.node.rpc
    assert isinstance(between, Between)
    assert between.asked.count("eth_getLogs") == 0


async def test_an_earlier_one_of_which_the_wallet_never_said_the_hash_is_told_by_its_call(lab: Lab) -> None:
    race = await start(lab)
    await race.overtake(5000, wallet_keeps_silent=True)
    await race.let_win(0)
    assert (await race.settle()).hash == race.signed[0].hash


async def test_a_revocation_takes_the_place_of_the_approval_that_is_on_its_way(lab: Lab) -> None:
    race = await start(lab)
    await race.overtake(0)
    await lab.mine()
    settled = await race.settle()
    assert (settled.hash, settled.allowance) == (race.signed[1].hash, 0)
    state = await lab.node.get_allowance(lab.token, lab.owner, lab.spender)
    assert state.allowance == 0


@pytest.mark.parametrize("silent", [False, True])
async def test_a_revocation_whose_nonce_the_approval_used_was_replaced_by_it(lab: Lab, silent: bool) -> None:
    race = await start(lab)
    await race.overtake(0, wallet_keeps_silent=silent)
    await race.let_win(0)
    with pytest.raises(TransactionReplacedError) as caught:
        await race.settle()
    assert (caught.value.expected, caught.value.found) == (race.signed[1].hash, race.signed[0].hash)
    # The rest of the way: the next nonce.
    await lab.hold_mining(False)
    unsigned = await lab.prepare(0)
    assert unsigned.nonce == race.newest.nonce + 1
    signed = lab.sign(unsigned)
    await lab.node.send(signed)
    assert (await lab.settle(unsigned, signed, amount=0)).allowance == 0


async def test_an_approval_that_its_wallet_sped_up_meanwhile_is_still_the_one_that_the_revocation_lost_to(
    lab: Lab,
) -> None:
    race = await start(lab)
    await race.overtake(0)
    faster = sign(race.rivals[0].unsigned, lab.key, maxFeePerGas=90 * GWEI, maxPriorityFeePerGas=4 * GWEI)
    race.signed.append(faster)
    await race.let_win(-1)
    with pytest.raises(TransactionReplacedError) as caught:
        await race.settle()
    assert caught.value.found == faster.hash
    assert await lab.node.find_approval(lab.intent(0), ApproveStep(0), race.newest, rivals=race.rivals) is None


async def test_a_rival_that_failed_has_used_the_nonce_all_the_same(lab: Lab) -> None:
    race = await start(lab)
    cheap = lab.sign(replace(race.newest, fee=replace(FEE, gas_limit=30_000)))
    race.sent, race.signed = cheap, [cheap]
    await race.overtake(5000)
    await race.let_win(0)
    with pytest.raises(TransactionRevertedError) as caught:
        await race.settle()
    assert caught.value.hash == cheap.hash


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("winner", [0, 1, 2])
async def test_a_cancelled_nonce_is_used_by_the_cancellation_or_by_what_was_on_its_way(
    lab: Lab, winner: int, silent: bool
) -> None:
    race = await start(lab)
    await race.overtake(5000, wallet_keeps_silent=silent)
    await race.overtake(None, wallet_keeps_silent=silent)
    assert (race.newest.to, race.newest.data) == (lab.owner, "0x")
    await race.let_win(winner)
    assert await race.settle_cancellation() == race.signed[winner].hash
    allowance = (await lab.node.get_allowance(lab.token, lab.owner, lab.spender)).allowance
    assert allowance == (0 if winner == 2 else 5000)


async def test_a_nonce_that_none_of_ours_used_was_used_by_another_that_is_named(lab: Lab) -> None:
    race = await start(lab)
    await race.overtake(None)
    foreign = sign(race.newest, lab.key, to=lab.spender, data="0x095ea7b3" + "00" * 64)
    race.signed.append(foreign)
    await race.let_win(-1)
    with pytest.raises(TransactionReplacedError) as caught:
        await race.settle_cancellation(within=0)
    assert caught.value.found == foreign.hash


async def test_only_the_newest_bytes_are_ever_sent_again(lab: Lab, anvil: RunningNode) -> None:
    race = await start(lab)
    await race.overtake(0)
    await lab.rpc.request("anvil_dropAllTransactions")
    sent: list[Any] = []

    async def note(params: Params) -> None:
        sent.extend(params)

    race.node = EvmNode(ETHEREUM, Between(HttpRpc(anvil.rpc_url), eth_sendRawTransaction=note))
    for _ in range(3):
        with pytest.raises(TransactionPendingError):
            await race.settle(within=0)
    await lab.mine()
    assert (await race.settle()).allowance == 0
    await race.node.aclose()
    assert sent == [race.signed[1].raw] * 3


async def test_a_wallet_that_ignores_the_nonce_makes_no_replacement_and_both_are_followed(lab: Lab) -> None:
    race = await start(lab)
    made = await race.node.replace(lab.intent(0), ApproveStep(0), race.newest)
    elsewhere = lab.sign(replace(made, nonce=made.nonce + 1))
    await lab.rpc.request("eth_sendRawTransaction", [elsewhere.raw])
    assert await race.node.get_nonce(elsewhere.hash) == made.nonce + 1
    assert await race.node.get_nonce(UNKNOWN) is None
    # The first is mined alone: it has used the nonce that was asked for, and the second is still on its way.
    await lab.rpc.request("anvil_dropTransaction", [elsewhere.hash])
    await lab.mine()
    await lab.rpc.request("eth_sendRawTransaction", [elsewhere.raw])
    race.rivals, race.newest, race.amount = [Rival(race.newest, race.signed[0].hash)], made, 0
    race.sent = SentTransaction(elsewhere.hash)
    with pytest.raises(TransactionPendingError) as caught:
        await race.settle(within=2)
    assert caught.value.unseen_for == 0.0
    with pytest.raises(TransactionPendingError):
        await EvmNode(ETHEREUM, lab.rpc).settle_cancellation(made, race.sent, timeout=0.1)
    assert await race.settle_cancellation() == race.signed[0].hash
    await lab.mine()
    settled = await race.settle()
    assert (settled.hash, settled.allowance) == (elsewhere.hash, 0)
    # Although it has landed, it did not use the nonce that was asked about.
    assert await race.settle_cancellation() == race.signed[0].hash


@pytest.mark.parametrize("silent", [False, True])
async def test_the_approval_that_a_revocation_lost_to_is_not_found_as_the_revocation(lab: Lab, silent: bool) -> None:
    race = await start(lab)
    await race.overtake(0, wallet_keeps_silent=silent)
    await race.let_win(0)
    intent, step = lab.intent(0), ApproveStep(0)
    assert await lab.node.find_approval(intent, step, race.newest, rivals=race.rivals) is None
    # Without a word of the rival it is what a wallet made of the nonce, with another amount.
    assert await lab.node.find_approval(intent, step, race.newest) == race.signed[0].hash
    same = [Rival(race.newest, race.signed[0].hash)]
    assert await lab.node.find_approval(intent, step, race.newest, rivals=same) == race.signed[0].hash


async def test_the_request_for_a_wallet_names_the_nonce_and_a_cancellation_carries_nothing(lab: Lab) -> None:
    race = await start(lab)
    made = await race.node.replace(lab.intent(), None, race.newest)
    [asked] = transaction_request(made)["params"]  # type: ignore[misc]
    assert (asked["from"], asked["to"], asked["data"], asked["value"]) == (lab.owner, lab.owner, "0x", "0x0")
    assert asked["nonce"] == hex(race.newest.nonce)


async def test_the_price_of_a_replacement_stops_at_the_cap_with_both_figures(lab: Lab) -> None:
    old = await lab.prepare()
    node, step = lab.node, ApproveStep(5000)
    needed = eighth_more(old.fee.max_fee_per_gas)
    with pytest.raises(FeeTooHighError, match=str(needed)) as caught:
        await node.replace(_capped(lab, needed - 1), step, old)
    assert (caught.value.expected, caught.value.found) == (needed - 1, needed)
    made = await node.replace(_capped(lab, needed), step, old)
    assert made.fee.max_fee_per_gas == needed
    policy = ETHEREUM.fees
    assert policy is not None
    # What was sent with the highest tip that the network may ask for can be replaced all the same.
    high = replace(old, fee=replace(FEE, max_fee_per_gas=100 * GWEI, max_priority_fee_per_gas=policy.tip_cap))
    dearer = await node.replace(lab.intent(), step, high)
    assert dearer.fee.max_priority_fee_per_gas == eighth_more(policy.tip_cap)
    assert eighth_more(100 * GWEI) <= dearer.fee.max_fee_per_gas <= policy.max_fee_cap
    for cancelled in (None, step):
        with pytest.raises(FeeTooHighError):
            await node.replace(_capped(lab, 5), cancelled, old)


def _capped(lab: Lab, cap: int) -> AllowanceIntent:
    return replace(lab.intent(), options=ApproveOptions(max_fee_cap=cap))


async def test_an_owner_who_cannot_pay_the_higher_fee_is_told_so(lab: Lab) -> None:
    old = await lab.prepare()
    await lab.rpc.request("anvil_setBalance", [lab.owner, hex(30_000 * old.fee.max_fee_per_gas)])
    with pytest.raises(NoGasError):
        await lab.node.replace(lab.intent(), ApproveStep(5000), old)
    assert (await lab.node.replace(lab.intent(), None, old)).fee.gas_limit < 30_000


async def test_only_its_own_sender_can_replace_a_transaction(lab: Lab) -> None:
    old = await lab.prepare()
    other = replace(lab.intent(), owner="0x000000000000000000000000000000000000dEaD")
    with pytest.raises(InputError, match="cannot be replaced"):
        await lab.node.replace(other, ApproveStep(5000), old)


async def test_a_call_that_fails_only_for_what_is_before_it_keeps_its_gas_and_another_call_is_refused(lab: Lab) -> None:
    unsigned = await lab.prepare()
    signed = lab.sign(unsigned)
    await lab.node.send(signed)
    await lab.settle(unsigned, signed)
    # This token takes 7000 only after 0, which still waits.
    await lab.hold_mining()
    await lab.node.send(lab.sign(await lab.prepare(0)))
    raising = await lab.prepare(7000)
    await lab.node.send(lab.sign(raising))

    async def at_latest(params: Params) -> None:
        assert isinstance(params, list)
        params[1:] = ["latest"]

    node = EvmNode(ETHEREUM, Between(lab.rpc, eth_estimateGas=at_latest))
    made = await node.replace(lab.intent(7000), ApproveStep(7000), raising)
    assert made.fee.gas_limit == FEE.gas_limit
    assert made.fee.max_fee_per_gas >= eighth_more(FEE.max_fee_per_gas)
    with pytest.raises(WillRevertError):
        await node.replace(lab.intent(8000), ApproveStep(8000), raising)
    assert (await node.replace(lab.intent(7000), None, raising)).data == "0x"


async def test_a_cancellation_by_an_account_that_delegated_itself_has_the_gas_that_its_code_takes(lab: Lab) -> None:
    code = "0x0000000000000000000000000000000000c0ffee"
    # PUSH1 1, PUSH1 0, SSTORE, STOP; and the account's own code of EIP-7702 names it.
    await lab.rpc.request("anvil_setCode", [code, "0x600160005500"])
    await lab.rpc.request("anvil_setCode", [lab.owner, "0xef0100" + code[2:]])
    made = await lab.node.replace(lab.intent(), None, await lab.prepare())
    assert made.fee.gas_limit > 40_000
    signed = lab.sign(made)
    await lab.node.send(signed)
    assert await lab.node.settle_cancellation(made, signed, timeout=20) == signed.hash


@pytest.mark.parametrize(
    ("asked", "tip"), [(2 * GWEI, 2_500_000_000), (GWEI // 10, 1_125_000_000), (5 * GWEI, 5 * GWEI)]
)
async def test_on_linea_a_replacement_pays_what_linea_asks_for_now_if_that_is_more_than_an_eighth(
    anvil: RunningNode, lab: Lab, asked: int, tip: int
) -> None:
    old = replace(await lab.prepare(), fee=EvmFee(60_000, 2 * GWEI, GWEI))

    class Linea(Between):
        async def request(self, method: str, params: Params = ()) -> Any:
            if method == "linea_estimateGas":
                self.asked.append(method)
                return {"gasLimit": "0xc350", "baseFeePerGas": "0x7", "priorityFeePerGas": hex(asked)}
            return await super().request(method, params)

    node = EvmNode(get_chain("linea"), Linea(HttpRpc(anvil.rpc_url)))
    made = await node.replace(lab.intent(), ApproveStep(5000), old)
    await node.aclose()
    assert made.fee.max_priority_fee_per_gas == tip
    assert made.fee.max_fee_per_gas >= max(2 * GWEI * 9 // 8, tip + 7)
