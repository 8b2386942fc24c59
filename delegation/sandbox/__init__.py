"""Local chains, contracts of ours on them and a simulated platform: to try the software and to test integrations.

`open_sandbox` runs one inside a program, `serve_sandbox` is `delegation sandbox up`.
"""

from delegation.sandbox.document import SandboxDocument
from delegation.sandbox.sandbox import Sandbox, open_sandbox, serve_sandbox

__all__ = ["Sandbox", "SandboxDocument", "open_sandbox", "serve_sandbox"]
