"""Whether a proof from Solana is true: the statement, its signature, and the approve in the transaction.

Like the platform, it indexes only the plain `Approve` at the top level of a transaction, not `ApproveChecked`, and no
transaction that makes the token account with `CreateIdempotent`, as the real one is known to.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from delegation.sandbox.platform.chain_solana import SolanaChain
from delegation.sandbox.platform.errors import Refused
from delegation.sandbox.platform.proof import SubmittedProof
from delegation.sandbox.platform.statement import check_statement

if TYPE_CHECKING:
    from solders.message import Message, MessageV0, MessageV1
    from solders.pubkey import Pubkey

_ATA_PROGRAM = "ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL"
_CREATE_IDEMPOTENT = 1
_APPROVE, _REVOKE, _APPROVE_CHECKED = 4, 5, 13


async def judge(proof: SubmittedProof, chain: SolanaChain, *, nonce: str, now: datetime) -> None:
    """Raise `Refused` unless everything that the proof says is so."""
    check_statement(proof.message, ledger="Solana", address=proof.address, chain_id="1", nonce=nonce, now=now)
    _check_signature(proof)
    await _check_transaction(proof, chain)


def _check_signature(proof: SubmittedProof) -> None:
    from solders.pubkey import Pubkey
    from solders.signature import Signature

    # solders verifies strictly: small-order and non-canonical keys are refused.
    signature = Signature.from_string(proof.signature)
    if not signature.verify(Pubkey.from_string(proof.address), proof.message.encode()):
        raise Refused(400, "Invalid signature")


async def _check_transaction(proof: SubmittedProof, chain: SolanaChain) -> None:
    from solders.pubkey import Pubkey
    from solders.transaction import VersionedTransaction

    found = await chain.get_transaction(proof.tx_hash)
    if found is None:
        raise Refused(400, "Transaction not found")
    if found["meta"]["err"] is not None:
        raise Refused(400, "Transaction failed")
    transaction = VersionedTransaction.from_bytes(base64.b64decode(found["transaction"][0]))
    if str(transaction.signatures[0]) != proof.tx_hash or not all(transaction.verify_with_results()):
        raise Refused(400, "Transaction not found")
    owner = Pubkey.from_string(proof.address)
    message = transaction.message
    if owner not in message.account_keys[: message.header.num_required_signatures]:
        raise Refused(400, "Transaction was not signed by the wallet")

    source = await chain.get_token_account_address(proof.asset.address, proof.address)
    program = Pubkey.from_string(await chain.get_token_program(proof.asset.address))
    delegate, amount = _find_approve(message, _account_keys(message, found["meta"]), program, source, owner)
    if delegate != Pubkey.from_string(proof.network.delegation_contract):
        raise Refused(400, "Approval is for another delegate")
    if amount != proof.amount:
        raise Refused(400, "Approval amount does not match")


def _account_keys(message: Message | MessageV0 | MessageV1, meta: dict[str, Any]) -> list[Pubkey]:
    from solders.pubkey import Pubkey

    loaded = meta.get("loadedAddresses") or {"writable": [], "readonly": []}
    return [*message.account_keys, *(Pubkey.from_string(key) for key in loaded["writable"] + loaded["readonly"])]


def _find_approve(
    message: Message | MessageV0 | MessageV1, keys: Sequence[Pubkey], program: Pubkey, source: Pubkey, owner: Pubkey
) -> tuple[Pubkey, int]:
    """Return delegate and amount of the last `Approve` of the source account that the transaction leaves in force."""
    from solders.pubkey import Pubkey

    ata_program = Pubkey.from_string(_ATA_PROGRAM)
    approve: tuple[Pubkey, int] | None = None
    for instruction in message.instructions:
        accounts = [keys[index] for index in instruction.accounts]
        called, data = keys[instruction.program_id_index], bytes(instruction.data)
        if called == ata_program and data[:1] == bytes([_CREATE_IDEMPOTENT]):
            raise Refused(400, "Approval not found")
        if called != program or not data or not accounts or accounts[0] != source:
            continue
        if data[0] == _APPROVE and len(data) == 9 and len(accounts) == 3 and accounts[2] == owner:
            approve = accounts[1], int.from_bytes(data[1:], "little")
        # A Revoke after an Approve of 0 takes nothing back; after any other it leaves no approval.
        elif data[0] == _APPROVE_CHECKED or (data[0] == _REVOKE and approve is not None and approve[1] != 0):
            approve = None
    if approve is None:
        raise Refused(400, "Approval not found")
    return approve
