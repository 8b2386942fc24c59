"""Solana: SPL Token delegates, v0 transactions, Ed25519 signatures, one node."""
