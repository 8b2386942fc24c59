// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title Says whether a contract wallet that may not be deployed yet accepts a signature (ERC-6492).
/// @notice It is never deployed: its creation code is run by `eth_call`, and the one byte that the constructor returns
/// instead of code is the answer: 0x01 or 0x00. A signature that is not wrapped as ERC-6492 says reverts.
/// @dev The factory and what it is told are chosen by whoever made the signature. It is called only while `owner` has no
/// code, so that nothing can be changed in a wallet that exists, and what it returns is not looked at.
contract Erc6492Validator {
    bytes32 private constant SUFFIX = 0x6492649264926492649264926492649264926492649264926492649264926492;
    /// @dev ERC-1271: the function's selector is also its answer for a valid signature, as a whole word.
    bytes4 private constant IS_VALID_SIGNATURE = 0x1626ba7e;

    constructor(address owner, bytes32 digest, bytes memory wrapped) {
        bool valid = _isValid(owner, digest, wrapped);
        assembly {
            mstore8(0, valid)
            return(0, 1)
        }
    }

    function _isValid(address owner, bytes32 digest, bytes memory wrapped) private returns (bool valid) {
        uint256 length = wrapped.length;
        require(length >= 32, "Not wrapped");
        bytes32 suffix;
        assembly {
            // The last word of the wrapped bytes, which are then cut off in front of it.
            suffix := mload(add(wrapped, length))
            mstore(wrapped, sub(length, 32))
        }
        require(suffix == SUFFIX, "Not wrapped");
        (address factory, bytes memory deploy, bytes memory signature) = abi.decode(wrapped, (address, bytes, bytes));
        if (owner.code.length == 0) {
            assembly {
                // No answer is copied, so that a long one cannot burn the gas that is left.
                pop(call(gas(), factory, 0, add(deploy, 32), mload(deploy), 0, 0))
            }
            if (owner.code.length == 0) {
                return false;
            }
        }
        bytes memory question = abi.encodeWithSelector(IS_VALID_SIGNATURE, digest, signature);
        bytes32 answer;
        assembly {
            let answered := staticcall(gas(), owner, add(question, 32), mload(question), 0, 32)
            if and(answered, gt(returndatasize(), 31)) { answer := mload(0) }
        }
        return answer == bytes32(IS_VALID_SIGNATURE);
    }
}
