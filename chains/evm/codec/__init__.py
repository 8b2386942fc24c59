"""Bytes of EVM networks, encoded and decoded strictly; nothing here asks a node."""
