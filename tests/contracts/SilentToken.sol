// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title A token that logs no approvals, and can be told to forget to keep them.
contract SilentToken {
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;
    bool public forgets;
    uint8 public constant decimals = 6;

    function approve(address spender, uint256 value) external returns (bool) {
        if (!forgets) {
            allowance[msg.sender][spender] = value;
        }
        return !forgets;
    }

    function forget() external {
        forgets = true;
    }
}
