"""EVM networks: ERC-20 allowances, EIP-1559 transactions, EIP-191 signatures, one node."""
