"""The contract between the core and features: the parts of a feature, and who calls them when.

A part is a module or a folder of YAML files with a fixed name in a feature's folder. A module
defines any of the hooks that are listed here for it, and what they need. A hook is a value that the
core reads, or a function that it calls; the text below it begins with its parameters. The core
imports a part when it calls its first hook, so that ``--help`` and a plan stay fast; only
``trial.py`` and helper files may load torch. A feature imports the core, never another feature:
what two features share is core.

When a hook raises an exception other than ``SweeperError``, a section, a phase or a listener costs
its own figure, and a warning names it. Anything else ends the command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from inspect import getdoc
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from pydantic import Field, create_model

from sweeper.artifact import Record
from sweeper.features import loader

if TYPE_CHECKING:
    from pathlib import Path

    from sweeper.constraints import Limit
    from sweeper.data.changes import ListedChange
    from sweeper.data.examples import Dataset, Example
    from sweeper.data.faults import DataFault
    from sweeper.data.rows import DataRows
    from sweeper.data.table import Fields
    from sweeper.errors import DataError, Problem
    from sweeper.execution.job import Briefing, WorkItem
    from sweeper.execution.pools.pool import Pool
    from sweeper.extras import MachineCheck
    from sweeper.facts.record import Facts, HardwareFacts, ModelFacts, StepExtra
    from sweeper.findings.figures import NotMeasured
    from sweeper.findings.findings import Findings, Limitation, NextStep
    from sweeper.findings.study.reading import RunFiles
    from sweeper.memory.setup import Setup
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
"""Raised when a hook changes, so that a feature of another package can tell."""

H = TypeVar("H")
R = TypeVar("R", bound=Record)
OptionsT = TypeVar("OptionsT", bound="Options")


@dataclass(frozen=True)
class Hook(Generic[H]):
    """A function or value that a part may define.

    Args:
        part: The name of the part's file.
        name: The name in the module.
    """

    part: str
    name: str

    def all(self) -> Iterator[tuple[str, H]]:
        """Name and definition of each installed feature that defines the hook, in their order."""
        for feature in loader.features_with(self.part):
            if (value := getattr(feature.load(self.part), self.name, None)) is not None:
                yield feature.name, value

    def of(self, feature: str) -> H:
        """The definition of one feature.

        Raises:
            UsageError: There is no such feature, or it does not have the part.
            AttributeError: The part does not define it.
        """
        return self.required(loader.find(feature, self.part).load(self.part))

    def defined_in(self, module: ModuleType) -> H | None:
        """The definition in a part; None if the part does not define the hook."""
        return getattr(module, self.name, None)

    def required(self, module: ModuleType) -> H:
        """The definition in a part.

        Raises:
            AttributeError: The part does not define the hook.
        """
        value: H = getattr(module, self.name)
        return value


def failure(feature: str, error: Exception) -> str:
    """The warning about a feature whose hook raised an unexpected exception."""
    return f"the feature {feature} failed, so its results are missing ({error!r})"


def record_of(features: Mapping[str, Any], name: str, kind: type[R]) -> R | None:
    """A feature's data in an artifact, as the feature's own type; None if there are none.

    Raises:
        pydantic.ValidationError: The data have another form.
    """
    return kind.model_validate(features[name]) if name in features else None


# options.py: the type of features.<name> in sweep.yaml. Read with every request.


class Options(Record):
    """The base class of a feature's options. With the defaults of all fields, it does nothing."""


class AllOptions(Record):
    """The options of all installed features, each under the feature's name."""

    def of(self, kind: type[OptionsT]) -> OptionsT:
        """The options of one feature, by their type.

        Raises:
            LookupError: No installed feature has options of this type.
        """
        return next(value for _, value in self if isinstance(value, kind))


@dataclass(frozen=True)
class Flag:
    """Metadata of an option's field: ``Annotated[int, Flag("--samples")]``.

    Args:
        name: The option on the command line; empty for none.
        plan: Whether ``sweeper plan`` takes the option, too, as it must if the feature has a
            ``cost.py``.
        identity: Whether the option is part of a run's identity, so that later calls may not change
            it.
        panel: The heading in the help of the command.
        is_path: Whether it is a path, kept as given in a run's ``sweep.yaml``.
        secret_url: Whether it is a URL, whose password is left out of a run's ``sweep.yaml``.
        commit_in: If it names data, the option that keeps their commit on the hub.
        limit: Whether it sets a limit (``constraint.py``), so that commands that measure more of a
            trial after the run take it, too.
        parameter: The parameter of strategies that it sets; empty for none.
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
    """The flags of all features, by the path of their key in ``sweep.yaml``."""
    return {
        ("features", name, field): flag
        for name, kind in OPTIONS.all()
        for field, info in kind.model_fields.items()
        for flag in info.metadata
        if isinstance(flag, Flag)
    }


class NamedData(NamedTuple):
    """Data that an option of a feature names.

    Args:
        commit: The commit of a data set of the hub, if it is known.
        commit_in: The option that keeps the commit.
    """

    feature: str
    option: str
    path: str
    commit: str | None
    commit_in: str


def named_data(features: AllOptions) -> Iterator[NamedData]:
    """The data that options of features name."""
    for (_, feature, option), flag in flags().items():
        options = getattr(features, feature)
        if flag.commit_in and (path := getattr(options, option)) is not None:
            commit = getattr(options, flag.commit_in)
            yield NamedData(feature, option, path, commit, flag.commit_in)


def without_passwords(spec: Spec) -> Spec:
    """The request without the passwords of URLs, for files and workers."""
    from sweeper.redaction import without_password  # loads more than a plan needs

    changed: dict[str, Options] = {}
    for (_, feature, field), flag in flags().items():
        options = changed.get(feature, getattr(spec.features, feature))
        if flag.secret_url and (url := getattr(options, field)):
            changed[feature] = options.model_copy(update={field: without_password(url)})
    return spec.model_copy(update={"features": spec.features.model_copy(update=changed)})


# corrections.py: what earlier runs teach about the intervals of a plan.

WIDEN: Hook[Callable[[Facts, str], float]] = Hook("corrections", "widen")
"""``widen(facts, prediction)``: a factor on the interval of a prediction, at least 1.

Pure: what it follows from is among the facts that the feature gathered.

Args:
    prediction: ``trial-time``; ``sweep-time``, on top of it; ``search-gain``; ``strategy-gap``;
        ``rule-gap``, the claims of single rules; ``memory-low`` and ``memory-high``, each for one
        end; ``best-strategy``, for the distance of the probability from a half.
"""


class OwnGaps(Protocol):
    """What earlier runs of this task observed of a strategy on models of this kind.

    Pure, as ``widen``.

    Returns:
        For each run the points against LoRA, each strategy by its best trial, and their standard
        error.
    """

    def __call__(
        self, facts: Facts, model: ModelFacts, strategy: str
    ) -> Sequence[tuple[float, float]]: ...


OWN_GAPS: Hook[OwnGaps] = Hook("corrections", "own_gaps")


# trial.py: the feature's additions to a training. Loaded by workers.

EXTEND: Hook[Callable[[TrialJob, Strategy], Extension | None]] = Hook("trial", "extend")
"""``extend(job, strategy)``: what the feature adds to one training; None for nothing.

Called before any base is loaded, with the first batches and again with smaller ones.

Raises:
    SweeperError: What was asked for cannot be done, so that the trial fails.
"""


# constraint.py: limits on what trials are measured by besides their loss.

CONSTRAINTS: Hook[Callable[[Spec], Iterable[Limit]]] = Hook("constraint", "limits")
"""``limits(spec)``: the limits that a request sets. Every reader of a limit, in every process, asks
here.
"""


# facts.py: facts of the feature that a plan needs.


# Facts by which conditions of rules may decide, besides those of the core. A flag whose name ends
# in _wanted is true where the user declares the parameter that it is a condition of.
FACTS: Hook[Sequence[Fact]] = Hook("facts", "FACTS")
CHECK: Hook[Callable[[Spec, bool], Iterable[Problem]]] = Hook("facts", "check")
"""``check(spec, for_run)``: checks a request before anything is read or trained.

Args:
    for_run: Whether it will be trained here, not only planned.
"""

HARDWARE: Hook[Callable[[HardwareFacts, bool], HardwareFacts]] = Hook("facts", "hardware")
"""``hardware(hardware, for_run)``: the detected hardware, without what does not work on it.

Args:
    for_run: Whether it will be trained here, so that a process may load torch.
"""

GATHER: Hook[Callable[[Spec, Facts, Dataset | None, bool], Record | None]] = Hook("facts", "gather")
"""``gather(spec, facts, dataset, for_run)``: the facts that the feature adds, kept under its name
in ``Facts.features``.

Args:
    facts: Those of the core.
    dataset: The rows of the task; None in a plan without data.
    for_run: Whether it will be trained here, so that a process may load torch.

Raises:
    SweeperError: What the request names cannot be used.
"""

IDENTITY: Hook[Callable[[Spec, Facts], object]] = Hook("facts", "identity")
"""``identity(spec, facts)``: what is part of a run's identity besides options, such as the digest
of a text.

It is made of what JSON knows. A later call of the run must give the same.
"""

WARNINGS: Hook[Callable[[Spec, Facts], Iterable[str]]] = Hook("facts", "warnings")
"""``warnings(spec, facts)``: sentences among the plan's warnings about the data."""

DOCTOR: Hook[Callable[[], Iterable[MachineCheck]]] = Hook("facts", "doctor")
"""``doctor()``: what works on this machine, for ``sweeper doctor``."""


# rows.py: changes to rows, and further rows.


# Before the split, of the rows of one source; after it, of the rows of all splits, of which only
# those of train may change.
BEFORE_SPLIT: Hook[Callable[[Spec, DataRows], Iterable[ListedChange]]] = Hook(
    "rows", "before_split"
)
AFTER_SPLIT: Hook[Callable[[Spec, DataRows], Iterable[ListedChange]]] = Hook("rows", "after_split")
"""``before_split(spec, rows)``, ``after_split(spec, rows)``: the changes to make to rows, as a
list.

Called if the feature's options are not all their defaults. The run's folder keeps the list, and
a resumed run applies it without a further call.

Raises:
    UsageError: A change that the request asks for cannot be made.
"""

FAULTS: Hook[Callable[[Spec, Dataset], Iterable[DataFault]]] = Hook("rows", "faults")
"""``faults(spec, dataset)``: faults that the core does not look for, found in seconds: each plan
warns of them.
"""


class Marks(NamedTuple):
    """How files mark rows that are made from others; these are in no split.

    Args:
        columns: A row with a value in one of them is marked.
        read: The example of a marked row, with its ``source`` and ``made_from``.
    """

    columns: frozenset[str]
    read: Callable[[Example, Fields], Example]


class FurtherRows(NamedTuple):
    """Rows to add to train, each with a ``source``, and warnings about them."""

    rows: tuple[Example, ...] = ()
    warnings: tuple[str, ...] = ()


MARKS: Hook[Marks] = Hook("rows", "MARKS")
OF_TRAIN: Hook[Callable[[Spec, Dataset], FurtherRows]] = Hook("rows", "of_train")
"""``of_train(spec, dataset)``: rows that trials may train on besides, after the split. Called
wherever rows are loaded.

Args:
    dataset: The three splits, so that held-out rows can be left out, and as ``further_rows``
        the marked rows of train.

Raises:
    DataError: What the request names cannot be used.
"""

# Parameters that choose among further rows, each with whether a trial with such a value trains on
# those of a source. An epoch has as many rows as there are originals, and each row is seen equally
# often on average.
SELECT: Hook[Mapping[str, Callable[[Scalar, str], bool]]] = Hook("rows", "SELECT")


# remedies.py: commands that mend the data.

MEND_FAULTS: Hook[Callable[[DataSpec, str], str]] = Hook("remedies", "mend_faults")
"""``mend_faults(data, kind)``: the command that removes the faults of this kind from a data set;
empty if none does.
"""

MEND_ERROR: Hook[Callable[[Spec, DataError], Problem | None]] = Hook("remedies", "mend_error")
"""``mend_error(spec, error)``: what makes the data usable in spite of an error, as advice; None if
nothing does.
"""


# cost.py: the feature's costs of candidates and of a study.

PLAN_PHASE: Hook[Callable[[Spec, StudyPhases], PhaseCost | None]] = Hook("cost", "plan_phase")
"""``plan_phase(spec, study)``: the cost of the feature's phase in such a study; None where it has
none.

The core decides whether an optional phase is planned. Called for each number of trials that
the planner considers.
"""

WITH_STAGE: Hook[Callable[[Spec, Facts, ModelFacts, Candidate, Setup], Candidate]] = Hook(
    "cost", "with_stage"
)
"""``with_stage(spec, facts, model, candidate, setup)``: a candidate with what the feature does
before its trials, if it does anything.

It may leave only those choices of the feature's parameters that fit the device, and add a
``Stage`` and notes on it.

Args:
    setup: The set-up in which the candidate trains the task.
"""

STEP: Hook[Callable[[Mapping[str, Scalar]], StepExtra]] = Hook("cost", "step")
"""``step(parameters)``: what the feature adds to each training step of a trial with these
parameters.
"""

# The parameters that ``step`` depends on.
STEP_PARAMETERS: Hook[Sequence[str]] = Hook("cost", "STEP_PARAMETERS")
SCORED_TOKENS: Hook[Callable[[Spec, int], tuple[int, int]]] = Hook("cost", "scored_tokens")
"""``scored_tokens(spec, cap)``: tokens that a trial is scored on for the feature: at each scored
rung, and at its end.

Args:
    cap: The most tokens of an example.
"""


# plan_output.py: what sweeper plan prints in place of a plan.


class ShowInPlace(Protocol):
    """Prints something else, if the feature's options ask for it. Returns whether they do."""

    def __call__(self, spec: Spec, *, as_json: bool) -> bool: ...


PLAN_OUTPUT: Hook[ShowInPlace] = Hook("plan_output", "show")


# starts.py: configurations to try before the search chooses.

PROPOSE: Hook[Callable[[Spec, Plan, Callable[[str], None]], Iterable[ProposedTrial]]] = Hook(
    "starts", "propose"
)
"""``propose(spec, plan, tell)``: trials for a plan, at most one a candidate. ``tell`` shows a line
to the user.
"""

REMEMBER: Hook[Callable[[RunFolder, Spec, Plan, str], None]] = Hook("starts", "remember")
"""``remember(run, spec, plan, ended_at)``: keeps what a later study may use, at the end of a
complete run. May raise ``OSError``.
"""


# trial.py: work in a worker, where torch is loaded.


class MadeBase(NamedTuple):
    """A base that replaces the model's own.

    Args:
        folder: Its weights and configuration, below that of ``cache.home()``. It is named by a
            digest of all that decides what is in it, and never changes.
        record: The record of it in results of trials.
        seconds: Seconds that this process took to make it; 0 if it existed already.
    """

    folder: Path
    record: Record
    seconds: float


PREPARE: Hook[Callable[[Bases], Callable[[TrialConfig, int], MadeBase | None]]] = Hook(
    "trial", "prepare"
)
"""``prepare(bases)``: gives bases for trials of one model, which several processes may ask for at
once.

It is called once in each worker. The function that it returns is called before each training,
with the trial and the micro-batch that its memory has room for; it gives None where the trial
trains on the model's own base. Only one feature may give a base for a trial.

Args:
    bases: The model, its data, and what is held of its bases in memory.
"""


class OutsideModel(Protocol):
    """A model that is scored on the items of the study, and that no trial trains.

    Attributes:
        name: The name of its files, which no other baseline has.
    """

    name: str

    def on_validation(self) -> BaselineResult:
        """Its scores, with ``reference`` where it is no reason against fine-tuning."""

    def on_test(self) -> TestScore:
        """Its scores on the test split, whose seal is open now."""


BASELINES: Hook[Callable[[ModelContext], Iterable[OutsideModel]]] = Hook("trial", "baselines")
"""``baselines(context)``: models to compare the trials with. Called once in each worker that scores
baselines.
"""


# phase.py: work before the first trial, and after the test split was scored.

BEGIN: Hook[Callable[[RunFolder, Spec, Plan], None]] = Hook("phase", "begin")
"""``begin(run, spec, plan)``: work of the command itself before it trains anything, in every call.
It takes no time.
"""


class Study(Protocol):
    """The run as a phase sees it, while workers are available.

    Attributes:
        seal: The order of the finalists, with their test scores.
        configs: Configurations of trials, by number.
        results: Results of ended trials, by number.
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
        """Let workers do the work items that are not done yet, as a phase of this name.

        Raises:
            Stopped: A signal or the time limit ends the call.
        """

    def warn(self, text: str) -> None:
        """Emit a warning, which the status keeps."""

    def fits(self, feature: str, seconds: float) -> bool:
        """Whether an optional phase of up to so many seconds runs; the log of the run says why.

        It runs if its cost is planned and so much is left of the budget and the time limit.
        """


AFTER_TEST: Hook[Callable[[Study], None]] = Hook("phase", "after_test")
"""``after_test(study)``: gives workers further work. Called again where it was interrupted, and
goes on then.
"""

FINISH: Hook[Callable[[RunFolder, Spec, Plan, Callable[[str], None]], None]] = Hook(
    "phase", "finish"
)
"""``finish(run, spec, plan, say)``: work of the command itself, after workers and search have
ended, on a complete run.

It is called at the end of every complete call, also when nothing was left to train, and the
time limit of the search does not apply. ``steps.winner`` finds the winner and its weights.

Args:
    say: Shows a line about it. If it is called, the time that the hook took is kept as a phase
        of the run; without a ``cost.py`` the report calls that phase unplanned.
"""


# commands.py: besides the commands, which need no hook.

ANSWERS: Hook[Callable[[], Mapping[str, Any]]] = Hook("commands", "answers")
"""``answers()``: from a command, such as ``data check``, to the type of what it prints with
``--json``.
"""


# section.py: a part of the report, from the files of a study to its figures and blocks. The
# core's own sections, in sweeper/reporting/sections/, have the same form.


@dataclass(frozen=True)
class Heading:
    """The heading of a section.

    Args:
        order: Sections come in this order. No two have the same.
        id: The id of the section on the page, and in ``report.json``.
        title: Its title, of two or three words.
    """

    order: int
    id: str
    title: str


HEADING: Hook[Heading] = Hook("section", "HEADING")
FIGURES: Hook[type[Record]] = Hook("section", "Figures")
COMPUTE: Hook[Callable[[RunFiles, Findings], Record | NotMeasured | None]] = Hook(
    "section", "compute"
)
"""``compute(run, findings)``: the figures of the section. None leaves the section out; a reason is
shown in its place.

Args:
    run: The files of the study.
    findings: The verdict and what else the core found. What sections add comes later.
"""

BLOCKS: Hook[Callable[[Any, Report], Iterable[Block]]] = Hook("section", "blocks")
"""``blocks(figures, report)``: what the page shows.

Args:
    figures: What ``compute`` gave, read back from ``report.json``; None without ``compute``.
    report: The verdict and the plan. A section reads no other section's figures.
"""

FINDING: Hook[Callable[[Any, Report], str]] = Hook("section", "finding")
"""``finding(figures, report)``: what the section found, in one line. An empty one leaves the
section out.

A section that has this hook is folded under the line, which ``report.md`` has as well.

Args:
    figures: As for ``blocks``.
"""

# Sentences that decide, below the verdict on the page, on the terminal and in report.md; on how
# sure the verdict is, among its limits; in MODEL_CARD.md.
BECAUSE: Hook[Callable[[Any, Findings], Iterable[str]]] = Hook("section", "because")
CONFIDENCE: Hook[Callable[[Any, Findings], Iterable[str]]] = Hook("section", "confidence")
CARD: Hook[Callable[[Any, Findings], Iterable[str]]] = Hook("section", "card")
"""``because(figures, findings)``, ``confidence(figures, findings)``, ``card(figures, findings)``:
sentences made of the section's figures.
"""

# Among the limits of the verdict; as the next step.
LIMITS: Hook[Callable[[Any, Findings], Iterable[Limitation]]] = Hook("section", "limits")
"""``limits(figures, findings)``: reasons to trust the verdict less, each with the action that
removes it.
"""

ADVISE: Hook[Callable[[Any, Findings], NextStep | None]] = Hook("section", "advise")
"""``advise(figures, findings)``: the one thing that would help next, as far as this section can
tell; None for nothing.

Sections are asked in their order, after what hinders a verdict.
"""


# comparison.py: a page that compares several runs.

COMPARE: Hook[Callable[[Sequence[RunFolder], Path], Sequence[str]]] = Hook("comparison", "compare")
"""``compare(runs, path)``: writes a page that compares runs. Returns a line on each two of them."""


# metric.py: a metric that needs more than answers and references.

SAMPLES: Hook[Callable[[Spec], int]] = Hook("metric", "samples")
"""``samples(spec)``: answers to each item whose programs are run; 0 where the request does not
allow that.
"""

RUN_PROGRAM: Hook[Callable[[str, Sequence[str]], bool]] = Hook("metric", "run_program")
"""``run_program(program, tests)``: whether a program that a model wrote passes its tests.

Raises:
    RunError: This machine cannot isolate a program; nothing was run.
"""


# pool.py: a place for workers, named by search.executor.

CONNECT: Hook[Callable[[RunFolder, Spec, Plan, Briefing], tuple[Pool, str]]] = Hook(
    "pool", "connect"
)
"""``connect(run, spec, plan, briefing)``: the pool, without workers yet, and why there will be
fewer than asked for (or nothing).

Raises:
    SweeperError: It cannot be used here.
"""


# listener.py: follows a run in a process of its own, which reads the run's folder.


class Listener(Protocol):
    """Follows one run. The user is told of an exception, and the call is made again later."""

    def catch_up(self) -> None:
        """Process the new content of the run's folder. Called about once a second."""

    def end(self, state: str) -> None:
        """Process the rest once, findings and report included.

        Args:
            state: ``complete``, ``interrupted``, ``timeout``, ``none-completed`` or ``failed``.
        """


WANTED: Hook[Callable[[Spec], Mapping[str, float]]] = Hook("listener", "wanted")
"""``wanted(spec)``: the listeners that a request asks for; each gets a process. Called before the
plan is made.

Returns:
    The seconds that each may take at the end of a run, by its name.

Raises:
    SweeperError: One of them cannot work here, or what it needs is missing.
"""

LISTEN: Hook[Callable[[str, RunFolder, Spec], Listener]] = Hook("listener", "listen")
"""``listen(name, run, spec)``: a listener, by one of the names. Called in its process.

It keeps files in ``listeners/FEATURE/`` of the run's folder. ``spec`` has the passwords that
the folder's ``sweep.yaml`` lacks.
"""
