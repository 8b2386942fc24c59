"""The profile `sandbox` of the command line: written when a sandbox is up, gone when it has stopped."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chains.types import Family
from chains.wallets.files import write_secret_file
from delegation.profile import GatewaySettings, NetworkSettings, Profile, home, profile_path, save_profile
from delegation.sandbox.document import SandboxDocument

_FAMILIES: tuple[Family, ...] = ("evm", "solana")


def profile_of(document: SandboxDocument, *, journal: Path, wallets: dict[Family, str] | None = None) -> Profile:
    """Return the profile by which a running sandbox is used."""
    return Profile(
        gateway=GatewaySettings(
            base_url=document.gateway.base_url,
            client_key=document.gateway.client_key,
            access_token=document.gateway.access_token,
        ),
        networks={
            name: NetworkSettings(rpc_url=network.rpc_url, genesis_hash=network.genesis_hash)
            for name, network in document.networks.items()
        },
        wallets=wallets or {},
        journal=str(journal),
    )


class SandboxProfile:
    """Writes the profile of one sandbox, with its key files and journal in a directory of their own."""

    def __init__(self) -> None:
        self._directory = home() / "sandboxes" / secrets.token_hex(4)

    def write(self, document: SandboxDocument) -> Path:
        """Write the profile and the key files; return the profile's file."""
        self._directory.mkdir(parents=True, mode=0o700)
        wallets: dict[Family, str] = {}
        for family in _FAMILIES:
            for number, wallet in enumerate(document.wallets[family], start=1):
                write_secret_file(self._directory / f"{family}-{number}.key", wallet.private_key + "\n")
            wallets[family] = str(self._directory / f"{family}-1.key")
        profile = profile_of(document, wallets=wallets, journal=self._directory / "journal.sqlite")
        return save_profile(document.profile.name, profile)

    def remove(self, name: str) -> None:
        """Remove the key files and journal, and the profile unless another sandbox has written its own since."""
        path = profile_path(name)
        if path.exists() and str(self._directory) in path.read_text():
            path.unlink()
        shutil.rmtree(self._directory, ignore_errors=True)


@contextmanager
def sandbox_profile() -> Iterator[SandboxProfile]:
    """Return the writer of a sandbox's profile; what it wrote is removed at the end."""
    profile = SandboxProfile()
    try:
        yield profile
    finally:
        profile.remove("sandbox")
