"""A run whose finalists were scored on other tasks, for the sections that show what was lost."""

import json

import numpy as np

from sweeper.evaluation.task_scores import ModelScores, TaskScores, base_file, trial_file
from sweeper.reporting.compose import report_of
from sweeper.trials import Measure, TrialResult


def task(name, values, unit="points", kind="multiple-choice"):
    return TaskScores(
        task=name, digest="d", kind=kind, metric="acc" if unit == "points" else "loss",
        unit=unit, higher_is_better=unit == "points", shots=5, total_items=1140,
        keys=tuple(map(str, range(len(values)))), scores=tuple(map(float, values)),
        harness="lm-eval 0.4.13",
    )  # fmt: skip


def measured(run, names=("mmlu", "gsm8k")):
    """A run whose finalists lost something on several tasks, and whose trials were watched."""
    rng = np.random.default_rng(0)
    base = {name: (rng.random(200) < 0.5).astype(float) for name in names}
    loss = rng.normal(3.0, 0.4, 200)
    order = json.loads((run.path / "test.json").read_text())["order"]
    folder = run.path / "evaluations"
    tasks = [task(n, v) for n, v in base.items()] + [task("text", loss, "nats/token", "text")]
    ModelScores(model="m", dtype="float32", tasks=tuple(tasks)).write(base_file(folder, "k"))
    for number in order:
        strategy = json.loads((run.trial(number) / "config.json").read_text())["strategy"]
        share = [0.02, 0.2][: len(names)]
        tuned = [
            task(n, np.where(rng.random(200) < s, 0.0, base[n]))
            for n, s in zip(names, share, strict=False)
        ]
        tuned.append(task("text", loss + rng.normal(0.05, 0.05, 200), "nats/token", "text"))
        ModelScores(
            model="m", dtype="float32", trial=number, strategy=strategy, tasks=tuple(tuned)
        ).write(trial_file(folder, number))
    for path in run.trials.glob("*/result.json"):
        result = TrialResult.read(path)
        if result.validation_loss is not None:
            after = 3.0 + 0.02 / result.validation_loss
            lost = Measure(title="lost on general text", unit="nats/token", value=after, base=3.0)
            result.model_copy(update={"measures": {"general.text": lost}}).write(path)
    run.spec.write_text(run.spec.read_text() + "features:\n  forgetting:\n    max_points: 3\n")
    return report_of(run)
