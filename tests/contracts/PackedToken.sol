// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title A token whose allowances share their storage slot with a time of expiry.
contract PackedToken {
    struct Grant {
        uint128 value;
        uint64 madeAt;
    }

    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => Grant)) private grants;
    uint8 public constant decimals = 6;

    event Approval(address indexed owner, address indexed spender, uint256 value);

    function approve(address spender, uint256 value) external returns (bool) {
        grants[msg.sender][spender] = Grant(uint128(value), uint64(block.timestamp));
        emit Approval(msg.sender, spender, uint128(value));
        return true;
    }

    function allowance(address owner, address spender) external view returns (uint256) {
        return grants[owner][spender].value;
    }
}
