// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

interface IBeacon {
    function implementation() external view returns (address);
}

/// @title A proxy that asks a beacon which code to run (EIP-1967).
contract BeaconProxy {
    bytes32 private constant SLOT = 0xa3f0ad74e5423aebfd80d3ef4346578335a9a72aeaee59ff6cb3582b35133d50;

    constructor(address beacon) {
        assembly {
            sstore(SLOT, beacon)
        }
    }

    fallback() external {
        address beacon;
        assembly {
            beacon := sload(SLOT)
        }
        address target = IBeacon(beacon).implementation();
        assembly {
            calldatacopy(0, 0, calldatasize())
            let done := delegatecall(gas(), target, 0, calldatasize(), 0, 0)
            returndatacopy(0, 0, returndatasize())
            switch done
            case 0 { revert(0, returndatasize()) }
            default { return(0, returndatasize()) }
        }
    }
}
