"""Networks as data, one file each; a new EVM network is one file and one line below."""
