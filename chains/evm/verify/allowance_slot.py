"""Where a token keeps an allowance in its storage: only what is known of a token proves anything (rule 21).

A token's own answers show nothing of its layout: a node that lies can name any other nested mapping of the token,
whose number it then proves. So a layout is known of tokens that are data of their network, and of code whose hash is
known and proved; everything else is the node's word.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from chains.evm.addresses import ZERO_ADDRESS, keccak256, to_checksum_address
from chains.evm.blocks import Found
from chains.evm.codec.erc20 import address_word
from chains.evm.codec.state_proofs import ProvenAccount
from chains.evm.verify.account_code import NotProvedError, prove_account_at
from chains.rpc import Rpc
from chains.types import Chain

_KNOWN_CODE: Final = Path(__file__).parent / "known_code.json"


@dataclass(frozen=True, slots=True)
class KnownCode:
    """What is known of code by its keccak-256, 0x hex: the base of a token's allowances, the slot that names a proxy's
    implementation."""

    tokens: Mapping[str, int]
    proxies: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a token keeps its allowances, and the hashes of the code that says so, none for data of the network.

    `empty_slots` must be empty for it to hold.
    """

    base: int
    empty_slots: tuple[int, ...] = ()
    code: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the layout as JSON."""
        return {"base": f"0x{self.base:064x}", "code": list(self.code)}


@cache
def known_code() -> KnownCode:
    """Return what is known of code by its hash; the file says of each what it is."""
    written = json.loads(_KNOWN_CODE.read_text())
    return KnownCode(
        {hash_: int(entry["allowances"]) for hash_, entry in written["tokens"].items()},
        {hash_: int(entry["implementation"], 16) for hash_, entry in written["proxies"].items()},
    )


def allowance_slot(owner: str, spender: str, base: int) -> bytes:
    """Return the storage slot of a nested Solidity mapping `base[owner][spender]`, 32 bytes."""
    outer, inner = address_word(owner), address_word(spender)
    return keccak256(inner + keccak256(outer + word_of(base)))


def word_of(number: int) -> bytes:
    """Return a number as the 32 bytes of a storage slot."""
    return number.to_bytes(32, "big")


async def find_layout(rpc: Rpc, chain: Chain, token: str, found: Found, known: KnownCode | None = None) -> Layout:
    """Return where a token keeps its allowances at a block.

    Raises `NotProvedError` where that is not known, or not proved, and `ContradictionError` if a proof fails.
    """
    given = next((each for each in chain.allowance_layouts if each.token == token), None)
    if given is not None:
        return Layout(given.base, given.empty_slots)
    known = known or known_code()
    account, _, _ = await prove_account_at(rpc, token, found)
    code = _hash_of(account)
    if code in known.tokens:
        return Layout(known.tokens[code], code=(code,))
    if code not in known.proxies:
        raise NotProvedError("the layout of its storage is not known")
    _, _, (word,) = await prove_account_at(rpc, token, found, [word_of(known.proxies[code])])
    implementation = to_checksum_address(word_of(word)[12:])
    if word >> 160 or implementation == ZERO_ADDRESS:
        raise NotProvedError("the slot that names its implementation holds no address")
    behind = _hash_of((await prove_account_at(rpc, implementation, found))[0])
    if behind not in known.tokens:
        raise NotProvedError("the layout of the implementation behind it is not known")
    return Layout(known.tokens[behind], code=(code, behind))


def _hash_of(account: ProvenAccount) -> str:
    return "0x" + account.code_hash.hex()
