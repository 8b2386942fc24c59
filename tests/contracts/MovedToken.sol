// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title A later implementation that keeps allowances in slot 52 and not in slot 1, where PermitToken has them.
contract MovedToken {
    uint256[51] private gap;
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;
    uint8 public constant decimals = 6;

    event Approval(address indexed owner, address indexed spender, uint256 value);

    function approve(address spender, uint256 value) external returns (bool) {
        allowance[msg.sender][spender] = value;
        emit Approval(msg.sender, spender, value);
        return true;
    }
}
