"""The profile `sandbox` of the command line: written when a sandbox is up, gone when it has stopped."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chains.types import Family
from chains.wallets.files import write_secret_file
from delegation.errors import ProfileError
from delegation.profile import GatewaySettings, NetworkSettings, Profile, home, profile_path, save_profile
from delegation.sandbox.document import SandboxDocument
from delegation.sandbox.sandbox import PROFILE_NAME, WriteProfile

_FAMILIES: tuple[Family, ...] = ("evm", "solana")


def profile_of(document: SandboxDocument, *, journal: Path, wallets: dict[Family, str] | None = None) -> Profile:
    """Return the profile by which a running sandbox is used."""
    return Profile(
        name=PROFILE_NAME,
        gateway=GatewaySettings(
            base_url=document.gateway.base_url,
            client_key=document.gateway.client_key,
            access_token=document.gateway.access_token,
        ),
        networks={
            # Its nodes mine only what is sent to them, so that no block would ever lie on the last approval.
            name: NetworkSettings(rpc_url=network.rpc_url, genesis_hash=network.genesis_hash, settle_depth=1)
            for name, network in document.networks.items()
        },
        wallets=wallets or {},
        journal=str(journal),
    )


@contextmanager
def sandbox_profile() -> Iterator[WriteProfile]:
    """Return what writes the profile of one sandbox, with its key files and journal in a directory of their own.

    All of it is removed at the end, except a profile that another sandbox has written since. Raises `ProfileError` if
    the profile of this name is one that no sandbox wrote.
    """
    path = profile_path(PROFILE_NAME)
    sandboxes = home() / "sandboxes"
    directory = sandboxes / secrets.token_hex(4)
    if path.exists() and not _names(path, sandboxes):
        raise ProfileError(
            f"{path} is a profile of your own, and the sandbox would overwrite it.",
            hint="Rename that file; the sandbox needs this name for its own profile.",
        )

    def write(document: SandboxDocument) -> Path:
        directory.mkdir(parents=True, mode=0o700)
        wallets: dict[Family, str] = {}
        for family in _FAMILIES:
            for number, wallet in enumerate(document.wallets[family], start=1):
                write_secret_file(directory / f"{family}-{number}.key", wallet.private_key + "\n")
            wallets[family] = str(directory / f"{family}-1.key")
        return save_profile(PROFILE_NAME, profile_of(document, wallets=wallets, journal=directory / "journal.sqlite"))

    try:
        yield write
    finally:
        if path.exists() and _names(path, directory):
            path.unlink()
        shutil.rmtree(directory, ignore_errors=True)


def _names(profile: Path, directory: Path) -> bool:
    return f"{directory}/".encode() in profile.read_bytes()
