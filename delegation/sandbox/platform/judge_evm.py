"""Whether a proof from an EVM network is true: the statement, its signature, and the approve on the chain."""

from __future__ import annotations

import asyncio
from datetime import datetime

from delegation.sandbox.platform.chain_evm import APPROVE_SELECTOR, EvmChain
from delegation.sandbox.platform.errors import Refused
from delegation.sandbox.platform.proof import SubmittedProof
from delegation.sandbox.platform.statement import check_statement

# EIP-2: of the two signatures of one message only the one with the lower s is taken.
_HALF_CURVE_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


async def judge(proof: SubmittedProof, chain: EvmChain, *, nonce: str, now: datetime) -> None:
    """Raise `Refused` unless everything that the proof says is so."""
    await chain.connect()
    _check_spelling(proof.address)
    check_statement(
        proof.message,
        ledger="Ethereum",
        address=proof.address,
        chain_id=proof.network.chain_id,
        nonce=nonce,
        now=now,
    )
    _check_signature(proof)
    await _check_transaction(proof, chain)


def _check_spelling(address: str) -> None:
    # The platform takes only the EIP-55 spelling in a statement (MetaMask mobile PR 22435).
    from eth_utils.address import is_checksum_address

    if not is_checksum_address(address):
        raise Refused(400, "Invalid sigMessage: address is not in its EIP-55 spelling")


def _check_signature(proof: SubmittedProof) -> None:
    from eth_account import Account
    from eth_account.messages import encode_defunct
    from eth_keys.exceptions import BadSignature

    signature = bytes.fromhex(proof.signature[2:])
    if signature[64] not in (27, 28) or int.from_bytes(signature[32:64], "big") > _HALF_CURVE_ORDER:
        raise Refused(400, "Invalid signature")
    try:
        signer = Account.recover_message(encode_defunct(text=proof.message), signature=signature)
    except (BadSignature, ValueError):
        raise Refused(400, "Invalid signature") from None
    if signer != proof.address:
        raise Refused(400, "Invalid signature")


async def _check_transaction(proof: SubmittedProof, chain: EvmChain) -> None:
    from eth_abi.abi import encode

    transaction, receipt = await asyncio.gather(chain.get_transaction(proof.tx_hash), chain.get_receipt(proof.tx_hash))
    if transaction is None:
        raise Refused(400, "Transaction not found")
    if receipt is None:
        raise Refused(400, "Transaction not confirmed")
    if receipt["status"] != 1:
        raise Refused(400, "Transaction failed")
    if transaction["from"] != proof.address:
        raise Refused(400, "Transaction was not sent by the wallet")
    if transaction.get("to") is None or transaction["to"].lower() != proof.asset.address.lower():
        raise Refused(400, "Transaction is not to the token contract")
    calldata = bytes(transaction["input"])
    if len(calldata) != 68 or calldata[:4] != APPROVE_SELECTOR:
        raise Refused(400, "Transaction is not an approve")
    if calldata[4:36] != encode(["address"], [proof.network.delegation_contract]):
        raise Refused(400, "Approval is for another spender")
    if calldata[36:] != encode(["uint256"], [proof.amount]):
        raise Refused(400, "Approval amount does not match")
