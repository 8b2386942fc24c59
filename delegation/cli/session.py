"""What every command shares: the options before the verb, printing, asking, and how an error becomes an exit status."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

from delegation.cli.progress import Progress, is_terminal

if TYPE_CHECKING:
    from chains.errors import ToolkitError
    from chains.types import Family
    from chains.wallets import EvmKeyWallet, SolanaKeyWallet
    from delegation.models import Delegation
    from delegation.profile import Profile

DONE = 0
FAILED = 1
BAD_INPUT = 2
UNDETERMINED = 3
STOPPED_MIDWAY = 4

_P = ParamSpec("_P")
_T = TypeVar("_T")
# What may be a secret typed at the wrong place: a key in hex or base58, also cut short, or the words of a mnemonic.
_SECRET = re.compile(
    r"\b(?:0[xX])?[0-9a-fA-F]{64}\b|\b[1-9A-HJ-NP-Za-km-z]{60,}|\b\w{20,}…"
    r"|(?:\b[a-z]{3,8}\s+){11,}[a-z]{3,8}\b|(?<=extra arguments )\(.*\)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Session:
    """The options before the verb. People's words go to stderr, results to stdout."""

    profile_name: str
    as_json: bool
    quiet: bool
    progress: Progress

    def load_profile(self) -> Profile:
        """Return the profile named by --profile."""
        from delegation.profile import load_profile

        return load_profile(self.profile_name)

    def find_profile(self) -> Profile | None:
        """Return the profile named by --profile; None if it is the default one and nobody has made it."""
        from delegation.profile import load_profile, profile_path

        if self.profile_name == "default" and not profile_path("default").exists():
            return None
        return load_profile(self.profile_name)

    def load_delegation(self, profile: Profile, delegation_id: str) -> Delegation:
        """Return a delegation of the profile's journal, by its id or the beginning of its id."""
        from delegation.journal import open_journal
        from delegation.profile import journal_location

        journal = open_journal(journal_location(profile))
        try:
            return journal.load(delegation_id)
        finally:
            journal.close()

    def load_wallet(self, profile: Profile, family: Family, source: str | None) -> EvmKeyWallet | SolanaKeyWallet:
        """Return the wallet named by --wallet, or else the profile's; a keystore's password is asked for."""
        return self.open_wallet(profile.default_wallet(family) if source is None else source, family)

    def open_wallet(self, source: str, family: Family) -> EvmKeyWallet | SolanaKeyWallet:
        """Return the wallet of a source, as `chains.wallets.load_wallet` takes it."""
        from chains.wallets import load_wallet

        wallet = load_wallet(source, family=family, password=self._ask_password)
        if wallet.derivation_path is not None:
            self.say(f"Wallet {wallet.address} (derived at {wallet.derivation_path})")
        return wallet

    def confirm(self, question: str) -> bool:
        """Return whether a person on the terminal says yes; raises `NobodyAskedError` if nobody is there."""
        from delegation.errors import NobodyAskedError

        if not is_terminal(sys.stdin):
            raise NobodyAskedError(
                "Nobody is there to be asked, because stdin is not a terminal. Nothing was signed or changed.",
                hint="Check what is shown above, then run it again with --yes.",
            )
        return self._ask(lambda: click.confirm(question, err=True))

    def _ask_password(self) -> str:
        from delegation.errors import InvalidRequestError

        if is_terminal(sys.stdin):
            return self._ask(lambda: str(click.prompt("Password of the keystore", hide_input=True, err=True)))
        # Where the shell has closed stdin there is no stream to read.
        password = "" if sys.stdin is None else sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise InvalidRequestError(
                "The keystore needs its password, and nobody is there to type it. Nothing was signed.",
                hint="Run it on a terminal, or give the password as the first line of stdin.",
            )
        return password

    def _ask(self, question: Callable[[], _T]) -> _T:
        from delegation.blocking import interruptible
        from delegation.errors import DeclinedError

        self.progress.pause()
        try:
            with interruptible():
                return question()
        except click.Abort:
            raise DeclinedError("The question was not answered; nothing was signed after it.") from None

    def say(self, words: str) -> None:
        """Tell a person something on stderr, unless --quiet."""
        if not self.quiet:
            self.insist(words)

    def insist(self, words: str) -> None:
        """Tell a person something on stderr."""
        self.progress.pause()
        click.echo(printable(words, line_breaks=True), err=True)

    def command(self, *words: str) -> str:
        """Return a command of this program as a person can type it to go on in this session, with its profile."""
        profile = () if self.profile_name == "default" else ("--profile", self.profile_name)
        return shlex.join(("delegation", *profile, *words))

    def print_document(self, document: Any) -> None:
        """Print one JSON document on stdout."""
        self.progress.pause()
        click.echo(json.dumps(document, separators=(",", ":") if self.as_json else None))

    def print_pairs(self, pairs: Sequence[tuple[str, str]], *, to_stderr: bool = False) -> None:
        """Print (label, words) one a line, aligned."""
        self.progress.pause()
        width = max((len(label) for label, _ in pairs), default=0)
        for label, words in pairs:
            click.echo(f"  {label.ljust(width)}  {printable(words)}", err=to_stderr)

    def print_table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table on stdout."""
        self.progress.pause()
        lines = [header, *([printable(cell) for cell in row] for row in rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
        for line in lines:
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def printable(words: str, *, line_breaks: bool = False) -> str:
    """Return the words with what steers a terminal made visible: the platform's words must not repaint a plan."""
    return "".join(
        character
        if character.isprintable() or (line_breaks and character == "\n")
        else character.encode("unicode_escape").decode()
        for character in words
    )


def hide_secrets(words: str) -> str:
    """Return the words without what may be a secret: what a person typed wrongly is quoted, and may be a key."""
    return _SECRET.sub("[hidden]", words)


def command(
    function: Callable[Concatenate[Session, _P], Coroutine[Any, Any, int]], *, failed: int = FAILED
) -> Callable[_P, None]:
    """Make a click callback of an async function that takes the session and returns the exit status.

    `failed` is the status where an error has none of its own.
    """

    @click.pass_obj
    def callback(session: Session, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        sys.exit(run(session, function(session, *args, **kwargs), failed=failed))

    return update_wrapper(callback, function)


def checking_command(
    function: Callable[Concatenate[Session, _P], Coroutine[Any, Any, int]],
) -> Callable[_P, None]:
    """Make a click callback of a function that only checks: what stops it must not look like REFUTED."""
    return command(function, failed=UNDETERMINED)


def run(session: Session, work: Coroutine[Any, Any, int], *, failed: int = FAILED) -> int:
    """Run a command to its exit status, `failed` where an error has none of its own; every error of ours is told in
    words, never as a traceback."""
    import asyncio

    from chains.errors import ToolkitError

    try:
        return asyncio.run(work)
    except ToolkitError as error:
        tell_error(session, error)
        status = exit_status(error)
        return failed if status == FAILED else status
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise  # the reader has seen enough, which click takes for an end like any other
        done = session.command("list")
        what = "The output" if error.filename is None else str(error.filename)
        session.insist(
            f"Error: {what} could not be read or written: {error.strerror}.\nWhat was done is shown by: {done}"
        )
        if sys.stdout is not None:
            # What is left of it would be tried again when the interpreter ends, and change the exit status to 120.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return failed
    except KeyboardInterrupt:
        signing = f" If anything was signed, finish it with: {session.command('resume')}" if failed == FAILED else ""
        session.insist(f"Interrupted.{signing}")
        return failed
    finally:
        session.progress.pause()


def exit_status(error: ToolkitError) -> int:
    """Return the exit status of an error met before anything was signed."""
    from chains.errors import InputError, NodeError, RefusedError
    from delegation.errors import (
        GatewayUnreachableError,
        InvalidRequestError,
        OutdatedPlanError,
        PinMismatchError,
        PlatformFailedError,
        RateLimitedError,
        UnexpectedAnswerError,
        UnknownDelegationError,
    )

    if isinstance(error, (InputError, RefusedError, InvalidRequestError, PinMismatchError, UnknownDelegationError)):
        return BAD_INPUT
    if isinstance(error, OutdatedPlanError):
        return STOPPED_MIDWAY
    unanswered = (NodeError, GatewayUnreachableError, PlatformFailedError, RateLimitedError, UnexpectedAnswerError)
    return UNDETERMINED if isinstance(error, unanswered) else FAILED


def tell_error(
    session: Session,
    error: ToolkitError,
    delegation: Delegation | None = None,
    *,
    outcome: str = "",
    as_document: bool = True,
) -> None:
    """Tell what happened, whose fault it is and what to do now; with --json also `as_document` on stdout.

    `delegation` is what the journal holds of it, `outcome` how far it went: the last thing that is said.
    """
    from delegation.cli.advice import advise
    from delegation.errors import DelegationEndedError, StillHarmfulError

    hint = "\n".join(part for part in (error.hint, advise(session, error, delegation), outcome) if part)
    # Hashes of transactions look like keys: they are shown, except where what is quoted is what a person typed.
    quotes = exit_status(error) == BAD_INPUT and not isinstance(error, (DelegationEndedError, StillHarmfulError))
    shown = hide_secrets if quotes else str
    message = shown(error.message)
    session.insist(f"Error: {message}" + (f"\n{hint}" if hint else ""))
    if session.as_json and as_document:
        session.print_document(
            {
                "error": {
                    "type": type(error).__name__,
                    "fault": error.fault,
                    "message": message,
                    "hint": hint,
                    "expected": None if error.expected is None else shown(str(error.expected)),
                    "found": None if error.found is None else shown(str(error.found)),
                    "hash": getattr(error, "hash", None),
                    "status": getattr(error, "status", None),
                    "retry_after": getattr(error, "retry_after", None),
                },
                "id": delegation.id if delegation is not None else None,
                "station": delegation.station if delegation is not None else None,
            }
        )
