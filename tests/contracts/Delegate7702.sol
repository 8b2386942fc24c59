// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title Code for a plain account (EIP-7702): makes calls that the account itself asks for or has signed.
contract Delegate7702 {
    function execute(address[] calldata to, bytes[] calldata data) external {
        require(msg.sender == address(this), "Not the account");
        _execute(to, data);
    }

    function executeSigned(address[] calldata to, bytes[] calldata data, uint8 v, bytes32 r, bytes32 s) external {
        require(ecrecover(keccak256(abi.encode(to, data)), v, r, s) == address(this), "Not signed");
        _execute(to, data);
    }

    function _execute(address[] calldata to, bytes[] calldata data) private {
        for (uint256 i = 0; i < to.length; i++) {
            (bool success,) = to[i].call(data[i]);
            require(success, "A call failed");
        }
    }
}
