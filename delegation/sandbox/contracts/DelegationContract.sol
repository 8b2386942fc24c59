// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title The spender that card users approve: its operators pull tokens to one beneficiary.
/// @notice Behaves as the platform's published contract is described: no signature, limit or deadline of the user stands
/// between an operator and an allowance, so that the allowance is the user's only limit.
contract DelegationContract {
    uint256 private constant TRANSFER_FROM_GAS_LIMIT = 200_000;

    address private immutable beneficiary;
    address[] private operators;
    mapping(address => bool) private isOperator;

    /// @param result One bit for each transfer, the first in the lowest bit: 1 if its call did not fail.
    event WithdrawalStatus(uint256 result, uint16 batchSize);

    constructor(address beneficiary_, address[] memory operators_) {
        beneficiary = beneficiary_;
        operators = operators_;
        for (uint256 i = 0; i < operators_.length; i++) {
            isOperator[operators_[i]] = true;
        }
    }

    function getBeneficiary() external view returns (address) {
        return beneficiary;
    }

    function getWithdrawOperators() external view returns (address[] memory) {
        return operators;
    }

    /// @notice Pulls `amounts[i]` of `tokens[i]` from `sources[i]`; what fails is left out and never reverts the others.
    /// @dev As in the original, a token address without code counts as a success: the event is no proof of payment.
    function withdraw(address[] calldata tokens, address[] calldata sources, uint256[] calldata amounts) external {
        require(isOperator[msg.sender], "Caller is not a withdraw operator");
        require(tokens.length == sources.length && tokens.length == amounts.length, "Lengths differ");
        require(tokens.length <= 256, "Batch is too large");
        uint256 result = 0;
        for (uint256 i = 0; i < tokens.length; i++) {
            if (_pull(tokens[i], sources[i], amounts[i])) {
                result |= 1 << i;
            }
        }
        emit WithdrawalStatus(result, uint16(tokens.length));
    }

    /// @dev A low-level call, because some tokens return nothing where ERC-20 wants a bool.
    function _pull(address token, address source, uint256 amount) private returns (bool) {
        (bool success, bytes memory answer) = token.call{gas: TRANSFER_FROM_GAS_LIMIT}(
            abi.encodeWithSignature("transferFrom(address,address,uint256)", source, beneficiary, amount)
        );
        return success && (answer.length == 0 || (answer.length == 32 && abi.decode(answer, (uint256)) == 1));
    }
}
