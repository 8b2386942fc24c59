// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title Makes calls for anybody.
contract Multicall {
    function aggregate(address[] calldata to, bytes[] calldata data) external {
        for (uint256 i = 0; i < to.length; i++) {
            (bool success,) = to[i].call(data[i]);
            require(success, "A call failed");
        }
    }
}
