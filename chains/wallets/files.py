"""Files that hold secrets: read only when nobody else could have read or replaced them, written so from the start."""

from __future__ import annotations

import errno
import os
import secrets
import shlex
import stat
from pathlib import Path
from typing import Final

from chains.errors import KeyFileError

# The largest key file in use is a keystore of about a thousand bytes.
_LARGEST: Final = 64 * 1024


def read_secret_file(path: Path) -> str:
    """Return the text of a secret file.

    Raises `KeyFileError` unless it is a regular file and not a link, belongs to the user that runs this, and gives
    group and others no access at all. Source: rule 38, attack A44.
    """
    shown = shlex.quote(str(path))
    try:
        # O_NONBLOCK: opening a pipe must not wait. The checks are made on what was opened, so nothing can be swapped.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise KeyFileError(
                f"{shown} is a symbolic link, which could be turned to another key.", hint="Name the key file itself."
            ) from None
        raise KeyFileError(
            f"The key file {shown} cannot be opened: {os.strerror(error.errno or 0)}.",
            hint="Check the path and that you may read the file.",
        ) from None
    try:
        _require_private(os.fstat(descriptor), shown)
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(_LARGEST + 1)
    finally:
        os.close(descriptor)
    if len(content) > _LARGEST:
        raise KeyFileError(f"{shown} is larger than any key file.", hint="Name the key file itself.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        pass
    raise KeyFileError(f"{shown} is not a text file, so it is not a key file.", hint="Name the key file itself.")


def _require_private(found: os.stat_result, shown: str) -> None:
    """Raise `KeyFileError` unless this is a regular file that only we can read or change."""
    if not stat.S_ISREG(found.st_mode):
        raise KeyFileError(f"{shown} is not a regular file.", hint="Name the key file itself.")
    if found.st_uid != os.geteuid():
        raise KeyFileError(
            f"The key file {shown} belongs to another user.",
            hint="Whoever owns a key file can replace it; use a copy of your own.",
            expected=os.geteuid(),
            found=found.st_uid,
        )
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyFileError(
            f"The key file {shown} is open to other users of this machine.",
            hint=f"chmod 600 {shown}",
            expected="0600",
            found=f"{stat.S_IMODE(found.st_mode):04o}",
        )


def write_secret_file(path: Path, text: str, *, overwrite: bool = False) -> None:
    """Write a secret file: whole or not at all, on the disk when this returns, and 0600 from its first byte.

    Raises `FileExistsError` if there is a file already and `overwrite` is false.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(descriptor)
        if overwrite:
            os.replace(temporary, path)
        else:
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
