// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title A contract wallet that gives the answer it was made with, whatever it is asked.
/// @notice `kind` 0 returns the bytes, 1 reverts with them, 2 burns all gas, 3 returns what it was asked.
contract OddAnswerWallet {
    bytes private answer;
    uint256 private immutable kind;

    constructor(uint256 kind_, bytes memory answer_) {
        kind = kind_;
        answer = answer_;
    }

    fallback(bytes calldata asked) external returns (bytes memory) {
        if (kind == 3) {
            return asked;
        }
        bytes memory data = answer;
        if (kind == 1) {
            assembly {
                revert(add(data, 32), mload(data))
            }
        }
        while (kind == 2) {}
        return data;
    }
}
