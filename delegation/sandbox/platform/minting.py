"""What the platform makes up itself: opaque tokens, codes and signed session tokens; and its own check of PKCE."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping

_VERIFIER = re.compile(r"[A-Za-z0-9\-._~]{43,128}", re.ASCII)
_CHALLENGE = re.compile(r"[A-Za-z0-9\-_]{43}", re.ASCII)


def mint_token(prefix: str) -> str:
    """Return a new opaque token; the prefix says what it is to who reads a failing test, and to nobody else."""
    return f"SBX_{prefix}_{secrets.token_urlsafe(32)}"


def mint_otp() -> str:
    """Return a new one-time code of six digits."""
    return f"{secrets.randbelow(10**6):06d}"


def mint_jwt(claims: Mapping[str, object], key: bytes) -> str:
    """Return a JSON Web Token signed with HS256 (RFC 7519, RFC 7515)."""
    signed = f"{_encode({'alg': 'HS256', 'typ': 'JWT'})}.{_encode(claims)}"
    return f"{signed}.{_base64url(hmac.digest(key, signed.encode(), 'sha256'))}"


def is_challenge(text: str) -> bool:
    """Return whether this can be the S256 challenge of a verifier: 32 bytes in base64url (RFC 7636, 4.2)."""
    return _CHALLENGE.fullmatch(text) is not None


def is_verifier(text: str) -> bool:
    """Return whether this is a code verifier (RFC 7636, 4.1)."""
    return _VERIFIER.fullmatch(text) is not None


def verifier_matches(verifier: str, challenge: str) -> bool:
    """Return whether the challenge was made of this verifier with S256 (RFC 7636, 4.6)."""
    return hmac.compare_digest(_base64url(hashlib.sha256(verifier.encode("ascii")).digest()), challenge)


def _encode(part: Mapping[str, object]) -> str:
    return _base64url(json.dumps(part, separators=(",", ":")).encode())


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
