"""A review: what is known about a configuration, put together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sweeper.features.review import _patch
from sweeper.features.review._case import TYPICAL_ROWS, Case, case_of
from sweeper.features.review._checks import CHECKS
from sweeper.features.review._cost import ReviewedCost
from sweeper.features.review._evidence import outside
from sweeper.features.review._formats import Configuration
from sweeper.features.review._reading import read
from sweeper.features.review._record import LEVELS, Finding, Gain, Review
from sweeper.plans import Duration
from sweeper.spec import Scalar
from sweeper.textfile import read_text
from sweeper.yamlfile import Path_


def reviews(file: Path, flags: Mapping[Path_, Any]) -> list[Review]:
    """A review of each configuration in a file.

    Args:
        flags: Those of ``sweeper plan``: data, machine, price.

    Raises:
        SweeperError: The file cannot be read or trains nothing, or a flag is wrong.
    """
    return [_review(config, flags) for config in read(file)]


def _review(config: Configuration, flags: Mapping[Path_, Any]) -> Review:
    case = case_of(config, flags)
    cost = ReviewedCost(case)
    memory, seconds = cost.memory(), cost.seconds()
    findings = [*case.problems, *cost.fit_findings()]
    findings += [finding for check in CHECKS for finding in check(case)]
    findings += outside(case)
    findings.sort(key=lambda finding: (LEVELS.index(finding.level), finding.line))
    judged = memory if case.on_gpu else None
    if judged is not None and judged.peak_gib > judged.limit_gib:
        seconds = None
    assumed = list(cost.assumed)
    if not case.counted:
        assumed.append(f"the evidence is that for {TYPICAL_ROWS:,} rows; --data or --examples say")
    if not case.on_gpu:
        assumed.append("no GPU is stated or found: --gpu or --gpu-memory say whether it fits")
    text = read_text(Path(config.file), "replace")
    after = _patch.changed_text(config.file, text, config.names, changes(findings))
    return Review(
        file=config.file,
        format=config.format,
        fields=len(config.names),
        understood=len(config.names) - len(config.unknown),
        unknown=config.unknown,
        training=config.training,
        memory=memory,
        fits=None if judged is None else judged.high_gib <= judged.limit_gib,
        steps=case.steps,
        seconds=seconds,
        cost_usd=_price(case, seconds),
        assumed=tuple(assumed),
        findings=tuple(findings),
        gains=(*_closer(findings), *sorted(cost.gains(), key=lambda gain: -(gain.saved or 0))),
        patch=_patch.diff(config.file, text, after),
    )


def changes(findings: Iterable[Finding]) -> dict[str, Scalar]:
    """What errors and warnings would change; the most severe finding decides about a field."""
    made: dict[str, Scalar] = {}
    for finding in findings:
        if finding.level != "note":
            made = {**finding.change, **made}
    return made


def _price(case: Case, seconds: Duration | None) -> tuple[float, ...] | None:
    price = case.facts.hardware.price_per_gpu_hour if case.facts else None
    if price is None or seconds is None:
        return None
    ends = (seconds.low, seconds.seconds, seconds.high)
    return tuple(round(seconds_ * price * case.gpus / 3600, 4) for seconds_ in ends)


def _closer(findings: Iterable[Finding]) -> Iterable[Gain]:
    """Values far from the evidence, which cost more quality than any time can buy back."""
    for finding in findings:
        if finding.kind == "outside-evidence" and finding.level == "warning" and finding.change:
            yield Gain(what=f"{finding.what}; {finding.why}", change=finding.change)
