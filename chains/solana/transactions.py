"""The v0 transaction of an approval: built, read back strictly, and checked after signing from its bytes alone.

The order of the instructions is that of the shipping client, because indexers recognise it:
SetComputeUnitPrice, [Create the token account], Approve, SetComputeUnitLimit.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from chains.errors import SignatureMismatchError
from chains.solana.addresses import (
    ASSOCIATED_TOKEN_PROGRAM,
    COMPUTE_BUDGET_PROGRAM,
    TOKEN_PROGRAMS,
    get_associated_token_address,
)
from chains.solana.approve import (
    APPROVAL_TAGS,
    TokenInstruction,
    build_approve,
    build_approve_checked,
    build_create_token_account,
    build_revoke,
    decode_created_account,
    decode_token_instruction,
)
from chains.solana.token import token_error_name
from chains.types import AllowanceIntent, SignedTransaction, SolanaTransaction

if TYPE_CHECKING:
    from solders.instruction import Instruction
    from solders.message import VersionedMessage

_SIGNATURE_SIZE: Final = 64
_SET_LIMIT: Final = bytes([2])
_SET_PRICE: Final = bytes([3])


@dataclass(frozen=True, slots=True)
class ApprovalMessage:
    """What an approval's message does: at most one account creation, then one or two token instructions."""

    signer: str
    blockhash: str
    compute_unit_price: int
    compute_unit_limit: int
    created_account: str | None
    instructions: tuple[TokenInstruction, ...]


def build_instructions(intent: AllowanceIntent, amount: int, program: str, *, create: bool) -> list[Instruction]:
    """Return the token instructions that set the allowance of `intent` to `amount` base units.

    `program` is the owner of the mint account; `create` puts the creation of the token account before them.
    Amount 0 is `Approve` of 0, which indexers notice, followed by `Revoke`, so that no delegate is left.
    """
    owner, spender, mint, options = intent.owner, intent.spender, intent.token.address, intent.options
    source = get_associated_token_address(owner, mint, program)
    instructions = [build_create_token_account(program, owner, mint)] if create else []
    if not (amount == 0 and options.revoke_only):
        if options.approve_checked:
            decimals = intent.token.decimals
            instructions.append(build_approve_checked(program, source, mint, spender, owner, amount, decimals))
        else:
            instructions.append(build_approve(program, source, spender, owner, amount))
    if amount == 0:
        instructions.append(build_revoke(program, source, owner))
    return instructions


def build_message(payer: str, instructions: list[Instruction], blockhash: str, *, price: int, limit: int) -> bytes:
    """Return the bytes of the v0 message; `price` is in micro-lamports per compute unit, `limit` in compute units."""
    from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
    from solders.hash import Hash
    from solders.message import MessageV0, to_bytes_versioned
    from solders.pubkey import Pubkey

    budgeted = [set_compute_unit_price(price), *instructions, set_compute_unit_limit(limit)]
    message = MessageV0.try_compile(Pubkey.from_string(payer), budgeted, [], Hash.from_string(blockhash))
    return to_bytes_versioned(message)


def parse_wire(raw: bytes) -> tuple[list[bytes], bytes]:
    """Return the signatures and the message bytes of a transaction as it travels.

    Raises `SignatureMismatchError` if it is not one; up to 127 signatures, which is more than a packet holds.
    """
    count = raw[0] if raw else 0
    end = 1 + count * _SIGNATURE_SIZE
    if not 1 <= count <= 127 or len(raw) <= end:
        raise SignatureMismatchError("These bytes are not a signed Solana transaction.", found=raw[:100].hex())
    return [raw[at : at + _SIGNATURE_SIZE] for at in range(1, end, _SIGNATURE_SIZE)], raw[end:]


def read_message(message: bytes) -> VersionedMessage:
    """Return a message of any version; raise `SignatureMismatchError` if the bytes are none."""
    from solders.message import from_bytes_versioned

    try:
        return from_bytes_versioned(message)
    except ValueError as error:
        raise _mismatch("it cannot be read") from error


def read_token_instructions(message: VersionedMessage, source: str) -> tuple[TokenInstruction, ...]:
    """Return the approvals and revocations that a transaction makes at its top level on the token account `source`.

    Other instructions are passed over. Raises `SignatureMismatchError` for an approval in a form we do not build.
    """
    return tuple(
        decode_token_instruction(program, accounts, data)
        for program, accounts, data in _instructions(message)
        if program in TOKEN_PROGRAMS and accounts[:1] == [source] and data[:1] in APPROVAL_TAGS
    )


def _instructions(message: VersionedMessage) -> Iterator[tuple[str, list[str], bytes]]:
    """Give (program, accounts, data) of each instruction; an account that is not in the message is an empty text."""
    keys = dict(enumerate(str(key) for key in message.account_keys))
    for compiled in message.instructions:
        accounts = [keys.get(index, "") for index in compiled.accounts]
        yield keys.get(compiled.program_id_index, ""), accounts, bytes(compiled.data)


def decode_message(message: bytes) -> ApprovalMessage:
    """Return what an approval's message does.

    Raises `SignatureMismatchError` for everything that this toolkit does not build: another message version, more than
    one signer, address tables, other programs, an instruction twice, an account that is not the signer's.
    """
    from solders.message import MessageV0, to_bytes_versioned

    parsed = read_message(message)
    if not isinstance(parsed, MessageV0) or to_bytes_versioned(parsed) != message:
        raise _mismatch("it is not one v0 message")
    if not parsed.account_keys or parsed.header.num_required_signatures != 1 or parsed.address_table_lookups:
        raise _mismatch("it has other signers or address tables")
    signer = str(parsed.account_keys[0])
    price = limit = created = None
    done: list[TokenInstruction] = []
    for program, accounts, data in _instructions(parsed):
        if "" in accounts:
            raise _mismatch("it names an account that is not there")
        if program == COMPUTE_BUDGET_PROGRAM and data[:1] == _SET_PRICE and len(data) == 9 and price is None:
            price = int.from_bytes(data[1:], "little")
        elif program == COMPUTE_BUDGET_PROGRAM and data[:1] == _SET_LIMIT and len(data) == 5 and limit is None:
            limit = int.from_bytes(data[1:], "little")
        elif program == ASSOCIATED_TOKEN_PROGRAM and created is None and not done:
            created = decode_created_account(program, accounts, data)
            if accounts[0] != signer:
                raise _mismatch("it creates an account for another owner")
        else:
            done.append(decode_token_instruction(program, accounts, data))
    if price is None or limit is None:
        raise _mismatch("it sets no price or no limit of compute units")
    _check_order(signer, created[0] if created else None, done)
    return ApprovalMessage(
        signer=signer,
        blockhash=str(parsed.recent_blockhash),
        compute_unit_price=price,
        compute_unit_limit=limit,
        created_account=created[0] if created else None,
        instructions=tuple(done),
    )


def _check_order(signer: str, created: str | None, done: list[TokenInstruction]) -> None:
    kinds = [instruction.kind for instruction in done]
    if kinds not in (
        ["approve"],
        ["approve_checked"],
        ["revoke"],
        ["approve", "revoke"],
        ["approve_checked", "revoke"],
    ):
        raise _mismatch(f"its token instructions are {kinds}")
    if kinds[-1] == "revoke" and done[0].amount:
        raise _mismatch("it revokes what it approves")
    if any(one.owner != signer or one.source != done[0].source or one.program != done[0].program for one in done):
        raise _mismatch("its token instructions are not all for one account of the signer")
    if created not in {None, done[0].source}:
        raise _mismatch("it creates another account than the one it approves")


def check_message(message: bytes, intent: AllowanceIntent, amount: int) -> ApprovalMessage:
    """Return the decoded message; raise `SignatureMismatchError` unless it sets `intent`'s allowance to `amount`."""
    decoded = decode_message(message)
    program = decoded.instructions[0].program
    expected = build_instructions(intent, amount, program, create=decoded.created_account is not None)
    rebuilt = build_message(
        intent.owner,
        expected,
        decoded.blockhash,
        price=decoded.compute_unit_price,
        limit=decoded.compute_unit_limit,
    )
    if rebuilt != message:
        raise _mismatch("it does not set the allowance that was asked for")
    return decoded


def attach_signature(unsigned: SolanaTransaction, signature: bytes) -> SignedTransaction:
    """Return the signed transaction; `signature` is 64 bytes of Ed25519 over the message bytes."""
    from solders.signature import Signature

    raw = bytes([1]) + signature + b64decode(unsigned.message)
    return SignedTransaction(raw=b64encode(raw).decode(), hash=str(Signature.from_bytes(signature)))


def verify_signed(unsigned: SolanaTransaction, signed: SignedTransaction) -> None:
    """Raise `SignatureMismatchError` unless the signed bytes are exactly the transaction shown, signed by its sender.

    Checks the bytes of the message, that the sender is the only signer, the Ed25519 signature (strictly: no small-order
    keys, no malleated S), the hash, and once more what the instructions do.
    """
    from solders.pubkey import Pubkey
    from solders.signature import Signature

    shown = b64decode(unsigned.message)
    signatures, message = parse_wire(_decode_base64(signed.raw))
    if message != shown:
        raise SignatureMismatchError(
            "The wallet signed another transaction than the one it was shown.",
            hint="Nothing was sent. Do not use this wallet before you know why it changes transactions.",
            expected=unsigned.message,
            found=b64encode(message).decode(),
        )
    if len(signatures) != 1:
        raise _mismatch(f"it has {len(signatures)} signatures, not 1")
    signature = Signature.from_bytes(signatures[0])
    if str(signature) != signed.hash:
        raise SignatureMismatchError(
            "The hash of the signed transaction is not its signature.", expected=str(signature), found=signed.hash
        )
    decoded = decode_message(message)
    if decoded.signer != unsigned.sender:
        raise SignatureMismatchError(
            "The transaction's signer is not the owner.", expected=unsigned.sender, found=decoded.signer
        )
    if decoded.blockhash != unsigned.blockhash or (decoded.compute_unit_price, decoded.compute_unit_limit) != (
        unsigned.fee.compute_unit_price,
        unsigned.fee.compute_unit_limit,
    ):
        raise _mismatch("its blockhash or its fee is not the one shown")
    if not signature.verify(Pubkey.from_string(unsigned.sender), message):
        raise SignatureMismatchError(
            "The signature is not the owner's.",
            hint=f"Nothing was sent. Sign with the key of {unsigned.sender}.",
            expected=unsigned.sender,
        )


def signing_request(unsigned: SolanaTransaction) -> dict[str, object]:
    """Return what a wallet app passes to its wallet: the transaction in base64, its signature still zero."""
    whole = bytes([1]) + bytes(_SIGNATURE_SIZE) + b64decode(unsigned.message)
    return {
        "method": "signTransaction",
        "transaction": b64encode(whole).decode(),
        "message": unsigned.message,
        "address": unsigned.sender,
    }


def describe_error(error: Any, message: bytes) -> str:
    """Return a transaction error of the RPC in words; `message` tells which program a custom error number belongs to.

    Source: `TransactionError` and `InstructionError` of the Solana SDK, as the RPC writes them in JSON.
    """
    if not isinstance(error, dict):
        return str(error)
    match error.get("InstructionError"):
        case [int(index), {"Custom": int(code)}]:
            programs = [program for program, _accounts, _data in _instructions(read_message(message))]
            if programs[index : index + 1] == [ASSOCIATED_TOKEN_PROGRAM]:
                return "the token account cannot be created" if code else "the token account exists already"
            return token_error_name(code)
        case [int(), str(name)]:
            return name
        case _:
            return str(error)


def _decode_base64(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError as error:
        raise _mismatch("it is not base64") from error


def _mismatch(what: str) -> SignatureMismatchError:
    return SignatureMismatchError(
        f"The transaction is not the approval that was shown: {what}.",
        hint="Nothing was sent. Plan the approval again and sign exactly what is shown.",
    )


def signed_from_raw(raw: str) -> SignedTransaction:
    """Return a signed transaction from its base64 bytes, with its first signature as the hash.

    Raises `SignatureMismatchError` if these bytes are not a transaction.
    """
    from solders.signature import Signature

    signatures, _ = parse_wire(_decode_base64(raw))
    return SignedTransaction(raw=raw, hash=str(Signature.from_bytes(signatures[0])))
