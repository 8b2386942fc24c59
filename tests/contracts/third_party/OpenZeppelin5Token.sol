// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {ERC20} from "openzeppelin-5/token/ERC20/ERC20.sol";
import {ERC20Permit} from "openzeppelin-5/token/ERC20/extensions/ERC20Permit.sol";

/// OpenZeppelin's token as it is published, with six decimals; whoever wants some makes some.
contract OpenZeppelin5Token is ERC20Permit {
    constructor() ERC20("OpenZeppelin 5", "OZ5") ERC20Permit("OpenZeppelin 5") {}

    function decimals() public pure override returns (uint8) {
        return 6;
    }

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }
}
