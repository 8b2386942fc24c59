"""What a person names on the command line: files are read with a limit, and a key at the wrong place is refused."""

from __future__ import annotations

from pathlib import Path

# An evidence file holds a few hundred kB for each node.
_LONGEST_FILE = 256 * 2**20


def read_file(path: Path) -> bytes:
    """Return the content of a file that a person named; raises `InvalidRequestError` if it cannot be read."""
    from delegation.errors import InvalidRequestError

    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST_FILE + 1)
    except OSError as error:
        raise InvalidRequestError(
            f"The file {path} cannot be read: {error.strerror or type(error).__name__}.", hint="Check its name."
        ) from error
    if len(content) > _LONGEST_FILE:
        raise InvalidRequestError(f"The file {path} is larger than {_LONGEST_FILE} bytes.", hint="Check its name.")
    return content


def _read_text(path: Path) -> str:
    """Return a text exactly as the file holds it, line ends and all."""
    from delegation.errors import InvalidRequestError

    try:
        return read_file(path).decode()
    except UnicodeDecodeError:
        raise InvalidRequestError(
            f"The file {path} cannot be read: it is not text in UTF-8.",
            hint="Name the file that holds exactly the text signed.",
        ) from None


def read_signed_text(path: Path) -> str:
    """Return a signed text exactly as the file holds it; refuse a key file, because the text is shown and kept."""
    from chains.wallets.sources import holds_key
    from delegation.errors import InvalidRequestError

    text = _read_text(path)
    if holds_key(text):
        raise InvalidRequestError(
            f"The file {path} holds a private key and not a signed text.", hint="Name the file of the statement."
        )
    return text


def require_no_key(text: str, *, hex_too: bool) -> None:
    """Raise `InvalidRequestError` for what has the form of a private key: the text would be sent, shown and kept.

    `hex_too`: 32 bytes in hex as well, which are a key where a signature belongs, and a hash where a hash belongs.
    """
    from chains.wallets.evm import HEX_KEY
    from chains.wallets.solana import is_keypair
    from delegation.errors import InvalidRequestError

    text = text.strip()
    if (hex_too and HEX_KEY.fullmatch(text)) or is_keypair(text):
        raise InvalidRequestError(
            "This has the form of a private key and not of what belongs here.",
            hint="It was not used. If it is one, your shell's history holds it now: move what it guards.",
        )
