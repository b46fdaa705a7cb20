"""The tasks that are recorded: which rows of which public data set, and one full budget of each.

Knows what a task is made of; nothing of training or replay.
"""

from __future__ import annotations

import ast
import os
import pydoc_data.topics
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import json_lines
from benchmarks.json_lines import Row
from sweeper.facts.models.packaged import ready_folder
from sweeper.spec import AimSpec, DataSpec, ModelSpec, Spec, TrainingSpec

# Where the rows of a split come from. What a method is judged on decides how fine a difference can
# be seen, so that all rows that the data set holds out are validated on; its test split, which
# trials never see but a data folder must have, comes from the far end of the train rows.
SOURCES = {"train": ("train",), "validation": ("validation", "test"), "test": ("train",)}
TEST_ROWS = 100
# Validation items scored below the last rung, where a task does not say otherwise. A plan may use
# fewer of them, which replay then takes from these.
RUNG_ITEMS = 96
MINILM, SMOLLM2 = "packaged:minilm", "packaged:smollm2"


@dataclass(frozen=True)
class RecordedTask:
    """One task of the benchmark.

    Args:
        name: Of its table.
        source: Folder of the data set, with train, validation and test in JSON lines, or what
            ``DERIVED`` makes of one.
        rows: Rows of train and of validation.
        classes: How many classes, by name; None for all.
        after: How many classes, by name, are passed over.
        uneven: Whether class k has only 1/(1 + k/2) of the rows that the first has.
        epochs: One full budget; None to search how many up to what the planner says.
        kept: Whether the search was tuned without looking at it.
        written: The columns to write from and the text to write, where no class is asked for.
        rung_items: Validation items scored below the last rung.
        longest: Characters of a text; what is longer is cut.
        layers: How many of the encoder's layers are kept; all where this is None.
    """

    name: str
    source: str
    rows: tuple[int, int]
    classes: int | None = None
    after: int = 0
    uneven: bool = False
    epochs: float | None = 1.0
    kept: bool = False
    written: tuple[str, str] | None = None
    rung_items: int = RUNG_ITEMS
    longest: int = 100_000
    layers: int | None = None

    def model(self, out: Path) -> str:
        """The base model: a decoder where something is written. Fewer layers have a folder."""
        if self.layers is None:
            return MINILM if self.written is None else SMOLLM2
        folder = out / f"minilm-{self.layers}"
        if not folder.is_dir():
            from transformers import AutoModel, AutoTokenizer  # which takes seconds

            whole = ready_folder(MINILM)
            model = AutoModel.from_pretrained(whole, num_hidden_layers=self.layers)
            model.save_pretrained(folder)
            AutoTokenizer.from_pretrained(whole).save_pretrained(folder)
        return str(folder)

    def spec(self, data: Path) -> Spec:
        """What ``sweeper run`` would be asked for, with the rows of a folder."""
        classes = self.written is None
        columns = ("text", "label") if classes else ("instruction", "output")
        return Spec(
            name=self.name,
            task="classification" if classes else "instruction",
            models=(ModelSpec(id=self.model(data.parent)),),
            data=DataSpec(path=str(data), columns={name: name for name in columns}),
            aim=AimSpec(strategies=("head", "lora", "full") if classes else ("lora", "full")),
            training=TrainingSpec(epochs=self.epochs),
        )

    def write_rows(self, source: Path, to: Path) -> None:
        """Write the task's own splits into a folder."""
        to.mkdir(parents=True, exist_ok=True)
        wanted = dict(zip(SOURCES, (*self.rows, TEST_ROWS), strict=True))
        for split, count in wanted.items():
            read = DERIVED.get(self.source, _file_rows)
            rows = [row for name in SOURCES[split] for row in read(source / self.source, name)]
            rows = self._chosen(rows[::-1] if split == "test" else rows, count)
            json_lines.write(to / f"{split}.jsonl", rows)

    def _chosen(self, rows: list[Row], count: int) -> list[Row]:
        if self.written is not None:  # the files are shuffled
            given, asked = self.written
            return [
                {"instruction": one[given], "output": one.get(asked) or one[f"{asked}s"][0]}
                for one in rows[:count]  # of several references the first
            ]
        kept = self._of_classes(rows, count)
        return [{"text": one["text"][: self.longest], "label": one["label"]} for one in kept]

    def _of_classes(self, rows: list[Row], count: int) -> list[Row]:
        labels = sorted({row["label"] for row in rows})[self.after :][: self.classes]
        rows = [row for row in rows if row["label"] in set(labels)]
        share = self._share(labels)
        per_class = count / sum(share(label) for label in labels)
        kept: list[Row] = []
        taken: Counter[str] = Counter()
        for row in rows:  # the files are shuffled
            label = row["label"]
            if self.classes is None or taken[label] < per_class * share(label):
                kept.append(row)
                taken[label] += 1
        return kept[:count] if self.classes is None else kept

    def _share(self, labels: list[str]) -> Callable[[str], float]:
        if not self.uneven:
            return lambda label: 1.0
        return lambda label: 1 / (1 + labels.index(label) / 2)


def _file_rows(folder: Path, split: str) -> list[Row]:
    return json_lines.read(folder / f"{split}.jsonl")


def _topic_rows(_: Path, split: str) -> list[Row]:
    """Passages of the reference of Python's language, each with its topic."""
    return _split([
        {"text": text[start : start + PASSAGE], "label": topic}
        for topic, text in pydoc_data.topics.topics.items()
        if topic in TOPICS
        for start in range(0, len(text) - PASSAGE + 1, PASSAGE)
    ], split)  # fmt: skip


def _statement_rows(_: Path, split: str) -> list[Row]:
    """The last statements of functions of Python's library, each with its package."""
    rows = []
    for package in PACKAGES:
        for file in sorted((Path(os.__file__).parent / package).glob("*.py")):
            text = file.read_text(encoding="utf-8")
            lines = text.splitlines()
            functions = [f for f in ast.walk(ast.parse(text)) if isinstance(f, ast.FunctionDef)]
            last = [(f.body[-1].lineno, f.body[-1].end_lineno) for f in functions]
            codes = ["\n".join(lines[first - 1 : end]).strip() for first, end in last]
            rows += [{"text": code, "label": package} for code in codes if len(code) >= 60]
    return _split(rows, split)


def _split(rows: list[Row], split: str) -> list[Row]:
    random.Random(13).shuffle(rows)
    return rows[::2] if split == "train" else rows[1::4] if split == "validation" else rows[3::4]


def _section_rows(folder: Path, split: str) -> list[Row]:
    """Parts of the abstracts of PubMedQA, each with the section that it is of."""
    rows = [
        {"text": text, "label": section}
        for row in _file_rows(folder.parent / "pubmedqa", split)
        for text, section in zip(row["contexts"], row["context_labels"], strict=True)
        if section in SECTIONS
    ]
    random.Random(13).shuffle(rows)
    return rows


def _prompt_rows(folder: Path, split: str) -> list[Row]:
    """The first words of T0's prompts, each with the data set that it is made of."""
    rows = _file_rows(folder.parent / "t0_instruct_mix", split)
    return [{"text": row["instruction"], "label": row["source"]} for row in rows]


# Characters of a passage, some 170 tokens, and topics that have at least fourteen of them.
PASSAGE = 700
TOPICS = (
    "specialnames", "compound", "types", "formatstrings", "string-methods", "typesseq", "debugger",
    "attribute-access", "customization", "typesmapping", "assignment", "comparisons",
)  # fmt: skip
PACKAGES = ("asyncio", "email", "http", "importlib", "multiprocessing", "tkinter", "unittest")
SECTIONS = ("BACKGROUND", "METHODS", "OBJECTIVE", "RESULTS")
# Sources whose rows are made of another's.
DERIVED: dict[str, Callable[[Path, str], list[Row]]] = {
    "python_statements": _statement_rows,
    "python_topics": _topic_rows,
    "pubmed_sections": _section_rows,
    "t0_prompts": _prompt_rows,
}

TASKS = {
    task.name: task
    for task in (
        RecordedTask("wellformed", "query_wellformed", rows=(1200, 1200)),
        RecordedTask("few-queries", "query_wellformed", rows=(480, 1200), epochs=None),
        RecordedTask("intents", "banking77", rows=(960, 1248), classes=24),
        RecordedTask("uneven-intents", "banking77", rows=(720, 1100), classes=28, uneven=True),
        RecordedTask("assistant", "snips7", rows=(560, 1190), classes=7),
        RecordedTask("payments", "banking77", rows=(640, 1200), classes=16, after=40, kept=True),
        RecordedTask("restaurants", "e2e_nlg", rows=(64, 48), written=("mr", "ref"), rung_items=6),
        # Recorded after the search was fixed, to judge it.
        RecordedTask(
            "many-classes",
            "banking77",
            (231, 308),
            classes=77,
            epochs=2,
            kept=True,
            rung_items=32,
            longest=60,
            layers=2,
        ),
        RecordedTask(
            "long-texts", "python_topics", (80, 120), epochs=2, kept=True, rung_items=16, layers=1
        ),
        RecordedTask(
            "domain",
            "pubmed_sections",
            (72, 200),
            epochs=None,
            kept=True,
            rung_items=24,
            longest=80,
            layers=2,
        ),
        RecordedTask(
            "code", "python_statements", (160, 240), kept=True, rung_items=24, longest=80, layers=2
        ),
        RecordedTask(
            "prompts", "t0_prompts", (320, 240), classes=10, kept=True, rung_items=32, longest=60
        ),
    )
}


KEPT = tuple(name for name, task in TASKS.items() if task.kept)
