"""What operators of nodes agree on, rule by rule, and how far it is to be trusted. All of it is pure.

| what a finding rests on | tier |
|---|---|
| the signed bytes: nobody is needed | T3 |
| proofs under block hashes that the reader has named as authentic | T3 |
| proofs under block hashes that a quorum of operators names | T2 |
| proofs under a block hash that one operator gave | T0: a lone node can make up a whole chain |
| the same raw value from a quorum of operators | T1 |
| one operator's word | T0 |

What is proved under a block hash that counts (T2, T3) needs no second voice; everything else is what a quorum says in
the same words, and never the word of a node outside it. A node that did not answer, or whose answers contradict each
other, has no voice.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, TypeVar

from chains.claims import Finding, FindingVerdict
from delegation.audit.nodes import NodeResult
from delegation.audit.policy import Policy, Tier

_T = TypeVar("_T")

# A block hash or a value is the word of more than one only if at least so many operators give it.
_SEVERAL: Final = 2
_FINALITY: Final = "finality"
# How certain it is that a block stays, the least certain first.
_LEVELS: Final = ("included", "processed", "soft", "safe", "confirmed", "hard", "finalized")

_Key: TypeAlias = tuple[str, int]
"""A rule, and which finding by that rule it is."""
_Said: TypeAlias = tuple[str | None, ...] | None
"""What a node says by a rule, so far as it can be compared; None where it says nothing."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """A finding that counts, and who says it: `basis` is what it rests on, in words, and `tier` that of it, None where
    it is neither a yes nor a no."""

    finding: Finding
    tier: Tier | None
    supporters: tuple[NodeResult, ...]
    basis: str = ""


@dataclass(frozen=True, slots=True)
class Dispute:
    """A rule by which the operators that count do not agree, and what each of them says, by the node's URL."""

    rule: str
    said: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Agreement:
    """What `needed` operators or more agree on, of those that were `asked`; `answered` are the results that count."""

    needed: int
    asked: frozenset[str]
    answered: tuple[NodeResult, ...]
    findings: tuple[Agreed, ...]
    disputes: tuple[Dispute, ...]

    def value(self, rule: str, read: Callable[[NodeResult], _T | None]) -> _T | None:
        """Return what `read` gives of the results that support the finding by a rule, None unless all give the same."""
        agreed = next((each for each in self.findings if each.finding.rule == rule), None)
        values = {} if agreed is None else {repr(value): value for value in map(read, agreed.supporters)}
        return next(iter(values.values())) if len(values) == 1 else None

    def common(self, read: Callable[[NodeResult], _T | None]) -> _T | None:
        """Return what `read` gives of the results of `needed` operators or more, None where so many do not agree."""
        said = _by(repr, [(value, result) for result in self.answered if (value := read(result)) is not None])
        quorate = [group for group in said.values() if len(operators_of(result for _, result in group)) >= self.needed]
        return quorate[0][0][0] if len(quorate) == 1 else None

    def supports(self, result: NodeResult) -> bool:
        """Return whether a node says all that was agreed on and is a yes or a no."""
        return not self.disputes and all(
            result in agreed.supporters for agreed in self.findings if agreed.finding.verdict in {"VERIFIED", "REFUTED"}
        )


def operators_of(results: Iterable[NodeResult]) -> frozenset[str]:
    """Return the operators of the nodes that results come from."""
    return frozenset(result.endpoint.operator for result in results)


def agree(policy: Policy, results: Sequence[NodeResult]) -> Agreement:
    """Return what the nodes agree on under a policy, rule by rule."""
    asked = operators_of(results)
    needed = policy.needed(asked)
    answered = tuple(result for result in results if result.approval is not None)
    scales = _Scales(needed, frozenset(hash_.lower() for hash_ in policy.trusted_blocks), _named_blocks(answered))
    findings, disputes = [], []
    for key in _rules(answered):
        outcome = scales.weigh(key, [(result, _number(result).get(key)) for result in answered])
        if isinstance(outcome, Agreed):
            findings.append(outcome)
        elif outcome is not None:
            disputes.append(outcome)
    return Agreement(needed, asked, answered, tuple(findings), tuple(disputes))


@dataclass(frozen=True, slots=True)
class _Scales:
    """What it takes to count: a number of operators, the hashes that the reader trusts, and who names which hash."""

    needed: int
    trusted: frozenset[str]
    named: Mapping[str, frozenset[str]]

    def weigh(self, key: _Key, votes: Sequence[tuple[NodeResult, Finding | None]]) -> Agreed | Dispute | None:
        """Return what counts of what nodes say by one rule; None where enough of them say nothing by it."""
        groups = _by(_said, [(finding, result) for result, finding in votes])
        agreed = {said: self._agreed(group) for said, group in groups.items() if said is not None}
        # A proof under a hash that counts is no matter of votes.
        proved = [each for each in agreed.values() if each.tier in {"T2", "T3"}]
        if len(proved) == 1:
            return proved[0]
        if not proved and key[0] == _FINALITY:
            return self._least_final(votes)
        quorate = [
            said for said, group in groups.items() if len(operators_of(result for _, result in group)) >= self.needed
        ]
        if not proved and len(quorate) == 1:
            return None if quorate[0] is None else agreed[quorate[0]]
        return _dispute(key[0], votes)

    def _agreed(self, group: Sequence[tuple[Finding | None, NodeResult]]) -> Agreed:
        findings = [finding for finding, _ in group if finding is not None]
        supporters = tuple(result for _, result in group)
        finding = findings[0]
        if finding.verdict == "UNDETERMINED":
            return Agreed(_merge(group), None, supporters)
        if finding.verdict == "NOTED":
            return Agreed(finding, None, supporters)
        best = max(findings, key=lambda each: self._tier(each, supporters))
        return Agreed(best, self._tier(best, supporters), supporters, self._words(best, supporters))

    def _tier(self, finding: Finding, supporters: Sequence[NodeResult]) -> Tier:
        basis = finding.basis
        if basis.word:
            return "T1" if len(operators_of(supporters)) >= max(self.needed, _SEVERAL) else "T0"
        trusted = self.trusted if self._is_of_now(finding, supporters) else frozenset()
        if all(hash_ in trusted for hash_ in basis.blocks):
            return "T3"
        enough = max(self.needed, _SEVERAL)
        agreed = all(hash_ in trusted or len(self.named.get(hash_, ())) >= enough for hash_ in basis.blocks)
        return "T2" if agreed else "T0"

    def _is_of_now(self, finding: Finding, supporters: Sequence[NodeResult]) -> bool:
        """Return whether the trusted blocks count for a finding: about the present only if no other one may be newer.

        Which of several is the newest no hash tells, so each must be the transaction's block or the one of "now".
        """
        checks = [result.approval for result in supporters if result.approval is not None]
        return finding.about == "claim" or any(
            self.trusted <= {block.hash for block in (check.included, check.head) if block is not None}
            for check in checks
        )

    def _words(self, finding: Finding, supporters: Sequence[NodeResult]) -> str:
        if finding.basis.word:
            count = len(operators_of(supporters))
            return "one operator's word" if count == 1 else f"the word of {count} operators"
        if not finding.basis.blocks:
            return "needs nobody: the signed bytes show it"
        return {
            "T3": "proved under a block hash that you named",
            "T2": "proved under a block hash that the operators agree on",
        }.get(self._tier(finding, supporters), "proved, but under one operator's block")

    def _least_final(self, votes: Sequence[tuple[NodeResult, Finding | None]]) -> Agreed | None:
        """Return the highest level that enough operators call the block by, or by a higher one."""
        levels: dict[str, int] = {}
        said: dict[int, list[tuple[Finding, NodeResult]]] = defaultdict(list)
        for result, finding in votes:
            if finding is None or finding.found not in _LEVELS:
                continue
            level = _LEVELS.index(finding.found)
            operator = result.endpoint.operator
            levels[operator] = min(level, levels.get(operator, level))
            said[level].append((finding, result))
        if len(levels) < self.needed:
            return None
        level = sorted(levels.values(), reverse=True)[self.needed - 1]
        return Agreed(said[level][0][0], None, tuple(result for _, result in said[level]))


def _named_blocks(answered: Iterable[NodeResult]) -> Mapping[str, frozenset[str]]:
    """Return the operators that name each block hash, as that of the transaction's block or of "now"."""
    named: dict[str, set[str]] = defaultdict(set)
    for result in answered:
        if result.approval is not None:
            for block in (result.approval.included, result.approval.head):
                if block is not None and block.hash:
                    named[block.hash].add(result.endpoint.operator)
    return {hash_: frozenset(operators) for hash_, operators in named.items()}


def _number(result: NodeResult) -> dict[_Key, Finding]:
    """Return the findings of a node by rule, and where several are by one rule, by which of them it is."""
    seen: Counter[str] = Counter()
    numbered = {}
    for finding in result.findings:
        numbered[finding.rule, seen[finding.rule]] = finding
        seen[finding.rule] += 1
    return numbered


def _rules(answered: Sequence[NodeResult]) -> list[_Key]:
    """Return every rule by which some node says something, in the order of the nodes that say the most."""
    numbered = sorted((list(_number(result)) for result in answered), key=len, reverse=True)
    return list(dict.fromkeys(key for keys in numbered for key in keys))


def _said(finding: Finding | None) -> _Said:
    """Return what must be equal for two nodes to say the same; how they could not tell is no difference."""
    if finding is None:
        return None
    if finding.verdict == "UNDETERMINED":
        return ("UNDETERMINED",)
    return (finding.verdict, finding.message, finding.expected, finding.found)


def _merge(group: Sequence[tuple[Finding | None, NodeResult]]) -> Finding:
    """Return one finding that nobody could tell, with each node's reason where these differ."""
    reasons = {result.endpoint.url: finding for finding, result in group if finding is not None}
    first = next(iter(reasons.values()))
    if len({finding.message for finding in reasons.values()}) == 1:
        return first
    message = " ".join(f"{url}: {finding.message}" for url, finding in reasons.items())
    return replace(first, message=message, expected=None, found=None)


def _dispute(rule: str, votes: Sequence[tuple[NodeResult, Finding | None]]) -> Agreed | Dispute | None:
    """Return that nodes do not agree; what is no part of the verdict is told by each for itself."""
    made = [(result, finding) for result, finding in votes if finding is not None]
    verdicts: set[FindingVerdict] = {finding.verdict for _, finding in made}
    if verdicts == {"NOTED"}:
        message = " ".join(f"{result.endpoint.url} says: {finding.message}" for result, finding in made)
        about = made[0][1].about
        return Agreed(Finding(rule, "NOTED", message, about=about), None, ())
    said = {
        result.endpoint.url: "nothing" if finding is None else " ".join(filter(None, (finding.verdict, finding.found)))
        for result, finding in votes
    }
    if all(finding.about == "present" for _, finding in made):
        message = f"Not enough operators of nodes say the same: {show_said(said)}."
        return Agreed(Finding(rule, "UNDETERMINED", message, about="present"), None, ())
    return Dispute(rule, said)


def show_said(said: Mapping[str, str]) -> str:
    """Return what each node says, in one line."""
    return "; ".join(f"{url} says {what}" for url, what in said.items())


def _by(
    key: Callable[[_T], object], items: Sequence[tuple[_T, NodeResult]]
) -> dict[object, list[tuple[_T, NodeResult]]]:
    groups: dict[object, list[tuple[_T, NodeResult]]] = defaultdict(list)
    for item in items:
        groups[key(item[0])].append(item)
    return groups
