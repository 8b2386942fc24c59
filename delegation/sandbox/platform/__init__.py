"""The simulated platform: an ASGI application with the documented endpoints of the Baanx API, for tests and trying out.

It judges every proof against the chains by itself, with other libraries than the code under test uses, and is stricter
than the platform is known to be: what it accepts should be accepted elsewhere, and what it refuses it names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from delegation.sandbox.world import PlatformWorld


def create_app(world: PlatformWorld) -> Starlette:
    """Return the application; serve it with uvicorn and with its lifespan on, which closes the connections."""
    from delegation.sandbox.platform.app import build_app

    return build_app(world)
