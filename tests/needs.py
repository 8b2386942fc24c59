"""What tests need from the machine that neither pip nor npm brings: programs of the system, and the public vectors.

Where one is missing its tests are skipped, and the run ends with a line that says so. Under continuous integration
(`CI=true`) a missing program fails its tests instead: there `.ci/run` installs it, and a skipped test would go unseen.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest

VECTORS = Path(__file__).resolve().parents[2] / "shared" / "vectors"
"""Public test vectors and recorded blocks, which lie beside the checkout and are not part of it."""

NO_VECTORS = "the public vectors do not lie in shared/vectors beside the checkout"


def need_program(name: str, *, package: str, places: Sequence[str] = ()) -> Path:
    """Return where a program is: on the PATH, or the newest that fits one of `places` (patterns of absolute paths).

    Skips the test that needs it where it is missing, and fails it under CI. `package` is the Debian package that
    has it.
    """
    on_path = shutil.which(name)
    if on_path:
        return Path(on_path)
    found = [path for place in places for path in Path("/").glob(place.removeprefix("/")) if os.access(path, os.X_OK)]
    if not found:
        missing(f"{name} is not installed (Debian package {package})")
    return max(found, key=_version)


def missing(reason: str) -> NoReturn:
    """Skip the test that asks for what is missing, or fail it under CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def need_vectors(name: str) -> Path:
    """Return the file of the public vectors of this name; skips the test where they are not."""
    if not VECTORS.exists():
        pytest.skip(NO_VECTORS)
    return VECTORS / name


def _version(path: Path) -> tuple[int, ...]:
    """Return the numbers of a path, so that /usr/lib/postgresql/15 is newer than /usr/lib/postgresql/9."""
    return tuple(int(part) for part in path.parts if part.isdigit())
