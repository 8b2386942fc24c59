// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {OwnedWallet} from "./OwnedWallet.sol";

/// @title Deploys wallets at addresses known beforehand (CREATE2), and misbehaves when asked to.
contract OwnedWalletFactory {
    function deploy(address owner) external returns (address) {
        return address(new OwnedWallet{salt: 0}(owner));
    }

    function predict(address owner) external view returns (address) {
        bytes32 code = keccak256(abi.encodePacked(type(OwnedWallet).creationCode, abi.encode(owner)));
        bytes32 digest = keccak256(abi.encodePacked(bytes1(0xff), address(this), bytes32(0), code));
        return address(uint160(uint256(digest)));
    }

    /// @notice Deploys the wallet, and then answers with so many bytes that reading them costs all gas.
    function deployAndShout(address owner) external {
        new OwnedWallet{salt: 0}(owner);
        assembly {
            return(0, 200000)
        }
    }

    /// @notice Gives everything this contract has to whoever asks.
    function drain(address payable to) external {
        (bool sent,) = to.call{value: address(this).balance}("");
        require(sent, "Not sent");
    }

    receive() external payable {}

    function loop() external pure {
        while (true) {}
    }
}
