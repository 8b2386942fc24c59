// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title A contract wallet whose ERC-1271 check says yes to everything.
contract AlwaysValidWallet {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        return 0x1626ba7e;
    }
}
