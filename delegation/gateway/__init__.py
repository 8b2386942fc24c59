"""The door to the platform: its token, configuration, post-approval and external-wallet endpoints."""
