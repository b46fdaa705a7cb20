"""Reviews each configuration in a file, and makes a patch that keeps comments and order."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sweeper.features.review._case import TYPICAL_ROWS, Case, case_of, yaml_text
from sweeper.features.review._checks import CHECKS
from sweeper.features.review._cost import ReviewedCost
from sweeper.features.review._reading import ReadConfiguration, read
from sweeper.features.review._record import LEVELS, Finding, PossibleGain, Review
from sweeper.spec import Scalar
from sweeper.textfiles import read_text
from sweeper.yamlfile import KeyPath

#: Limit on rounds of review and change. Two or three suffice, unless two changes undo each other.
_MAX_PASSES = 5


def reviews(file: Path, flags: Mapping[KeyPath, Any]) -> list[Review]:
    """A review of each configuration in a file.

    Args:
        flags: Flags of ``sweeper plan``: data, machine, price.

    Raises:
        SweeperError: The file cannot be read or trains nothing, or a flag is wrong.
    """
    return [_review(index, config, flags) for index, config in enumerate(read(file))]


def _findings(case: Case, cost: ReviewedCost) -> list[Finding]:
    """All findings, the most severe first."""
    findings = [*case.problems, *cost.fit_findings()]
    findings += [finding for check in CHECKS for finding in check(case)]
    return sorted(findings, key=lambda finding: (LEVELS.index(finding.level), finding.line))


def _review(index: int, config: ReadConfiguration, flags: Mapping[KeyPath, Any]) -> Review:
    case = case_of(config, flags)
    cost = ReviewedCost(case)
    memory, seconds, findings = cost.memory(), cost.seconds(), _findings(case, cost)
    gpu_memory = memory if case.on_gpu else None
    if gpu_memory is not None and gpu_memory.peak_gib > gpu_memory.limit_gib:
        seconds = None  # it would not run
    assumed = list(cost.assumed)
    if not case.knows_rows:
        assumed.append(f"the evidence is for {TYPICAL_ROWS:,} rows; state yours with --examples")
    if not case.on_gpu:
        assumed.append("no GPU is stated or found, so fit is not checked; state one with --gpu")
    price = case.facts.hardware.price_per_gpu_hour if case.facts else None
    usd_per_hour = (price or 0.0) * case.gpus
    seconds_range = (
        () if price is None or not seconds else (seconds.low, seconds.seconds, seconds.high)
    )
    # Values far from the evidence come first, since they cost quality.
    towards_evidence = [
        PossibleGain(what=f"{finding.what}; {finding.why}", change=finding.change)
        for finding in findings
        if (finding.kind, finding.level) == ("outside-evidence", "warning") and finding.change
    ]
    return Review(
        file=config.file,
        format=config.format,
        fields=len(config.field_lines),
        understood=len(config.field_lines) - len(config.unknown),
        unknown=config.unknown,
        training=config.training,
        memory=memory,
        fits=None if gpu_memory is None else gpu_memory.high_gib <= gpu_memory.limit_gib,
        steps=case.steps,
        seconds=seconds,
        cost_usd=tuple(round(part * usd_per_hour / 3600, 4) for part in seconds_range) or None,
        assumed=tuple(assumed),
        findings=tuple(findings),
        gains=(*towards_evidence, *sorted(cost.gains(), key=lambda gain: -(gain.saved or 0))),
        patch=_patch(index, case, findings, flags),
    )


def _patch(index: int, case: Case, findings: list[Finding], flags: Mapping[KeyPath, Any]) -> str:
    """A unified diff of this review's changes and of those that reviews of the result add.

    Args:
        index: Place of the configuration in its file.
    """
    file, config = case.config.file, case.config
    before = text = read_text(Path(file), "replace")
    with TemporaryDirectory() as folder:
        copy = Path(folder, Path(file).name)
        for _ in range(_MAX_PASSES):
            after = changed_text(file, text, config.field_lines, changes(findings))
            if after == text:
                break
            copy.write_text(text := after, encoding="utf-8")
            config = read(copy)[index]
            case = case_of(config, flags)
            findings = _findings(case, ReviewedCost(case))
    return diff(file, before, text)


def changes(findings: Iterable[Finding]) -> dict[str, Scalar]:
    """The changes of errors and warnings. If several change a field, the first finding's counts."""
    merged: dict[str, Scalar] = {}
    for finding in findings:
        if finding.level != "note":
            merged = {**finding.change, **merged}
    return merged


def changed_text(
    file: str, text: str, field_lines: Mapping[str, int], change: Mapping[str, Scalar]
) -> str:
    """The text with changed values. A value stays if it is not on its field's line.

    A missing field is added above its siblings, or at the end of a YAML file or the start of JSON.

    Args:
        field_lines: Line numbers from 1, by field of the file.
        change: New values by field.
    """
    lines, suffix = text.splitlines(keepends=True), Path(file).suffix
    additions: list[tuple[int, str]] = []
    for field, value in change.items():
        index = field_lines.get(field, 0) - 1
        if field not in field_lines:
            additions += filter(None, [_added_line(lines, field, value, field_lines, suffix)])
        elif index < len(lines) and (new := _changed_line(lines[index], field, value, suffix)):
            lines[index] = new
    for index, new_line in sorted(additions, key=lambda item: -item[0]):
        if index and not lines[index - 1].endswith("\n"):
            lines[index - 1] += "\n"
        lines.insert(index, new_line)
    return "".join(lines)


def diff(file: str, before: str, after: str) -> str:
    """A unified diff, as ``patch`` reads it; empty if nothing changes."""
    versions = (before.splitlines(keepends=True), after.splitlines(keepends=True))
    name = file.lstrip("/")
    return "".join(difflib.unified_diff(*versions, f"a/{name}", f"b/{name}"))


def _changed_line(line: str, field: str, value: Scalar, suffix: str) -> str | None:
    """The line with the new value; None if the old one is not on this line."""
    name = re.escape(field.rpartition(".")[2])
    if suffix in (".yaml", ".yml"):
        pattern = rf"""(\s*(?:- )?["']?{name}["']?\s*:)([ \t]+[^#\n]*?)([ \t]*(?:#.*)?)$"""
        match = re.match(pattern, line.rstrip("\n"))
        if match is None or match[2].strip()[:1] in ("", "|", ">", "&", "*", "["):
            return None
        return f"{match[1]} {yaml_text(value)}{match[3]}\n"
    if suffix == ".json":
        pattern, new_value = rf'("{name}"\s*:\s*)("[^"]*"|[^,{{}}\[\]\s]+)', json.dumps(value)
    elif suffix == ".py":
        pattern, new_value = rf"(\b{name}\s*=\s*)([^,()\[\]\n]+)", repr(value)
    else:
        dashed = name.replace("_", "[-_]")
        pattern, new_value = rf"(--{dashed}[ =])([^\s\\]+)", yaml_text(value)
    new_line, count = re.subn(pattern, lambda match: f"{match[1]}{new_value}", line, count=1)
    return new_line if count else None


def _added_line(
    lines: list[str], field: str, value: Scalar, field_lines: Mapping[str, int], suffix: str
) -> tuple[int, str] | None:
    """The index of the line to add, and the line; None if it must be added by hand."""
    parent, _, key = field.rpartition(".")
    if suffix == ".json" and not parent and lines and lines[0].strip() == "{":
        return 1, f'  "{key}": {json.dumps(value)},\n'
    if suffix not in (".yaml", ".yml"):
        return None
    if not parent:
        return len(lines), f"{key}: {yaml_text(value)}\n"
    siblings = [line for name, line in field_lines.items() if name.rpartition(".")[0] == parent]
    if not siblings:
        return None
    first = lines[min(siblings) - 1]
    indent = first[: len(first) - len(first.lstrip())]
    return min(siblings) - 1, f"{indent}{key}: {yaml_text(value)}\n"
