"""Claims of Solana approvals checked at a real node: what is established, and what became of the approval since.

Every check here is made a second time offline, from its transcript, and must come to the same result.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from solana_lab import (
    HELD,
    MEMO,
    UNIT,
    Refusal,
    SolanaLab,
    approve,
    calls,
    finding,
    memo,
    mention,
    new_spender,
    open_lab,
    refuted,
    revoke,
    serves,
    still_active,
    verdict,
)
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, create_account
from spl.token.constants import TOKEN_PROGRAM_ID

from chains.claims import NEEDS_NOBODY, NODES_WORD, Amounts
from chains.errors import ContradictionError
from chains.family import check_approval, get_head
from chains.rpc import HttpRpc
from chains.rpc.transcript import RecordingRpc, ReplayRpc, run_offline
from chains.solana.addresses import MEMO_PROGRAMS, TOKEN_PROGRAM
from chains.solana.approve import build_approve, build_approve_checked
from chains.types import Token
from delegation.sandbox import Sandbox


@pytest.fixture(scope="module")
async def lab(sandbox: Sandbox) -> AsyncIterator[SolanaLab]:
    async with open_lab(sandbox) as lab:
        yield lab


async def test_an_approval_is_verified_from_its_signed_bytes_and_the_account_as_it_is_now(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    sent = await lab.submit([approve(wallet, spender, 5 * UNIT)], wallet.key)
    check = await lab.check(lab.claim(sent, wallet, spender, 5 * UNIT))
    assert verdict(check) == "VERIFIED"
    assert [(one.rule, one.verdict, one.basis) for one in check.findings if one.about == "claim"] == [
        ("transaction", "VERIFIED", NODES_WORD),
        ("signatures", "VERIFIED", NEEDS_NOBODY),
        ("finality", "NOTED", NODES_WORD),
        ("status", "VERIFIED", NODES_WORD),
        ("approval", "VERIFIED", NEEDS_NOBODY),
        ("token", "VERIFIED", NEEDS_NOBODY),
        ("decimals", "VERIFIED", NODES_WORD),
        ("owner", "VERIFIED", NEEDS_NOBODY),
        ("spender", "VERIFIED", NEEDS_NOBODY),
        ("amount", "VERIFIED", NEEDS_NOBODY),
    ]
    assert [(one.rule, one.verdict, one.found) for one in check.findings if one.about == "present"] == [
        ("allowance", "VERIFIED", str(5 * UNIT)),
        ("balance", "NOTED", str(HELD)),
        ("spendable", "NOTED", str(5 * UNIT)),
        ("state", "NOTED", "active"),
        ("still-active", "VERIFIED", str(5 * UNIT)),
    ]
    assert all(one.basis == NODES_WORD for one in check.findings if one.about == "present")
    assert (check.method, check.via, check.state, check.blocked) == ("instruction", "top-level", "active", ())
    assert check.amounts == Amounts(5 * UNIT, 5 * UNIT, HELD, 5 * UNIT)
    assert check.included is not None
    assert check.head is not None
    assert check.head.number >= check.included.number
    assert finding(check, "transaction").found == str(check.included.number)
    assert (finding(check, "amount").found, finding(check, "spender").found) == (str(5 * UNIT), spender)
    assert (finding(check, "finality").found, check.finality) == ("confirmed", "confirmed")
    assert check.exhibits["transaction"]["raw"] == sent.raw
    held = check.exhibits["accounts"]
    assert held["slot"] == check.head.number
    assert b64decode(held["found"][wallet.account]["data"])[121:129] == (5 * UNIT).to_bytes(8, "little")


async def test_the_bodies_of_a_nodes_answers_replay_to_the_same_result(lab: SolanaLab, sandbox: Sandbox) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    sent = await lab.submit([approve(wallet, spender, 5)], wallet.key)
    await lab.submit([revoke(wallet)], wallet.key)
    claim = lab.claim(sent, wallet, spender, 5)
    recorder = RecordingRpc(HttpRpc(sandbox.document.networks["solana"].rpc_url))
    head = await get_head(lab.chain, recorder)
    check = await check_approval(claim, recorder, head)
    await recorder.aclose()
    assert (verdict(check), check.state) == ("VERIFIED", "revoked")
    replay = ReplayRpc(recorder.exchanges)
    assert run_offline(get_head(lab.chain, replay)) == head
    assert run_offline(check_approval(claim, replay, head)) == check
    assert replay.calls == len(recorder.exchanges)


async def test_a_signature_is_said_to_prove_that_it_was_signed_and_not_that_it_landed(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    sent = await lab.submit([approve(wallet, spender, 1)], lab.payer, wallet.key)
    check = await lab.check(lab.claim(sent, wallet, spender, 1))
    assert verdict(check) == "VERIFIED"
    said = finding(check, "signatures").message
    assert "SIGNED" in said
    assert "not prove that it landed" in said
    assert str(lab.payer.pubkey()) in said
    assert wallet.address in said


async def test_a_transaction_becomes_final(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    sent = await lab.submit([approve(wallet, spender, 1)], wallet.key)
    claim = lab.claim(sent, wallet, spender, 1)
    assert (await lab.check(claim)).finality == "confirmed"
    for _ in range(200):
        check = await lab.check(claim, at="finalized")
        if check.finality == "finalized":
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it never became final")


async def test_approve_checked_in_a_legacy_transaction_of_another_payer_is_verified(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    step = build_approve_checked(TOKEN_PROGRAM, wallet.account, lab.token.address, spender, wallet.address, 7, 6)
    sent = await lab.submit([step], lab.payer, wallet.key, legacy=True)
    check = await lab.check(lab.claim(sent, wallet, spender, 7))
    assert verdict(check) == "VERIFIED"
    assert finding(check, "approval").found == "approve_checked"


async def test_a12_unlimited_is_a_threshold_and_what_is_left_of_it_is_no_mismatch(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), Keypair()
    sent = await lab.submit([approve(wallet, str(spender.pubkey()), 2**64 - 1)], wallet.key)
    claim = lab.claim(sent, wallet, str(spender.pubkey()), 2**63)
    check = await lab.check(claim)
    assert (verdict(check), check.state) == ("VERIFIED", "active")
    await lab.spend(wallet, spender, 5)
    check = await lab.check(claim)
    assert (verdict(check), check.state, check.amounts.remaining) == ("VERIFIED", "reduced", 2**64 - 6)
    assert still_active(check) == "VERIFIED"
    # All unlimited amounts are alike, so that it stands without any history.
    check = await lab.check(claim, getSignaturesForAddress=lambda _: Refusal(-32011))
    assert (check.state, still_active(check)) == (None, "VERIFIED")
    assert refuted(await lab.check(replace(claim, amount=2**63 - 1))) == ["amount"]


async def test_spending_reduces_an_approval_and_a_spent_out_one_is_not_called_revoked(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), Keypair()
    sent = await lab.submit([approve(wallet, str(spender.pubkey()), 10)], wallet.key)
    claim = lab.claim(sent, wallet, str(spender.pubkey()), 10)
    first = await lab.spend(wallet, spender, 3)
    check = await lab.check(claim)
    assert (verdict(check), check.state) == ("VERIFIED", "reduced")
    assert check.amounts == Amounts(10, 7, HELD - 3, 7)
    assert first.signature in finding(check, "state").message
    assert check.exhibits["since"]["raw"] == first.raw
    # The owner's own payments are none of the allowance.
    await lab.submit([lab.take(wallet, wallet.address, 4)], wallet.key)
    last = await lab.spend(wallet, spender, 7)
    check = await lab.check(claim)
    assert (verdict(check), check.state) == ("VERIFIED", "reduced")
    assert check.amounts == Amounts(10, 0, HELD - 14, 0)
    assert f"all of it, last in {last.signature}" in finding(check, "state").message


async def test_an_approval_of_less_and_then_of_more_replaces_and_exceeds_the_claim(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    sent = await lab.submit([approve(wallet, spender, 10)], wallet.key)
    claim = lab.claim(sent, wallet, spender, 10)
    less = await lab.submit([approve(wallet, spender, 4)], wallet.key)
    check = await lab.check(claim)
    assert (verdict(check), check.state, check.amounts.remaining) == ("VERIFIED", "replaced", 4)
    assert less.signature in finding(check, "state").message
    await lab.submit([approve(wallet, spender, 11)], wallet.key)
    check = await lab.check(claim)
    assert (verdict(check), check.state, check.amounts.remaining) == ("VERIFIED", "exceeds", 11)
    zero = await lab.submit([approve(wallet, spender, 0)], wallet.key)
    check = await lab.check(claim)
    # Rule 36: a delegate with nothing left is not an absent one.
    assert (check.state, check.amounts.remaining, still_active(check)) == ("revoked", 0, "REFUTED")
    assert "still named" in finding(check, "state").message
    check = await lab.check(lab.claim(zero, wallet, spender, 0))
    assert (verdict(check), check.state) == ("VERIFIED", "revoked")


async def test_a_claim_of_amount_zero_is_a_revocation(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    granted = await lab.submit([approve(wallet, spender, 10)], wallet.key)
    taken = await lab.submit([approve(wallet, spender, 0), revoke(wallet)], wallet.key)
    check = await lab.check(lab.claim(taken, wallet, spender, 0))
    assert (verdict(check), check.state) == ("VERIFIED", "revoked")
    assert finding(check, "approval").found == "revoke"
    assert refuted(await lab.check(lab.claim(granted, wallet, spender, 0))) == ["amount"]
    assert refuted(await lab.check(lab.claim(taken, wallet, spender, 10))) == ["approval", "spender", "amount"]


async def test_a_closed_account_took_its_delegate_along(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    sent = await lab.submit([approve(wallet, spender, 10)], wallet.key)
    await lab.submit([lab.take(wallet, wallet.address, HELD), lab.close(wallet)], wallet.key)
    check = await lab.check(lab.claim(sent, wallet, spender, 10))
    assert (verdict(check), check.state) == ("VERIFIED", "revoked")
    assert check.amounts == Amounts(10, 0, 0, 0)
    assert "closed" in finding(check, "state").message


async def test_spending_in_the_same_transaction_is_seen(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), Keypair()
    steps = [approve(wallet, str(spender.pubkey()), 10), lab.take(wallet, str(spender.pubkey()), 4)]
    sent = await lab.submit(steps, wallet.key, spender)
    check = await lab.check(lab.claim(sent, wallet, str(spender.pubkey()), 10))
    assert (verdict(check), check.state, check.amounts.remaining) == ("VERIFIED", "reduced", 6)


async def test_a_multisig_owner_is_verified_by_the_members_that_signed(lab: SolanaLab) -> None:
    members = [Keypair() for _ in range(3)]
    multisig = Keypair()
    rent = await lab.rpc.request("getMinimumBalanceForRentExemption", [355])
    space = CreateAccountParams(
        from_pubkey=lab.payer.pubkey(), to_pubkey=multisig.pubkey(), lamports=rent, space=355, owner=TOKEN_PROGRAM_ID
    )
    metas = [AccountMeta(key, False, False) for key in (multisig.pubkey(), *(one.pubkey() for one in members))]
    metas[0] = AccountMeta(multisig.pubkey(), False, True)
    made = Instruction(TOKEN_PROGRAM_ID, bytes([19, 2]), metas)  # InitializeMultisig2, two of three
    await lab.submit([create_account(space), made], lab.payer, multisig)
    wallet, spender = await lab.wallet(owner=multisig.pubkey()), new_spender()
    plain = build_approve(TOKEN_PROGRAM, wallet.account, spender, str(multisig.pubkey()), 9)
    signing = [AccountMeta(one.pubkey(), True, False) for one in members[:2]]
    accounts = [*plain.accounts[:2], AccountMeta(multisig.pubkey(), False, False), *signing]
    step = Instruction(plain.program_id, bytes(plain.data), accounts)
    sent = await lab.submit([step], lab.payer, *members[:2])
    claim = lab.claim(sent, wallet, spender, 9, owner=str(multisig.pubkey()))
    check = await lab.check(claim)
    assert (verdict(check), check.state) == ("VERIFIED", "active")
    assert "multisig, and 2 of its 3 members" in finding(check, "owner").message

    def three_needed(answer: Any) -> Any:
        for account in answer["value"]:
            data = bytearray(b64decode(account["data"][0]))
            if len(data) == 355:
                data[0] = 3
                account["data"][0] = b64encode(data).decode()
        return answer

    with pytest.raises(ContradictionError, match="not there"):
        await lab.check(claim, getMultipleAccounts=three_needed)
    check = await lab.check(claim, getMultipleAccounts=lambda _: Refusal(-32000))
    assert finding(check, "owner").verdict == "UNDETERMINED"


async def test_an_account_that_is_not_the_associated_one_is_judged_by_its_own_bytes(lab: SolanaLab) -> None:
    owner, account, spender = await lab.wallet(), Keypair(), new_spender()
    rent = await lab.rpc.request("getMinimumBalanceForRentExemption", [165])
    space = CreateAccountParams(
        from_pubkey=lab.payer.pubkey(), to_pubkey=account.pubkey(), lamports=rent, space=165, owner=TOKEN_PROGRAM_ID
    )
    metas = [
        AccountMeta(account.pubkey(), False, True),
        AccountMeta(Pubkey.from_string(lab.token.address), False, False),
    ]
    made = Instruction(TOKEN_PROGRAM_ID, bytes([18]) + bytes(owner.key.pubkey()), metas)  # InitializeAccount3
    wallet = replace(owner, account=str(account.pubkey()))
    sent = await lab.submit([create_account(space), made, approve(wallet, spender, 3)], lab.payer, account, owner.key)
    check = await lab.check(lab.claim(sent, wallet, spender, 3))
    claim = lab.claim(sent, wallet, spender, 3)
    assert (verdict(check), check.state) == ("VERIFIED", "active")
    assert wallet.account in finding(check, "approval").message
    assert check.amounts == Amounts(3, 3, 0, 0)
    # Which mint it is of, no signature shows.
    assert (finding(check, "token").basis, finding(check, "spender").basis) == (NODES_WORD, NEEDS_NOBODY)
    other = await lab.new_token()
    assert refuted(await lab.check(replace(claim, token=other))) == ["token"]
    # Closed, and opened again at its address for another token: what was approved is what it was.
    await lab.submit([lab.close(wallet)], owner.key)
    check = await lab.check(claim)
    assert (verdict(check), check.state, still_active(check)) == ("VERIFIED", "revoked", "REFUTED")
    metas[1] = AccountMeta(Pubkey.from_string(other.address), False, False)
    again = Instruction(TOKEN_PROGRAM_ID, bytes(made.data), metas)
    await lab.submit([create_account(space), again, approve(wallet, spender, 3)], lab.payer, account, owner.key)
    check = await lab.check(claim)
    assert (verdict(check), check.state, still_active(check)) == ("VERIFIED", "replaced", "REFUTED")
    assert (check.amounts, finding(check, "allowance").found) == (Amounts(3, 0, 0, 0), "0")
    assert refuted(await lab.check(replace(claim, token=other))) == ["token"]
    # Where the node has no record of the transaction's balances, nothing tells which token it was of.
    for asked in (claim, replace(claim, token=other)):
        check = await lab.check(asked, getTransaction=_without_balances)
        assert (verdict(check), finding(check, "token").verdict) == ("UNDETERMINED", "UNDETERMINED")


async def test_of_several_accounts_in_one_transaction_the_claimed_one_is_judged(lab: SolanaLab) -> None:
    other = await lab.new_token()
    wallet, spender = await lab.wallet(), new_spender()
    stranger = await lab.wallet(other)
    sent = await lab.submit([approve(wallet, spender, 3), approve(stranger, spender, 4)], wallet.key, stranger.key)
    for first, claim in (
        (wallet, lab.claim(sent, wallet, spender, 3)),
        (stranger, lab.claim(sent, stranger, spender, 4, token=other)),
    ):
        check = await lab.check(claim)
        assert verdict(check) == "VERIFIED"
        assert first.account in finding(check, "approval").message


async def test_keys_from_an_address_table_are_resolved_and_said_to_be_the_nodes_word(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    program = Pubkey.from_string("AddressLookupTab1e1111111111111111111111111")
    slot = await lab.rpc.request("getSlot", [{"commitment": "finalized"}])
    table, bump = Pubkey.find_program_address([bytes(lab.payer.pubkey()), slot.to_bytes(8, "little")], program)
    keys = [Pubkey.from_string(one) for one in (spender, wallet.account)]
    metas = [
        AccountMeta(table, False, True),
        AccountMeta(lab.payer.pubkey(), True, False),
        AccountMeta(lab.payer.pubkey(), True, True),
        AccountMeta(Pubkey.from_string("11111111111111111111111111111111"), False, False),
    ]
    created = Instruction(program, bytes(4) + slot.to_bytes(8, "little") + bytes([bump]), metas)
    listed = (2).to_bytes(4, "little") + len(keys).to_bytes(8, "little") + b"".join(map(bytes, keys))
    await lab.submit([created, Instruction(program, listed, metas)], lab.payer)
    await asyncio.sleep(0.2)
    sent = await lab.submit(
        [approve(wallet, spender, 3)], wallet.key, tables=[AddressLookupTableAccount(key=table, addresses=keys)]
    )
    claim = lab.claim(sent, wallet, spender, 3)
    check = await lab.check(claim)
    assert (verdict(check), check.state) == ("VERIFIED", "active")
    assert "address tables" in finding(check, "approval").message
    assert {finding(check, rule).basis for rule in ("approval", "owner", "spender", "amount")} == {NODES_WORD}

    def without(answer: Any) -> Any:
        answer["meta"]["loadedAddresses"] = None
        return answer

    def fewer(answer: Any) -> Any:
        answer["meta"]["loadedAddresses"]["readonly"] = []
        return answer

    check = await lab.check(claim, getTransaction=without)
    assert (verdict(check), finding(check, "approval").verdict) == ("UNDETERMINED", "UNDETERMINED")
    with pytest.raises(ContradictionError, match="address tables"):
        await lab.check(claim, getTransaction=fewer)


async def test_an_approval_that_a_program_gave_for_its_own_address_is_labelled_as_the_nodes_word(
    lab: SolanaLab,
) -> None:
    vault, _bump = Pubkey.find_program_address([b"vault"], MEMO)
    wallet, spender = await lab.wallet(owner=vault), new_spender()
    step = build_approve(TOKEN_PROGRAM, wallet.account, spender, str(vault), 5)
    named = mention(wallet.account, spender, str(vault), TOKEN_PROGRAM)
    sent = await lab.submit([memo(lab.payer), named], lab.payer)
    claim = lab.claim(sent, wallet, spender, 5, owner=str(vault))
    check = await lab.check(claim, getTransaction=calls(sent, 0, step))
    assert finding(check, "owner").verdict == "VERIFIED"
    assert "no signature shows it" in finding(check, "owner").message
    assert "the signature does not cover it" in finding(check, "approval").message
    assert {finding(check, rule).basis for rule in ("approval", "owner", "spender", "amount")} == {NODES_WORD}
    # The account was never told: what there is of it is 0, which is about the present.
    assert (verdict(check), still_active(check)) == ("VERIFIED", "REFUTED")


async def test_a_transaction_that_approves_nothing_is_refuted(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    sent = await lab.submit([lab.take(wallet, wallet.address, 1), mention(wallet.account)], wallet.key)
    claim = lab.claim(sent, wallet, spender, 5)
    check = await lab.check(claim)
    assert (refuted(check), check.method, check.state) == (["approval"], None, None)
    empty = await lab.sign([], wallet.key)
    check = await lab.check(replace(claim, transaction=empty.signature), **serves(empty, 1))
    assert refuted(check) == ["approval"]
    # An instruction that a newer token program may know leaves it open.
    newer = Instruction(TOKEN_PROGRAM_ID, bytes([200]), [AccountMeta(Pubkey.from_string(wallet.account), False, True)])
    check = await lab.check(claim, getTransaction=calls(sent, 1, newer))
    assert verdict(check) == "UNDETERMINED"
    assert "upgrade" in finding(check, "approval").message
    sent = await lab.submit([approve(wallet, spender, 5), mention(spender)], wallet.key)
    check = await lab.check(lab.claim(sent, wallet, spender, 5), getTransaction=calls(sent, 1, newer))
    assert (verdict(check), finding(check, "approval").verdict) == ("UNDETERMINED", "UNDETERMINED")


async def test_what_is_no_mint_is_refuted_as_the_token_by_what_the_account_was_of(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    sent = await lab.submit([approve(wallet, spender, 5)], wallet.key)
    claim = lab.claim(sent, wallet, spender, 5)
    for address in (wallet.account, new_spender()):
        check = await lab.check(replace(claim, token=Token("USDC", address, 6)))
        assert refuted(check) == ["token"]
        assert finding(check, "token").found == lab.token.address

    def moved(answer: Any) -> Any:
        answer["value"][0]["owner"] = MEMO_PROGRAMS[0]
        return answer

    # What stands at the mint's address now is not what was approved: the account's own address tells that.
    for lie in (moved, _without_mint):
        check = await lab.check(claim, getMultipleAccounts=lie)
        assert (verdict(check), finding(check, "mint").verdict) == ("VERIFIED", "NOTED")


def _without_mint(answer: Any) -> Any:
    return answer | {"value": [None, *answer["value"][1:]]}


def _without_balances(answer: Any) -> Any:
    return answer | {"meta": answer["meta"] | {"preTokenBalances": None, "postTokenBalances": []}}
