// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title Code for a plain account (EIP-7702) that accepts what a session key signed, once it is initialised with one.
contract KeyDelegate7702 {
    address private session;

    function initialise(address key) external {
        require(session == address(0), "Initialised already");
        session = key;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        bytes32 r = bytes32(signature[:32]);
        bytes32 s = bytes32(signature[32:64]);
        address signer = ecrecover(digest, uint8(signature[64]), r, s);
        bool accepted = signer != address(0) && (signer == session || signer == address(this));
        return accepted ? this.isValidSignature.selector : bytes4(0xffffffff);
    }
}
