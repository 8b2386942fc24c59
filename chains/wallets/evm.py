"""A wallet that holds one secp256k1 private key of the EVM networks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from chains.errors import KeyFileError, SigningError, WalletRefusedError
from chains.evm.codec.signatures import SECP256K1_ORDER
from chains.family import verify_ownership, verify_signed
from chains.types import EvmTransaction, Family, OwnershipSignature, SignedTransaction, UnsignedTransaction
from chains.wallets.keys import KeyWallet, encode_text

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from eth_account.types import TransactionDictType

HEX_KEY: Final = re.compile(r"(?:0x)?[0-9a-fA-F]{64}")


class EvmKeyWallet(KeyWallet):
    """An EVM wallet in memory; `private_key` is 32 bytes, or their 64 hex digits with or without 0x.

    Raises `KeyFileError` if that is no private key.
    """

    __slots__ = ("_account",)

    family: Family = "evm"

    def __init__(self, private_key: bytes | str, *, derivation_path: str | None = None) -> None:
        account = _account(private_key)
        del private_key  # not in the locals of a traceback
        if account is None:
            raise KeyFileError(
                "This is not a private key of the EVM networks.",
                hint="Such a key is 64 hexadecimal digits, from 1 to the order of secp256k1.",
            )
        self._account = account
        self.address = str(account.address)
        self.derivation_path = derivation_path

    async def authorise(self, transaction: UnsignedTransaction) -> SignedTransaction:
        """Return the signed EIP-1559 transaction, verified from its bytes."""
        if not isinstance(transaction, EvmTransaction):
            raise WalletRefusedError("This wallet signs for EVM networks, not for Solana.", hint="Use a Solana wallet.")
        from rlp.exceptions import RLPException  # type: ignore[import-untyped]

        self._refuse_other_owner(transaction.sender)
        try:
            fields: TransactionDictType = {
                "type": 2,
                "chainId": transaction.chain_id,
                "nonce": transaction.nonce,
                "to": bytes.fromhex(transaction.to[2:]),
                "value": 0,
                "data": bytes.fromhex(transaction.data[2:]),
                "gas": transaction.fee.gas_limit,
                "maxFeePerGas": transaction.fee.max_fee_per_gas,
                "maxPriorityFeePerGas": transaction.fee.max_priority_fee_per_gas,
                "accessList": [],
            }
            made = self._account.sign_transaction(fields)
        except (TypeError, ValueError, RLPException) as error:
            # Without the library's traceback, whose frames hold the key.
            raise SigningError(f"This transaction cannot be signed: {error}", hint="Nothing was signed.") from None
        signed = SignedTransaction(raw="0x" + made.raw_transaction.hex(), hash="0x" + made.hash.hex())
        verify_signed(transaction, signed)
        return signed

    async def sign_message(self, message: str) -> str:
        """Return the EIP-191 signature of a text (`personal_sign`) as 0x hex, verified from its bytes."""
        from eth_account.messages import encode_defunct

        made = self._account.sign_message(encode_defunct(primitive=encode_text(message)))
        signature = "0x" + made.signature.hex()
        verify_ownership("evm", self.address, OwnershipSignature(message, signature, "eip191"))
        return signature


def _account(private_key: bytes | str) -> LocalAccount | None:
    if isinstance(private_key, str):
        if not HEX_KEY.fullmatch(private_key):
            return None
        private_key = bytes.fromhex(private_key.removeprefix("0x"))
    if len(private_key) != 32 or not 0 < int.from_bytes(private_key, "big") < SECP256K1_ORDER:
        return None
    from eth_account import Account

    account: LocalAccount = Account.from_key(private_key)
    return account
