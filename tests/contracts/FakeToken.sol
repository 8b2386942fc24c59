// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title A contract that logs whatever approval it is asked to log, and keeps none.
contract FakeToken {
    string public symbol = "USDC";
    uint8 public constant decimals = 6;

    event Approval(address indexed owner, address indexed spender, uint256 value);

    function approve(address spender, uint256 value) external returns (bool) {
        emit Approval(msg.sender, spender, value);
        return true;
    }

    function pretend(address owner, address spender, uint256 value) external {
        emit Approval(owner, spender, value);
    }

    function allowance(address, address) external pure returns (uint256) {
        return 0;
    }

    function balanceOf(address) external pure returns (uint256) {
        return 10 ** 12;
    }
}
