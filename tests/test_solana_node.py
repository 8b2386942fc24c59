"""Approvals on a real Solana node: planned, signed, sent, settled, refused."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from solana_lab import LyingRpc, Refusal
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, create_account
from solders.transaction import VersionedTransaction
from spl.token import instructions as spl
from spl.token import models
from spl.token.constants import TOKEN_2022_PROGRAM_ID, TOKEN_PROGRAM_ID

from chains.errors import (
    ChainError,
    ContradictionError,
    InputError,
    InvalidAddressError,
    NodeError,
    NoGasError,
    OtherDelegateError,
    RefusedError,
    RpcError,
    SignatureMismatchError,
    SpenderRefusedError,
    TokenRefusedError,
    TransactionExpiredError,
    TransactionPendingError,
    TransactionRevertedError,
    UnexpectedAllowanceError,
    WillRevertError,
    WrongChainError,
)
from chains.family import open_node, verify_signed
from chains.networks.solana import SOLANA
from chains.rpc import HttpRpc
from chains.solana.addresses import (
    ASSOCIATED_TOKEN_PROGRAM,
    COMPUTE_BUDGET_PROGRAM,
    SYSTEM_PROGRAM,
    TOKEN_2022_PROGRAM,
    TOKEN_PROGRAM,
    get_associated_token_address,
)
from chains.solana.approve import build_approve, build_approve_checked, build_revoke
from chains.solana.node import SolanaNode
from chains.solana.transactions import attach_signature
from chains.types import (
    AllowanceIntent,
    ApproveOptions,
    ApproveStep,
    Block,
    SentTransaction,
    Settlement,
    SignedTransaction,
    SolanaFee,
    SolanaTransaction,
    Token,
)
from delegation.sandbox.nodes import start_surfpool

LAMPORTS = 1_000_000_000
HELD = 1_000_000_000


@dataclass
class Lab:
    """A Solana node of its own, whose payer mints and freezes every token."""

    rpc: HttpRpc
    node: SolanaNode
    payer: Keypair
    usdc: Token

    async def submit(self, instructions: list[Instruction], *signers: Keypair) -> str:
        latest = await self.rpc.request("getLatestBlockhash")
        blockhash = Hash.from_string(latest["value"]["blockhash"])
        message = MessageV0.try_compile(signers[0].pubkey(), instructions, [], blockhash)
        transaction = VersionedTransaction(message, list(signers))
        signature = await self.rpc.request(
            "sendTransaction", [b64encode(bytes(transaction)).decode(), {"encoding": "base64"}]
        )
        for _ in range(500):
            [status] = (await self.rpc.request("getSignatureStatuses", [[signature]]))["value"]
            if status is not None:
                assert status["err"] is None, status
                return str(signature)
            await asyncio.sleep(0.01)
        raise AssertionError("the node did not take a transaction of the test's own")

    async def airdrop(self, address: str, lamports: int) -> None:
        await self.rpc.request("requestAirdrop", [address, lamports])
        for _ in range(500):
            if (await self.rpc.request("getBalance", [address]))["value"] >= lamports:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the airdrop did not arrive")

    async def new_token(
        self, *extensions: bytes, size: int = 82, program: Pubkey = TOKEN_PROGRAM_ID, decimals: int = 6
    ) -> Token:
        mint = Keypair()
        rent = await self.rpc.request("getMinimumBalanceForRentExemption", [size])
        space = CreateAccountParams(
            from_pubkey=self.payer.pubkey(), to_pubkey=mint.pubkey(), lamports=rent, space=size, owner=program
        )
        instructions = [create_account(space)]
        instructions += [Instruction(program, data, [AccountMeta(mint.pubkey(), False, True)]) for data in extensions]
        instructions.append(
            spl.initialize_mint2(
                models.InitializeMint2Params(
                    decimals=decimals,
                    program_id=program,
                    mint=mint.pubkey(),
                    mint_authority=self.payer.pubkey(),
                    freeze_authority=self.payer.pubkey(),
                )
            )
        )
        await self.submit(instructions, self.payer, mint)
        return Token("USDC", str(mint.pubkey()), decimals)

    async def new_wallet(
        self, token: Token | None = None, program: Pubkey = TOKEN_PROGRAM_ID, lamports: int = LAMPORTS
    ) -> Keypair:
        """Return a wallet with SOL, and with 1000 of a token unless `token` is None."""
        wallet = Keypair()
        await self.airdrop(str(wallet.pubkey()), lamports)
        if token is not None:
            mint = Pubkey.from_string(token.address)
            account = spl.get_associated_token_address(wallet.pubkey(), mint, program)
            minted = models.MintToParams(
                program_id=program, mint=mint, dest=account, mint_authority=self.payer.pubkey(), amount=HELD
            )
            created = spl.create_associated_token_account(self.payer.pubkey(), wallet.pubkey(), mint, program)
            await self.submit([created, spl.mint_to(minted)], self.payer)
        return wallet

    async def freeze(self, wallet: Keypair) -> None:
        mint = Pubkey.from_string(self.usdc.address)
        account = Pubkey.from_string(ata(wallet, self.usdc))
        frozen = models.FreezeAccountParams(
            program_id=TOKEN_PROGRAM_ID, account=account, mint=mint, authority=self.payer.pubkey()
        )
        await self.submit([spl.freeze_account(frozen)], self.payer)

    def intent(
        self, wallet: Keypair, amount: int, *, spender: str = "", token: Token | None = None, **options: object
    ) -> AllowanceIntent:
        return AllowanceIntent(
            token=token or self.usdc,
            owner=str(wallet.pubkey()),
            spender=spender or str(Keypair().pubkey()),
            amount=amount,
            options=ApproveOptions(**options),  # type: ignore[arg-type]
        )

    async def build(self, intent: AllowanceIntent) -> SolanaTransaction:
        plan = await self.node.plan_approval(intent)
        return await self.node.prepare(intent, plan.steps[0])

    async def carry(self, intent: AllowanceIntent, wallet: Keypair) -> tuple[SolanaTransaction, Settlement]:
        """Plan, prepare, sign, check, send and settle."""
        plan = await self.node.plan_approval(intent)
        unsigned = await self.node.prepare(intent, plan.steps[0])
        signed = sign(unsigned, wallet)
        verify_signed(unsigned, signed)
        await self.node.send(signed)
        return unsigned, await self.node.settle(intent, plan.steps[0], unsigned, signed, timeout=30)


def ata(wallet: Keypair, token: Token, program: str = TOKEN_PROGRAM) -> str:
    return get_associated_token_address(str(wallet.pubkey()), token.address, program)


def sign(unsigned: SolanaTransaction, wallet: Keypair) -> SignedTransaction:
    return attach_signature(unsigned, bytes(wallet.sign_message(b64decode(unsigned.message))))


def shape(unsigned: SolanaTransaction) -> list[tuple[str, str]]:
    """Return (program, data in hex) of each instruction, read with the Solana library."""
    message = MessageV0.from_bytes(b64decode(unsigned.message)[1:])
    keys = message.account_keys
    return [(str(keys[one.program_id_index]), bytes(one.data).hex()) for one in message.instructions]


@pytest.fixture(scope="module")
async def lab() -> AsyncIterator[Lab]:
    with start_surfpool(20) as running:
        rpc = HttpRpc(running.rpc_url)
        genesis = await rpc.request("getGenesisHash")
        node = open_node(replace(SOLANA, genesis_hash=genesis), running.rpc_url)
        assert isinstance(node, SolanaNode)
        lab = Lab(rpc, node, Keypair(), Token("USDC", "", 6))
        await lab.airdrop(str(lab.payer.pubkey()), 1000 * LAMPORTS)
        lab.usdc = await lab.new_token()
        yield lab
        await node.aclose()
        await rpc.aclose()


@pytest.fixture
async def wallet(lab: Lab) -> Keypair:
    return await lab.new_wallet(lab.usdc)


async def test_a_node_of_another_chain_is_refused_with_both_genesis_hashes(lab: Lab) -> None:
    await lab.node.check_chain()
    with pytest.raises(WrongChainError) as caught:
        await SolanaNode(SOLANA, lab.rpc).check_chain()
    assert caught.value.expected == SOLANA.genesis_hash
    assert caught.value.found == lab.node.chain.genesis_hash


async def test_an_approval_has_the_three_instructions_of_the_shipping_client_in_its_order(
    lab: Lab, wallet: Keypair
) -> None:
    intent = lab.intent(wallet, 100_500_000)
    unsigned, settlement = await lab.carry(intent, wallet)
    programs, data = zip(*shape(unsigned), strict=True)
    assert programs == (COMPUTE_BUDGET_PROGRAM, TOKEN_PROGRAM, COMPUTE_BUDGET_PROGRAM)
    assert data[0].startswith("03")
    assert data[1] == "042082fd0500000000"
    assert data[2].startswith("02")
    assert settlement.allowance == 100_500_000
    assert settlement.finality == "confirmed"
    assert settlement.fee_paid >= 5_000
    state = await lab.node.get_allowance(intent.token, intent.owner, intent.spender, block=settlement.block)
    assert (state.allowance, state.balance, state.other_delegate) == (100_500_000, HELD, None)
    assert state.block.number >= settlement.block.number


async def test_the_limit_that_the_shipping_client_calls_full_access_has_its_bytes(lab: Lab, wallet: Keypair) -> None:
    unsigned = await lab.build(lab.intent(wallet, 2_199_023_255_551 * 10**6))
    assert shape(unsigned)[1] == (TOKEN_PROGRAM, "04c0bdf0ffff7f841e")


async def test_a_missing_token_account_is_created_first_and_its_deposit_is_shown(lab: Lab) -> None:
    wallet = await lab.new_wallet()
    intent = lab.intent(wallet, 5_000_000)
    plan = await lab.node.plan_approval(intent)
    assert plan.state.account_exists is False
    assert any("0.00203928 SOL" in warning for warning in plan.warnings)
    assert isinstance(plan.steps[0].fee, SolanaFee)
    assert plan.steps[0].fee.rent_lamports == 2_039_280
    unsigned, settlement = await lab.carry(intent, wallet)
    programs, data = zip(*shape(unsigned), strict=True)
    assert programs == (COMPUTE_BUDGET_PROGRAM, ASSOCIATED_TOKEN_PROGRAM, TOKEN_PROGRAM, COMPUTE_BUDGET_PROGRAM)
    assert data[1] == "00"
    assert settlement.allowance == 5_000_000


async def test_lamports_sent_to_the_future_account_do_not_pass_for_the_account(lab: Lab) -> None:
    wallet = await lab.new_wallet()
    await lab.airdrop(ata(wallet, lab.usdc), 1_000_000)
    _unsigned, settlement = await lab.carry(lab.intent(wallet, 7), wallet)
    assert settlement.allowance == 7


async def test_a_second_approval_replaces_the_amount_and_does_not_add_to_it(lab: Lab, wallet: Keypair) -> None:
    intent = lab.intent(wallet, 5_000_000)
    await lab.carry(intent, wallet)
    raised = replace(intent, amount=10_000_000)
    assert (await lab.node.plan_approval(raised)).state.allowance == 5_000_000
    _unsigned, settlement = await lab.carry(raised, wallet)
    assert settlement.allowance == 10_000_000


async def test_amount_zero_approves_zero_and_revokes_in_one_transaction_and_leaves_no_delegate(
    lab: Lab, wallet: Keypair
) -> None:
    intent = lab.intent(wallet, 5_000_000)
    await lab.carry(intent, wallet)
    unsigned, settlement = await lab.carry(replace(intent, amount=0), wallet)
    assert [data for _program, data in shape(unsigned)][1:3] == ["040000000000000000", "05"]
    assert settlement.allowance == 0
    account = await lab.rpc.request("getAccountInfo", [ata(wallet, lab.usdc), {"encoding": "jsonParsed"}])
    assert "delegate" not in account["value"]["data"]["parsed"]["info"]


async def test_revoke_alone_is_made_by_option(lab: Lab, wallet: Keypair) -> None:
    intent = lab.intent(wallet, 5_000_000)
    await lab.carry(intent, wallet)
    revoke = replace(intent, amount=0, options=ApproveOptions(revoke_only=True))
    plan = await lab.node.plan_approval(revoke)
    assert any("Revoke alone" in warning for warning in plan.warnings)
    unsigned, settlement = await lab.carry(revoke, wallet)
    assert [data for _program, data in shape(unsigned)][1:-1] == ["05"]
    assert settlement.allowance == 0


async def test_approve_checked_is_made_by_option(lab: Lab, wallet: Keypair) -> None:
    unsigned, settlement = await lab.carry(lab.intent(wallet, 5_000_000, approve_checked=True), wallet)
    assert shape(unsigned)[1] == (TOKEN_PROGRAM, "0d404b4c000000000006")
    assert settlement.allowance == 5_000_000


async def test_another_delegate_stops_the_line_unless_overwriting_is_asked_for(lab: Lab, wallet: Keypair) -> None:
    first = lab.intent(wallet, 5_000_000)
    await lab.carry(first, wallet)
    second = lab.intent(wallet, 1_000_000)
    for intent in (second, replace(second, amount=0)):
        with pytest.raises(OtherDelegateError, match="5 USDC") as caught:
            await lab.node.plan_approval(intent)
        assert caught.value.found == first.spender
    overwrite = replace(second, options=ApproveOptions(overwrite_delegate=True))
    plan = await lab.node.plan_approval(overwrite)
    assert plan.state.other_delegate == first.spender
    assert any(first.spender in warning and "5 USDC" in warning for warning in plan.warnings)
    await lab.carry(overwrite, wallet)
    state = await lab.node.get_allowance(lab.usdc, first.owner, first.spender)
    assert (state.allowance, state.other_delegate) == (0, second.spender)


async def test_a_delegate_that_appears_after_planning_stops_the_preparation(lab: Lab, wallet: Keypair) -> None:
    intent = lab.intent(wallet, 1_000_000)
    plan = await lab.node.plan_approval(intent)
    approve = build_approve(TOKEN_PROGRAM, ata(wallet, lab.usdc), str(Keypair().pubkey()), intent.owner, 9)
    await lab.submit([approve], wallet)
    with pytest.raises(OtherDelegateError):
        await lab.node.prepare(intent, plan.steps[0])


async def test_a_frozen_account_can_neither_approve_nor_revoke(lab: Lab, wallet: Keypair) -> None:
    intent = lab.intent(wallet, 5_000_000)
    await lab.carry(intent, wallet)
    await lab.freeze(wallet)
    for amount in (6_000_000, 0):
        with pytest.raises(WillRevertError, match="frozen"):
            await lab.node.plan_approval(replace(intent, amount=amount))
    assert (await lab.node.get_allowance(lab.usdc, intent.owner, intent.spender)).allowance == 5_000_000


async def test_an_account_whose_ownership_was_given_away_is_refused(lab: Lab, wallet: Keypair) -> None:
    given = models.SetAuthorityParams(
        program_id=TOKEN_PROGRAM_ID,
        account=Pubkey.from_string(ata(wallet, lab.usdc)),
        authority=models.AuthorityType.ACCOUNT_OWNER,
        current_authority=wallet.pubkey(),
        new_authority=lab.payer.pubkey(),
    )
    await lab.submit([spl.set_authority(given)], wallet)
    with pytest.raises(TokenRefusedError, match="SetAuthority") as caught:
        await lab.node.plan_approval(lab.intent(wallet, 1))
    assert caught.value.found == str(lab.payer.pubkey())


async def test_other_decimals_than_the_mints_are_refused(lab: Lab, wallet: Keypair) -> None:
    wrong = replace(lab.usdc, decimals=9)
    with pytest.raises(TokenRefusedError, match="6 decimals, not 9"):
        await lab.node.plan_approval(lab.intent(wallet, 1, token=wrong))


async def test_an_address_that_is_no_mint_is_refused_as_a_token(lab: Lab, wallet: Keypair) -> None:
    for address in (str(Keypair().pubkey()), str(wallet.pubkey()), ata(wallet, lab.usdc), TOKEN_PROGRAM):
        with pytest.raises(TokenRefusedError):
            await lab.node.plan_approval(lab.intent(wallet, 1, token=Token("USDC", address, 6)))


async def test_a_plain_token_2022_mint_works_from_creation_to_revocation(lab: Lab) -> None:
    pointer = bytes([39, 0]) + bytes(32) + bytes(lab.payer.pubkey())
    close = bytes([25, 1]) + bytes(lab.payer.pubkey())
    token = await lab.new_token(close, pointer, size=166 + 36 + 68, program=TOKEN_2022_PROGRAM_ID)
    wallet = await lab.new_wallet()
    intent = lab.intent(wallet, 3_000_000, token=token)
    unsigned, settlement = await lab.carry(intent, wallet)
    assert [program for program, _data in shape(unsigned)][2] == TOKEN_2022_PROGRAM
    assert settlement.allowance == 3_000_000
    raw = await lab.rpc.request("getAccountInfo", [ata(wallet, token, TOKEN_2022_PROGRAM), {"encoding": "base64"}])
    assert raw["value"]["space"] > 165
    _unsigned, settlement = await lab.carry(replace(intent, amount=0), wallet)
    assert settlement.allowance == 0


KEY = bytes(Keypair.from_seed(bytes(range(32))).pubkey())


@pytest.mark.parametrize(
    ("name", "initialisation", "size"),
    [
        ("TransferFee", bytes([26, 0, 0, 0]) + (100).to_bytes(2, "little") + (9).to_bytes(8, "little"), 108),
        ("ConfidentialTransfer", bytes([27, 0]) + KEY + bytes([1]) + bytes(32), 65),
        ("DefaultAccountState (frozen)", bytes([28, 0, 2]), 1),
        ("NonTransferable", bytes([32]), 0),
        ("InterestBearing", bytes([33, 0]) + KEY + bytes(2), 52),
        ("PermanentDelegate", bytes([35]) + KEY, 32),
        ("TransferHook", bytes([36, 0]) + KEY + KEY, 64),
        ("Pausable", bytes([44, 0]) + KEY, 33),
    ],
)
async def test_a_mint_with_a_dangerous_extension_is_refused_by_its_name(
    lab: Lab, name: str, initialisation: bytes, size: int
) -> None:
    token = await lab.new_token(initialisation, size=166 + 4 + size, program=TOKEN_2022_PROGRAM_ID)
    wallet = await lab.new_wallet()
    with pytest.raises(TokenRefusedError) as caught:
        await lab.node.plan_approval(lab.intent(wallet, 1, token=token))
    assert caught.value.found == [name]


async def test_a_mint_whose_accounts_start_usable_is_not_refused_for_saying_so(lab: Lab) -> None:
    token = await lab.new_token(bytes([28, 0, 1]), size=166 + 4 + 1, program=TOKEN_2022_PROGRAM_ID)
    wallet = await lab.new_wallet(token, TOKEN_2022_PROGRAM_ID)
    _unsigned, settlement = await lab.carry(lab.intent(wallet, 1, token=token), wallet)
    assert settlement.allowance == 1


async def test_a_spender_that_can_be_no_platform_is_refused(lab: Lab, wallet: Keypair) -> None:
    owner = str(wallet.pubkey())
    for spender in (owner, lab.usdc.address, ata(wallet, lab.usdc), SYSTEM_PROGRAM, TOKEN_PROGRAM, TOKEN_2022_PROGRAM):
        with pytest.raises(SpenderRefusedError):
            await lab.node.plan_approval(lab.intent(wallet, 1, spender=spender))


async def test_an_owner_without_a_private_key_is_refused(lab: Lab, wallet: Keypair) -> None:
    intent = replace(lab.intent(wallet, 1), owner=ata(wallet, lab.usdc))
    with pytest.raises(InvalidAddressError, match="no wallet can sign"):
        await lab.node.plan_approval(intent)


async def test_an_owner_without_sol_is_told_how_much_is_needed(lab: Lab) -> None:
    empty = Keypair()
    with pytest.raises(NoGasError, match="faucet") as caught:
        await lab.node.plan_approval(lab.intent(empty, 1))
    assert caught.value.found == 0
    assert isinstance(caught.value.expected, int)
    exact = await lab.new_wallet(lamports=caught.value.expected + 100_000)
    _unsigned, settlement = await lab.carry(lab.intent(exact, 1), exact)
    assert settlement.allowance == 1


async def test_revoking_without_a_token_account_says_that_there_is_nothing_to_revoke(lab: Lab) -> None:
    wallet = await lab.new_wallet()
    with pytest.raises(RefusedError, match="nothing to revoke"):
        await lab.node.plan_approval(lab.intent(wallet, 0))


async def test_an_allowance_above_the_balance_and_an_unlimited_one_are_warned_of(lab: Lab, wallet: Keypair) -> None:
    assert (await lab.node.plan_approval(lab.intent(wallet, HELD))).warnings == ()
    [above] = (await lab.node.plan_approval(lab.intent(wallet, HELD + 1))).warnings
    assert "larger than the balance of 1000 USDC" in above
    [unlimited] = (await lab.node.plan_approval(lab.intent(wallet, 2**64 - 1))).warnings
    assert unlimited.startswith("Unlimited")


async def test_the_fee_is_found_by_simulation_and_bounded_by_the_cap(lab: Lab, wallet: Keypair) -> None:
    unsigned = await lab.build(lab.intent(wallet, 1, max_fee_cap=123))
    assert unsigned.fee.compute_unit_price == 123
    assert 300 < unsigned.fee.compute_unit_limit < 20_000
    assert (await lab.build(lab.intent(wallet, 1))).fee.compute_unit_price >= 10_000


async def test_sending_the_same_bytes_again_is_harmless(lab: Lab, wallet: Keypair) -> None:
    intent = lab.intent(wallet, 5)
    plan = await lab.node.plan_approval(intent)
    unsigned = await lab.node.prepare(intent, plan.steps[0])
    signed = sign(unsigned, wallet)
    await lab.node.send(signed)
    await lab.node.send(signed)
    settlement = await lab.node.settle(intent, plan.steps[0], unsigned, signed, timeout=30)
    await lab.node.send(signed)
    again = await lab.node.settle(intent, plan.steps[0], unsigned, signed, timeout=30)
    assert replace(again, block=settlement.block) == settlement
    listed = await lab.rpc.request("getSignaturesForAddress", [ata(wallet, lab.usdc)])
    assert [entry["signature"] for entry in listed].count(signed.hash) == 1


async def test_a_bad_signature_is_an_rpc_error_and_not_a_panic(lab: Lab, wallet: Keypair) -> None:
    unsigned = await lab.build(lab.intent(wallet, 5))
    forged = attach_signature(unsigned, bytes(Keypair().sign_message(b64decode(unsigned.message))))
    with pytest.raises(SignatureMismatchError, match="not the owner's"):
        verify_signed(unsigned, forged)
    with pytest.raises(RpcError):
        await lab.node.send(forged)


async def test_what_can_no_longer_succeed_is_refused_by_the_preflight_with_its_reason(
    lab: Lab, wallet: Keypair
) -> None:
    unsigned = await lab.build(lab.intent(wallet, 5))
    await lab.freeze(wallet)
    with pytest.raises(WillRevertError, match="AccountFrozen"):
        await lab.node.send(sign(unsigned, wallet))


async def test_a_transaction_that_failed_on_chain_is_reported_with_its_reason(lab: Lab, wallet: Keypair) -> None:
    intent = lab.intent(wallet, 5)
    plan = await lab.node.plan_approval(intent)
    unsigned = await lab.node.prepare(intent, plan.steps[0])
    await lab.freeze(wallet)
    signed = sign(unsigned, wallet)
    await lab.rpc.request("sendTransaction", [signed.raw, {"encoding": "base64", "skipPreflight": True}])
    with pytest.raises(TransactionRevertedError, match="AccountFrozen") as caught:
        await lab.node.settle(intent, plan.steps[0], unsigned, signed, timeout=30)
    assert caught.value.hash == signed.hash


async def test_an_unsent_transaction_is_pending_until_its_height_has_passed_and_then_safe_to_rebuild(
    lab: Lab, wallet: Keypair
) -> None:
    intent = lab.intent(wallet, 5)
    plan = await lab.node.plan_approval(intent)
    unsigned = await lab.node.prepare(intent, plan.steps[0])
    # A message of a blockhash that never was: the node takes it no more than one that has expired.
    message = b64decode(unsigned.message).replace(bytes(Hash.from_string(unsigned.blockhash)), bytes(Hash.new_unique()))
    lost = replace(unsigned, message=b64encode(message).decode())
    signed = sign(lost, wallet)
    await lab.node.send(signed)
    with pytest.raises(TransactionPendingError) as pending:
        await lab.node.settle(intent, plan.steps[0], lost, signed, timeout=0.1)
    assert pending.value.hash == signed.hash
    with pytest.raises(TransactionExpiredError, match="never") as expired:
        await lab.node.settle(intent, plan.steps[0], lost, signed, timeout=30)
    assert expired.value.hash == signed.hash
    _unsigned, settlement = await lab.carry(intent, wallet)
    assert settlement.allowance == 5


async def test_signed_bytes_that_were_never_sent_are_sent_while_settling(lab: Lab, wallet: Keypair) -> None:
    intent = lab.intent(wallet, 5)
    plan = await lab.node.plan_approval(intent)
    unsigned = await lab.node.prepare(intent, plan.steps[0])
    settlement = await lab.node.settle(intent, plan.steps[0], unsigned, sign(unsigned, wallet), timeout=30)
    assert settlement.allowance == 5


async def test_an_allowance_that_changed_since_is_reported_and_not_taken_for_success(lab: Lab, wallet: Keypair) -> None:
    intent = lab.intent(wallet, 5_000_000)
    plan = await lab.node.plan_approval(intent)
    unsigned = await lab.node.prepare(intent, plan.steps[0])
    signed = sign(unsigned, wallet)
    await lab.node.send(signed)
    await lab.node.settle(intent, plan.steps[0], unsigned, signed, timeout=30)
    await lab.submit([build_revoke(TOKEN_PROGRAM, ata(wallet, lab.usdc), intent.owner)], wallet)
    with pytest.raises(UnexpectedAllowanceError) as caught:
        await lab.node.settle(intent, plan.steps[0], unsigned, signed, timeout=30)
    assert (caught.value.expected, caught.value.found) == (5_000_000, 0)


async def test_a_read_waits_for_a_node_that_has_not_reached_the_slot_yet(lab: Lab, wallet: Keypair) -> None:
    state = await lab.node.get_allowance(lab.usdc, str(wallet.pubkey()), str(Keypair().pubkey()))
    later = Block(state.block.number + 40, "")
    state = await lab.node.get_allowance(lab.usdc, str(wallet.pubkey()), str(Keypair().pubkey()), block=later)
    assert state.block.number >= later.number


async def test_the_approval_of_a_wallet_that_sends_by_itself_is_found_and_settled(lab: Lab, wallet: Keypair) -> None:
    intent = lab.intent(wallet, 5_000_000)
    plan = await lab.node.plan_approval(intent)
    unsigned = await lab.node.prepare(intent, plan.steps[0])
    assert await lab.node.find_approval(intent, plan.steps[0], unsigned) is None
    signed = sign(unsigned, wallet)
    await lab.rpc.request("sendTransaction", [signed.raw, {"encoding": "base64"}])
    settlement = await lab.node.settle(intent, plan.steps[0], unsigned, SentTransaction(signed.hash), timeout=30)
    assert settlement.hash == signed.hash
    assert await lab.node.find_approval(intent, plan.steps[0], unsigned) == signed.hash


def tampered(answer: object) -> object:
    """Return an answer to getTransaction whose bytes nobody signed: one bit of the last instruction is another."""
    assert isinstance(answer, dict)
    raw = b64decode(answer["transaction"][0])
    changed = raw[:-1] + bytes([raw[-1] ^ 1])
    return answer | {"transaction": [b64encode(changed).decode(), "base64"]}


async def test_what_a_wallet_sent_is_read_back_with_its_signatures_checked(lab: Lab, wallet: Keypair) -> None:
    intent = lab.intent(wallet, 5_000_000)
    plan = await lab.node.plan_approval(intent)
    unsigned = await lab.node.prepare(intent, plan.steps[0])
    signed = sign(unsigned, wallet)
    await lab.node.send(signed)
    await lab.node.settle(intent, plan.steps[0], unsigned, signed, timeout=30)
    liar = SolanaNode(lab.node.chain, LyingRpc(lab.rpc, {"getTransaction": tampered}))
    with pytest.raises(ContradictionError, match="never signed"):
        await liar.settle(intent, plan.steps[0], unsigned, SentTransaction(signed.hash), timeout=30)
    with pytest.raises(ContradictionError, match="never signed"):
        await liar.find_approval(intent, plan.steps[0], unsigned)


@pytest.mark.parametrize("code", [-32601, -32015, -32004])
async def test_a_listed_transaction_that_is_not_served_is_not_taken_for_none(
    lab: Lab, wallet: Keypair, code: int
) -> None:
    intent = lab.intent(wallet, 5_000_000)
    plan = await lab.node.plan_approval(intent)
    unsigned = await lab.node.prepare(intent, plan.steps[0])
    signed = sign(unsigned, wallet)
    await lab.node.send(signed)
    await lab.node.settle(intent, plan.steps[0], unsigned, signed, timeout=30)
    silent = SolanaNode(lab.node.chain, LyingRpc(lab.rpc, {"getTransaction": lambda _: Refusal(code)}))
    with pytest.raises(NodeError):
        await silent.find_approval(intent, plan.steps[0], unsigned)
    # What was paid is then not known: the planned maximum stands.
    settlement = await silent.settle(intent, plan.steps[0], unsigned, signed, timeout=30)
    assert settlement.fee_paid == unsigned.fee.max_cost


async def test_prices_and_units_that_a_node_does_not_serve_are_gone_without(lab: Lab, wallet: Keypair) -> None:
    def without_units(answer: object) -> object:
        assert isinstance(answer, dict)
        kept = {name: value for name, value in answer["value"].items() if name != "unitsConsumed"}
        return answer | {"value": kept}

    lies = {
        "getRecentPrioritizationFees": lambda _: Refusal(-32601, "Method not found"),
        "simulateTransaction": without_units,
    }
    node = SolanaNode(lab.node.chain, LyingRpc(lab.rpc, lies))
    intent = lab.intent(wallet, 5_000_000)
    plan = await node.plan_approval(intent)
    assert plan.steps[0].fee == SolanaFee(5_000, 0, compute_unit_limit=200_000, compute_unit_price=10_000)
    unsigned = await node.prepare(intent, plan.steps[0])
    signed = sign(unsigned, wallet)
    await node.send(signed)
    assert (await node.settle(intent, plan.steps[0], unsigned, signed, timeout=30)).allowance == 5_000_000


async def test_an_approval_that_the_wallet_rebuilt_with_a_memo_and_another_blockhash_is_found_too(
    lab: Lab, wallet: Keypair
) -> None:
    intent = lab.intent(wallet, 5_000_000)
    plan = await lab.node.plan_approval(intent)
    unsigned = await lab.node.prepare(intent, plan.steps[0])
    await asyncio.sleep(0.1)
    memo = Instruction(Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"), b"hello", [])
    approve = build_approve(TOKEN_PROGRAM, ata(wallet, lab.usdc), intent.spender, intent.owner, intent.amount)
    sent = SentTransaction(await lab.submit([memo, approve], wallet))
    settlement = await lab.node.settle(intent, plan.steps[0], unsigned, sent, timeout=30)
    assert settlement.allowance == intent.amount
    assert await lab.node.find_approval(intent, plan.steps[0], unsigned) == sent.hash


async def test_an_older_equal_approval_and_one_for_another_amount_are_not_taken_for_this_one(
    lab: Lab, wallet: Keypair
) -> None:
    intent = lab.intent(wallet, 5_000_000)
    await lab.carry(intent, wallet)
    await asyncio.sleep(1)
    plan = await lab.node.plan_approval(intent)
    unsigned = await lab.node.prepare(intent, plan.steps[0])
    assert await lab.node.find_approval(intent, plan.steps[0], unsigned) is None
    other = replace(intent, amount=6_000_000)
    await lab.carry(other, wallet)
    assert await lab.node.find_approval(intent, plan.steps[0], unsigned) is None


def at_level(level: str) -> Callable[[object], object]:
    """Return a lie by which every transaction that a node knows has reached this level and no other."""

    def lie(answer: object) -> object:
        assert isinstance(answer, dict)
        [status] = answer["value"]
        return answer if status is None else answer | {"value": [status | {"confirmationStatus": level}]}

    return lie


def forgotten(answer: object) -> object:
    """Return the answer of a node that knows of no transaction."""
    assert isinstance(answer, dict)
    return answer | {"value": [None]}


async def test_an_approval_settles_at_confirmed_and_a_failure_only_once_it_is_final(lab: Lab, wallet: Keypair) -> None:
    intent = lab.intent(wallet, 5_000_000)
    plan = await lab.node.plan_approval(intent)
    unsigned = await lab.node.prepare(intent, plan.steps[0])
    signed = sign(unsigned, wallet)
    never_final = SolanaNode(lab.node.chain, LyingRpc(lab.rpc, {"getSignatureStatuses": at_level("confirmed")}))
    await never_final.send(signed)
    settlement = await never_final.settle(intent, plan.steps[0], unsigned, signed, timeout=30)
    assert (settlement.allowance, settlement.finality) == (5_000_000, "confirmed")

    unsigned = await lab.build(intent)
    await lab.freeze(wallet)
    failing = sign(unsigned, wallet)
    await lab.rpc.request("sendTransaction", [failing.raw, {"encoding": "base64", "skipPreflight": True}])
    with pytest.raises(TransactionPendingError):
        await never_final.settle(intent, plan.steps[0], unsigned, failing, timeout=1)
    with pytest.raises(TransactionRevertedError):
        await lab.node.settle(intent, plan.steps[0], unsigned, failing, timeout=30)


async def test_a_settled_approval_is_reviewed_until_it_is_final_and_for_what_became_of_it(
    lab: Lab, wallet: Keypair
) -> None:
    intent = lab.intent(wallet, 5_000_000)
    unsigned, settlement = await lab.carry(intent, wallet)
    review = await lab.node.review(intent, settlement, timeout=30)
    assert (review.canonical, review.finality, review.state) == (True, "finalized", "active")
    assert review.now is not None
    assert review.now.allowance == 5_000_000
    assert review.now.block.number >= settlement.block.number
    confirmed = SolanaNode(lab.node.chain, LyingRpc(lab.rpc, {"getSignatureStatuses": at_level("confirmed")}))
    assert (await confirmed.review(intent, settlement, timeout=0.1)).finality == "confirmed"

    other = lab.intent(wallet, 7, overwrite_delegate=True)
    _, last = await lab.carry(other, wallet)
    review = await lab.node.review(intent, settlement)
    assert (review.canonical, review.state) == (True, "replaced")
    assert review.now is not None
    assert review.now.other_delegate == other.spender

    await lab.submit([build_revoke(TOKEN_PROGRAM, ata(wallet, lab.usdc), intent.owner)], wallet)
    assert (await lab.node.review(other, last)).state == "revoked"
    gone, revocation = await lab.carry(replace(intent, amount=0), wallet)
    assert gone != unsigned
    assert (await lab.node.review(replace(intent, amount=0), revocation)).state == "revoked"


async def test_a_settled_approval_that_no_node_knows_any_more_is_not_canonical_once_its_slot_is_final(
    lab: Lab, wallet: Keypair
) -> None:
    intent = lab.intent(wallet, 5_000_000)
    _, settlement = await lab.carry(intent, wallet)
    await lab.node.review(intent, settlement, timeout=30)
    lies: dict[str, Callable[[Any], Any]] = {"getSignatureStatuses": forgotten}
    review = await SolanaNode(lab.node.chain, LyingRpc(lab.rpc, lies)).review(intent, settlement)
    assert (review.canonical, review.state, review.now) == (False, "reorganised", None)
    behind = lies | {"getSlot": lambda _: settlement.block.number - 1}
    with pytest.raises(NodeError, match="cannot be said yet"):
        await SolanaNode(lab.node.chain, LyingRpc(lab.rpc, behind)).review(intent, settlement)
    pruned = lies | {"getFirstAvailableBlock": lambda _: settlement.block.number + 1}
    with pytest.raises(NodeError, match="keeps no history"):
        await SolanaNode(lab.node.chain, LyingRpc(lab.rpc, pruned)).review(intent, settlement)


async def test_nothing_takes_the_place_of_a_transaction_and_it_is_said_until_when_to_wait(
    lab: Lab, wallet: Keypair
) -> None:
    intent = lab.intent(wallet, 5_000_000)
    plan = await lab.node.plan_approval(intent)
    unsigned = await lab.node.prepare(intent, plan.steps[0])
    left = await lab.node.get_time_left(unsigned)
    # 150 blocks of 0.4 s, and those that are not final yet.
    assert left is not None
    assert 30 < left.total_seconds() < 90
    for step in (plan.steps[0], None):
        with pytest.raises(TransactionPendingError, match=r"can land for about \d+ more seconds") as caught:
            await lab.node.replace(intent, step, unsigned)
        assert "Wait" in caught.value.hint
    dead = replace(unsigned, last_valid_block_height=1)
    assert await lab.node.get_time_left(dead) == timedelta(0)
    with pytest.raises(TransactionPendingError, match="can land no more"):
        await lab.node.replace(intent, None, dead)
    with pytest.raises(InputError, match="could be cancelled"):
        await lab.node.settle_cancellation(unsigned, sign(unsigned, wallet), timeout=1)
    assert await lab.node.get_nonce(sign(unsigned, wallet).hash) is None


GARBAGE: list[Any] = [
    None,
    [],
    {},
    "",
    7,
    -1,
    True,
    {"value": []},
    {"value": [7]},
    {"context": {"slot": -1}, "value": [None]},
]


@pytest.mark.parametrize(
    "method", ["getSignatureStatuses", "getSlot", "getFirstAvailableBlock", "getEpochInfo", "getMultipleAccounts"]
)
async def test_a_nodes_nonsense_about_what_has_settled_is_always_a_chain_error(
    lab: Lab, wallet: Keypair, method: str
) -> None:
    intent = lab.intent(wallet, 5)
    unsigned, settlement = await lab.carry(intent, wallet)
    signed = sign(unsigned, wallet)
    lies: dict[str, Callable[[Any], Any]] = {"getSignatureStatuses": forgotten}
    for garbage in GARBAGE:
        lies[method] = lambda _, garbage=garbage: garbage
        node = SolanaNode(lab.node.chain, LyingRpc(lab.rpc, lies))
        waits: list[Callable[[], Awaitable[object]]] = [
            lambda: node.settle(intent, ApproveStep(5), unsigned, signed, timeout=0),  # noqa: B023 - called at once
            lambda: node.review(intent, settlement),  # noqa: B023 - called at once
            lambda: node.replace(intent, None, unsigned),  # noqa: B023 - called at once
            lambda: node.get_time_left(unsigned),  # noqa: B023 - called at once
        ]
        for wait in waits:
            with suppress(ChainError):
                await wait()


async def test_our_instructions_are_those_of_the_spl_library(lab: Lab, wallet: Keypair) -> None:
    owner, delegate = wallet.pubkey(), Keypair().pubkey()
    source, mint = Pubkey.from_string(ata(wallet, lab.usdc)), Pubkey.from_string(lab.usdc.address)
    assert source == spl.get_associated_token_address(owner, mint)
    approve = models.ApproveParams(
        program_id=TOKEN_PROGRAM_ID, source=source, delegate=delegate, owner=owner, amount=77
    )
    assert build_approve(TOKEN_PROGRAM, str(source), str(delegate), str(owner), 77) == spl.approve(approve)
    checked = models.ApproveCheckedParams(
        program_id=TOKEN_PROGRAM_ID, source=source, mint=mint, delegate=delegate, owner=owner, amount=77, decimals=6
    )
    ours = build_approve_checked(TOKEN_PROGRAM, str(source), str(mint), str(delegate), str(owner), 77, 6)
    assert ours == spl.approve_checked(checked)
    revoke = models.RevokeParams(program_id=TOKEN_PROGRAM_ID, account=source, owner=owner)
    assert build_revoke(TOKEN_PROGRAM, str(source), str(owner)) == spl.revoke(revoke)
