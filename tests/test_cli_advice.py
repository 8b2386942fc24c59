"""What the command line adds to an error: only options that the next command has, only commands that can be typed."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import click
import pytest

import chains
import delegation
from chains.errors import (
    ContradictionError,
    FeeTooHighError,
    KeyFileError,
    NodeUnreachableError,
    NoGasError,
    OtherDelegateError,
    RpcError,
    ToolkitError,
    TransactionPendingError,
    WrongChainError,
)
from delegation.cli import _COMMANDS, main
from delegation.cli.advice import advise
from delegation.cli.progress import Progress
from delegation.cli.session import Session
from delegation.errors import (
    ConflictError,
    JournalConflictError,
    OwnerBusyError,
    OwnerMismatchError,
    PinMismatchError,
    RateLimitedError,
    UnknownDelegationError,
)
from delegation.models import Delegation, DelegationRequest

OWNER = "0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045"
SAVED = Delegation(
    id="abcdef012345",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    gateway="card.example.com",
    request=DelegationRequest(network="linea", currency="usdc", owner=OWNER, amount=Decimal(5000)),
)


def session(profile: str = "default") -> Session:
    """Return the options before the verb."""
    return Session(profile_name=profile, as_json=False, quiet=True, progress=Progress(quiet=True))


def advice(error: ToolkitError, arguments: str, *, saved: Delegation | None = None, profile: str = "default") -> str:
    """Return what is advised after this command has met the error."""
    verb, *rest = shlex.split(arguments)
    with click.Context(main) as above:
        command = main.get_command(above, verb)
        assert command is not None
        with command.make_context(verb, rest, parent=above):
            return advise(session(profile), error, saved)


BUSY = (
    "Finish it with: {program} resume 0123\n"
    "or, if its transaction is stuck: {program} speed-up 0123\n"
    "or: {program} cancel 0123"
)
GRANT = f"grant --currency usdc --amount 5 --owner {OWNER} --network"


@pytest.mark.parametrize(
    ("error", "arguments", "expected"),
    [
        (NodeUnreachableError("x"), f"{GRANT} linea", "Another node is named with --rpc."),
        (RpcError("x", code=1), f"{GRANT} linea --rpc https://one.example", "Another node is named with --rpc."),
        (ContradictionError("x"), "resume", "Another node is named with --rpc."),
        (WrongChainError("x"), "verify 0xab", "Another node is named with --rpc."),
        (NodeUnreachableError("x"), "networks", ""),
        (KeyFileError("x"), "resume", "The wallet is named with --wallet: a key file, or KIND:FILE."),
        (KeyFileError("x"), "status --network linea --currency usdc --owner x", ""),
        (OwnerMismatchError("x"), f"{GRANT} linea", "Name the owner's wallet with --wallet."),
        (OtherDelegateError("x"), f"{GRANT} solana", "That is the option --overwrite-delegate."),
        (OtherDelegateError("x"), f"{GRANT} solana --overwrite-delegate", ""),
        (OtherDelegateError("x"), "revoke --network solana --currency usdc", ""),
        (NoGasError("x"), f"{GRANT} linea", "With --faucet the platform is asked for a little gas first."),
        (NoGasError("x"), f"{GRANT} LINEA", "With --faucet the platform is asked for a little gas first."),
        (NoGasError("x"), f"{GRANT} linea --faucet", ""),
        (NoGasError("x"), f"{GRANT} ethereum", ""),
        (NoGasError("x"), "resume", ""),
        (FeeTooHighError("x"), f"{GRANT} linea", ""),
        (RateLimitedError("x"), f"{GRANT} linea", ""),
        (UnknownDelegationError("x"), "show abc", "The list is shown by: delegation list"),
        (OwnerBusyError("x", found="0123"), f"{GRANT} linea", BUSY.format(program="delegation")),
        (JournalConflictError("x", found="0123"), "resume", "See it with: delegation show 0123"),
        (ConflictError("x"), f"{GRANT} linea", "They are shown by: delegation wallets"),
        (
            PinMismatchError("x", network="base"),
            "networks",
            "Accept it, once it is compared, with: delegation networks --trust base",
        ),
    ],
)
def test_what_to_type_follows_from_the_error_and_from_the_command_that_met_it(
    error: ToolkitError, arguments: str, expected: str
) -> None:
    assert advice(error, arguments) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NoGasError("x"), ""),  # `resume` has no --faucet: a second grant would be another delegation
        (OtherDelegateError("x"), ""),
        (NodeUnreachableError("x"), "Another node is named with --rpc."),
        (OwnerMismatchError("x"), "Name the owner's wallet with --wallet."),
        (TransactionPendingError("x"), ""),
        (ConflictError("x"), "They are shown by: delegation wallets and delegation show abcdef012345"),
    ],
)
def test_what_is_in_the_journal_is_resumed_so_only_options_of_resume_are_named(
    error: ToolkitError, expected: str
) -> None:
    assert advice(error, f"{GRANT} linea", saved=SAVED) == expected


def test_commands_are_spelled_with_the_profile_of_the_session_and_can_be_pasted_into_a_shell() -> None:
    assert session().command("resume", "0123") == "delegation resume 0123"
    assert session("two words").command("verify", "--bundle", "a file") == (
        "delegation --profile 'two words' verify --bundle 'a file'"
    )
    busy = OwnerBusyError("x", found="0123")
    assert advice(busy, "resume", profile="sandbox") == BUSY.format(program="delegation --profile sandbox")


_TYPED = re.compile(rf"(?<![\w-])--[a-z][a-z-]+|\bdelegation (?:--profile|{'|'.join(_COMMANDS)})\b|\bresume\b")


def texts_below_the_command_line() -> Iterator[tuple[str, str]]:
    """Return the strings, other than docstrings, of everything that the command line stands on."""
    for package in (chains, delegation):
        root = Path(package.__path__[0])
        for path in sorted(root.rglob("*.py")):
            name = path.relative_to(root.parent).as_posix()
            if name.startswith(("delegation/cli/", "delegation/sandbox/")):
                continue
            tree = ast.parse(path.read_text())
            alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
                    yield name, node.value


def test_nothing_below_the_command_line_names_its_options_or_commands() -> None:
    assert [(name, text) for name, text in texts_below_the_command_line() if _TYPED.search(text)] == []
