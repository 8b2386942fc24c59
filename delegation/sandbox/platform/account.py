"""The one user of the platform: password, one-time codes, and what each way of signing in asks of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hmac import compare_digest

from delegation.sandbox.platform.conduct import Conduct
from delegation.sandbox.platform.errors import Refused
from delegation.sandbox.platform.minting import mint_otp
from delegation.sandbox.world import WorldTenant

PHONE_NUMBER = "+441632960225"  # a number that Ofcom keeps for drama
MASKED_PHONE_NUMBER = "+441*****225"
_TRIES = 5


@dataclass(slots=True)
class SentCode:
    """A one-time code on its way to the user's phone; good once, for a few minutes, and for a few tries."""

    code: str = field(repr=False)
    sent_at: datetime
    expires_at: datetime
    used: bool = False
    tries: int = 0


class Account:
    """The user's credentials, and the codes that their phone has got."""

    def __init__(self, user_id: str, tenant: WorldTenant, now: Callable[[], datetime]) -> None:
        self.user_id = user_id
        self.email = tenant.email
        self.password = tenant.password
        self.linked = False
        self.codes: list[SentCode] = []
        self._now = now

    def check_password(self, email: str, password: str, conduct: Conduct) -> None:
        """Raise `Refused` if these are not the user's, or the account is disabled."""
        # Both are compared whatever the first says, and a wrong e-mail address is told like a wrong password.
        right = compare_digest(email.lower().encode(), self.email.encode())
        right &= compare_digest(password.encode(), self.password.encode())
        if not right:
            raise Refused(conduct.bad_credentials, "Invalid credentials")
        if conduct.disabled:
            raise Refused(conduct.bad_credentials, "Your account has been disabled")

    def send_code(self, conduct: Conduct) -> bool:
        """Send a code to the phone, and return whether that was done; the codes before it are void."""
        if conduct.otp == "suppressed":
            return False
        now = self._now()
        self.codes.append(SentCode(mint_otp(), now, now + timedelta(seconds=conduct.otp_life)))
        return True

    def use_code(self, code: str) -> None:
        """Use up a code; raises `Refused` with 400 if it is not the last one sent, or no longer good."""
        last = self.codes[-1] if self.codes else None
        if last is None or last.used or last.tries >= _TRIES:
            raise Refused(400, "Invalid OTP code")
        last.tries += 1
        if not compare_digest(code.encode(), last.code.encode()):
            raise Refused(400, "Invalid OTP code")
        if self._now() >= last.expires_at:
            raise Refused(400, "OTP code expired")
        last.used = True
