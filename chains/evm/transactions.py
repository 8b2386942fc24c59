"""EIP-1559 approve transactions: built, handed to wallets, and checked again from the signed bytes."""

from __future__ import annotations

import re
from typing import Final

from chains.errors import SignatureMismatchError
from chains.evm.addresses import keccak256
from chains.evm.codec.erc20 import encode_approve
from chains.evm.codec.rlp import Item, decode, encode, integer_bytes
from chains.evm.codec.signatures import recover_address
from chains.types import Chain, EvmFee, EvmTransaction, SignedTransaction

# EIP-2718: the transaction type of EIP-1559.
_TYPE_2: Final = 2
_RAW: Final = re.compile(r"0x(?:[0-9a-fA-F]{2})+", re.ASCII)
_FIELDS: Final = (
    "chain id",
    "nonce",
    "max priority fee per gas",
    "max fee per gas",
    "gas limit",
    "to",
    "value",
    "data",
    "access list",
    "signature parity",
    "signature r",
    "signature s",
)


def build_approve(
    chain_id: int, token: str, owner: str, spender: str, amount: int, nonce: int, fee: EvmFee
) -> EvmTransaction:
    """Return the unsigned transaction by which `owner` lets `spender` have `amount` base units of `token`."""
    data = "0x" + encode_approve(spender, amount).hex()
    return EvmTransaction(chain_id=chain_id, sender=owner, to=token, nonce=nonce, data=data, fee=fee)


def signing_request(unsigned: EvmTransaction) -> dict[str, object]:
    """Return the EIP-1193 request by which a wallet signs and sends exactly this transaction."""
    return {
        "method": "eth_sendTransaction",
        "params": [
            {
                "from": unsigned.sender,
                "to": unsigned.to,
                "value": "0x0",
                "data": unsigned.data,
                "nonce": hex(unsigned.nonce),
                "gas": hex(unsigned.fee.gas_limit),
                "maxFeePerGas": hex(unsigned.fee.max_fee_per_gas),
                "maxPriorityFeePerGas": hex(unsigned.fee.max_priority_fee_per_gas),
                "chainId": hex(unsigned.chain_id),
                "type": "0x2",
            }
        ],
    }


def verify_signed(unsigned: EvmTransaction, signed: SignedTransaction, chain: Chain | None = None) -> None:
    """Raise `SignatureMismatchError` unless the signed bytes are exactly the transaction shown, signed by its sender.

    Every field is read from the bytes again (rule 8): type 2, chain id, nonce, fees with tip <= max fee <= the
    network's cap where `chain` is given, gas limit, `to`, value 0, data, an empty access list, low-s signature
    (EIP-2), the signer, and the hash.
    """
    raw, items = _read_type_2(signed.raw)
    fee = unsigned.fee
    shown: tuple[Item, ...] = (
        integer_bytes(unsigned.chain_id),
        integer_bytes(unsigned.nonce),
        integer_bytes(fee.max_priority_fee_per_gas),
        integer_bytes(fee.max_fee_per_gas),
        integer_bytes(fee.gas_limit),
        bytes.fromhex(unsigned.to[2:]),
        b"",
        bytes.fromhex(unsigned.data[2:]),
        [],
    )
    for name, expected, found in zip(_FIELDS, shown, items, strict=False):
        if expected != found:
            raise _mismatch(name, _readable(expected), _readable(found))
    if fee.max_priority_fee_per_gas > fee.max_fee_per_gas:
        raise _mismatch("max priority fee per gas", f"at most {fee.max_fee_per_gas}", fee.max_priority_fee_per_gas)
    if chain is not None and chain.fees is not None and fee.max_fee_per_gas > chain.fees.max_fee_cap:
        raise _mismatch("max fee per gas", f"at most {chain.fees.max_fee_cap}", fee.max_fee_per_gas)

    parity, r, s = (_signature_number(name, item) for name, item in zip(_FIELDS[9:], items[9:], strict=True))
    if parity > 1:
        raise _mismatch("signature parity", "0 or 1", parity)
    signer = recover_address(keccak256(raw[:1] + encode(items[:9])), parity, r, s)
    if signer != unsigned.sender:
        raise _mismatch("signer", unsigned.sender, signer)
    computed = "0x" + keccak256(raw).hex()
    if computed != signed.hash:
        raise _mismatch("hash", computed, signed.hash)


def signed_from_raw(raw: str) -> SignedTransaction:
    """Return a signed EIP-1559 transaction from its bytes in 0x hex, with its hash computed from them.

    Raises `SignatureMismatchError` if these bytes are not one; whether it is the one asked for is for `verify_signed`.
    """
    return SignedTransaction(raw=raw, hash="0x" + keccak256(_read_type_2(raw)[0]).hex())


def _read_type_2(text: str) -> tuple[bytes, list[Item]]:
    """Return the bytes of a signed transaction of type 2 and its twelve fields."""
    if not _RAW.fullmatch(text):
        raise _mismatch("encoding", "0x and hexadecimal digits", text[:20])
    raw = bytes.fromhex(text[2:])
    if raw[0] != _TYPE_2:
        raise _mismatch("type", _TYPE_2, raw[0])
    try:
        items = decode(raw[1:])
    except ValueError as error:
        raise _mismatch("encoding", "RLP", str(error)) from error
    if not isinstance(items, list) or len(items) != len(_FIELDS):
        raise _mismatch("encoding", f"a list of {len(_FIELDS)} fields", "something else")
    return raw, items


def _signature_number(name: str, item: object) -> int:
    if not isinstance(item, bytes) or len(item) > 32 or item[:1] == b"\0":
        raise _mismatch(name, "an integer of at most 32 bytes", _readable(item))
    return int.from_bytes(item, "big")


def _readable(field: object) -> str:
    return "0x" + field.hex() if isinstance(field, bytes) else str(field)


def _mismatch(field: str, expected: object, found: object) -> SignatureMismatchError:
    return SignatureMismatchError(
        f"The signed transaction differs from the one shown: {field} is {found} instead of {expected}.",
        hint="Nothing was sent. Do not use this wallet before you know why it signs something else.",
        expected=expected,
        found=found,
    )
