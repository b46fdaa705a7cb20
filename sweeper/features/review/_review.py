"""Makes the review of each configuration in a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sweeper.features.review._case import TYPICAL_ROWS, Case, case_of
from sweeper.features.review._checks import CHECKS
from sweeper.features.review._cost import ReviewedCost
from sweeper.features.review._evidence import outside_evidence
from sweeper.features.review._formats import ReadConfiguration
from sweeper.features.review._patch import changed_text, diff
from sweeper.features.review._reading import read
from sweeper.features.review._record import LEVELS, Finding, PossibleGain, Review
from sweeper.spec import Scalar
from sweeper.textfile import read_text
from sweeper.yamlfile import Path_

#: Passes of review and change until nothing changes: two or three, unless two changes alternate.
_MAX_PASSES = 5


def reviews(file: Path, flags: Mapping[Path_, Any]) -> list[Review]:
    """A review of each configuration in a file.

    Args:
        flags: Flags of ``sweeper plan``: data, machine, price.

    Raises:
        SweeperError: The file cannot be read or trains nothing, or a flag is wrong.
    """
    return [_review(number, config, flags) for number, config in enumerate(read(file))]


def _findings(case: Case, cost: ReviewedCost) -> list[Finding]:
    """All findings, the most severe first."""
    findings = [*case.problems, *cost.fit_findings()]
    findings += [finding for check in CHECKS for finding in check(case)]
    findings += outside_evidence(case)
    return sorted(findings, key=lambda finding: (LEVELS.index(finding.level), finding.line))


def _review(number: int, config: ReadConfiguration, flags: Mapping[Path_, Any]) -> Review:
    case = case_of(config, flags)
    cost = ReviewedCost(case)
    memory, seconds, findings = cost.memory(), cost.seconds(), _findings(case, cost)
    gpu_memory = memory if case.on_gpu else None
    if gpu_memory is not None and gpu_memory.peak_gib > gpu_memory.limit_gib:
        seconds = None
    assumed = list(cost.assumed)
    if not case.knows_rows:
        assumed.append(f"the evidence is that for {TYPICAL_ROWS:,} rows; --data or --examples say")
    if not case.on_gpu:
        assumed.append("no GPU is stated or found: --gpu or --gpu-memory say whether it fits")
    price = case.facts.hardware.price_per_gpu_hour if case.facts else None
    hourly = (price or 0.0) * case.gpus
    seconds_range = (
        () if price is None or not seconds else (seconds.low, seconds.seconds, seconds.high)
    )
    # Values far from the evidence cost more quality than any time can buy back.
    towards_evidence = [
        PossibleGain(what=f"{finding.what}; {finding.why}", change=finding.change)
        for finding in findings
        if (finding.kind, finding.level) == ("outside-evidence", "warning") and finding.change
    ]
    return Review(
        file=config.file,
        format=config.format,
        fields=len(config.names),
        understood=len(config.names) - len(config.unknown),
        unknown=config.unknown,
        training=config.training,
        memory=memory,
        fits=None if gpu_memory is None else gpu_memory.high_gib <= gpu_memory.limit_gib,
        steps=case.steps,
        seconds=seconds,
        cost_usd=tuple(round(part * hourly / 3600, 4) for part in seconds_range) or None,
        assumed=tuple(assumed),
        findings=tuple(findings),
        gains=(*towards_evidence, *sorted(cost.gains(), key=lambda gain: -(gain.saved or 0))),
        patch=_patch(number, case, findings, flags),
    )


def _patch(number: int, case: Case, findings: list[Finding], flags: Mapping[Path_, Any]) -> str:
    """A unified diff: the changes of this review, and those of reviews of the changed file."""
    file, config = case.config.file, case.config
    before = text = read_text(Path(file), "replace")
    with TemporaryDirectory() as folder:
        copy = Path(folder, Path(file).name)
        for _ in range(_MAX_PASSES):
            after = changed_text(file, text, config.names, changes(findings))
            if after == text:
                break
            copy.write_text(text := after, encoding="utf-8")
            config = read(copy)[number]
            case = case_of(config, flags)
            findings = _findings(case, ReviewedCost(case))
    return diff(file, before, text)


def changes(findings: Iterable[Finding]) -> dict[str, Scalar]:
    """The changes of errors and warnings; the most severe finding decides about a field."""
    merged: dict[str, Scalar] = {}
    for finding in findings:
        if finding.level != "note":
            merged = {**finding.change, **merged}
    return merged
