// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title A contract wallet that makes several calls at once, for its owner or for an entry point.
contract BatchWallet {
    address public immutable owner;
    address public immutable entryPoint;

    constructor(address owner_, address entryPoint_) {
        owner = owner_;
        entryPoint = entryPoint_;
    }

    function execute(address[] calldata to, bytes[] calldata data) external {
        require(msg.sender == owner || msg.sender == entryPoint, "Not allowed");
        for (uint256 i = 0; i < to.length; i++) {
            (bool success,) = to[i].call(data[i]);
            require(success, "A call failed");
        }
    }
}
