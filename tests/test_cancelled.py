"""What was cancelled or given up, and what the chain or a wallet may make of it afterwards."""

from dataclasses import replace
from pathlib import Path

import pytest
from eth_account import Account
from line_lab import open_line
from stuck_lab import held, mine, pending, quick

from chains.errors import TransactionPendingError, WrongChainError
from chains.family import open_node
from chains.types import EvmTransaction, SignedTransaction
from delegation import abandon, awaiting, cancel, carry, discard_request, verify_claim
from delegation.audit.claims import claim_of
from delegation.errors import DelegationEndedError, StillHarmfulError
from delegation.sandbox import Sandbox


@pytest.mark.parametrize("winner", ["the cancellation", "the approval"])
async def test_a_cancellation_that_the_chain_takes_back_is_sent_again_and_what_it_was_to_stop_is_found(
    sandbox: Sandbox, tmp_path: Path, winner: str
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        async with held(line):
            d = await pending(line.new("900"), quick(line))
            approval = d.approvals[0].sent
            assert isinstance(approval, SignedTransaction)
            with pytest.raises(TransactionPendingError):
                await cancel(d, quick(line))
            await mine(line)
            cancelled = await carry(line.context.journal.load(d.id), quick(line))
            assert cancelled.state == "cancelled"
            with pytest.raises(DelegationEndedError):
                await carry(cancelled, quick(line))
            await line.rpc.request("anvil_rollback", [1])
            if winner == "the approval":
                await line.rpc.request("anvil_dropAllTransactions")
                await line.rpc.request("eth_sendRawTransaction", [approval.raw])
                await mine(line)
        after = await carry(cancelled, line.context)
        if winner == "the cancellation":
            assert (after.state, await line.allowance()) == ("cancelled", 0)
        else:
            assert (after.state, after.approvals[0].hash) == ("done", approval.hash)
            assert await line.allowance() == 900 * 10**6


async def test_what_a_wallet_may_still_send_is_not_abandoned_although_its_request_was_discarded(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "linea") as line:
        app = replace(line.context, wallet=None)
        asked = await carry(line.new("777"), app)
        assert awaiting(asked) is not None
        unsigned = asked.approvals[0].unsigned
        assert isinstance(unsigned, EvmTransaction)
        discarded = await discard_request(asked, app)
        assert (discarded.state, discarded.approvals[0].given_up) == ("agreed", unsigned)
        with pytest.raises(StillHarmfulError, match="may still send it"):
            await abandon(discarded, app)
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
            line.key.private_key,
        )
        await line.broadcast("0x" + signed.raw_transaction.hex())
        with pytest.raises(StillHarmfulError):
            await abandon(discarded, app)
        assert line.context.journal.load(asked.id).unfinished


async def test_an_audit_of_what_was_cancelled_is_about_the_approval_and_not_about_what_cancelled_it(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        async with held(line):
            d = await pending(line.new("900"), quick(line))
            with pytest.raises(TransactionPendingError):
                await cancel(d, quick(line))
            await mine(line)
            cancelled = await carry(line.context.journal.load(d.id), quick(line))
        assert cancelled.state == "cancelled"
        chain = line.context.node.chain
        claim = claim_of(cancelled, chain, domain=None, now=line.context.now())
        assert claim.approval is not None
        assert claim.approval.transaction == d.approvals[0].hash
        report = await verify_claim(claim, [line.known.rpc_url])
        assert (report.verdict, report.state) == ("REFUTED", "replaced")


async def test_a_node_of_another_chain_is_found_out_before_it_says_that_the_blocks_of_others_are_gone(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        done = await line.carry("5")
        wrong = open_node(line.context.node.chain, sandbox.document.networks["linea"].rpc_url)
        elsewhere = replace(line.context, node=wrong)
        for d in (line.new("6"), line.new("0"), done):
            with pytest.raises(WrongChainError):
                await carry(d, elsewhere)
        await wrong.aclose()
        assert line.context.journal.load(done.id).state == "done"
        assert await line.allowance() == 5 * 10**6
