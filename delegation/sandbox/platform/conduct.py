"""How the platform treats those who sign in, in all the ways that are documented or were seen; tests choose one."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from delegation.sandbox.platform.errors import Refused

Region = Literal["international", "us"]
Phase = Literal["ACCOUNT", "PHONE_NUMBER", "PERSONAL_INFORMATION", "PHYSICAL_ADDRESS", "MAILING_ADDRESS"]

_LONGEST_LIFE = 10 * 365 * 86_400.0


class Conduct(BaseModel):
    """The switches of sign-in; each default is what is documented. Lives are seconds of the platform's clock.

    One-time codes: `otp` may be "off", or "suppressed", when to send one is answered 200 and `success: false`. While a
    code is wanted, a login is 200 and no token, or 400 with `otp_as_error`; `token_beside_otp` shows one that is none.

    Refusals: `bad_credentials` is the status of a wrong password, `invalid_grant` that of a dead code or refresh token.

    Onboarding: `phase` says what is unfinished; the login has no token then, except `phase_with_token`. A token of
    unfinished onboarding is not good for delegations and wallets.

    Redirects: `app_id` is added (one that ends in US makes an American session), `state` is echoed, left out or
    another's, `redirect_error` refuses instead of what the user decided, `redirect_twice` sends the browser two times.
    `redirect_uris` are the registered ones, compared byte for byte.

    `initiate_with` is what the tenant was given to start the older OAuth with: the secret key in a header, or nothing,
    which is when the public client key stands in for it as the parameter `client_secret`.

    Refresh tokens: with `rotation` "strict" each is good once and the second use ends the whole family (RFC 9700,
    4.14.2); with "lenient" a used one stays good; with "none" the answer names no new one. `refresh_life_told` says
    whether the answers of oauth2 name its life, which no source shows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    otp: Literal["required", "off", "suppressed"] = "required"
    otp_as_error: bool = False
    token_beside_otp: bool = False
    bad_credentials: Literal[400, 401, 403, 404] = 400
    invalid_grant: Literal[400, 401, 403] = 400
    disabled: bool = False
    phase: Phase | None = None
    phase_with_token: bool = False
    verification_state: str = "VERIFIED"
    tenant: Literal["non-custodial", "custodial"] = "non-custodial"
    app_id: str | None = "SANDBOX"
    state: Literal["echo", "omit", "wrong"] = "echo"
    redirect_error: str | None = None
    redirect_twice: bool = False
    redirect_uris: list[str]
    initiate_with: Literal["secret", "public key"] = "secret"
    rotation: Literal["strict", "lenient", "none"] = "strict"
    refresh_life_told: bool = False
    otp_life: float = Field(default=180.0, ge=0, le=_LONGEST_LIFE)
    code_life: float = Field(default=600.0, ge=0, le=_LONGEST_LIFE)
    initiate_life: float = Field(default=600.0, ge=0, le=_LONGEST_LIFE)
    login_life: float = Field(default=21_600.0, ge=0, le=_LONGEST_LIFE)
    access_life: float = Field(default=21_600.0, ge=0, le=_LONGEST_LIFE)
    refresh_life: float = Field(default=7 * 86_400.0, ge=0, le=_LONGEST_LIFE)

    @property
    def region(self) -> Region:
        """Where the user belongs: the suffix US of an app id is America, anything else is not."""
        return "us" if (self.app_id or "").upper().endswith("US") else "international"


def change_conduct(conduct: Conduct, changes: object) -> Conduct:
    """Return the conduct with changes from a decoded JSON body; raises `Refused` with 422."""
    if not isinstance(changes, dict):
        raise Refused(422, "Validation error: the body must be an object")
    try:
        return Conduct.model_validate({**conduct.model_dump(), **changes})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Refused(422, f"Validation error: {where}: {first['msg']}") from None
