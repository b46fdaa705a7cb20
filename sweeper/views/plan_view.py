"""A plan for people to read: what to start with, at what cost, why, and the next command.

At default verbosity the plan for one model fits on a screen: where it would not, whole paragraphs
that explain more than they decide are left out.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich.console import Console
from rich.markup import escape

from sweeper import units
from sweeper.data.faults import by_kind
from sweeper.data.long_rows import IN_WORDS
from sweeper.facts.record import DataFacts, DomainFacts, Facts, ModelFacts, ShownExample
from sweeper.findings import words
from sweeper.hyperparameters import BATCH, EPOCHS, KEY_PARAMETERS, PADDING_FREE
from sweeper.objective import Objective
from sweeper.planning.candidates import PURE_BF16
from sweeper.plans import Candidate, ModelChoice, Parameter, Plan, Reason
from sweeper.views.console import out
from sweeper.visible import visible

_SHORT = {
    BATCH: "batch",
    EPOCHS: "epochs",
    "learning_rate": "learning rate",
    "r": "rank r",
    "head_learning_rate": "rate of the new head",
}
# Lines and columns of a screen.
LINES, WIDTH = 45, 100
# Further lines where models are compared as well.
_COMPARED = 15
_INDENT = 12
_EXAMPLE_LINES = 4
# Of a line of a summary.
_MOST_CHARACTERS = 400
# Reasons why rows cannot be read.
_BROKEN = 3
# Of a shortened conversation: the first question and answer, and the last ones.
_MOST_PARTS = 7


def show(plan: Plan, *, verbose: bool = False) -> None:
    """Print a plan to stdout."""
    console = out()
    page = _Page(min(console.width, WIDTH))
    broken = by_kind(plan.facts.data.faults).get("unreadable", ())
    page.add("Broken", [f"{fault.where}: {fault.text}." for fault in broken[:_BROKEN]])
    if plan.model_choice is not None:
        _models(page, plan.model_choice)
    _headline(page, plan)
    _facts(page, plan.facts, verbose=verbose)
    _strategies(page, plan)
    page.add("Declared", declared_lines(plan))
    if not plan.objective.is_loss:
        page.add("Objective", [objective_line(plan.objective)])
    _reasons(page, plan, verbose=verbose)
    _watch_out(page, plan, verbose=verbose)
    _left_out(page, plan, verbose=verbose)
    _budget(page, plan, verbose=verbose)
    if verbose:
        _everything(page, plan)
    _next(page, plan)
    most = LINES if plan.model_choice is None else LINES + _COMPARED
    page.print(console, None if verbose or len(plan.facts.models) > 1 else most)


@dataclass
class _Section:
    """Paragraphs under one name, or lines of markup.

    The first ``least`` always stand; the others are left out, the last one first, where there is
    no room.
    """

    name: str
    paragraphs: list[str]
    least: int
    markup: bool = False
    goes_last: bool = False


class _Page:
    """Sections of a page, wrapped with hanging indents."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._sections: list[_Section] = []
        self._shortened = False

    def add(
        self,
        name: str,
        paragraphs: Iterable[str],
        least: int | None = None,
        *,
        goes_last: bool = False,
    ) -> None:
        """Add a section; nothing if it has no paragraphs."""
        found = [text for text in paragraphs if text]
        if found:
            kept = len(found) if least is None else min(least, len(found))
            self._sections.append(_Section(name, found, kept, goes_last=goes_last))

    def lines(self, markup: Sequence[str]) -> None:
        self._sections.append(_Section("", list(markup), len(markup), markup=True))

    def blank(self) -> None:
        """Add an empty line, which goes first where there is no room."""
        self._sections.append(_Section("", [""], 0, markup=True))

    def print(self, console: Console, most: int | None) -> None:
        """Print the page, with at most so many lines as far as optional paragraphs allow."""
        lines = self._lines()
        while most is not None and len(lines) > most:
            optional = [one for one in self._sections if len(one.paragraphs) > one.least]
            if not optional:
                break
            most_to_spare = max(
                optional,
                key=lambda one: (one.markup, not one.goes_last, len(one.paragraphs) - one.least),
            )
            most_to_spare.paragraphs.pop()
            self._shortened |= not most_to_spare.markup
            lines = self._lines()
        for line in lines:
            console.print(line, soft_wrap=True)

    def _lines(self) -> list[str]:
        lines: list[str] = []
        for section in self._sections:
            if section.markup:
                lines += section.paragraphs
                continue
            for number, text in enumerate(section.paragraphs):
                lines += self._paragraph(section.name if number == 0 else "", text)
        if self._shortened:
            lines[-1] += " --verbose shows more."
        return lines

    def _paragraph(self, head: str, text: str) -> list[str]:
        mark = text[:2] if text[:2] in ("+ ", "! ") else ""
        wrapped = textwrap.wrap(
            text,
            self._width,
            initial_indent=" " * _INDENT,
            subsequent_indent=" " * (_INDENT + len(mark)),
            break_long_words=False,
            break_on_hyphens=False,
        )
        lines = [escape(line) for line in wrapped]
        if head:
            lines[0] = f"[bold]{head:<{_INDENT}}[/bold]{lines[0][_INDENT:]}"
        return lines


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table whose columns are as wide as their widest cell."""
    table = [tuple(heads), *map(tuple, rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(heads))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
    return [f"[bold]{escape(lines[0])}[/bold]", *map(escape, lines[1:])]


def _models(page: _Page, choice: ModelChoice) -> None:
    """The compared models as a table, and the others in one line."""
    rows = [
        (
            f"{one.model}{' *' if one.model == choice.model else ''}",
            one.kind,
            units.count(one.parameters),
            units.number(one.memory.peak_gib),
            units.duration(one.sweep.seconds),
            *(f"{one.scores[name]:g}" if name in one.scores else "" for name in choice.measures),
            ", ".join(one.strategies),
        )
        for one in choice.options
        if one.memory is not None and one.sweep is not None
    ]
    heads = ("model (* recommended)", "kind", "size", "GiB", "sweep", *choice.measures, "fits with")
    page.lines(_table(heads, rows))
    unfit = [one for one in choice.options if not one.strategies]
    encoders = [one.model for one in unfit if one.kind == "encoder"]
    large = [one.model for one in unfit if one.kind != "encoder"]
    page.add("Too large", [f"{', '.join(large)}."] if large else [])
    page.add("No text", [f"{', '.join(encoders)}: encoders write no text."] if encoders else [])
    page.add("Why", [f"+ {reason.why}" for reason in choice.reasons])
    page.add("Smaller", [choice.smaller])
    page.add("Larger", [choice.larger])
    page.add("Scores", [f"{name}: {what}." for name, what in choice.measures.items()])
    page.blank()


def summary(plan: Plan) -> str:
    """A plan in three lines: what it is for, what to start with, and the other strategies."""
    fitting = list(dict.fromkeys(one.strategy for one in plan.candidates))
    left_out = [one.strategy for one in plan.rejected if one.strategy not in fitting]
    others = {"Also fit": fitting[1:], "Left out": list(dict.fromkeys(left_out))}
    lines = [
        title(plan),
        f"Start with {start(plan)}",
        " ".join(f"{head}: {', '.join(names)}." for head, names in others.items() if names),
    ]
    return "\n".join(_without_middle(visible(line), _MOST_CHARACTERS) for line in lines if line)


def title(plan: Plan) -> str:
    """What a plan is for."""
    models = ", ".join(model.id for model in plan.facts.models)
    return f"{plan.facts.task} with {models}, {plan.facts.data.rows:,} examples"


def start(plan: Plan) -> str:
    """The recommended strategy, and what it costs."""
    lead, budget = plan.candidates[0], plan.budget
    memory = f"{units.number(lead.memory.peak_gib)} of {units.gib(lead.memory.limit_gib)}"
    return (
        f"{lead.strategy} on {lead.model}: {memory}, {_span(lead)} a trial, about "
        f"{units.duration(budget.sweep.seconds)} for a sweep of "
        f"{units.plural(budget.trials, 'trial')}."
    )


def _headline(page: _Page, plan: Plan) -> None:
    quality = f"{words.sentence(plan.candidates[0].expected_quality.split(' (')[0])}."
    page.add("Start with", [start(plan), quality], 1)


def _span(candidate: Candidate) -> str:
    return units.span(candidate.duration.low, candidate.duration.high)


def _facts(page: _Page, facts: Facts, *, verbose: bool) -> None:
    for model in facts.models:
        about = "" if model.parameters_exact else "about "
        text = f"{model.id}: {model.model_type} {model.kind}, {about}"
        note = f" {model.weights_note}" if model.weights_note else ""
        page.add("Model", [f"{text}{units.count(model.parameters)} parameters.{note}"])
    page.add("Data", [_data(facts, verbose=verbose)])
    page.add("Example", example_lines(facts.data, facts.models[0], verbose=verbose))
    machine = facts.hardware
    found = "detected" if machine.detected else "stated"
    many = f"{machine.gpus} x " if machine.gpus > 1 else ""
    page.add("Hardware", [f"{many}{machine.name}, {units.gib(machine.memory_gib)} ({found})."])
    page.blank()


def example_lines(data: DataFacts, model: ModelFacts | None, *, verbose: bool) -> list[str]:
    """One example as the model reads it: in a few lines, or whole."""
    if (example := data.example) is None:
        return []
    plain = model is None or model.folder is None
    bare = plain and data.format not in ("text-label", "text")
    without = " (without the chat template, which is not on this machine)" if bare else ""
    head = f"Line {example.line}; the loss is on «...»{without}: "
    most = _EXAMPLE_LINES * (WIDTH - _INDENT) - len(head) - 20
    return (head + marked(example, None if verbose else most)).split("\n")


def marked(example: ShownExample, most: int | None) -> str:
    """The text of an example with « » around what is trained on.

    Args:
        most: Characters in all; longer parts lose their middle, and line breaks become ``↵``. None
            for the whole text.
    """
    cuts = [0, *(cut for span in example.trained for cut in span), len(example.text)]
    parts = [
        (example.text[start:end], number % 2 == 1)
        for number, (start, end) in enumerate(pairwise(cuts))
        if start < end
    ]
    if most is not None:
        if len(parts) > _MOST_PARTS:
            parts = [*parts[:3], (" ... ", False), *parts[3 - _MOST_PARTS :]]
        for done, at in enumerate(sorted(range(len(parts)), key=lambda n: len(parts[n][0]))):
            text, trained = parts[at]
            kept = _without_middle(text.replace("\n", " ↵ "), most // (len(parts) - done))
            parts[at] = (kept, trained)
            most -= len(kept)
    return "".join(f"«{part}»" if trained else part for part, trained in parts)


def _without_middle(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most // 2 - 2]} ... {text[3 - most // 2 :]}"


def _data(facts: Facts, *, verbose: bool) -> str:
    data = facts.data
    named = f"{data.path}: " if data.path else ""
    found = [f"{named}{_sizes(data)}."]
    for one in data.sources:
        weight = "" if one.weight is None else f" with weight {one.weight:g}"
        found.append(f"{one.title}: {one.rows['train']:,} to train{weight}.")
    if data.further_rows:
        further = ", ".join(f"{count:,} {source}" for source, count in data.further_rows.items())
        found.append(f"Further rows, to train only: {further}.")
    if data.format:
        columns = ", ".join(f"`{column}` is the {role}" for role, column in data.columns.items())
        guess = [said for said in data.format_evidence if "this is a guess" in said]
        said = data.format_evidence if verbose else [columns, *guess]
        evidence = f" ({'; '.join(said)})" if columns else ""
        found.append(f"Format {data.format}{evidence}.")
    if data.changes:
        found.append(f"Rows changed: {'; '.join(change.said for change in data.changes)}.")
    if data.labels:
        rows = sorted(label.rows for label in data.labels)
        each = (
            f"{rows[0]:,} to {rows[-1]:,} rows" if rows[0] < rows[-1] else f"{rows[0]:,} rows each"
        )
        found.append(f"{len(rows)} classes with {each}.")
    if lengths := data.lengths:
        short = "assumed: no data given" if lengths.assumed else lengths.measured_with
        how = lengths.measured_with if verbose else short
        longest = f", the longest {lengths.longest:,}" if lengths.longest > lengths.p99 else ""
        found.append(
            f"Tokens: {lengths.mean:,.0f} on average, 99% have at most {lengths.p99:,}{longest} "
            f"({how})."
        )
        if (long := lengths.too_long) is not None and long.rows:
            found.append(
                f"{long.rows:,} of {long.of:,} rows are longer than the cap of {long.cap:,} and "
                f"{IN_WORDS[long.becomes]}."
            )
    if data.domain.distance:
        found.append(f"{words.sentence(domain_line(data.domain))}.")
    return " ".join(found)


def _sizes(data: DataFacts) -> str:
    """The examples and their splits; those in files of their own stand apart."""
    uses = {"train": "to train", "validation": "for validation", "test": "for test"}
    apart = [one for one in data.splits if one.origin == "official" and one.name != "train"]
    inside, beside = (
        [f"{one.rows:,} {uses[one.name]}" for one in data.splits if (one in apart) is own]
        for own in (False, True)
    )
    said = f"{data.examples:,} examples"
    if len(inside) > 1:
        said += f": {', '.join(inside)}"
    elif inside:
        said += " to train"
    return f"{said}; in files of their own: {', '.join(beside)}" if beside else said


def domain_line(domain: DomainFacts) -> str:
    """How far the data are from general text, and by which measure."""
    said: dict[str, str] = {}
    if domain.tokens_per_word and domain.general_tokens_per_word:
        ratio = domain.tokens_per_word / domain.general_tokens_per_word
        said["tokens-per-word"] = f"{ratio:.2f} times as many tokens a word as general text"
    if domain.bits_per_byte and domain.general_bits_per_byte:
        said["bits-per-byte"] = (
            f"{domain.bits_per_byte:.2f} bits a byte under the model, general text "
            f"{domain.general_bits_per_byte:.2f}"
        )
    told = said.pop(domain.decided_by, "as stated")
    besides = f"; also {'; '.join(said.values())}" if said else ""
    where = "near" if domain.distance == "near" else f"{domain.distance} from"
    return f"language: {where} general text ({told}{besides})"


def setup_line(candidate: Candidate) -> str:
    """The chosen set-up of a candidate in one line."""
    micro, steps = candidate.micro_batch, candidate.gradient_accumulation_steps
    gpus = candidate.gpus_per_trial
    parts: list[str] = [candidate.precision]
    if candidate.quantization is not None:
        parts.append(f"{candidate.quantization} base")
    if candidate.one_trial:
        parts.append(f"batch {micro}")
    else:
        devices = f" x {gpus} GPUs" if gpus > 1 else ""
        parts.append(f"batch {micro * steps * gpus} = {micro} x {steps}{devices}")
        parts.append("checkpointing" if candidate.gradient_checkpointing else "no checkpointing")
        parts.append(candidate.optimizer)
    joined = candidate.parameters.get(PADDING_FREE)
    kernel = (
        f"{candidate.attention} without padding"
        if joined and joined.default
        else candidate.attention
    )
    return ", ".join([*parts, f"{candidate.sequence_length:,} tokens", kernel])


def candidate_table(plan: Plan) -> tuple[list[str], list[list[str]]]:
    """Headings, and the cells of each candidate; the recommended strategy has a star."""
    several = len(plan.facts.models) > 1
    heads = ["strategy", "score", "GiB", "fits from", "a trial", "trained"]
    rows = []
    for candidate in plan.candidates:
        mark = " *" if candidate is plan.candidates[0] else ""
        least = candidate.least_gib
        row = [
            f"{candidate.strategy}{mark}",
            f"{candidate.score:+.4g}",
            units.number(candidate.memory.peak_gib),
            "–" if least is None else f"{units.number(least)} GiB",
            _span(candidate),
            units.count(candidate.trainable_parameters),
        ]
        rows.append([candidate.model, *row] if several else row)
    return (["model"] if several else []) + heads, rows


def _strategies(page: _Page, plan: Plan) -> None:
    page.lines(_table(*candidate_table(plan)))
    page.add(
        "",
        [
            "*: recommended. Score: the sum of the weights of rules. GiB: predicted peak of the "
            "default. Fits from: memory that the whole search range needs at micro-batch 1, the "
            "smallest. Trained: parameters. Batch = micro-batch x accumulation x GPUs."
        ],
        0,
        goes_last=True,
    )
    page.blank()
    lead = plan.candidates[0]
    stages = (stage.parameter for stage in lead.stages.values())
    ranges = [
        f"{_SHORT.get(name, name.replace('_', ' '))} {range_of(lead.parameters[name])}"
        for name in (*KEY_PARAMETERS, BATCH, EPOCHS, *stages)
        if name in lead.parameters
    ]
    page.add("Search", [f"{lead.strategy}: {', '.join(ranges)}."] if ranges else [])
    same: dict[str, list[str]] = {}
    for candidate in plan.candidates:
        same.setdefault(setup_line(candidate), []).append(candidate.strategy)
    page.add(
        "Set-up", [f"{', '.join(dict.fromkeys(names))}: {line}." for line, names in same.items()]
    )
    page.add("GPUs", [_gpus(plan)])
    page.add("Threshold", [threshold_line(plan)])


def threshold_line(plan: Plan) -> str:
    """Where the discrete choices of the first candidate change next."""
    found = plan.threshold
    if found is None:
        return ""
    way = "more" if found.needed > found.actual else "fewer"
    change = units.plural(abs(found.needed - found.actual), f"{way} example")
    texts = [
        f"{_SHORT.get(name, name)} {words.value(value)}"
        + (f" instead of {words.value(found.now[name])}" if name in found.now else "")
        for name, value in found.then.items()
    ]
    return f"With {change} ({found.needed:,} in all): {', '.join(texts)}."


def _gpus(plan: Plan) -> str:
    """GPUs a trial, and trials at once."""
    if (gpus := plan.facts.hardware.gpus) < 2:
        return ""
    parts = [
        f"{one.strategy}: {units.plural(one.gpus_per_trial, 'GPU')} a trial x "
        f"{units.plural(max(gpus // one.gpus_per_trial, 1), 'trial')} at once"
        for one in plan.candidates
    ]
    return f"{'. '.join(parts)}."


def range_of(parameter: Parameter) -> str:
    """The best-practice range of a parameter with its default, in one cell."""
    if not parameter.searched:
        return words.value(parameter.default)
    if parameter.choices is not None:
        return "{" + "|".join(words.value(choice) for choice in parameter.choices) + "}"
    low, high, default = map(words.value, (parameter.low, parameter.high, parameter.default))
    return f"{low}..{high} ({default})"


def _reasons(page: _Page, plan: Plan, *, verbose: bool) -> None:
    """Why the first candidate is first, by weight."""
    lead = plan.candidates[0]
    weighed = sorted((r for r in lead.reasons if r.weight > 0), key=lambda one: -one.weight)
    page.add("Why", [f"+ {one.why} [{one.rule}]" for one in weighed], None if verbose else 1)


def _watch_out(page: _Page, plan: Plan, *, verbose: bool) -> None:
    """Warnings about the whole plan, then cautions of rules about the first candidate."""
    pure = [one.strategy for one in plan.candidates if one.precision == "bf16-pure"]
    always = [f"{', '.join(pure)} in {PURE_BF16}."] if pure else []
    always += [f"{one.why} [{one.rule}]" for one in plan.warnings]
    always += plan.facts.data.warnings
    lead = plan.candidates[0]
    # What sources disagree on comes after what a reader can act on.
    cautions = sorted(lead.cautions, key=lambda one: one.effect.startswith("disagrees"))
    own = [f"{lead.strategy}: {one.why} [{one.rule}]" for one in cautions]
    texts = [f"! {text}" for text in (*always, *own)]
    page.add("Watch out", texts, None if verbose else len(always))


_COMPETES = "to include it, name it with --strategies"


def _left_out(page: _Page, plan: Plan, *, verbose: bool) -> None:
    reasons: dict[tuple[str, str], list[str]] = {}
    for one in plan.rejected:
        named = one.remedy.startswith(_COMPETES)
        remedy = _COMPETES if named else one.remedy
        reasons.setdefault((one.reason, remedy), []).append(one.strategy)
    # What does not fit or cannot work comes before what rules would rather not try.
    ordered = sorted(reasons.items(), key=lambda item: item[0][1] == _COMPETES)
    texts = [
        f"{', '.join(dict.fromkeys(names))}: {reason.rstrip('.')}{f'; {remedy}' if remedy else ''}."
        for (reason, remedy), names in ordered
    ]
    certain = sum(remedy != _COMPETES for _, remedy in reasons)
    page.add("Left out", texts, None if verbose else certain)


def _budget(page: _Page, plan: Plan, *, verbose: bool) -> None:
    budget = plan.budget
    span = {name: units.span(phase.low, phase.high) for name, phase in budget.phases.items()}
    prunes = budget.first_rung < budget.rungs
    stops = f"; from rung {budget.first_rung} on, poor trials are stopped" if prunes else ""
    finalists = units.plural(min(budget.finalists, budget.trials), "finalist")
    epochs = f"{words.value(budget.epochs)} {'epoch' if budget.epochs == 1 else 'epochs'}"
    texts = [
        f"search {span['search']}: {units.plural(budget.trials, 'trial')} of at most "
        f"{epochs} ({units.count(budget.full_tokens)} tokens). Losses "
        f"are compared at {budget.rungs} points of a trial, called rungs{stops}.",
    ]
    names = {
        "download": "download of weights that this machine lacks",
        "conversion": "conversion of packaged models, once",
        "baselines": "start and baselines",
        "test": "test split",
        **{name: cost.title for name, cost in budget.features.items()},
    }
    others = "; ".join(f"{names[name]} {text}" for name, text in span.items() if name in names)
    whole = ""
    if budget.gpu_hours is not None:
        hours = f", {units.number(budget.gpu_hours)} GPU hours" if plan.facts.hardware.gpus else ""
        ends = units.span(budget.sweep.low, budget.sweep.high)
        early = budget.unlearned_seconds
        least = early is not None and early < budget.sweep.low
        hours += (
            f"; about {units.duration(early)} if no trial learns, since all stop early"
            if least
            else ""
        )
        whole = f" Together about {units.duration(budget.sweep.seconds)} ({ends}){hours}."
    texts.append(f"{words.sentence(others)}.{whole}")
    texts += [f"{words.sentence(note)}." for note in plan.candidates[0].stage_notes]
    if budget.cost_low_usd is not None and budget.cost_high_usd is not None:
        texts.append(f"Money: {budget.cost_low_usd:.2f} to {budget.cost_high_usd:.2f} USD.")
    bought = [
        f"{units.plural(number, 'full trial')} of {one.strategy}"
        for one in plan.candidates
        if (number := plan.full_trials(one))  # notes say what to cut where none can be paid for
    ]
    texts += [f"The budget is enough for {' or '.join(bought)}."] if bought else []
    texts += [note for note in budget.notes if "budget" in note.lower()]
    more = [
        f"confirmation {span['confirmation']}: the best trials ({finalists}, each strategy's "
        f"best one first) are {budget.confirmed}.",
        *(note for note in budget.notes if note not in texts),
    ]
    more.append(f"Times are estimates, from: {'; '.join(budget.timing)}.")
    page.add("Time", [*texts, *more], None if verbose else len(texts))


def _everything(page: _Page, plan: Plan) -> None:
    """The part that only --verbose shows: reasons, parameters, answers and advice."""
    for candidate in plan.candidates:
        page.lines(["", f"[bold]{escape(f'{candidate.strategy} on {candidate.model}')}[/bold]"])
        page.add("", [candidate.expected_quality, *candidate.setup_notes])
        page.add("", [f"+ {_with_source(one)}" for one in candidate.reasons])
        page.add("", [f"! {_with_source(one)}" for one in candidate.cautions])
        page.lines([f"[bold]{escape(candidate.strategy)}: parameters[/bold]"])
        for name, parameter in candidate.parameters.items():
            page.add("", [f"{name} {range_of(parameter)}: {parameter.why} ({parameter.source})"])
    page.lines(["", "[bold]Answers[/bold]"])
    for answer in plan.answers:
        page.add("", [answer.question, answer.answer])
    if plan.advice:
        page.lines(["", "[bold]Advice[/bold]"])
        page.add("", [f"{one.why} [{one.rule}]" for one in plan.advice])
    page.blank()


def _with_source(reason: Reason) -> str:
    return f"{reason.why} [{reason.rule}] ({reason.source})"


def _next(page: _Page, plan: Plan) -> None:
    model = f" and --model {plan.model_choice.model}" if plan.model_choice is not None else ""
    text = f"The same flags{model} with sweeper run."
    if plan.identity is None:
        sized = any(one.source == "size" for one in plan.facts.models)
        needs = [] if plan.facts.data.fingerprint else ["--data"]
        needs += ["a --model with weights"] if sized and not model else []
        text = f"To train, give sweeper run {' and '.join(needs) or 'data'}{model}."
    page.add("Next", [text])


def objective_line(objective: Objective) -> str:
    """What trials are compared by, and what they are pruned by."""
    name = objective.name if objective.function else objective.title
    return (
        f"{name} ({objective.direction}), on the validation items of the loss. Trials are pruned "
        f"by {objective.pruning}."
    )


def declared_lines(plan: Plan) -> list[str]:
    """The parameters that the user declared beside the rule book's, one line each."""
    found: dict[tuple[str, str], list[str]] = {}
    for candidate in plan.candidates:
        for name, parameter in candidate.parameters.items():
            if parameter.shipped:
                told = f"{parameter.source}; the rule book: {parameter.shipped}"
                given = f"{name} {range_of(parameter)}"
                found.setdefault((given, told), []).append(candidate.strategy)
    return [
        f"{given} ({', '.join(dict.fromkeys(strategies))}): {told}"
        for (given, told), strategies in found.items()
    ]
