"""What the user asks for: the flags of a command or ``sweep.yaml``, resolved and complete.

Only types live here. Reading YAML with line numbers and near matches is ``sweeper.specfile``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sweeper.artifact import Artifact, Record

Task = Literal["classification", "instruction", "code", "domain"]
TASKS: tuple[Task, ...] = ("classification", "instruction", "code", "domain")

Scalar = bool | int | float | str

PositiveInt = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]


class ModelSpec(Record):
    """One base model.

    ``id`` is a hub id, a local folder, ``packaged:NAME``, or a bare size such as ``7B`` (a size
    can be planned for but not trained).
    """

    id: str = Field(min_length=1)
    revision: str | None = None
    trust_remote_code: bool = False


class DataSpec(Record):
    """Where the examples are, or how many there would be.

    ``path`` is a file, or a folder with official splits. ``columns`` maps a role of a row format
    (``text``, ``label``, ``prompt``, ...) to the column that plays it. ``examples`` stands in for
    a data set that is not at hand.
    """

    path: str | None = None
    validation: str | None = None
    test: str | None = None
    corpus: str | None = Field(None, description="domain task: text to continue pretraining on")
    corpus_rows: PositiveInt | None = Field(None, description="read so many documents of it only")
    general: str | None = Field(None, description="general data for replay and forgetting")
    format: str = "auto"
    columns: dict[str, str] = Field(default_factory=dict)
    examples: PositiveInt | None = None
    max_rows: PositiveInt | None = None
    validation_fraction: Fraction = 0.15
    test_fraction: Fraction = 0.15
    split_seed: int = 0


class HardwareSpec(Record):
    """The machine, where it is stated and not detected. Memory is per GPU."""

    gpu: str | None = None
    gpu_memory_gib: float | None = Field(None, gt=0)
    gpus: PositiveInt | None = None
    nodes: PositiveInt = 1
    price_per_gpu_hour: float | None = Field(None, ge=0)


class AimSpec(Record):
    """What the result is for.

    Args:
        strategies: Strategies to consider; all that are known if None.
        budget: ``8gpuh``, ``30usd`` or ``2h``: what search, confirmation and suite may
            use together.
        tasks_on_one_base: How many tasks will share the base model (adapters can be swapped).
        domain_distance: How far the data lies from the base model's pretraining, if the user
            knows better than the measurement.
        margin_points: Differences below this many points of the task's metric do not matter.
        max_forgetting_points: Loss of general capability that the recommendation must respect.
    """

    strategies: tuple[str, ...] | None = None
    budget: str | None = None
    tasks_on_one_base: PositiveInt = 1
    domain_distance: Literal["near", "far"] | None = None
    margin_points: float = Field(1.0, ge=0)
    max_forgetting_points: float | None = Field(None, ge=0)


ClassWeight = Literal["none", "balanced-sqrt", "balanced"]


class TrainingSpec(Record):
    """Choices that hold for every trial; None leaves them to the plan."""

    epochs: float | None = Field(None, gt=0)
    max_length: PositiveInt | None = None
    precision: Literal["fp32", "bf16-mixed", "fp16-mixed", "bf16-pure"] | None = None
    gradient_checkpointing: bool | None = None
    system_prompt: str | None = None
    replay_share: float | None = Field(
        None, ge=0, lt=1, description="share of general tokens in training; 0 for none"
    )
    kl_weight: float | None = Field(
        None, ge=0, description="weight of the KL divergence to the base; 0 for none"
    )
    early_stopping_patience: PositiveInt | None = Field(
        None, description="end a trial after so many rungs without a better validation loss"
    )
    stop_overfitting: bool | None = Field(
        None,
        description="end a trial that overfits, with its best weights; by default where rows are "
        "seen more than once",
    )
    classes_by: Literal["head", "generate"] = Field(
        "head", description="classification: a linear head, or writing the class's name"
    )
    class_weight: ClassWeight | None = Field(
        None, description="how much rare classes count in the training loss of a new head"
    )


class EvaluationSpec(Record):
    """What is measured besides losses, once the test split is open.

    Args:
        generate_items: Test items that the base model and the finalists answer in writing; 0 for
            none, None for 16 on a CPU and 256 on a GPU.
        run_generated_code: Whether answers may be run against the items' tests.
        code_samples: Sampled answers to each item for pass@k; one greedy answer if 1.
        suite: Folder or YAML file of lm-eval tasks that the base and the finalists are scored by.
    """

    generate_items: Annotated[int, Field(ge=0)] | None = None
    run_generated_code: bool = False
    code_samples: PositiveInt = 1
    suite: str | None = None


class SearchSpec(Record):
    """How the study is run. ``trials`` is the study's total, over all its resumptions."""

    trials: PositiveInt = 20
    timeout_seconds: float | None = Field(None, gt=0)
    workers: PositiveInt = 1
    executor: str = "local"
    ray_address: str | None = Field(None, description="a Ray cluster, instead of this machine")
    storage: str | None = None
    seed: int = 0
    sampler: str = "sweeper"
    pruner: str = "sweeper"
    target_loss: float | None = Field(
        None, gt=0, description="end the search at the first completed trial at or below this loss"
    )
    warm_start: bool = Field(
        False, description="try early what earlier studies on similar facts found best"
    )
    stop_when_settled: bool = Field(
        False, description="end it once the next trial would gain less than noise shows"
    )
    confirmation_seeds: PositiveInt = 3
    finalists: PositiveInt = 3


class OwnTrial(Record):
    """A configuration of the user's own, to be beaten by the search.

    ``model`` is the ``id`` of one of several models; the first that has the strategy if not given.
    """

    strategy: str
    model: str | None = None
    parameters: dict[str, Scalar] = Field(default_factory=dict)


class Spec(Artifact):
    """Everything that a sweep was asked for. ``sweep.yaml`` has exactly these keys.

    Part of a run's identity: ``task``, ``models``, ``data``, ``aim.strategies``, ``training``,
    ``search.seed``. ``evaluation`` and the rest of ``search`` may change between calls.
    """

    name: str | None = None
    task: Task
    models: tuple[ModelSpec, ...] = Field(min_length=1)
    data: DataSpec = Field(default_factory=lambda: DataSpec())
    hardware: HardwareSpec = Field(default_factory=lambda: HardwareSpec())
    aim: AimSpec = Field(default_factory=lambda: AimSpec())
    training: TrainingSpec = Field(default_factory=lambda: TrainingSpec())
    search: SearchSpec = Field(default_factory=lambda: SearchSpec())
    evaluation: EvaluationSpec = Field(default_factory=lambda: EvaluationSpec())
    trials: tuple[OwnTrial, ...] = Field((), description="own configurations to beat")
    rules: tuple[str, ...] = Field((), description="folders with rules that add or override")
