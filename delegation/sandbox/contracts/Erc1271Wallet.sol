// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title A contract wallet of one owner, whose signatures are checked by ERC-1271.
/// @notice It holds tokens and approves by `execute`; no key belongs to its own address.
contract Erc1271Wallet {
    bytes4 private constant VALID = 0x1626ba7e;
    bytes4 private constant INVALID = 0xffffffff;
    /// @dev Half the order of secp256k1: a larger `s` is the malleable twin of another signature (EIP-2).
    uint256 private constant HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    address public immutable owner;

    constructor(address owner_) {
        owner = owner_;
    }

    receive() external payable {}

    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        if (signature.length != 65) {
            return INVALID;
        }
        bytes32 r = bytes32(signature[0:32]);
        bytes32 s = bytes32(signature[32:64]);
        if (uint256(s) > HALF_ORDER) {
            return INVALID;
        }
        address signer = ecrecover(hash, uint8(signature[64]), r, s);
        return signer != address(0) && signer == owner ? VALID : INVALID;
    }

    /// @notice Makes a call as this wallet and returns its answer; a call that fails fails this one with its reason.
    function execute(address to, uint256 value, bytes calldata data) external returns (bytes memory) {
        require(msg.sender == owner, "Caller is not the owner");
        (bool success, bytes memory answer) = to.call{value: value}(data);
        if (!success) {
            assembly {
                revert(add(answer, 32), mload(answer))
            }
        }
        return answer;
    }
}
