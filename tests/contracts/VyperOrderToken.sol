// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title A token that lays out its allowances as Vyper does: keccak(keccak(base, owner), spender), with base 7.
contract VyperOrderToken {
    uint8 public constant decimals = 6;

    event Approval(address indexed owner, address indexed spender, uint256 value);

    function approve(address spender, uint256 value) external returns (bool) {
        bytes32 slot = _slot(msg.sender, spender);
        assembly {
            sstore(slot, value)
        }
        emit Approval(msg.sender, spender, value);
        return true;
    }

    function allowance(address owner, address spender) external view returns (uint256 value) {
        bytes32 slot = _slot(owner, spender);
        assembly {
            value := sload(slot)
        }
    }

    function balanceOf(address) external pure returns (uint256) {
        return 10 ** 12;
    }

    function _slot(address owner, address spender) private pure returns (bytes32) {
        return keccak256(abi.encode(keccak256(abi.encode(uint256(7), owner)), spender));
    }
}
