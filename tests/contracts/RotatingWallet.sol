// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title An ERC-1271 wallet whose owner hands it over: what it accepts depends on the block that is asked.
contract RotatingWallet {
    address public owner;

    constructor(address owner_) {
        owner = owner_;
    }

    function rotate(address to) external {
        owner = to;
    }

    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        if (signature.length != 65) {
            return 0xffffffff;
        }
        address signer = ecrecover(hash, uint8(signature[64]), bytes32(signature[0:32]), bytes32(signature[32:64]));
        return signer != address(0) && signer == owner ? bytes4(0x1626ba7e) : bytes4(0xffffffff);
    }
}
