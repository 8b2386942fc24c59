"""Writing a file that somebody will rely on: a new one, whole or not at all, and on the disk when this returns."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from delegation.errors import InvalidRequestError


def require_new_file(path: Path) -> None:
    """Raise `InvalidRequestError` where no new file can be written; ask before the work whose result it will hold."""
    if os.path.lexists(path):
        raise InvalidRequestError(f"{path} exists already.", hint="Name a new file; none is ever overwritten.")
    if not os.access(path.parent, os.W_OK | os.X_OK) or not path.parent.is_dir():
        raise InvalidRequestError(
            f"{path} cannot be written: {path.parent} is no directory that you can write to.",
            hint="Name a file in another directory.",
        )


def write_new_file(path: Path, content: bytes) -> None:
    """Write a new file that others may read; nobody ever sees a part of it.

    Raises `InvalidRequestError` if there is one already or it cannot be written; nothing is left behind then. Secrets
    belong into `chains.wallets.write_secret_file`.
    """
    require_new_file(path)
    temporary = path.with_name(f".new-{secrets.token_hex(8)}")
    try:
        try:
            with temporary.open("xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            _name(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync(path.parent)
    except OSError as error:
        raise InvalidRequestError(
            f"{path} cannot be written: {error.strerror}.", hint="Name another file, and run it again."
        ) from error


def _name(temporary: Path, path: Path) -> None:
    """Give a whole file its name; raises `FileExistsError` if somebody else has taken it meanwhile."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        # There are file systems without links, such as those of most memory sticks.
        require_new_file(path)
        os.rename(temporary, path)


def _sync(directory: Path) -> None:
    """Put the name of a file onto the disk as well."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
