// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title A proxy of which anybody can change the implementation; the slot that names it is chosen when it is made.
contract Proxy {
    bytes32 private immutable slot;

    constructor(bytes32 slot_, address implementation) {
        slot = slot_;
        _set(implementation);
    }

    function upgradeTo(address implementation) external {
        _set(implementation);
    }

    function _set(address implementation) private {
        bytes32 place = slot;
        assembly {
            sstore(place, implementation)
        }
    }

    fallback() external {
        bytes32 place = slot;
        assembly {
            calldatacopy(0, 0, calldatasize())
            let done := delegatecall(gas(), sload(place), 0, calldatasize(), 0, 0)
            returndatacopy(0, 0, returndatasize())
            switch done
            case 0 { revert(0, returndatasize()) }
            default { return(0, returndatasize()) }
        }
    }
}
