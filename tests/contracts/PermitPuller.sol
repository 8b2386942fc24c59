// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

interface IPermitToken {
    function permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external;
    function transferFrom(address from, address to, uint256 value) external returns (bool);
}

/// @title A spender that brings the owner's permit to the token and takes a part of the allowance at once.
contract PermitPuller {
    function deposit(
        address token,
        address owner,
        uint256 value,
        uint256 part,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        IPermitToken(token).permit(owner, address(this), value, deadline, v, r, s);
        if (part > 0) {
            IPermitToken(token).transferFrom(owner, address(this), part);
        }
    }

    function pull(address token, address owner, uint256 part) external {
        IPermitToken(token).transferFrom(owner, address(this), part);
    }
}
