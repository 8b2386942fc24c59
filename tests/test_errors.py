"""Every error of the two trees: drawn, documented, somebody's fault, and the same after it crossed to a process."""

from __future__ import annotations

import ast
import copy
import inspect
import multiprocessing
import pickle
import pkgutil
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest

import chains
import delegation
from chains import errors as chain_errors
from chains.errors import ChainError, Fault, RpcError, ToolkitError
from delegation import errors as delegation_errors
from delegation.errors import DelegationError, RateLimitedError

# One value for every parameter that an error's constructor has; a new parameter needs one here.
SAMPLES: dict[str, Any] = {
    "message": "It went wrong.",
    "hint": "Do it otherwise.",
    "expected": 5000 * 10**6,
    "found": {"raw": ["0x01", None]},
    "transaction_hash": "0x" + "ab" * 32,
    "code": -32000,
    "data": {"reason": "0x08c379a0"},
    "status": 429,
    "body": '{"message": "slow down"}',
    "retry_after": 2.5,
    "network": "linea",
    "unseen_for": 42.5,
}


def load_all_modules() -> None:
    """Import every module of both packages, so that every subclass is known."""
    for package in (chains, delegation):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            import_module(module.name)


def subclasses(kind: type[ToolkitError]) -> Iterator[type[ToolkitError]]:
    """Return a class and all below it."""
    yield kind
    for below in kind.__subclasses__():
        yield from subclasses(below)


load_all_modules()
# The root itself is never raised, and is nobody's fault.
ERRORS = [kind for kind in dict.fromkeys(subclasses(ToolkitError)) if kind is not ToolkitError]


def make(kind: type[ToolkitError]) -> ToolkitError:
    """Return an error with a value in everything that it can hold."""
    names = [name for name in inspect.signature(kind).parameters if name != "message"]
    return kind(SAMPLES["message"], **{name: SAMPLES[name] for name in names})


def raised(error: ToolkitError) -> ToolkitError:
    """Return the error as it is once it has been raised from another one."""
    try:
        raise error from ValueError("why")
    except ToolkitError as caught:
        return caught


def raise_rate_limited(seconds: float) -> None:
    """What a worker does that the platform stops."""
    error = RateLimitedError("Too fast.", status=429, body="{}", retry_after=seconds, hint="Wait.")
    error.maybe_done = True
    raise error


def raise_rpc_error() -> None:
    """What a worker does whose node says no."""
    raise RpcError("eth_call failed: execution reverted", code=3, data="0x")


@pytest.mark.parametrize(
    "cross",
    [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy],  # noqa: S301 - our own bytes
    ids=["pickle", "copy", "deepcopy"],
)
@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_an_error_is_the_same_after_it_was_pickled_or_copied(
    kind: type[ToolkitError], cross: Callable[[ToolkitError], ToolkitError]
) -> None:
    error = raised(make(kind))
    error.add_note("while doing something")
    crossed = cross(error)
    assert type(crossed) is kind
    assert crossed is not error
    assert vars(crossed) == vars(error)
    assert len(vars(crossed)) >= len(("message", "hint", "expected", "found"))
    assert (crossed.args, str(crossed), crossed.fault) == (error.args, str(error), error.fault)
    # What one of them learns later, the other does not.
    crossed.hint = "Another."
    assert error.hint == SAMPLES["hint"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_pickle_protocol_keeps_what_a_class_sets_in_its_own_constructor(protocol: int) -> None:
    error = RpcError("eth_call failed", code=3, data={"a": 1}, hint="Name another node.")
    crossed = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own bytes
    assert (crossed.code, crossed.data, crossed.found, crossed.hash) == (3, {"a": 1}, {"a": 1}, None)


def test_an_error_crosses_a_process_pool_with_all_it_holds() -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        limited = pool.submit(raise_rate_limited, 7.5).exception()
        refused = pool.submit(raise_rpc_error).exception()
    assert isinstance(limited, RateLimitedError)
    assert (limited.status, limited.body, limited.retry_after, limited.hint) == (429, "{}", 7.5, "Wait.")
    assert limited.maybe_done, "also what was set after it was made"
    assert isinstance(refused, RpcError)
    assert (refused.code, refused.data, refused.message) == (3, "0x", "eth_call failed: execution reverted")


@pytest.mark.parametrize("kind", [ToolkitError, *ERRORS], ids=lambda kind: kind.__name__)
def test_every_error_says_what_it_is_for(kind: type[ToolkitError]) -> None:
    assert "__doc__" in vars(kind)
    assert re.fullmatch(r"[A-Z].*\.", (kind.__doc__ or "").strip(), re.DOTALL)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_is_somebodys_fault(kind: type[ToolkitError]) -> None:
    assert kind.fault in get_args(Fault)
    assert issubclass(kind, ChainError) != issubclass(kind, DelegationError)
    assert kind.fault != "platform" or issubclass(kind, DelegationError), "the ground floor knows no platform"


def drawn(module: Any) -> dict[str, str]:
    """Return each class that a module's docstring draws, with the class that it hangs from."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (module.__doc__ or "").splitlines():
        match = re.match(r"(?P<branch>[│├└─ ]*)(?P<name>[A-Z][A-Za-z]*Error)\b", line)
        if match is None:
            continue
        depth = len(match["branch"]) // 4
        path = [*path[:depth], match["name"]]
        if depth:
            parents[match["name"]] = path[-2]
    return parents


def test_the_trees_that_are_drawn_are_the_trees_that_are() -> None:
    real = {kind.__name__: kind.__bases__[0].__name__ for kind in ERRORS}
    assert drawn(chain_errors) | drawn(delegation_errors) == real
    of_this_floor = {"ChainError", "DelegationError", *(k.__name__ for k in ERRORS if issubclass(k, ChainError))}
    assert set(drawn(chain_errors)) == of_this_floor


def test_the_bases_that_only_gather_errors_are_never_raised_themselves() -> None:
    bases = {"ToolkitError", "ChainError", "DelegationError"}
    for path in [path for package in (chains, delegation) for path in Path(package.__path__[0]).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            made = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in bases
            assert not made, f"{path}:{getattr(node, 'lineno', 0)}"


def test_the_root_is_had_from_both_packages() -> None:
    assert chains.ToolkitError is delegation.ToolkitError is ToolkitError
