// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title Says whether an account accepts a signature once it delegates as an authorisation of its key says (ERC-8010).
/// @notice It is never deployed: its creation code is run by `eth_call`, with the account's code overridden by the
/// delegation, and the one byte that the constructor returns instead of code is the answer: 0x01 or 0x00.
/// @dev What initialises the account is chosen by whoever made the signature, and what it returns is not looked at.
contract Erc8010Validator {
    /// @dev ERC-1271: the function's selector is also its answer for a valid signature, as a whole word.
    bytes4 private constant IS_VALID_SIGNATURE = 0x1626ba7e;

    constructor(address owner, bytes32 digest, bytes memory signature, address initialiser, bytes memory data) {
        if (data.length > 0) {
            assembly {
                // No answer is copied, so that a long one cannot burn the gas that is left.
                pop(call(gas(), initialiser, 0, add(data, 32), mload(data), 0, 0))
            }
        }
        bytes memory question = abi.encodeWithSelector(IS_VALID_SIGNATURE, digest, signature);
        bytes32 answer;
        assembly {
            let answered := staticcall(gas(), owner, add(question, 32), mload(question), 0, 32)
            if and(answered, gt(returndatasize(), 31)) { answer := mload(0) }
        }
        bool valid = answer == bytes32(IS_VALID_SIGNATURE);
        assembly {
            mstore8(0, valid)
            return(0, 1)
        }
    }
}
