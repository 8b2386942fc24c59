"""Every instruction that a transaction executed, and what those of the token programs did to the delegates.

The data lengths are those that the programs accept, tested on the programs themselves: SPL Token (p-token) reads
`Approve` and `ApproveChecked` from the front and ignores what follows, Token-2022 refuses it, and both ignore what
follows `Revoke`, `SetAuthority` and `CloseAccount` as well as surplus accounts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from chains.errors import ContradictionError, InvalidAddressError, NodeError
from chains.solana.addresses import (
    ASSOCIATED_TOKEN_PROGRAM,
    COMPUTE_BUDGET_PROGRAM,
    MEMO_PROGRAMS,
    SYSTEM_PROGRAM,
    TOKEN_PROGRAMS,
    parse_address,
)
from chains.solana.answers import base58_bytes, nonsense, take

if TYPE_CHECKING:
    from solders.message import VersionedMessage

Via = Literal["top-level", "batch", "inner"]
"""`top-level` and `batch` are in the signed message itself; `inner` was called by another program, as the node says."""

Kind = Literal["approve", "approve_checked", "revoke", "set_owner", "close", "spend", "unknown"]

_BATCH: Final = 255
_SET_AUTHORITY: Final = 6
_ACCOUNT_OWNER: Final = 2  # AuthorityType

_EFFECTS: Final[dict[int, tuple[Kind, int, int]]] = {
    3: ("spend", 9, 2),  # Transfer
    4: ("approve", 9, 2),
    5: ("revoke", 1, 1),
    _SET_AUTHORITY: ("set_owner", 35, 1),
    8: ("spend", 9, 2),  # Burn
    9: ("close", 1, 2),
    12: ("spend", 10, 3),  # TransferChecked
    13: ("approve_checked", 10, 3),
    15: ("spend", 10, 2),  # BurnChecked
}
"""What can change a delegate or its amount: the kind, the bytes that are read, and the authority's place."""

_HARMLESS: Final = frozenset(range(46)) - _EFFECTS.keys() - {26}
"""Instructions that leave delegates alone (`instruction.rs` of both programs); 26 and 46 transfer and burn as well."""

_CALLS_NOTHING_THAT_APPROVES: Final = frozenset(
    {
        *TOKEN_PROGRAMS,
        SYSTEM_PROGRAM,
        COMPUTE_BUDGET_PROGRAM,
        ASSOCIATED_TOKEN_PROGRAM,
        *MEMO_PROGRAMS,
    }
)


@dataclass(frozen=True, slots=True)
class Call:
    """One instruction as it was executed: the program, its accounts, and its data."""

    program: str
    accounts: tuple[str, ...]
    data: bytes
    via: Via = "top-level"


@dataclass(frozen=True, slots=True)
class TokenCall:
    """What an instruction of a token program does to the delegate of the token account `source`.

    `signers` are the accounts after `authority`: the signers of a multisig, or surplus. `surplus` counts the bytes
    after those that the program reads. A transfer `to_itself` takes nothing from the allowance. Of `unknown`, the
    accounts are all in `signers`.
    """

    kind: Kind
    program: str
    via: Via
    source: str = ""
    authority: str = ""
    signers: tuple[str, ...] = ()
    delegate: str | None = None
    amount: int = 0
    mint: str | None = None
    decimals: int | None = None
    surplus: int = 0
    to_itself: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one transaction did to the delegate of one token account; the last effective instruction wins.

    `last` is the last one that set or cleared the delegate, `left` what it still allows at the transaction's end, and
    `unknown` an instruction after it on this account whose effect this toolkit does not know.
    """

    source: str
    last: TokenCall
    left: int
    approvals: tuple[TokenCall, ...]
    unknown: TokenCall | None = None

    @property
    def approval(self) -> TokenCall | None:
        """The approval that stands at the transaction's end."""
        return self.last if self.last.kind in ("approve", "approve_checked") else None


def walk(message: VersionedMessage, meta: dict[str, Any]) -> tuple[Call, ...]:
    """Return every instruction in the order of execution, batches taken apart.

    `meta` is the node's account of the execution: keys from address tables and inner instructions come from it and are
    not covered by a signature. Raises `NodeError` if it leaves out what is needed, and `ContradictionError` if it does
    not fit the message.
    """
    keys = resolve_keys(message, meta)
    static = len(message.account_keys)
    top = [
        _call(keys, one.program_id_index, one.accounts, bytes(one.data), "top-level") for one in message.instructions
    ]
    if any(one.program_id_index >= static for one in message.instructions):
        raise ContradictionError("The node serves a transaction whose program comes from an address table.")
    inner = _inner_instructions(meta, keys, len(top))
    if inner is None and any(call.program not in _CALLS_NOTHING_THAT_APPROVES for call in top):
        raise NodeError(
            "The node does not record which instructions the programs of the transaction called.",
            hint="Nothing was lost. Ask another node.",
        )
    return tuple(
        part
        for index, call in enumerate(top)
        for one in (call, *(inner or {}).get(index, ()))
        for part in take_apart(one)
    )


def resolve_keys(message: VersionedMessage, meta: dict[str, Any]) -> list[str]:
    """Return the keys that a message's indices mean: its own, then those loaded from address tables."""
    keys = [str(key) for key in message.account_keys]
    lookups = getattr(message, "address_table_lookups", [])
    if not lookups:
        return keys
    loaded = take(meta, dict, "loadedAddresses")
    for kind, asked in (
        ("writable", sum(len(lookup.writable_indexes) for lookup in lookups)),
        ("readonly", sum(len(lookup.readonly_indexes) for lookup in lookups)),
    ):
        found = take(loaded, list, kind)
        if len(found) != asked:
            raise ContradictionError(
                "The node's addresses from address tables are not as many as the transaction asks for.",
                expected=asked,
                found=len(found),
            )
        keys += [_key(key) for key in found]
    return keys


def _key(text: Any) -> str:
    try:
        return parse_address(take(text, str))
    except InvalidAddressError as error:
        raise nonsense(text) from error


def _inner_instructions(meta: dict[str, Any], keys: list[str], count: int) -> dict[int, tuple[Call, ...]] | None:
    """Return the inner instructions of each top-level one, or None where the node does not record them."""
    if meta.get("innerInstructions") is None:
        return None
    inner: dict[int, tuple[Call, ...]] = {}
    for group in take(meta, list, "innerInstructions"):
        index = take(group, int, "index")
        if not 0 <= index < count or index in inner:
            raise ContradictionError("The node's inner instructions do not fit the transaction.", found=index)
        inner[index] = tuple(
            _call(
                keys,
                take(one, int, "programIdIndex"),
                [take(position, int) for position in take(one, list, "accounts")],
                base58_bytes(take(one, str, "data")),
                "inner",
            )
            for one in take(group, list, "instructions")
        )
    return inner


def _call(keys: list[str], program: int, accounts: Iterable[int], data: bytes, via: Via) -> Call:
    positions = [program, *accounts]
    if any(not 0 <= position < len(keys) for position in positions):
        raise ContradictionError("The node serves a transaction that names accounts which are not there.")
    return Call(keys[program], tuple(keys[position] for position in positions[1:]), data, via)


def needs_no_node(message: VersionedMessage) -> bool:
    """Return whether a message alone shows all that its transaction does to delegates if it succeeds.

    It does where no address comes from an address table and no program is called that could call Approve itself.
    """
    keys = [str(key) for key in message.account_keys]
    programs = {keys[one.program_id_index] for one in message.instructions if one.program_id_index < len(keys)}
    return not getattr(message, "address_table_lookups", None) and programs <= _CALLS_NOTHING_THAT_APPROVES


@dataclass(frozen=True, slots=True)
class Holding:
    """What a token account held in a transaction, as the node says: its mint, and how many decimals that has."""

    mint: str
    decimals: int


def read_holdings(message: VersionedMessage, meta: dict[str, Any]) -> dict[str, Holding]:
    """Return the mints of a transaction's token accounts, from the balances before and after it (`getTransaction`).

    It is what an instruction that names no mint was about, whatever has become of the account since. Left out is what
    the node does not record, in any form, and an account that changed its mint within the transaction.
    """
    keys = resolve_keys(message, meta)
    found: dict[str, set[Holding]] = {}
    for name in ("preTokenBalances", "postTokenBalances"):
        recorded = meta.get(name)
        for one in recorded if isinstance(recorded, list) else []:
            try:
                position, decimals = take(one, int, "accountIndex"), take(one, int, "uiTokenAmount", "decimals")
                holding = Holding(_key(take(one, str, "mint")), decimals)
            except NodeError:
                continue
            if 0 <= position < len(keys):
                found.setdefault(keys[position], set()).add(holding)
    return {address: next(iter(held)) for address, held in found.items() if len(held) == 1}


def take_apart(call: Call) -> Iterator[Call]:
    """Give the instructions of a `batch` of the token programs, or the call itself where it is none.

    A batch is [number of accounts u8][length u8][data] again and again, the accounts taken in order, and cannot be
    nested. What does not have this form no token program accepts: it is given whole.
    """
    if call.program not in TOKEN_PROGRAMS or call.data[:1] != bytes([_BATCH]):
        yield call
        return
    via: Via = "inner" if call.via == "inner" else "batch"
    parts, data, accounts = [], call.data[1:], call.accounts
    while data:
        count, length = data[0], data[1] if len(data) > 1 else 0
        if not 0 < length <= len(data) - 2 or count > len(accounts) or data[2] == _BATCH:
            yield call
            return
        parts.append(Call(call.program, accounts[:count], data[2 : 2 + length], via))
        data, accounts = data[2 + length :], accounts[count:]
    yield from parts or [call]


def read_token_call(call: Call) -> TokenCall | None:
    """Return what a call does to a delegate; None for other programs and for instructions that leave delegates alone.

    An instruction with data or accounts that the programs would not accept is `unknown`, like one that is not known.
    """
    program, accounts, data = call.program, call.accounts, call.data
    tag = data[0] if data else _BATCH
    if program not in TOKEN_PROGRAMS or tag in _HARMLESS:
        return None
    if tag == _SET_AUTHORITY and data[1:2] != bytes([_ACCOUNT_OWNER]):
        return None
    kind, size, authority = _EFFECTS.get(tag, ("unknown", 0, 0))
    if kind == "unknown" or len(data) < size or len(accounts) <= authority:
        return TokenCall("unknown", program, call.via, signers=accounts)
    checked = kind == "approve_checked"
    approves = checked or kind == "approve"
    return TokenCall(
        kind,
        program,
        call.via,
        source=accounts[0],
        authority=accounts[authority],
        signers=accounts[authority + 1 :],
        delegate=accounts[authority - 1] if approves else None,
        amount=int.from_bytes(data[1:9], "little") if approves or kind == "spend" else 0,
        mint=accounts[1] if checked else None,
        decimals=data[9] if checked else None,
        surplus=len(data) - size,
        to_itself=kind == "spend" and accounts[0] == accounts[authority - 1],
    )


def find_outcomes(calls: Iterable[Call]) -> dict[str, Outcome]:
    """Return what a transaction that succeeded did, for every token account whose delegate it set or cleared."""
    found: dict[str, Outcome] = {}
    for call in calls:
        done = read_token_call(call)
        if done is None:
            continue
        if done.kind == "unknown":
            for account in found.keys() & set(done.signers):
                found[account] = replace(found[account], unknown=done)
        elif done.kind == "spend":
            before = found.get(done.source)
            if before is not None and done.authority == before.last.delegate and not done.to_itself:
                found[done.source] = replace(before, left=max(before.left - done.amount, 0))
        else:
            earlier = found[done.source].approvals if done.source in found else ()
            approvals = (*earlier, done) if done.delegate is not None else earlier
            found[done.source] = Outcome(done.source, done, done.amount, approvals)
    return found
