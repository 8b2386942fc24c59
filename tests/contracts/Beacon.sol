// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title Says which code the proxies that ask it run.
contract Beacon {
    address public implementation;

    constructor(address implementation_) {
        implementation = implementation_;
    }
}
