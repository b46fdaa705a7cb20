"""Precision and recall of classes, and which are confused, on the test split."""

from __future__ import annotations

from collections import Counter

from sweeper.findings.record import ClassFindings, ClassRow
from sweeper.findings.study.reading import RunFiles
from sweeper.findings.study.scores import entries, model_title
from sweeper.redaction import clean
from sweeper.visible import LABEL_CHARACTERS, shortened


def class_findings(run: RunFiles, name: str) -> ClassFindings | None:
    """Precision, recall and F1 of every class, and the confusions.

    Args:
        run: Its plan names the classes, its seal holds the confusions.
        name: Name of the model, as comparisons call it. Of a trial with several seeds the first
            training counts, so that items are counted once.
    """
    found = [score.confusion for score in entries(run).get(name, ()) if score.confusion]
    known = run.plan.facts.data.labels
    if not found or not known:
        return None
    # Class numbers are places among the sorted names.
    labels = sorted(known, key=lambda label: label.label)
    pairs = found[0]
    if max(max(true, said) for true, said, _ in pairs) >= len(labels):
        return None
    items, chosen = Counter[int](), Counter[int]()
    for true, said, count in pairs:
        items[true] += count
        chosen[said] += count
    right = Counter({true: count for true, said, count in pairs if true == said})
    rows = tuple(
        ClassRow(
            label=shortened(clean(label.label), LABEL_CHARACTERS),
            rows=label.rows,
            items=items[n],
            chosen=chosen[n],
            right=right[n],
            precision=right[n] / chosen[n] if chosen[n] else None,
            recall=right[n] / items[n] if items[n] else None,
            f1=2 * right[n] / (items[n] + chosen[n]) if items[n] + chosen[n] else None,
        )
        for n, label in enumerate(labels)
    )
    return ClassFindings(name=name, title=model_title(run, name), classes=rows, confusion=pairs)
