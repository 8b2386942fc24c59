// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title A wallet that logs what it did as Safe does; a failed call is logged and does not revert.
contract SafeLike {
    address public immutable owner;

    event ExecutionSuccess(bytes32 txHash, uint256 payment);
    event ExecutionFailure(bytes32 txHash, uint256 payment);

    constructor(address owner_) {
        owner = owner_;
    }

    function execTransaction(address[] calldata to, bytes[] calldata data) external {
        require(tx.origin == owner, "Not the owner");
        bool all = true;
        for (uint256 i = 0; i < to.length; i++) {
            (bool success,) = to[i].call(data[i]);
            all = all && success;
        }
        if (all) {
            emit ExecutionSuccess(keccak256(msg.data), 0);
        } else {
            emit ExecutionFailure(keccak256(msg.data), 0);
        }
    }
}
