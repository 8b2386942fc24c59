"""What every command shares: the options before the verb, printing, and how an error becomes an exit status."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import click

if TYPE_CHECKING:
    from chains.types import Family, Wallet
    from delegation.models import Delegation
    from delegation.profile import Profile

DONE = 0
FAILED = 1
BAD_INPUT = 2
UNDETERMINED = 3
STOPPED_MIDWAY = 4

_P = ParamSpec("_P")


@dataclass(frozen=True, slots=True)
class Session:
    """The options before the verb. People's words go to stderr, results to stdout."""

    profile_name: str
    as_json: bool
    quiet: bool

    def load_profile(self) -> Profile:
        """Return the profile named by --profile."""
        from delegation.profile import load_profile

        return load_profile(self.profile_name)

    def load_wallet(self, profile: Profile, family: Family, source: str | None) -> Wallet:
        """Return the wallet named by --wallet, or else the profile's; the password is asked for on the terminal."""
        from chains.wallets import load_wallet

        wallet = load_wallet(source or profile.default_wallet(family), family=family, password=self.ask_password)
        if path := getattr(wallet, "derivation_path", None):
            self.say(f"Wallet {wallet.address} (derived at {path})")
        return wallet

    def ask_password(self) -> str:
        """Return a password typed on the terminal, without showing it."""
        password: str = click.prompt("Password of the keystore", hide_input=True, err=True)
        return password

    def say(self, words: str) -> None:
        """Tell a person something on stderr, unless --quiet."""
        if not self.quiet:
            click.echo(words, err=True)

    def print_document(self, document: Any) -> None:
        """Print one JSON document on stdout."""
        click.echo(json.dumps(document, ensure_ascii=False, separators=(",", ":") if self.as_json else None))

    def print_pairs(self, pairs: Sequence[tuple[str, str]], *, to_stderr: bool = False) -> None:
        """Print (label, words) one a line, aligned."""
        width = max((len(label) for label, _ in pairs), default=0)
        for label, words in pairs:
            click.echo(f"  {label.ljust(width)}  {words}", err=to_stderr)

    def print_table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table on stdout."""
        widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
        for row in (header, *rows):
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def command(
    function: Callable[Concatenate[Session, _P], Coroutine[Any, Any, int]],
) -> Callable[_P, None]:
    """Make a click callback of an async function that takes the session and returns the exit status."""

    @click.pass_obj
    def callback(session: Session, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        sys.exit(run(session, function(session, *args, **kwargs)))

    return update_wrapper(callback, function)


def run(session: Session, work: Coroutine[Any, Any, int]) -> int:
    """Run a command to its exit status; every error of the two trees is told in words, never as a traceback."""
    import asyncio

    from chains.errors import ChainError
    from delegation.errors import DelegationError

    try:
        return asyncio.run(work)
    except (ChainError, DelegationError) as error:
        tell_error(session, error)
        return exit_status(error)
    except KeyboardInterrupt:
        session.say("\nInterrupted. Nothing was left half done.")
        return FAILED


def exit_status(error: Exception) -> int:
    """Return the exit status of an error met before anything was signed."""
    from chains.errors import InputError, NodeError, RefusedError
    from delegation.errors import InvalidRequestError, PinMismatchError, UnknownDelegationError

    if isinstance(error, (InputError, RefusedError, InvalidRequestError, PinMismatchError, UnknownDelegationError)):
        return BAD_INPUT
    return UNDETERMINED if isinstance(error, NodeError) else FAILED


def tell_error(session: Session, error: Any, delegation: Delegation | None = None) -> None:
    """Tell what happened, whose fault it is and what to do now; as a document on stdout with --json."""
    words = f"Error: {error.message}"
    if error.hint:
        words += f"\n{error.hint}"
    click.echo(words, err=True)
    if session.as_json:
        session.print_document(
            {
                "error": {
                    "type": type(error).__name__,
                    "fault": error.fault,
                    "message": error.message,
                    "hint": error.hint,
                    "expected": _plain(error.expected),
                    "found": _plain(error.found),
                    "hash": getattr(error, "hash", None),
                    "status": getattr(error, "status", None),
                    "retry_after": getattr(error, "retry_after", None),
                },
                "id": delegation.id if delegation is not None else None,
                "station": delegation.station if delegation is not None else None,
            }
        )


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, (bool, str)) else str(value)
