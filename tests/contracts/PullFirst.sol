// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import "./PermitPuller.sol";

/// @title A spender that takes from the allowance there is, and only then brings the owner's next permit to the token.
contract PullFirst {
    function pullThenPermit(
        address token,
        address owner,
        uint256 part,
        uint256 value,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        IPermitToken(token).transferFrom(owner, address(this), part);
        IPermitToken(token).permit(owner, address(this), value, deadline, v, r, s);
    }
}
