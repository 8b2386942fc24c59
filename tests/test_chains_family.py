"""The interface of a family: both modules keep it, and a type checker notices where one does not."""

from __future__ import annotations

import os
import re
import shutil
from importlib import import_module
from pathlib import Path

import pytest
from mypy import api

import chains
from chains.amounts import MAX_UINT64, MAX_UINT256, is_unlimited, largest_amount
from chains.family import FamilyModule, signature_scheme

OFFERED = [name for name, value in vars(FamilyModule).items() if not name.startswith("_") and callable(value)]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, checked once, so that what is checked after a change is only what the change touches."""
    root = tmp_path_factory.mktemp("typed")
    shutil.copytree(Path(chains.__file__).parent, root / "chains", ignore=shutil.ignore_patterns("__pycache__"))
    assert check(root) == ("", 0)
    return root


def check(root: Path) -> tuple[str, int]:
    """Return what `mypy --strict` says of the copy, and its exit status."""
    before = Path.cwd()
    os.chdir(root)
    try:
        printed, problems, status = api.run(
            ["--strict", "--no-error-summary", "--config-file=", "--cache-dir=cache", "chains/family.py"]
        )
    finally:
        os.chdir(before)
    assert problems == ""
    return printed, status


def without_last_parameter(source: str, name: str) -> str:
    """Return the source of a module in which a function has lost its last parameter."""
    changed, count = re.subn(rf"(def {name}\(.*?)(, )?(\w+: [^:(),]+)\) ->", r"\1) ->", source)
    assert count == 1, name
    return changed


@pytest.mark.parametrize("name", ["get_decimals", "get_head", "check_approval", "check_ownership", "open_node"])
def test_a_parameter_dropped_from_a_familys_function_fails_the_type_check_by_name(copy: Path, name: str) -> None:
    module = copy / "chains" / "solana" / "family.py"
    source = module.read_text()
    try:
        module.write_text(without_last_parameter(source, name))
        printed, status = check(copy)
    finally:
        module.write_text(source)
    assert status == 1
    assert "chains/family.py" in printed
    assert f"def {name}(" in printed


def test_both_families_offer_every_name_of_the_interface() -> None:
    from chains.evm import family as evm
    from chains.solana import family as solana

    assert len(OFFERED) > 10
    for name in OFFERED:
        assert callable(getattr(evm, name))
        assert callable(getattr(solana, name))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("approval", "check_approval"),
        ("ownership", "check_ownership"),
        ("absence", "explain_absence"),
        ("inclusion", "Inclusion"),
        ("history", "find_state"),
        ("findings", "check_status"),
    ],
)
def test_the_same_job_of_verification_has_the_same_name_in_both_families(module: str, name: str) -> None:
    for family in ("evm", "solana"):
        home = import_module(f"chains.{family}.verify.{module}")
        assert getattr(home, name).__module__ == home.__name__


def test_each_family_has_its_scheme_and_its_bounds() -> None:
    assert (signature_scheme("evm"), signature_scheme("solana")) == ("eip191", "ed25519")
    assert (largest_amount("evm"), largest_amount("solana")) == (MAX_UINT256, MAX_UINT64)
    assert [is_unlimited("evm", amount) for amount in (2**255 - 1, 2**255, MAX_UINT256)] == [False, True, True]
    assert [is_unlimited("solana", amount) for amount in (2**63 - 1, 2**63, MAX_UINT64)] == [False, True, True]
