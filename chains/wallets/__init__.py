"""Wallets: one key each, behind the one door `chains.types.Wallet`."""
