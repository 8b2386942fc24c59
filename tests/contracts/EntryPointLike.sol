// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

interface IWallet {
    function execute(address[] calldata to, bytes[] calldata data) external;
}

/// @title Logs user operations as the EntryPoint of ERC-4337 does: one that fails does not revert the bundle.
contract EntryPointLike {
    event UserOperationEvent(
        bytes32 indexed userOpHash,
        address indexed sender,
        address indexed paymaster,
        uint256 nonce,
        bool success,
        uint256 actualGasCost,
        uint256 actualGasUsed
    );

    function handleOp(address wallet, address[] calldata to, bytes[] calldata data) external {
        bytes32 userOpHash = keccak256(abi.encode(wallet, to, data, block.number));
        bool success = true;
        try IWallet(wallet).execute(to, data) {}
        catch {
            success = false;
        }
        emit UserOperationEvent(userOpHash, wallet, address(0), 0, success, 0, 0);
    }
}
