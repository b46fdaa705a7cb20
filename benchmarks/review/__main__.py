"""Reviews the example configurations of other projects, which lie in checked-out repositories.

    python -m benchmarks.review FOLDER                 a table: fields understood, findings by kind
    python -m benchmarks.review FOLDER --unknown       every field that no table explains
    python -m benchmarks.review FOLDER --sample        the findings of the judged sample, to read
    python -m benchmarks.review FOLDER --judged        false alarms, by judgements.json
    python -m benchmarks.review FOLDER --write-judgements
                                                       add new findings of the sample, undecided

README.md says how to check out the repositories. No model is asked for on a network, no data are
read and no GPU is taken into account. Bars: 90% of the fields understood in each format, false
alarms in at most one of ten files of the sample.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from sweeper.errors import UsageError
from sweeper.features.review._reading import read
from sweeper.features.review._record import Finding, Review
from sweeper.features.review._review import reviews

JUDGEMENTS = Path(__file__).parent / "judgements.json"
#: Files of each format in the sample: those whose paths have the least digests.
SAMPLED = 25
LEAST_UNDERSTOOD, MOST_FALSE = 0.9, 0.1
# Where each project keeps examples that train.
PLACES = {
    "axolotl": ("examples/**/*.yaml", "examples/**/*.yml"),
    "LLaMA-Factory": ("examples/**/*.yaml", "examples/**/*.sh"),
    "trl": ("examples/cli_configs/*.yaml", "docs/source/*.md", "examples/scripts/*.py"),
    "alignment-handbook": ("recipes/**/*.yaml",),
    "peft": ("examples/sft/*.sh", "method_comparison/**/adapter_config.json"),
    "torchtune": ("recipes/configs/**/*.yaml",),
    "litgpt": ("config_hub/**/*.yaml",),
}


class Reviewed(NamedTuple):
    """One configuration, by the path of its file from the folder of repositories."""

    path: str
    review: Review


def examples(folder: Path) -> dict[str, str]:
    """The examples that train, by their paths in the folder, with their formats."""
    formats: dict[str, str] = {}
    for name, patterns in PLACES.items():
        for path in sorted(
            {path for pattern in patterns for path in (folder / name).glob(pattern)}
        ):
            with suppress(UsageError):
                formats[path.relative_to(folder).as_posix()] = read(path)[0].format
    return formats


def sample(paths: Mapping[str, str]) -> list[str]:
    """The files of each format that are judged."""
    kept: set[str] = set()
    for name in set(paths.values()):
        named = [path for path, kind in paths.items() if kind == name]
        kept |= set(sorted(named, key=lambda path: sha256(path.encode()).hexdigest())[:SAMPLED])
    return sorted(kept)


def reviewed(folder: Path, paths: Iterable[str]) -> list[Reviewed]:
    """The reviews of these files."""
    return [Reviewed(path, review) for path in paths for review in reviews(folder / path, {})]


def findings(some: list[Reviewed]) -> Iterator[tuple[str, str, Finding]]:
    """Each finding with its key and the file's path. The key does not depend on wording."""
    for path, review in some:
        for finding in review.findings:
            yield f"{path}:{finding.line} {finding.kind}", path, finding


def judged() -> dict[str, dict[str, str]]:
    """From the keys of findings to verdicts (true, false or undecided), with reasons."""
    if not JUDGEMENTS.is_file():
        return {}
    verdicts: dict[str, dict[str, str]] = json.loads(JUDGEMENTS.read_text(encoding="utf-8"))
    return verdicts


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.review")
    parser.add_argument("folder", type=Path, help="with the checked-out repositories")
    parser.add_argument("--unknown", action="store_true")
    parser.add_argument("--sample", action="store_true")
    parser.add_argument("--judged", action="store_true")
    parser.add_argument("--write-judgements", action="store_true")
    arguments = parser.parse_args()
    paths = examples(arguments.folder)
    of_all = not (arguments.sample or arguments.judged or arguments.write_judgements)
    some = reviewed(arguments.folder, paths if of_all else sample(paths))
    if arguments.unknown:
        unknown(some)
    elif arguments.sample:
        readable(arguments.folder, some)
    elif arguments.write_judgements:
        write_judgements(some)
    elif arguments.judged:
        false_alarms(some)
    else:
        table(some)


def table(everything: list[Reviewed]) -> None:
    """Fields understood by format, and findings by kind."""
    print(f"{'format':16}{'files':>7}{'fields':>8}{'understood':>12}")
    for name in sorted({item.review.format for item in everything}):
        some = [item for item in everything if item.review.format == name]
        fields = sum(item.review.fields for item in some)
        share = sum(item.review.understood for item in some) / fields
        bar = "" if share >= LEAST_UNDERSTOOD else f"  below {LEAST_UNDERSTOOD:.0%}"
        files = len({item.path for item in some})
        print(f"{name:16}{files:>7}{fields:>8,}{share:>12.1%}{bar}")
    kinds = Counter((finding.level, finding.kind) for _, _, finding in findings(everything))
    places = {kind: set[str]() for kind in kinds}
    for _, path, finding in findings(everything):
        places[finding.level, finding.kind].add(path)
    print(f"\n{'finding':28}{'level':10}{'count':>6}{'files':>7}")
    for (level, kind), count in kinds.most_common():
        print(f"{kind:28}{level:10}{count:>6}{len(places[level, kind]):>7}")


def readable(folder: Path, some: list[Reviewed]) -> None:
    """The findings of a sample as Markdown: line of the file, reason, source, proposed change."""
    last = ""
    for number, (key, path, finding) in enumerate(findings(some), 1):
        if path != last:
            print(f"\n## {path}\n")
            last = path
        lines = (folder / path).read_text(encoding="utf-8").splitlines()
        text = lines[finding.line - 1].strip() if finding.line else "(not in the file)"
        print(f"{number}. `{key}` ({finding.level}): {finding.what}. Line: `{text[:100]}`.")
        print(f"   Why: {finding.why} Source: {finding.source}. Fix: {finding.fix}")


def unknown(everything: list[Reviewed]) -> None:
    """Every field that no table explains, with how often it stands in a file."""
    for name in sorted({item.review.format for item in everything}):
        counts = Counter(
            field for _, review in everything if review.format == name for field in review.unknown
        )
        print(f"{name}: " + ", ".join(f"{field} {n}" for field, n in counts.most_common()))


def write_judgements(some: list[Reviewed]) -> None:
    """Keep verdicts of findings that are still there, and add the others as undecided."""
    before, after = judged(), dict[str, dict[str, Any]]()
    for key, _, finding in findings(some):
        verdict = before.get(key, {"verdict": "undecided", "reason": ""})
        after[key] = {**verdict, "what": finding.what}
    JUDGEMENTS.write_text(json.dumps(after, indent=1) + "\n", encoding="utf-8")
    print(f"{len(after)} findings, {sum(v['verdict'] == 'undecided' for v in after.values())} new")


def false_alarms(some: list[Reviewed]) -> None:
    """How many findings a reader calls false, and in how many files."""
    verdicts = judged()
    counts: Counter[str] = Counter()
    false: set[str] = set()
    for key, path, _ in findings(some):
        verdict = verdicts.get(key, {}).get("verdict", "undecided")
        counts[verdict] += 1
        if verdict == "false":
            false.add(path)
    files = len({item.path for item in some})
    print(f"{files} files, {counts.total()} findings: " + str(dict(counts)))
    share = len(false) / files if files else 0.0
    print(f"files with a false alarm: {len(false)} ({share:.1%}; at most {MOST_FALSE:.0%})")


if __name__ == "__main__":
    main()
