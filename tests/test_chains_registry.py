"""Networks by name, and the public names of the ground floor."""

from __future__ import annotations

import ast
import doctest
import pydoc
import subprocess
import sys
from pathlib import Path
from typing import get_origin

import pytest

import chains
from chains import CHAIN_NAMES, get_chain
from chains.errors import UnknownNetworkError
from chains.evm.addresses import parse_address

EVM_NAMES = [name for name in CHAIN_NAMES if name != "solana"]


# Copied from each network's own documents a second time, so that a slip in the data is noticed.
CHAIN_IDS = {
    "ethereum": 1,
    "ethereum-sepolia": 11155111,
    "linea": 59144,
    "linea-sepolia": 59141,
    "base": 8453,
    "base-sepolia": 84532,
}


def test_the_chain_id_of_every_evm_network_was_copied_twice() -> None:
    assert set(CHAIN_IDS) == set(EVM_NAMES), "a network is missing in CHAIN_IDS of this file"


@pytest.mark.parametrize(("name", "chain_id"), CHAIN_IDS.items())
def test_each_evm_network_has_the_chain_id_of_its_standard_documents(name: str, chain_id: int) -> None:
    chain = get_chain(name)
    assert chain.name == name
    assert chain.family == "evm"
    assert chain.chain_id == chain_id
    assert chain.caip2 == f"eip155:{chain_id}"
    assert chain.statement_chain_id == str(chain_id)
    assert chain.testnet == ("sepolia" in name)
    assert chain.rpc_url.startswith("https://")


def test_a_name_is_found_in_any_letter_case() -> None:
    assert get_chain("LiNeA") is get_chain("linea")


def test_solana_is_a_network_too() -> None:
    assert get_chain("solana").family == "solana"


def test_an_unknown_name_is_refused_and_the_known_ones_are_listed() -> None:
    with pytest.raises(UnknownNetworkError) as caught:
        get_chain("monad")
    for name in CHAIN_NAMES:
        assert name in str(caught.value)


@pytest.mark.parametrize("name", EVM_NAMES)
def test_every_pinned_token_is_spelt_with_its_checksum_and_named_once(name: str) -> None:
    tokens = get_chain(name).tokens
    assert [token.address for token in tokens] == [parse_address(token.address) for token in tokens]
    assert len({token.symbol for token in tokens}) == len({token.address for token in tokens}) == len(tokens)


def test_tokens_with_eighteen_decimals_are_not_taken_for_six() -> None:
    decimals = {token.symbol: token.decimals for token in get_chain("linea").tokens}
    assert decimals == {"USDC": 6, "USDT": 6, "WETH": 18, "EURe": 18, "GBPe": 18, "aUSDC": 6, "mUSD": 6, "amUSD": 6}


@pytest.mark.parametrize("name", EVM_NAMES)
def test_every_fee_policy_is_bounded_and_consistent(name: str) -> None:
    fees = get_chain(name).fees
    assert fees is not None
    assert 0 < fees.tip_floor <= fees.tip_cap <= fees.max_fee_cap <= 500 * 10**9
    assert fees.method == ("linea_estimateGas" if name.startswith("linea") else "fee_history")


def test_every_public_name_can_be_imported_and_the_list_is_sorted() -> None:
    names = chains.__all__
    assert names == sorted(names, key=lambda name: (not name.isupper(), name[0].islower(), name))
    assert len(set(names)) == len(names)
    for name in names:
        assert getattr(chains, name) is not None


def test_type_checkers_are_told_the_same_homes_as_the_interpreter() -> None:
    tree = ast.parse(Path(chains.__file__).read_text())
    told = {
        alias.name: (node.module, alias.asname)
        for block in tree.body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == {name: (home, name) for name, home in chains._HOMES.items()}


def test_the_public_names_are_few_and_each_says_what_it_is_for() -> None:
    assert len(chains.__all__) <= 30
    for name in chains.__all__:
        value = getattr(chains, name)
        if callable(value) and not get_origin(value):
            assert (value.__doc__ or "").strip(), name
            # What a dataclass or a protocol is given where nobody wrote anything.
            assert not value.__doc__.startswith(f"{name}("), name
        else:
            assert f"`{name}`" in (chains.__doc__ or ""), name


def test_help_begins_with_an_example_that_runs() -> None:
    assert ">>>" in (chains.__doc__ or "").split("\n\n")[1] + (chains.__doc__ or "").split("\n\n")[2]
    failed, tried = doctest.testmod(chains)
    assert (failed, tried) == (0, 4)
    shown = pydoc.render_doc(chains, renderer=pydoc.plaintext)
    assert all(name in shown for name in chains.__all__)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError):
        chains.no_such_name  # noqa: B018 - the access is what is tested


def test_importing_chains_and_its_families_loads_nothing_heavy() -> None:
    heavy = {
        "web3",
        "eth_account",
        "eth_utils",
        "eth_keys",
        "rlp",
        "httpx",
        "solana",
        "solders",
        "asyncio",
        "coincurve",
    }
    code = f"import sys, chains, chains.evm.family; print(sorted({heavy!r} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_importing_chains_alone_loads_none_of_its_modules() -> None:
    code = "import sys, chains; print([name for name in sys.modules if name.startswith('chains.')])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
