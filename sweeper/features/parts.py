"""The contract between the core and the features: the hooks that a feature may define.

A feature is a folder. Its *parts* are modules with fixed names, such as ``rows.py``, and folders of
YAML files. A part defines some of the *hooks* listed here under its name: values that the core
reads, or functions that it calls. Each hook's text begins with its call. The core imports a part
when it first needs a hook of it, so that ``--help`` and a plan stay fast; only ``trial.py`` and
private modules may load torch. A feature imports the core, never another feature.

If a hook of ``section.py``, ``phase.py`` or ``listener.py`` raises an exception other than
``SweeperError``, a warning names the feature, its results are missing, and the command goes on. An
exception of any other part ends the command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from inspect import getdoc
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, Protocol, TypeVar

from pydantic import Field, create_model

from sweeper.artifact import Record
from sweeper.features import loader
from sweeper.safe_text import without_password

if TYPE_CHECKING:
    from pathlib import Path

    from sweeper.data.examples import DataFault, Dataset, Example
    from sweeper.data.rows import DataRows
    from sweeper.data.table import Fields
    from sweeper.data.write_rows import ListedChange
    from sweeper.errors import DataError, Problem
    from sweeper.execution.job import Briefing, WorkItem
    from sweeper.execution.pools.pool import Pool
    from sweeper.facts.record import Facts, HardwareFacts, ModelFacts, StepExtra
    from sweeper.findings.findings import Findings, Limitation, NextStep, NotMeasured
    from sweeper.findings.study.reading import RunFiles
    from sweeper.memory.setup import Setup
    from sweeper.objective import Limit
    from sweeper.planning.budget.study_phases import StudyPhases
    from sweeper.planning.rulebook.fact import Fact
    from sweeper.plans import Candidate, PhaseCost, Plan, ProposedTrial
    from sweeper.reporting.blocks import Block
    from sweeper.reporting.document import Report
    from sweeper.runfolder import RunFolder
    from sweeper.spec import DataSpec, Scalar, Spec
    from sweeper.strategies.strategy import Strategy
    from sweeper.training.base_model.bases import Bases
    from sweeper.training.base_model.context import ModelContext
    from sweeper.training.loop.extension import Extension
    from sweeper.training.trial.trial_job import TrialJob
    from sweeper.trials import BaselineResult, TestScore, TestSeal, TrialConfig, TrialResult

VERSION = 1
"""The version of the contract. It goes up when a hook changes."""

H = TypeVar("H")
R = TypeVar("R", bound=Record)
OptionsT = TypeVar("OptionsT", bound="Options")


@dataclass(frozen=True)
class Hook(Generic[H]):
    """A function or value that a part may define, of type ``H``.

    Args:
        part: The part's module, without ``.py``.
        name: The hook's name in that module.
    """

    part: str
    name: str

    def all(self) -> Iterator[tuple[str, H]]:
        """The name and the definition of each feature that defines the hook, in their order."""
        for feature in loader.features_with(self.part):
            if (value := getattr(feature.load(self.part), self.name, None)) is not None:
                yield feature.name, value

    def of(self, feature: str) -> H:
        """The definition of the named feature.

        Raises:
            UsageError: There is no such feature, or it does not have the part.
            AttributeError: The part does not define the hook.
        """
        return self.required(loader.find(feature, self.part).load(self.part))

    def defined_in(self, module: ModuleType) -> H | None:
        """The definition in the part's module; None if there is none."""
        return getattr(module, self.name, None)

    def required(self, module: ModuleType) -> H:
        """The definition in the part's module.

        Raises:
            AttributeError: The part does not define the hook.
        """
        value: H = getattr(module, self.name)
        return value


def failure(feature: str, error: Exception) -> str:
    """The warning about a feature whose hook raised an unexpected exception."""
    return f"the feature {feature} failed, so its results are missing ({error!r})"


def record_of(features: Mapping[str, Any], name: str, kind: type[R]) -> R | None:
    """What the feature of this name keeps in a file of a run; None if it keeps nothing.

    Args:
        features: The file's ``features`` field: for each feature, its data as JSON values.
        kind: The feature's type of the data.

    Raises:
        pydantic.ValidationError: The data do not have this type.
    """
    return kind.model_validate(features[name]) if name in features else None


# options.py: the options of the feature, which are features.<name> in sweep.yaml. Imported by every
# command that reads a request.


class Options(Record):
    """The base class of a feature's options. With all defaults, the feature does nothing."""


class AllOptions(Record):
    """The options of all installed features, each under the feature's name."""

    def of(self, kind: type[OptionsT]) -> OptionsT:
        """The options of the feature that has this type of options.

        Raises:
            LookupError: No installed feature has options of this type.
        """
        return next(value for _, value in self if isinstance(value, kind))


@dataclass(frozen=True)
class Flag:
    """How an option appears on the command line: ``samples: Annotated[int, Flag("--samples")]``.

    Args:
        name: The flag of ``sweeper run``; empty if the option is set in ``sweep.yaml`` only.
        plan: Whether ``sweeper plan`` has the flag too. A feature with a ``cost.py`` needs this.
        identity: Whether the option is part of the run's identity: a resumed run must have the same
            value.
        panel: The heading of the flag in ``--help``.
        is_path: Whether the value is a path. The run's ``sweep.yaml`` keeps it as the user typed
            it.
        secret_url: Whether the value is a URL whose password must not be written to
            ``sweep.yaml``.
        commit_in: If the value names a data set, the option that keeps the data set's commit.
        limit: Whether the option sets a limit on trials (``constraint.py``). Commands that score
            trials after the run then have the flag too.
        parameter: The strategies' parameter that the option fixes; empty for none.
    """

    name: str = ""
    plan: bool = False
    identity: bool = False
    panel: str = "Features"
    is_path: bool = False
    secret_url: bool = False
    commit_in: str = ""
    limit: bool = False
    parameter: str = ""


OPTIONS: Hook[type[Options]] = Hook("options", "Options")


@cache
def all_options() -> type[AllOptions]:
    """The type of ``features`` in ``sweep.yaml``, with the installed features."""
    fields: dict[str, Any] = {
        name: (kind, Field(default_factory=kind, description=f"feature {name}: {getdoc(kind)}"))
        for name, kind in OPTIONS.all()
    }
    return create_model("AllOptions", __base__=AllOptions, __doc__=AllOptions.__doc__, **fields)


def flags() -> dict[tuple[str, str, str], Flag]:
    """The flags of all features, by the path of the option in ``sweep.yaml``."""
    return {
        ("features", name, field): flag
        for name, kind in OPTIONS.all()
        for field, info in kind.model_fields.items()
        for flag in info.metadata
        if isinstance(flag, Flag)
    }


class NamedData(NamedTuple):
    """A data set that an option of a feature names.

    Args:
        commit: The data set's commit on the hub; None if it is not known or not on the hub.
        commit_in: The option that keeps the commit.
    """

    feature: str
    option: str
    path: str
    commit: str | None
    commit_in: str


def named_data(features: AllOptions) -> Iterator[NamedData]:
    """The data sets that options of features name."""
    for (_, feature, option), flag in flags().items():
        options = getattr(features, feature)
        if flag.commit_in and (path := getattr(options, option)) is not None:
            commit = getattr(options, flag.commit_in)
            yield NamedData(feature, option, path, commit, flag.commit_in)


def without_passwords(spec: Spec) -> Spec:
    """A copy of the request in which the URLs of features have no password."""
    changed: dict[str, Options] = {}
    for (_, feature, field), flag in flags().items():
        options = changed.get(feature, getattr(spec.features, feature))
        if flag.secret_url and (url := getattr(options, field)):
            changed[feature] = options.model_copy(update={field: without_password(url)})
    return spec.model_copy(update={"features": spec.features.model_copy(update=changed)})


# corrections.py: corrections to a plan that earlier runs on this machine suggest. Its functions are
# pure: they read the facts that the feature's gather() kept, and no files.

WIDEN: Hook[Callable[[Facts, str], float]] = Hook("corrections", "widen")
"""``widen(facts, prediction)``: the factor, at least 1, by which to widen a prediction's interval.

Args:
    prediction: The name of the prediction.

        - ``trial-time``: the time of a trial.
        - ``sweep-time``: the time of the sweep. Its interval is widened by the factor of
          ``trial-time``, too.
        - ``search-gain``: what the search gains over the default configuration.
        - ``strategy-gap``: the difference in quality between a strategy and LoRA.
        - ``rule-gap``: the same difference as a single rule claims it.
        - ``more-rows``: by how much twice the rows lower the winner's loss.
        - ``memory-low``, ``memory-high``: the lower and the upper end of the memory's interval.
        - ``best-strategy``, ``fine-tuning-pays``: the probability that a strategy is better than
          another, and than one with a frozen base model. The distance from one half is divided by
          the factor.
"""


class OwnGaps(Protocol):
    """How much better than LoRA a strategy was in earlier runs of the task on similar models.

    Returns:
        For each run, the difference between the best trials of the strategy and of LoRA, and its
        standard error, both in percentage points of the metric.
    """

    def __call__(
        self, facts: Facts, model: ModelFacts, strategy: str
    ) -> Sequence[tuple[float, float]]: ...


OWN_GAPS: Hook[OwnGaps] = Hook("corrections", "own_gaps")


# trial.py: the feature's additions to the training of a trial. Imported by workers only.

EXTEND: Hook[Callable[[TrialJob, Strategy], Extension | None]] = Hook("trial", "extend")
"""``extend(job, strategy)``: what the feature adds to one training; None for nothing.

Called before the base model is loaded, and once more for each retry with smaller batches.

Raises:
    SweeperError: The feature cannot do what the request asks for; the trial fails.
"""


# constraint.py: limits on measured quantities other than the loss, such as forgetting.

CONSTRAINTS: Hook[Callable[[Spec], Iterable[Limit]]] = Hook("constraint", "limits")
"""``limits(spec)``: the limits that a request sets."""


# facts.py: checks of the request, and facts that the plan needs.


# Facts that the conditions of rules and parameters may use, in addition to those of the core.
# Boolean facts whose name ends in _wanted count as true in the condition of a parameter that the
# user sets under ``parameters`` in sweep.yaml: to set the parameter switches its feature on.
FACTS: Hook[Sequence[Fact]] = Hook("facts", "FACTS")
CHECK: Hook[Callable[[Spec, bool], Iterable[Problem]]] = Hook("facts", "check")
"""``check(spec, for_run)``: the problems of a request, before data are read.

Args:
    for_run: Whether the command will train on this machine; False for ``sweeper plan``.
"""

HARDWARE: Hook[Callable[[HardwareFacts, bool], HardwareFacts]] = Hook("facts", "hardware")
"""``hardware(hardware, for_run)``: the detected hardware, without abilities that do not work in a
check.

Args:
    for_run: Whether the command will train on this machine. Only then may a child process load
        torch.
"""

GATHER: Hook[Callable[[Spec, Facts, Dataset | None, bool], Record | None]] = Hook("facts", "gather")
"""``gather(spec, facts, dataset, for_run)``: the feature's facts, kept under its name in
``Facts.features``; None for none.

Args:
    facts: The facts of the core.
    dataset: The rows of the task; None in a plan without data.
    for_run: Whether the command will train on this machine. Only then may a child process load
        torch.

Raises:
    SweeperError: Something that the request names, such as a file, cannot be used.
"""

IDENTITY: Hook[Callable[[Spec, Facts], object]] = Hook("facts", "identity")
"""``identity(spec, facts)``: the feature's part of a run's identity besides its options, such as
the digest of a file. A run is resumed only if this JSON value is the same as before.
"""

WARNINGS: Hook[Callable[[Spec, Facts], Iterable[str]]] = Hook("facts", "warnings")
"""``warnings(spec, facts)``: warnings about the data, which the plan shows."""


@dataclass(frozen=True)
class MachineCheck:
    """The result of one check of ``sweeper doctor``.

    ``off`` means that the user switched off what is checked. Nothing can be trained unless all
    checks with ``needed`` work.
    """

    name: str
    state: Literal["works", "does not work", "not installed", "off"]
    detail: str = ""
    fix: str = ""
    needed: bool = False


DOCTOR: Hook[Callable[[], Iterable[MachineCheck]]] = Hook("facts", "doctor")
"""``doctor()``: the feature's checks of this machine, which ``sweeper doctor`` shows."""


# rows.py: changes to the data's rows, and additional train rows.


BEFORE_SPLIT: Hook[Callable[[Spec, DataRows], Iterable[ListedChange]]] = Hook(
    "rows", "before_split"
)
AFTER_SPLIT: Hook[Callable[[Spec, DataRows], Iterable[ListedChange]]] = Hook("rows", "after_split")
"""``before_split(spec, rows)``, ``after_split(spec, rows)``: the changes to make to rows.

``before_split`` is called with the rows of each data source, ``after_split`` with the rows of all
splits, of which it may change only train rows. Both are called only if an option of the feature
differs from its default. The run's folder keeps the changes; a resumed run applies them without a
second call.

Raises:
    UsageError: A change that the request asks for cannot be made.
"""

FAULTS: Hook[Callable[[Spec, Dataset], Iterable[DataFault]]] = Hook("rows", "faults")
"""``faults(spec, dataset)``: faults of the data that the core does not look for. Every plan calls
this and warns of the faults, so it should take seconds at most.
"""


class Marks(NamedTuple):
    """How to recognise rows that were generated from other rows. They are put into no split.

    Args:
        columns: A row that has a value in one of these columns is a generated row.
        read: Adds to the example of a generated row its ``source`` and ``made_from``, from the
            row's fields.
    """

    columns: frozenset[str]
    read: Callable[[Example, Fields], Example]


class FurtherRows(NamedTuple):
    """Additional train rows, each with a ``source``, and warnings about them."""

    rows: tuple[Example, ...] = ()
    warnings: tuple[str, ...] = ()


MARKS: Hook[Marks] = Hook("rows", "MARKS")
OF_TRAIN: Hook[Callable[[Spec, Dataset], FurtherRows]] = Hook("rows", "of_train")
"""``of_train(spec, dataset)``: additional rows that trials may train on. Called after the split,
each time the data are loaded.

Args:
    dataset: The three splits. ``further_rows`` are the generated rows (see ``MARKS``) whose
        originals are in train.

Raises:
    DataError: Rows that the request names cannot be used.
"""

# Searched parameters that choose among the additional rows. The function gets the parameter's value
# and a row's source, and returns whether a trial trains on the row. An epoch has as many steps as
# without the additional rows.
SELECT: Hook[Mapping[str, Callable[[Scalar, str], bool]]] = Hook("rows", "SELECT")


# remedies.py: advice on commands that repair the data.

MEND_FAULTS: Hook[Callable[[DataSpec, str], str]] = Hook("remedies", "mend_faults")
"""``mend_faults(data, kind)``: the command that removes faults of this kind from the data; empty if
there is none.
"""

MEND_ERROR: Hook[Callable[[Spec, DataError], Problem | None]] = Hook("remedies", "mend_error")
"""``mend_error(spec, error)``: advice on how to use data that could not be read; None for none."""


# cost.py: predicted time and memory of what the feature does.

PLAN_PHASE: Hook[Callable[[Spec, StudyPhases], PhaseCost | None]] = Hook("cost", "plan_phase")
"""``plan_phase(spec, study)``: the cost of the feature's phase of the study; None if the study has
no such phase.

The planner calls it for each number of trials that it considers. It leaves an optional phase out if
the budget is too small.
"""

WITH_STAGE: Hook[Callable[[Spec, Facts, ModelFacts, Candidate, Setup], Candidate]] = Hook(
    "cost", "with_stage"
)
"""``with_stage(spec, facts, model, candidate, setup)``: the candidate with the feature's training
stage before its trials; the candidate itself if there is no such stage.

The function adds a ``Stage`` and notes, and removes values of the feature's parameters that do not
fit the device.

Args:
    setup: The training set-up of the candidate's trials.
"""

STEP: Hook[Callable[[Mapping[str, Scalar]], StepExtra]] = Hook("cost", "step")
"""``step(parameters)``: the work that the feature adds to each training step of a trial.

Args:
    parameters: The trial's parameters, of which the function reads those in ``STEP_PARAMETERS``.
"""

# The parameters that ``step`` reads.
STEP_PARAMETERS: Hook[Sequence[str]] = Hook("cost", "STEP_PARAMETERS")
SCORED_TOKENS: Hook[Callable[[Spec, int], tuple[int, int]]] = Hook("cost", "scored_tokens")
"""``scored_tokens(spec, cap)``: numbers of tokens that a trial is evaluated on for the feature: at
each rung, and at its end.

Args:
    cap: The maximum number of tokens of an example.
"""


# plan_output.py: other output of sweeper plan.


class ShowInPlace(Protocol):
    """Prints the feature's output in place of the plan, if its options ask for it.

    Returns:
        Whether it printed.
    """

    def __call__(self, spec: Spec, *, as_json: bool) -> bool: ...


PLAN_OUTPUT: Hook[ShowInPlace] = Hook("plan_output", "show")


# starts.py: trials that the search starts with.

PROPOSE: Hook[Callable[[Spec, Plan, Callable[[str], None]], Iterable[ProposedTrial]]] = Hook(
    "starts", "propose"
)
"""``propose(spec, plan, tell)``: trials to start with, at most one for each candidate of the plan.

Args:
    tell: Prints a line for the user.
"""

REMEMBER: Hook[Callable[[RunFolder, Spec, Plan, str], None]] = Hook("starts", "remember")
"""``remember(run, spec, plan, ended_at)``: saves what later runs may propose. A complete run calls
it at its end.

Raises:
    OSError: Nothing can be saved. The core ignores this.
"""


# trial.py: base models and baselines.


class MadeBase(NamedTuple):
    """A base model that the feature made, and that a trial trains in place of the given model.

    Args:
        folder: Its weights and configuration, in a folder below ``cache.home()`` whose name is a
            digest of everything that determines the weights. It is never changed.
        record: How it was made, for the results of trials.
        seconds: Seconds that this process took to make it; 0 if it existed already.
    """

    folder: Path
    record: Record
    seconds: float


PREPARE: Hook[Callable[[Bases], Callable[[TrialConfig, int], MadeBase | None]]] = Hook(
    "trial", "prepare"
)
"""``prepare(bases)``: a function that makes base models. Called once in each worker.

The function is called before each training, with the trial's configuration and the micro-batch that
fits into memory. It returns None if the trial trains the model as it is. Workers may call it at the
same time for the same base. Only one feature may return a base for a trial.

Args:
    bases: The model, its data, and the cache of base models in memory.
"""


class OutsideModel(Protocol):
    """A baseline of the feature: a model that no trial trains, scored on the same items.

    Attributes:
        name: A unique name, used for the files of its scores.
    """

    name: str

    def on_validation(self) -> BaselineResult:
        """Its scores on the validation split.

        ``reference`` is true for a model that is shown for comparison only: the verdict does not
        advise against fine-tuning because of it.
        """

    def on_test(self) -> TestScore:
        """Its scores on the test split. Called after the finalists are ranked."""


BASELINES: Hook[Callable[[ModelContext], Iterable[OutsideModel]]] = Hook("trial", "baselines")
"""``baselines(context)``: the feature's baselines. Called once in each worker that scores some."""


# phase.py: work before the first trial, after the test scores, and at the end.

BEGIN: Hook[Callable[[RunFolder, Spec, Plan], None]] = Hook("phase", "begin")
"""``begin(run, spec, plan)``: short work in the main process before anything is trained. A resumed
run calls it again.
"""


class Study(Protocol):
    """A run whose workers are still available to a phase.

    Attributes:
        seal: The ranking of the finalists, with their test scores.
        configs: The configuration of each trial, by trial number.
        results: The result of each trial that has ended, by trial number.
        workers: The number of workers.
    """

    run: RunFolder
    spec: Spec
    plan: Plan
    seal: TestSeal

    @property
    def configs(self) -> Mapping[int, TrialConfig]: ...

    @property
    def results(self) -> Mapping[int, TrialResult]: ...

    @property
    def workers(self) -> int: ...

    def train(self, feature: str, items: Sequence[WorkItem]) -> None:
        """Have the workers do those work items that are not done yet.

        Args:
            feature: The name of the feature, which is the name of the phase.

        Raises:
            Stopped: A signal or the time limit ends the run.
        """

    def warn(self, text: str) -> None:
        """Show a warning and keep it in the run's status."""

    def fits(self, feature: str, seconds: float) -> bool:
        """Whether an optional phase has enough time. If not, the run's log says why.

        Args:
            feature: The name of the feature.
            seconds: The upper estimate of what the phase takes. It has enough time if the plan
                includes the phase, and budget and time limit leave as much.
        """


AFTER_TEST: Hook[Callable[[Study], None]] = Hook("phase", "after_test")
"""``after_test(study)``: gives the workers work after the test split was scored. A resumed run
calls it again; it then continues.
"""

FINISH: Hook[Callable[[RunFolder, Spec, Plan, Callable[[str], None]], None]] = Hook(
    "phase", "finish"
)
"""``finish(run, spec, plan, say)``: work in the main process on a complete run, after the workers
have ended.

It is called whenever a run completes, even if nothing was left to train. The time limit of the
search does not apply. ``sweeper.steps.winner`` finds the winner and its weights.

Args:
    say: Prints a line for the user. If the hook calls ``say``, the hook's time is recorded as a
        phase of the run, which the report lists as unplanned if the feature has no ``cost.py``.
"""


# commands.py: the feature's commands, which the core finds without a hook, and their output types.

ANSWERS: Hook[Callable[[], Mapping[str, Any]]] = Hook("commands", "answers")
"""``answers()``: the type that each command with ``--json`` prints, by command, such as
``data check``.
"""


# section.py: a section of the report. The core's own sections, in sweeper/reporting/sections/, have
# the same form.


@dataclass(frozen=True)
class Heading:
    """The heading of a section.

    Args:
        order: The section's place on the page: a unique number; sections are sorted by it.
        id: The section's key in ``report.json``, and its anchor on the page.
        title: Two or three words.
    """

    order: int
    id: str
    title: str


HEADING: Hook[Heading] = Hook("section", "HEADING")
FIGURES: Hook[type[Record]] = Hook("section", "Figures")
COMPUTE: Hook[Callable[[RunFiles, Findings], Record | NotMeasured | None]] = Hook(
    "section", "compute"
)
"""``compute(run, findings)``: the section's figures. None leaves the section out; ``NotMeasured``
shows its reason instead.

Args:
    run: The files of the run.
    findings: The findings of the core, without those that sections add.
"""

BLOCKS: Hook[Callable[[Any, Report], Iterable[Block]]] = Hook("section", "blocks")
"""``blocks(figures, report)``: the texts, tables and charts of the section.

Args:
    figures: The result of ``compute``, read back from ``report.json``; None without ``compute``.
    report: The verdict and the plan. A section does not read the figures of another.
"""

FINDING: Hook[Callable[[Any, Report], str]] = Hook("section", "finding")
"""``finding(figures, report)``: the section's result in one line; an empty line leaves the section
out.

The page shows the line, and the section when the reader opens it. ``report.md`` has the line too.

Args:
    figures: As for ``blocks``.
"""

BECAUSE: Hook[Callable[[Any, Findings], Iterable[str]]] = Hook("section", "because")
CONFIDENCE: Hook[Callable[[Any, Findings], Iterable[str]]] = Hook("section", "confidence")
CARD: Hook[Callable[[Any, Findings], Iterable[str]]] = Hook("section", "card")
"""``because(figures, findings)``, ``confidence(figures, findings)``, ``card(figures, findings)``:
sentences made of the section's figures.

``because`` supports the verdict, and is shown below it on the page, on the terminal and in
``report.md``. ``confidence`` says how certain the verdict is, and is shown among its limits.
``card`` goes into ``MODEL_CARD.md``.
"""

LIMITS: Hook[Callable[[Any, Findings], Iterable[Limitation]]] = Hook("section", "limits")
"""``limits(figures, findings)``: limits of the verdict, each with the action that removes it."""

ADVISE: Hook[Callable[[Any, Findings], NextStep | None]] = Hook("section", "advise")
"""``advise(figures, findings)``: a next step that the section recommends; None for none.

The report shows one next step: the core's own if there is one, otherwise that of the first section.
"""


# comparison.py: a page that compares several runs.

COMPARE: Hook[Callable[[Sequence[RunFolder], Path], Sequence[str]]] = Hook("comparison", "compare")
"""``compare(runs, path)``: writes a page that compares runs; returns a line for each pair."""


# metric.py: a metric that runs generated programs.

SAMPLES: Hook[Callable[[Spec], int]] = Hook("metric", "samples")
"""``samples(spec)``: how many answers to each item are run as programs; 0 if the request does not
allow running programs.
"""

RUN_PROGRAM: Hook[Callable[[str, Sequence[str]], bool]] = Hook("metric", "run_program")
"""``run_program(program, tests)``: whether a generated program passes its tests.

Raises:
    RunError: This machine cannot isolate the program, so it was not run.
"""


# pool.py: where workers run, if search.executor names the feature.

CONNECT: Hook[Callable[[RunFolder, Spec, Plan, Briefing], tuple[Pool, str]]] = Hook(
    "pool", "connect"
)
"""``connect(run, spec, plan, briefing)``: the pool, before its workers start, and the reason if it
has room for fewer workers than requested (otherwise an empty text).

Raises:
    SweeperError: The pool cannot be used here.
"""


# listener.py: follows a run from a process of its own, by reading the run's folder.


class Listener(Protocol):
    """Follows one run. A call that raises an exception is repeated after a warning."""

    def catch_up(self) -> None:
        """Process the new content of the run's folder. Called about once a second."""

    def end(self, state: str) -> None:
        """Process the remaining content, with findings and report. Called once, at the end.

        Args:
            state: ``complete``, ``interrupted``, ``timeout``, ``none-completed`` or ``failed``.
        """


WANTED: Hook[Callable[[Spec], Mapping[str, float]]] = Hook("listener", "wanted")
"""``wanted(spec)``: the names of the listeners that a request asks for, each with the seconds that
it may take at the end of a run. Called before the plan is made. Each listener gets a process.

Raises:
    SweeperError: A listener cannot work here, or lacks a package.
"""

LISTEN: Hook[Callable[[str, RunFolder, Spec], Listener]] = Hook("listener", "listen")
"""``listen(name, run, spec)``: the listener of this name. Called in its own process.

A listener may write to ``listeners/FEATURE/`` in the run's folder. ``spec`` has the passwords,
which ``sweep.yaml`` in that folder lacks.
"""
