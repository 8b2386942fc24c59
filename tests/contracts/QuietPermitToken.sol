// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import "./PermitToken.sol";

/// @title A token with EIP-2612 permits that logs no Approval when an allowance is spent, as Circle's does.
contract QuietPermitToken is PermitToken {
    function transferFrom(address from, address to, uint256 value) external override returns (bool) {
        allowance[from][msg.sender] -= value;
        _transfer(from, to, value);
        return true;
    }
}
