"""Everything that can go wrong on the upper floor, and whose fault it is.

The tree of the ground floor is drawn in `chains.errors`, where the root of both is.

DelegationError
├── InvalidRequestError           yours: what was asked for cannot be done; nothing was signed or sent
│   ├── UnsupportedError          the platform does not offer this network or currency
│   ├── OwnerMismatchError        the wallet at hand is not the owner's
│   ├── FullAccessError           the amount is full access, and was not asked for by that name
│   ├── NotPinnedError            no token or spender is known, and none was named
│   ├── NobodyAskedError          a person had to be asked, and nobody was there
│   ├── DelegationEndedError      it was refused, or a newer delegation has taken its place: it never comes back
│   ├── StillHarmfulError         it cannot be abandoned yet, because it may still change what the chain allows
│   └── ProfileError              the profile is missing, unreadable or incomplete
│       ├── UnknownProfileError   there is no profile of this name
│       └── NoWalletError         it names no wallet for this kind of network
├── DeclinedError                 yours: the plan was shown and not agreed to
├── OutdatedPlanError             yours to decide: what was agreed to before is out of date and must be agreed to again
├── PinMismatchError              the platform names another spender or token than the one pinned
├── AssetChangedError             the platform names another spender or token than the one that was approved
├── GatewayError                  the platform's
│   ├── GatewayUnreachableError   no answer: whether it did what it was asked is unknown
│   ├── ClientKeyMissingError     499
│   ├── ClientKeyInvalidError     498
│   ├── NotAuthenticatedError     401
│   ├── NotAuthorizedError        403
│   ├── NotFoundError             404
│   ├── ConflictError             409
│   ├── RejectedError             400 and 422: what we sent was judged and refused
│   ├── RateLimitedError          429; `retry_after` in seconds where given
│   ├── PlatformFailedError       5xx: whether it did what it was asked is unknown
│   └── UnexpectedAnswerError     an answer that cannot be read
├── JournalError
│   ├── UnknownDelegationError    yours: no delegation of this id is in the journal
│   ├── NewerVersionError         yours: a newer version of this toolkit wrote it; this one only reads it, if at all
│   ├── JournalConflictError      another process carried this delegation on at the same time
│   ├── LeasedError               another process is carrying this delegation now
│   ├── IllegalTransitionError    a fault of this toolkit: what was to be saved cannot follow from what is saved
│   └── OwnerBusyError            another delegation of this owner has an approval under way, or is being asked about
└── SandboxError                  the sandbox could not be set up or has stopped
"""

from __future__ import annotations

from typing import ClassVar

from chains.errors import Fault, ToolkitError


class DelegationError(ToolkitError):
    """Base of all errors of `delegation`; never raised itself."""

    fault: ClassVar[Fault] = "yours"


class InvalidRequestError(DelegationError):
    """What was asked for cannot be done; nothing was signed or sent."""


class UnsupportedError(InvalidRequestError):
    """The platform does not offer this network or currency."""


class OwnerMismatchError(InvalidRequestError):
    """The wallet at hand does not hold the owner's key; `expected` is the owner, `found` the wallet's address."""


class FullAccessError(InvalidRequestError):
    """The amount would be treated as full access to a token, and that was not asked for by name."""


class NotPinnedError(InvalidRequestError):
    """No token or spender is known for a claim, and none was named; `found` is which: `token` or `spender`."""


class NobodyAskedError(InvalidRequestError):
    """A person had to be asked, and nobody was there; nothing was signed or changed."""


class DelegationEndedError(InvalidRequestError):
    """The delegation was refused, or a newer one has taken its place; `found` is the reason or the newer one's id."""


class StillHarmfulError(InvalidRequestError):
    """The delegation cannot be abandoned yet: what it did, or may still do, counts on chain; nothing was changed."""


class ProfileError(InvalidRequestError):
    """The profile is missing, unreadable or incomplete."""


class UnknownProfileError(ProfileError):
    """There is no profile of this name."""


class NoWalletError(ProfileError):
    """The profile names no wallet for this kind of network, and none was named beside it."""


class DeclinedError(DelegationError):
    """The plan was shown and not agreed to; nothing was signed or sent."""


class OutdatedPlanError(DelegationError):
    """What was agreed to before no longer fits the chain or is too old, and nobody agreed to it again.

    `expected` is the allowance that the agreed plan started from, `found` the one of now, both in base units. Nothing
    was signed, and the delegation can be carried on once a person agrees to it.
    """


class PinMismatchError(DelegationError):
    """The platform's configuration names another spender or token on `network` than the one pinned; both are shown."""

    fault = "platform"

    def __init__(
        self, message: str, *, network: str = "", hint: str = "", expected: object = None, found: object = None
    ) -> None:
        super().__init__(message, hint=hint, expected=expected, found=found)
        self.network = network


class AssetChangedError(DelegationError):
    """The platform names another spender or token than the one that was approved, so that it was not told."""

    fault = "platform"


class GatewayError(DelegationError):
    """The platform could not be asked, or said no; `status` and `body` are as it answered.

    `maybe_done` is whether the platform may have done what it was asked all the same.
    """

    fault: ClassVar[Fault] = "platform"
    maybe_done: bool = False

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        body: str = "",
        retry_after: float | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint, found=status)
        self.status = status
        self.body = body
        self.retry_after = retry_after


class GatewayUnreachableError(GatewayError):
    """The platform did not answer; `maybe_done` is false only if the request certainly never reached it."""

    maybe_done = True


class ClientKeyMissingError(GatewayError):
    """The platform saw no client key (499)."""

    fault = "yours"


class ClientKeyInvalidError(GatewayError):
    """The platform does not know the client key (498)."""

    fault = "yours"


class NotAuthenticatedError(GatewayError):
    """The access token is missing, expired, revoked or belongs to another host or region (401)."""

    fault = "yours"


class NotAuthorizedError(GatewayError):
    """The platform knows the user and refuses this (403): a business rule, not a dead token."""

    fault = "yours"


class NotFoundError(GatewayError):
    """The platform has no such thing (404)."""


class ConflictError(GatewayError):
    """The platform holds something that contradicts the request (409)."""


class RejectedError(GatewayError):
    """The platform judged what was sent and refused it (400, 422)."""


class RateLimitedError(GatewayError):
    """The platform asks for fewer requests (429); `retry_after` is in seconds where given."""


class PlatformFailedError(GatewayError):
    """The platform failed (5xx); whether it did what it was asked is unknown."""

    maybe_done = True


class UnexpectedAnswerError(GatewayError):
    """The platform's answer cannot be read as documented; whether it did what it was asked is unknown."""

    maybe_done = True


class JournalError(DelegationError):
    """The journal cannot be read or written."""


class UnknownDelegationError(JournalError):
    """No delegation of this id is in the journal."""


class NewerVersionError(JournalError):
    """A newer version of this toolkit wrote this journal or delegation, which is left as it is; `found` is its version
    and `expected` the newest that is known here."""


class JournalConflictError(JournalError):
    """Another process carried the delegation on at the same time, and this one has stopped; `found` is its id."""


class LeasedError(JournalError):
    """Another process is carrying the delegation now; `found` says which one. Nothing was done here."""


class IllegalTransitionError(JournalError):
    """What was to be saved cannot follow from what is saved, which is a fault of this toolkit; nothing was saved."""


class OwnerBusyError(JournalError):
    """Another delegation of this owner on this network has an approval under way, or is being asked about; `found` is
    its id."""


class SandboxError(DelegationError):
    """The sandbox could not be set up or has stopped."""
