"""Puts the peers where they disturb nothing: a venv and a node_modules in `.bench`, which git ignores."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from delegation.errors import SandboxError
from delegation.sandbox.tools import find_node

_SOURCES = Path(__file__).parent
_TARGET = _SOURCES.parent.parent / ".bench"
_TIMEOUT = 900.0


class PeerMissingError(Exception):
    """A peer cannot be installed on this machine."""


def install_siwe() -> list[str]:
    """Return the command that starts the peer siwe, installed first where it is not yet.

    Raises `PeerMissingError`.
    """
    target = _TARGET / "siwe"
    python = target / "bin" / "python"

    def install() -> None:
        _run([sys.executable, "-m", "venv", "--clear", str(target)])
        _run([str(python), "-m", "pip", "install", "--quiet", "-r", str(_SOURCES / "requirements.txt")])

    _once(target, ["requirements.txt"], install)
    # The grammar's library warns of the grammar that siwe brings along.
    return [str(python), "-W", "ignore", str(_SOURCES / "siwe_peer.py")]


def install_viem() -> list[str]:
    """Return the command that starts the peer viem, installed first where it is not yet.

    Raises `PeerMissingError`.
    """
    try:
        node, npm = find_node()
    except SandboxError as error:
        raise PeerMissingError(error.message) from error
    target = _TARGET / "viem"
    target.mkdir(parents=True, exist_ok=True)
    # Node looks for packages beside the script.
    for name in ("package.json", "package-lock.json", "viem_peer.mjs"):
        shutil.copy(_SOURCES / name, target)

    def install() -> None:
        _run([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], cwd=target)

    _once(target, ["package.json", "package-lock.json"], install)
    return [str(node), str(target / "viem_peer.mjs")]


def _once(target: Path, manifests: Sequence[str], install: Callable[[], None]) -> None:
    """Install unless `target` was made whole for these manifests and this Python."""
    wanted = hashlib.sha256(sys.version.encode())
    for name in manifests:
        wanted.update((_SOURCES / name).read_bytes())
    done = target / "installed-for"
    if done.is_file() and done.read_text() == wanted.hexdigest():
        return
    print(f"Setting up the peer {target.name} (once) ...", file=sys.stderr, flush=True)
    install()
    done.write_text(wanted.hexdigest())


def _run(command: Sequence[str], cwd: Path | None = None) -> None:
    try:
        done = subprocess.run(
            command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerMissingError(str(error)) from error
    if done.returncode != 0:
        raise PeerMissingError((done.stderr or done.stdout).strip()[-1500:])
