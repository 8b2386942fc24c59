"""The ways in which the simulated platform does not do what it was asked."""

from __future__ import annotations


class Refused(Exception):  # noqa: N818 - an answer of the platform, not a fault of its own
    """The platform's refusal of a request: the status and message that it answers."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class OAuthRefused(Exception):  # noqa: N818 - an answer of the platform, not a fault of its own
    """A refusal in the shape of RFC 6749, section 5.2: the status, the error's code and its description."""

    def __init__(self, status: int, error: str, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.error = error
        self.description = description


class ChainUnavailableError(Exception):
    """A chain could not be asked; the platform answers 500, because it can neither accept nor refuse."""


class JudgesDisagreeError(Exception):
    """The platform's own judge accepts a proof that the toolkit's engine does not: a fault of one of the two."""
