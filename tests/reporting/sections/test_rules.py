"""The table of the rules that shaped a plan."""

from section_figures import blocks_of

from sweeper.reporting.sections import rules


def test_a_rule_with_a_reason_says_which_earlier_rules_it_disagrees_with(report):
    made = report(trials=3, prune=False)
    first = made.plan.strategies[0]
    reason = next(reason for reason in first.reasons if reason.changes)
    cautions = tuple(
        reason.model_copy(update={"disagrees_with": earlier}) for earlier in ("one", "two", "one")
    )
    strategies = (first.model_copy(update={"cautions": cautions}), *made.plan.strategies[1:])
    plan = made.plan.model_copy(update={"strategies": strategies})
    (before,), (after,) = (
        blocks_of(one, rules) for one in (made, made.model_copy(update={"plan": plan}))
    )
    texts = [[[cell.text for cell in row.cells] for row in table.rows] for table in (before, after)]
    changed = [(old[2], new[2]) for old, new in zip(*texts, strict=True) if old != new]
    ((old, new),) = changed
    assert new == f"{old}; disagrees with one and two"
