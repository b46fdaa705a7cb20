"""Every kind of fault in real data: ``python -m tests.features.quality.table FOLDER [SET ...]``.

Prints the share of planted faults that is found, and false alarms among the other rows beyond
what is found before planting. A star marks what misses the bar.
"""

import copy
import random
import sys
import tempfile
from pathlib import Path

from sweeper.features.quality._kinds.base import kinds
from tests.features.quality.planting import CASES, PLANTS, plain
from tests.features.quality.test_kinds import FALSE_ALARMS, RECALL

SETS = {
    "banking77": ("text", "label"),
    "snips7": ("text", "label"),
    "query_wellformed": ("text", "label"),
    "gsm8k": ("question", "answer"),
    "e2e_nlg": ("mr", "ref"),
    "t0_instruct_mix": ("instruction", "output"),
    "self_instruct_seed": ("instruction", "output"),
    "mbpp": ("text", "code"),
    "pubmedqa": ("question", "long_answer"),
    "ntrex_en_de": ("source", "target"),
}


def found(planted, kind, folder):
    data = planted.read(folder)
    if kind.why_unchecked(data):
        return None
    rows = [data.rows[fault.row_index] for fault in kind.find(data)]
    return {(row.split, row.line) for row in rows}


def main(folder, names):
    for name, (text, answer) in SETS.items():
        if names and name not in names:
            continue
        clean = plain(folder / name, text, answer)
        for kind, classes in CASES:
            if classes != clean.classes or kinds()[kind].instead_of:
                continue
            planted = copy.deepcopy(clean)
            with tempfile.TemporaryDirectory() as before, tempfile.TemporaryDirectory() as after:
                try:
                    PLANTS[kind][0](planted, random.Random(1))
                except ValueError:
                    continue  # too few rows to spoil
                first = found(clean, kinds()[kind], Path(before)) or set()
                second = found(planted, kinds()[kind], Path(after))
            if second is None:
                print(f"{name:20} {kind:18} not looked for", flush=True)
                continue
            rows = sum(map(len, planted.rows.values()))
            recall = len(second & planted.lines) / len(planted.lines)
            false = len(second - planted.lines - first) / (rows - len(planted.lines))
            star = "" if recall >= RECALL and false <= FALSE_ALARMS else " *"
            share = len(first) / rows
            print(
                f"{name:20} {kind:18} found {recall:4.0%}, false alarms {false:5.1%}, "
                f"before planting {share:5.1%}{star}",
                flush=True,
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
