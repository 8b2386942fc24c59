"""Networks, keys and bytes: read allowances, approve spenders, prove who owns a wallet, and check what others claim.

Start with a network and one of its tokens; amounts are `Decimal` for people and integers (base units) inside:

    >>> from chains import format_amount, get_chain, parse_amount, to_base_units
    >>> usdc = get_chain("linea").tokens[0]
    >>> amount = to_base_units(parse_amount("0.50"), usdc.decimals)
    >>> amount, format_amount(amount, usdc.decimals), usdc.symbol
    (500000, '0.5', 'USDC')

- to read an allowance: `await open_node(get_chain("linea")).get_allowance(usdc, owner, spender)`
- to check somebody's approval: `check_approval(ApprovalClaim(...), rpc, await get_head(chain, rpc))`, with `open_rpc`
- to check who signed a text: `check_ownership(OwnershipClaim(...))`; `verdict_of` says what the findings amount to

`CHAIN_NAMES` are the names that `get_chain` takes, and a `Family` is "evm" or "solana". Every error is a `ChainError`
whose `hint` says what to do now. What is named here is imported when it is first used, so that `import chains` costs
nearly nothing; everything else is imported from its own module.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chains.amounts import format_amount as format_amount
    from chains.amounts import is_unlimited as is_unlimited
    from chains.amounts import parse_amount as parse_amount
    from chains.amounts import to_base_units as to_base_units
    from chains.claims import ApprovalClaim as ApprovalClaim
    from chains.claims import Expectations as Expectations
    from chains.claims import OwnershipClaim as OwnershipClaim
    from chains.claims import verdict_of as verdict_of
    from chains.errors import ChainError as ChainError
    from chains.errors import InputError as InputError
    from chains.errors import NodeError as NodeError
    from chains.errors import RefusedError as RefusedError
    from chains.errors import SigningError as SigningError
    from chains.errors import ToolkitError as ToolkitError
    from chains.errors import TransactionError as TransactionError
    from chains.family import check_approval as check_approval
    from chains.family import check_ownership as check_ownership
    from chains.family import get_head as get_head
    from chains.family import open_node as open_node
    from chains.family import open_rpc as open_rpc
    from chains.family import parse_address as parse_address
    from chains.networks import CHAIN_NAMES as CHAIN_NAMES
    from chains.networks import get_chain as get_chain
    from chains.types import AllowanceState as AllowanceState
    from chains.types import Block as Block
    from chains.types import Chain as Chain
    from chains.types import Family as Family
    from chains.types import Node as Node
    from chains.types import Token as Token
    from chains.types import Wallet as Wallet

_HOMES = {
    "CHAIN_NAMES": "chains.networks",
    "AllowanceState": "chains.types",
    "ApprovalClaim": "chains.claims",
    "Block": "chains.types",
    "Chain": "chains.types",
    "ChainError": "chains.errors",
    "Expectations": "chains.claims",
    "Family": "chains.types",
    "InputError": "chains.errors",
    "Node": "chains.types",
    "NodeError": "chains.errors",
    "OwnershipClaim": "chains.claims",
    "RefusedError": "chains.errors",
    "SigningError": "chains.errors",
    "Token": "chains.types",
    "ToolkitError": "chains.errors",
    "TransactionError": "chains.errors",
    "Wallet": "chains.types",
    "check_approval": "chains.family",
    "check_ownership": "chains.family",
    "format_amount": "chains.amounts",
    "get_chain": "chains.networks",
    "get_head": "chains.family",
    "is_unlimited": "chains.amounts",
    "open_node": "chains.family",
    "open_rpc": "chains.family",
    "parse_address": "chains.family",
    "parse_amount": "chains.amounts",
    "to_base_units": "chains.amounts",
    "verdict_of": "chains.claims",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = getattr(import_module(_HOMES[name]), name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
