"""What holds for the repository as a whole: where something new lacks a part, these tests say which."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

import chains.wallets
import delegation
from chains import CHAIN_NAMES, get_chain
from chains.types import Chain
from delegation.gateway.client import Gateway
from delegation.sandbox.platform import app

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "SECURITY.md")


@cache
def tree(path: Path) -> ast.Module:
    """Return the parsed module."""
    return ast.parse(path.read_text())


def modules(*folders: str) -> list[Path]:
    """Return the Python files below these folders."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


@cache
def text_of_tests() -> str:
    """Return the text of all tests but these."""
    return "\n".join(path.read_text() for path in modules("tests") if path != Path(__file__))


# A new network


def networks() -> Iterator[tuple[str, Chain]]:
    """Yield every network that a file of chains/networks defines, with the file's name."""
    for path in sorted((ROOT / "chains" / "networks").glob("[!_]*.py")):
        module = import_module(f"chains.networks.{path.stem}")
        found = [value for value in vars(module).values() if isinstance(value, Chain)]
        assert found, f"{path.name} defines no Chain"
        yield from ((path.name, chain) for chain in found)


# The platform has no test network of Solana; its identifiers are here so that its nodes are told from others.
NOT_OFFERED = {"solana-devnet"}


def test_every_network_that_a_file_defines_has_its_registry_line() -> None:
    for file, chain in networks():
        if chain.name in NOT_OFFERED:
            assert chain.name not in CHAIN_NAMES
            continue
        assert chain.name in CHAIN_NAMES, f"{chain.title} of chains/networks/{file} has no line in the registry"
        assert get_chain(chain.name) is chain, f"the registry's line of {chain.name} names something else than {file}"


@pytest.mark.parametrize("name", CHAIN_NAMES)
def test_the_identifiers_of_a_network_agree_with_each_other(name: str) -> None:
    chain = get_chain(name)
    if chain.family == "evm":
        assert chain.chain_id is not None
        assert (chain.caip2, chain.statement_chain_id) == (f"eip155:{chain.chain_id}", str(chain.chain_id))
        assert chain.fees is not None, f"{name} has no FeePolicy"
        assert chain.genesis_hash is None
    else:
        assert chain.genesis_hash is not None
        assert chain.caip2 == f"solana:{chain.genesis_hash[:32]}", "CAIP-30: the first 32 characters"
        assert chain.chain_id is None
    assert name == name.lower(), "get_chain looks for lower case"


def test_no_two_networks_share_an_identifier() -> None:
    identifiers = [get_chain(name).caip2 for name in CHAIN_NAMES]
    assert len(set(identifiers)) == len(identifiers)


# A new endpoint


def asked_paths() -> set[str]:
    """Return the paths that the platform's client asks for, with `x` where a value is put in."""
    found = set()
    for path in modules("delegation/gateway"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "x" for part in node.values]
                found.add("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return {text for text in found if re.fullmatch(r"/v1/[\w/.-]+[\w]", text)}


def test_every_path_that_the_client_asks_for_is_answered_by_the_simulated_platform() -> None:
    served = [re.sub(r"\{\w+\}", "x", route.path) for route in app._ROUTES]
    assert len(asked_paths()) > 4
    for path in asked_paths():
        pattern = re.escape(path).replace("/x/", "/[^/]+/")
        answered = any(re.fullmatch(pattern, route) for route in served)
        assert answered, f"{path} has no Route in delegation/sandbox/platform/app.py"


def test_every_call_of_the_client_is_made_by_a_test_of_the_client() -> None:
    text = "\n".join(path.read_text() for path in (ROOT / "tests").glob("test_gateway_*.py"))
    # `aclose` is called by `async with`, everywhere.
    calls = [name for name, value in vars(Gateway).items() if name[0] != "_" and callable(value) and name != "aclose"]
    assert len(calls) > 4
    for name in calls:
        assert re.search(rf"\.{name}\b", text), f"no test in tests/test_gateway_*.py calls Gateway.{name}"


# A new wallet kind


def wallet_classes() -> Iterator[str]:
    """Yield the classes of chains/wallets that have what a Wallet has."""
    for path in modules("chains/wallets"):
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef):
                has = {item.name for item in node.body if isinstance(item, ast.AsyncFunctionDef)}
                if {"authorise", "sign_message"} <= has:
                    yield node.name


def test_every_wallet_is_a_public_name_and_stands_in_the_tests_of_signing() -> None:
    found = set(wallet_classes())
    assert len(found) > 2
    text = (ROOT / "tests" / "test_wallets_signing.py").read_text() + (
        ROOT / "tests" / "test_flow_wallets.py"
    ).read_text()
    for name in found:
        assert name in chains.wallets.__all__, f"{name} is not in __all__ of chains/wallets/__init__.py"
        assert getattr(chains.wallets, name).__name__ == name
        assert name in text, f"{name} is in neither tests/test_wallets_signing.py nor tests/test_flow_wallets.py"


# A new finding


def rules() -> set[str]:
    """Return the names of all findings: the first argument of `Finding`, and of helpers whose first is the rule."""
    found = set()
    for path in modules("chains", "delegation"):
        makers = {"Finding"} | {
            node.name
            for node in ast.walk(tree(path))
            if isinstance(node, ast.FunctionDef) and node.args.args and node.args.args[0].arg == "rule"
        }
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in makers:
                first = node.args[0] if node.args else next((k.value for k in node.keywords if k.arg == "rule"), None)
                if isinstance(first, ast.Constant):
                    found.add(str(first.value))
    return found


def test_every_finding_is_named_by_a_test() -> None:
    assert len(rules()) > 20
    for rule in sorted(rules()):
        assert f'"{rule}"' in text_of_tests(), f"no test names the finding {rule!r}"


# Documents


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_that_a_document_names_is_there(document: str) -> None:
    text = (ROOT / document).read_text()
    named = set(re.findall(r"`((?:(?:\.ci|scripts|chains|delegation|tests)/[\w./-]*)|[A-Z]+\.md)`", text))
    assert named
    for name in named:
        assert list(ROOT.glob(name.rstrip("/").replace("NAME", "*"))), f"{document} names {name}, which is not there"


def test_what_is_released_as_source_holds_what_the_repository_holds() -> None:
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()]
    # hatch adds these two by itself; the others are for the repository alone.
    ignored += ["pyproject.toml", ".gitignore", ".git", ".ci"]
    held = {path.name for path in ROOT.iterdir() if not any(fnmatch(path.name, pattern) for pattern in ignored)}
    assert "README.md" in held
    included = {name.strip("/") for name in PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]}
    assert held <= included


# The verbs


@pytest.mark.parametrize("script", ["setup", "test", "lint", "bench", "demo"])
def test_every_verb_is_a_shell_script_that_can_be_run_from_anywhere(script: str) -> None:
    path = ROOT / "scripts" / script
    assert os.access(path, os.X_OK)
    assert subprocess.run(["/bin/sh", "-n", str(path)], check=False).returncode == 0
    assert '\ncd "$(dirname "$0")/.."\n' in path.read_text()


def collected(*arguments: str) -> int:
    """Return how many tests of this folder's crash tests would run."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *arguments]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return sum("::" in line for line in listed.splitlines())


def test_long_tests_run_with_all_alone_and_their_representatives_always() -> None:
    named = "tests/test_crash.py"
    short = collected(named)
    assert 0 < short < collected("--all", named) == collected(named, "--all")


def test_words_that_say_that_something_is_not_known_never_carry_a_yes() -> None:
    """What was not read, proved, pinned or known is UNDETERMINED or NOTED."""
    doubtful = re.compile(r"not known|not proved|not pinned|could not be (?:read|asked)")
    wrong = []
    for package in (chains, delegation):
        for path in Path(package.__path__[0]).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text())):
                if not isinstance(call, ast.Call) or "Finding" not in ast.unparse(call.func):
                    continue
                if any(isinstance(arg, ast.Constant) and arg.value == "VERIFIED" for arg in call.args):
                    words = " ".join(
                        str(each.value) for arg in call.args for each in ast.walk(arg) if isinstance(each, ast.Constant)
                    )
                    if doubtful.search(words):
                        wrong.append(f"{path.name}:{call.lineno}")
    assert not wrong
