"""A plan as a page: what to start with, at what cost, why, and the next command.

By default, a plan takes at most 25 lines, with the decisive facts only.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from sweeper import units
from sweeper.data.examples import by_kind
from sweeper.data.long_rows import IN_WORDS
from sweeper.facts.record import DataFacts, DomainFacts, Facts, ModelFacts, ShownExample
from sweeper.findings import words
from sweeper.hyperparameters import BATCH, EPOCHS, KEY_PARAMETERS, PADDING_FREE
from sweeper.objective import Objective
from sweeper.planning.budget.budget import LONG_SECONDS
from sweeper.planning.budget.study_phases import STACK
from sweeper.planning.candidates import PURE_BF16
from sweeper.plans import Candidate, ModelChoice, Plan, Reason
from sweeper.safe_text import visible
from sweeper.views.console import MAX_WIDTH, Section, lines_of, sections, show_page, table

_SHORT_NAMES = {
    BATCH: "batch",
    EPOCHS: "epochs",
    "learning_rate": "learning rate",
    "r": "rank r",
    "head_learning_rate": "rate of the new head",
}
_INDENT = 12
_MAX_EXAMPLE_LINES = 4
# Maximum number of lines of the default view at ``MAX_WIDTH``. If there are more, the last
# paragraphs of these sections are left to --verbose, the least important section first. None stands
# for the rows of the table of strategies.
_MAX_LINES = 25
_OPTIONAL_SECTIONS = (
    "Compared", "GPUs", "Set-up", "Objective", "Declared", "Left out", "Hardware", "Example",
    "Model", None, "Why", "Watch out", "Broken", "Data", "Search", "Time",
)  # fmt: skip
# Maximum number of characters in a line of a summary.
_MAX_CHARACTERS = 400
# Maximum number of unreadable rows that are listed.
_MAX_BROKEN_ROWS = 3
# Maximum number of parts of a shortened conversation: three from its start, the rest from its end.
_MAX_PARTS = 7
# A price of time (--points-per-doubling) that changes the ranking is shown up to this multiple of
# the user's price.
_MAX_PRICE_FACTOR = 10


def show(plan: Plan, *, verbose: bool = False) -> None:
    """Print a plan to stdout."""
    show_page(page(plan, verbose=verbose))


def page(plan: Plan, *, verbose: bool = False) -> Group:
    """A plan as a page for a terminal or a notebook."""
    heads, rows = candidate_table(plan)
    top_sections = _with_paragraph_lists(_top_sections(plan, verbose=verbose))
    bottom_sections = _with_paragraph_lists(_bottom_sections(plan, verbose=verbose))
    if verbose:
        models = () if plan.model_choice is None else _model_tables(plan.model_choice)
        return Group(
            sections(top_sections[:2]),
            *models,
            sections(top_sections[2:]),
            table(heads, rows),
            sections(bottom_sections),
            *_details(plan),
            sections([("Next", [_next_command(plan)])]),
        )
    paragraphs: dict[str | None, list[Any]] = {
        **dict(top_sections + bottom_sections),
        None: rows[1:],
    }
    dropped_names: list[str] = []

    def remaining_page() -> Group:
        hidden_text = f": {', '.join(dict.fromkeys(dropped_names))}" if dropped_names else ""
        next_lines = [f"{_next_command(plan)} --verbose shows more{hidden_text}."]
        candidates = table(heads, [rows[0], *paragraphs[None]])
        return Group(
            sections(top_sections), candidates, sections([*bottom_sections, ("Next", next_lines)])
        )

    for name in _OPTIONAL_SECTIONS:
        while paragraphs[name] and _has_too_many_lines(remaining_page()):
            paragraphs[name].pop()
            dropped_names.append(name or "strategies")
    return remaining_page()


def _has_too_many_lines(page: Group) -> bool:
    return len(lines_of(page, Console(width=MAX_WIDTH))) > _MAX_LINES


def _with_paragraph_lists(parts: list[Section]) -> list[tuple[str, list[str]]]:
    """The sections with lists of their paragraphs, from which paragraphs can be taken."""
    return [(name, list(filter(None, paragraphs))) for name, paragraphs in parts]


def _neighbour_line(choice: ModelChoice) -> str:
    """The next smaller and the next larger model of the same kind that fit, as text."""
    options_by_model = {option.model: option for option in choice.options if option.strategies}
    chosen_option = options_by_model.pop(choice.model)
    options = sorted(
        (option for option in options_by_model.values() if option.kind == chosen_option.kind),
        key=lambda option: option.parameters,
    )
    smaller = [option for option in options if option.parameters < chosen_option.parameters][-1:]
    larger = [option for option in options if option.parameters > chosen_option.parameters][:1]
    return " ".join(
        f"{option.model}: {units.number(option.memory.peak_gib)} GiB, search "
        f"{units.duration(option.search.seconds)}."
        for option in (*smaller, *larger)
        if option.memory is not None and option.search is not None
    )


def _model_tables(choice: ModelChoice) -> Iterator[RenderableType]:
    """A table of the models that fit, and a section on the other models."""
    rows = [
        (
            f"{option.model}{' *' if option.model == choice.model else ''}",
            option.kind,
            units.count(option.parameters),
            units.number(option.memory.peak_gib),
            units.duration(option.search.seconds),
            *(
                f"{option.scores[name]:g}" if name in option.scores else ""
                for name in choice.measures
            ),
            ", ".join(option.strategies),
        )
        for option in choice.options
        if option.memory is not None and option.search is not None
    ]
    heads = (
        "model (* recommended)",
        "kind",
        "size",
        "GiB",
        "search",
        *choice.measures,
        "fits with",
    )
    yield table(heads, rows)
    unfit_options = [option for option in choice.options if not option.strategies]
    encoders = [option.model for option in unfit_options if option.kind == "encoder"]
    large_models = [option.model for option in unfit_options if option.kind != "encoder"]
    yield sections(
        [
            ("Too large", [f"{', '.join(large_models)}."] if large_models else []),
            ("No text", [f"{', '.join(encoders)}: encoders write no text."] if encoders else []),
            ("Why", [reason.why for reason in choice.reasons]),
            ("Scores", [f"{name}: {what}." for name, what in choice.measures.items()]),
        ]
    )


def summary(plan: Plan) -> str:
    """A plan in three lines: its task, what to start with, and the other strategies."""
    fitting_strategies = list(dict.fromkeys(item.strategy for item in plan.candidates))
    rejected_strategies = [
        item.strategy for item in plan.rejected if item.strategy not in fitting_strategies
    ]
    lists = {
        "Also fit": fitting_strategies[1:],
        "Left out": list(dict.fromkeys(rejected_strategies)),
    }
    lines = [
        title(plan),
        f"Start with {start(plan)}",
        " ".join(f"{head}: {', '.join(names)}." for head, names in lists.items() if names),
    ]
    return "\n".join(_without_middle(visible(line), _MAX_CHARACTERS) for line in lines if line)


def title(plan: Plan) -> str:
    """The task, models and number of examples of a plan."""
    models = ", ".join(model.id for model in plan.facts.models)
    return f"{plan.facts.task} with {models}, {plan.facts.data.rows:,} examples"


def start(plan: Plan) -> str:
    """The recommended strategy and its cost."""
    best, budget = plan.candidates[0], plan.budget
    memory = f"{units.number(best.memory.peak_gib)} of {units.gib(best.memory.limit_gib)}"
    search = "One trial, nothing is searched"
    if budget.trials > 1:
        search = (
            f"A search of {budget.trials} trials takes about "
            f"{units.duration(budget.sweep.seconds)} and is expected to gain "
            f"{plan.search_gain} points"
        )
        if budget.sweep.seconds > LONG_SECONDS:
            one_trial = budget.phases.get("refit", best.duration)
            search += f"; --trials 1 takes about {units.duration(one_trial.seconds)}"
    return f"{best.strategy} on {best.model}: {memory}, {_duration(best)} a trial. {search}."


def _duration(candidate: Candidate) -> str:
    """The estimated range of a trial's time."""
    return units.span(candidate.duration.low, candidate.duration.high)


def _top_sections(plan: Plan, *, verbose: bool) -> list[Section]:
    """The sections above the table of strategies: unreadable rows, what to start with, facts."""
    facts, machine = plan.facts, plan.facts.hardware
    broken = by_kind(facts.data.faults).get("unreadable", ())
    choice = None if verbose else plan.model_choice
    gpu_count = f"{machine.gpus} x " if machine.gpus > 1 else ""
    origin = "detected" if machine.detected else "stated"
    return [
        ("Broken", [f"{fault.where}: {fault.text}." for fault in broken[:_MAX_BROKEN_ROWS]]),
        ("Start with", [start(plan)]),
        ("Model", [_model_line(model) for model in facts.models]),
        ("Compared", [] if choice is None else [_neighbour_line(choice)]),
        ("Data", [_data_line(facts, verbose=verbose)]),
        ("Example", example_lines(facts.data, facts.models[0], verbose=verbose)),
        ("Hardware", [f"{gpu_count}{machine.name}, {units.gib(machine.memory_gib)} ({origin})."]),
    ]


def _model_line(model: ModelFacts) -> str:
    prefix = "" if model.parameters_exact else "about "
    count = f"{prefix}{units.count(model.parameters)} parameters"
    return (
        f"{model.id}: {model.model_type} {model.kind}, {count}. {model.weights_note or ''}".strip()
    )


def example_lines(data: DataFacts, model: ModelFacts | None, *, verbose: bool) -> list[str]:
    """An example as the model reads it: shortened, or whole if ``verbose``."""
    if (example := data.example) is None:
        return []
    is_chat = data.format not in ("text-label", "text")
    lacks_template = is_chat and (model is None or model.folder is None)
    remark = " (without the chat template, which is not on this machine)" if lacks_template else ""
    head = f"Line {example.line}; the loss is on «...»{remark}: "
    max_characters = _MAX_EXAMPLE_LINES * (MAX_WIDTH - _INDENT) - len(head) - 20
    return (head + marked(example, None if verbose else max_characters)).split("\n")


def marked(example: ShownExample, max_characters: int | None) -> str:
    """The text of an example with « » around the parts that are trained on.

    Args:
        max_characters: Limit; longer parts lose their middle, and line breaks become ``↵``. None
            for the whole text.
    """
    cuts = [0, *(cut for span in example.trained for cut in span), len(example.text)]
    parts = [
        (example.text[start:end], number % 2 == 1)
        for number, (start, end) in enumerate(pairwise(cuts))
        if start < end
    ]
    if max_characters is not None:
        if len(parts) > _MAX_PARTS:
            parts = [*parts[:3], (" ... ", False), *parts[3 - _MAX_PARTS :]]
        # Shorter parts come first, so that longer ones get the characters that these leave.
        shortest_first = sorted(range(len(parts)), key=lambda index: len(parts[index][0]))
        for done, index in enumerate(shortest_first):
            text, is_trained = parts[index]
            limit = max_characters // (len(parts) - done)
            shortened = _without_middle(text.replace("\n", " ↵ "), limit)
            parts[index] = (shortened, is_trained)
            max_characters -= len(shortened)
    return "".join(f"«{part}»" if is_trained else part for part, is_trained in parts)


def _without_middle(text: str, max_characters: int) -> str:
    if len(text) <= max_characters:
        return text
    half = max_characters // 2
    return f"{text[: half - 2]} ... {text[3 - half :]}"


def _data_line(facts: Facts, *, verbose: bool) -> str:
    data = facts.data
    path = f"{data.path}: " if data.path else ""
    sentences = [f"{path}{_size_line(data)}."]
    for source_facts in data.sources:
        weight = "" if source_facts.weight is None else f" with weight {source_facts.weight:g}"
        sentences.append(f"{source_facts.title}: {source_facts.rows['train']:,} to train{weight}.")
    if data.further_rows:
        further = ", ".join(f"{count:,} {source}" for source, count in data.further_rows.items())
        sentences.append(f"Further rows, to train only: {further}.")
    if data.format:
        columns = ", ".join(f"`{column}` is the {role}" for role, column in data.columns.items())
        guesses = [line for line in data.format_evidence if "this is a guess" in line]
        lines = data.format_evidence if verbose else [columns, *guesses]
        evidence = f" ({'; '.join(lines)})" if columns else ""
        sentences.append(f"Format {data.format}{evidence}.")
    if data.changes:
        sentences.append(f"Rows changed: {'; '.join(change.summary for change in data.changes)}.")
    if data.labels:
        rows = sorted(label.rows for label in data.labels)
        sizes = (
            f"{rows[0]:,} to {rows[-1]:,} rows" if rows[0] < rows[-1] else f"{rows[0]:,} rows each"
        )
        sentences.append(f"{len(rows)} classes with {sizes}.")
    if lengths := data.lengths:
        short_method = "assumed: no data given" if lengths.assumed else lengths.measured_with
        method = lengths.measured_with if verbose else short_method
        longest = f", the longest {lengths.longest:,}" if lengths.longest > lengths.p99 else ""
        sentences.append(
            f"Tokens: {lengths.mean:,.0f} on average, 99% have at most {lengths.p99:,}{longest} "
            f"({method})."
        )
        if (long_rows := lengths.too_long) is not None and long_rows.rows:
            sentences.append(
                f"{long_rows.rows:,} of {long_rows.of:,} rows are longer than the cap of "
                f"{long_rows.cap:,} and {IN_WORDS[long_rows.becomes]}."
            )
    if data.domain.distance:
        sentences.append(f"{words.sentence(domain_line(data.domain))}.")
    return " ".join(sentences)


def _size_line(data: DataFacts) -> str:
    """The number of examples by split. Splits in separate files come last."""
    purposes = {"train": "to train", "validation": "for validation", "test": "for test"}
    own_files = [
        split for split in data.splits if split.origin == "official" and split.name != "train"
    ]
    train_sizes, separate_sizes = (
        [
            f"{split.rows:,} {purposes[split.name]}"
            for split in data.splits
            if (split in own_files) is separate_file
        ]
        for separate_file in (False, True)
    )
    text = f"{data.examples:,} examples"
    if len(train_sizes) > 1:
        text += f": {', '.join(train_sizes)}"
    elif train_sizes:
        text += " to train"
    return f"{text}; in files of their own: {', '.join(separate_sizes)}" if separate_sizes else text


def domain_line(domain: DomainFacts) -> str:
    """The distance of the data from general text, and the measure that decided it."""
    measures: dict[str, str] = {}
    if domain.tokens_per_word and domain.general_tokens_per_word:
        ratio = domain.tokens_per_word / domain.general_tokens_per_word
        measures["tokens-per-word"] = f"{ratio:.2f} times as many tokens a word as general text"
    if domain.bits_per_byte and domain.general_bits_per_byte:
        measures["bits-per-byte"] = (
            f"{domain.bits_per_byte:.2f} bits a byte under the model, general text "
            f"{domain.general_bits_per_byte:.2f}"
        )
    decisive_measure = measures.pop(domain.decided_by, "as stated")
    other_measures = f"; also {'; '.join(measures.values())}" if measures else ""
    distance = "near" if domain.distance == "near" else f"{domain.distance} from"
    return f"language: {distance} general text ({decisive_measure}{other_measures})"


def setup_line(candidate: Candidate) -> str:
    """A candidate's set-up in one line."""
    setup = candidate.setup
    micro_batch, steps, gpus = setup.micro_batch, setup.gradient_accumulation_steps, setup.gpus
    parts: list[str] = [setup.precision]
    if setup.quantization is not None:
        parts.append(f"{setup.quantization} base")
    if candidate.one_trial:
        parts.append(f"batch {micro_batch}")
    else:
        devices = f" x {gpus} GPUs" if gpus > 1 else ""
        parts.append(f"batch {micro_batch * steps * gpus} = {micro_batch} x {steps}{devices}")
        parts.append("checkpointing" if setup.gradient_checkpointing else "no checkpointing")
        parts.append(setup.optimizer)
    padding_free = candidate.parameters.get(PADDING_FREE)
    kernel = (
        f"{candidate.attention} without padding"
        if padding_free and padding_free.default
        else candidate.attention
    )
    return ", ".join([*parts, f"{setup.sequence_length:,} tokens", kernel])


def candidate_table(plan: Plan) -> tuple[list[str], list[list[str]]]:
    """Column heads, and a row for each candidate. The recommended candidate has a star."""
    has_models = len(plan.facts.models) > 1
    heads = ["strategy", "quality", "GiB", "fits from", "a trial"]
    price = plan.facts.hardware.price_per_gpu_hour
    rows = []
    for candidate in plan.candidates:
        star = " *" if candidate is plan.candidates[0] else ""
        min_gib = candidate.least_gib
        row = [
            f"{candidate.strategy}{star}",
            str(candidate.quality),
            units.number(candidate.memory.peak_gib),
            "–" if min_gib is None else f"{units.number(min_gib)} GiB",
            _duration(candidate),
        ]
        if price is not None:
            row.append(f"{candidate.duration.seconds / 3600 * candidate.setup.gpus * price:.2f}")
        rows.append([candidate.model, *row] if has_models else row)
    price_head = [] if price is None else ["USD"]
    return (["model"] if has_models else []) + heads + price_head, rows


_LEGEND = (
    "*: recommended. Quality: expected points against LoRA, with their standard deviation. "
    "GiB: predicted peak of the default. "
    "Fits from: memory that the whole search range needs at micro-batch 1, the smallest. "
    "Batch = micro-batch x accumulation x GPUs."
)


def _bottom_sections(plan: Plan, *, verbose: bool) -> list[Section]:
    """The sections below the table: search, reasons, warnings and time."""
    best = plan.candidates[0]
    stages = (stage.parameter for stage in best.stages.values())
    ranges = [
        f"{_SHORT_NAMES.get(name, name.replace('_', ' '))} {words.search_space(parameter, name)}"
        for name in (*KEY_PARAMETERS, BATCH, EPOCHS, *stages)
        if (parameter := best.parameters.get(name))
    ]
    set_ups: dict[str, list[str]] = {}
    for candidate in plan.candidates if verbose else (best,):
        set_ups.setdefault(setup_line(candidate), []).append(candidate.strategy)
    gaps = [reason for reason in _compared_reasons(plan) if reason.gap]
    rules = "".join(f" [{reason.rule}]" for reason in gaps if verbose)
    why = [comparison_line(plan) + rules, *(reason.why for reason in gaps if verbose)]
    return [
        ("", [_LEGEND] if verbose else []),
        ("Search", [f"{best.strategy}: {', '.join(ranges)}."] if ranges else []),
        (
            "Set-up",
            [f"{', '.join(dict.fromkeys(names))}: {line}." for line, names in set_ups.items()],
        ),
        ("GPUs", [_gpu_line(plan)]),
        ("Declared", declared_lines(plan)),
        ("Objective", [] if plan.objective.is_loss else [objective_line(plan.objective)]),
        ("Why", why if plan.runner_up is not None else []),
        ("Watch out", _warning_lines(plan, verbose=verbose)),
        ("Left out", _rejected_lines(plan, verbose=verbose)),
        ("Time", _time_lines(plan, verbose=verbose)),
    ]


def _compared_reasons(plan: Plan) -> Iterator[Reason]:
    """The reasons of the recommended candidate and of its runner-up."""
    yield from plan.candidates[0].reasons
    if (other := plan.runner_up) is not None:
        yield from plan.candidate(other.strategy, other.model).reasons


def comparison_line(plan: Plan) -> str:
    """A comparison of the recommended candidate with its runner-up; empty without one."""
    if (runner_up := plan.runner_up) is None:
        return ""
    best, other = plan.candidates[0], plan.candidate(runner_up.strategy, runner_up.model)
    name = other.strategy if other.model == best.model else f"{other.strategy} on {other.model}"
    price = plan.facts.aim.points_per_doubling
    break_even = ""
    points = runner_up.break_even_points
    if points is not None and points <= _MAX_PRICE_FACTOR * price:
        break_even = (
            f" {name} comes first if twice the time must bring {points:g} points "
            f"instead of {price:g} (--points-per-doubling)."
        )
    chance = f"{runner_up.probability:.0%}, {runner_up.points:+.1f} points expected"
    chance_text = (
        f"a toss-up: {best.strategy} is better with" if runner_up.toss_up else "better with"
    )
    return (
        f"{best.strategy} over {name}: {chance_text} {chance}; {_duration(best)} instead of "
        f"{_duration(other)} a trial, {units.number(best.memory.peak_gib)} instead of "
        f"{units.gib(other.memory.peak_gib)}.{break_even}"
    )


def _gpu_line(plan: Plan) -> str:
    """GPUs per trial and parallel trials of each strategy; empty with fewer than two GPUs."""
    if (gpus := plan.facts.hardware.gpus) < 2:
        return ""
    parts = [
        f"{candidate.strategy}: {units.plural(candidate.setup.gpus, 'GPU')} a trial x "
        f"{units.plural(max(gpus // candidate.setup.gpus, 1), 'trial')} at once"
        for candidate in plan.candidates
    ]
    return f"{'. '.join(parts)}."


def _warning_lines(plan: Plan, *, verbose: bool) -> list[str]:
    """Warnings about plan and data; if ``verbose``, also cautions about the best candidate."""
    best = plan.candidates[0]
    warnings = [f"{best.strategy} in {PURE_BF16}."] if best.setup.precision == "bf16-pure" else []
    warnings += [f"{reason.why} [{reason.rule}]" for reason in plan.warnings]
    # Disagreements of sources come last, since a reader cannot act on them.
    cautions = sorted(best.cautions, key=lambda reason: bool(reason.disagrees_with))
    of_candidate = [f"{best.strategy}: {reason.why} [{reason.rule}]" for reason in cautions]
    return [*warnings, *plan.facts.data.warnings, *(of_candidate if verbose else ())]


def _rejected_lines(plan: Plan, *, verbose: bool) -> list[str]:
    """Rejected strategies with reasons: all if ``verbose``, otherwise those that the user named."""
    named_strategies = plan.facts.aim.strategies or ()
    reasons: dict[tuple[str, str], list[str]] = {}
    # Strategies that rules advise against come last.
    for item in sorted(plan.rejected, key=lambda item: item.if_named):
        if verbose or item.strategy in named_strategies:
            reasons.setdefault((item.reason, item.remedy), []).append(item.strategy)
    return [
        f"{', '.join(dict.fromkeys(names))}: {reason.rstrip('.')}{f'; {remedy}' if remedy else ''}."
        for (reason, remedy), names in reasons.items()
    ]


def _time_lines(plan: Plan, *, verbose: bool) -> list[str]:
    """The time and cost of the study and of its phases."""
    budget = plan.budget
    spans = {name: units.span(phase.low, phase.high) for name, phase in budget.phases.items()}
    prunes = budget.first_rung < budget.rungs
    stops = f"; from rung {budget.first_rung} on, poor trials are stopped" if prunes else ""
    rungs = f" Losses are compared at {budget.rungs} points of a trial, called rungs{stops}."
    finalists = units.plural(min(budget.finalists, budget.trials), "finalist")
    texts = [
        f"search {spans['search']}: {units.plural(budget.trials, 'trial')} of at most "
        f"{units.epochs(budget.epochs)} {'epoch' if budget.epochs == 1 else 'epochs'} "
        f"({units.count(budget.full_tokens)} tokens).{rungs if verbose else ''}",
    ]
    names = {
        "download": "download of weights that this machine lacks",
        "conversion": "conversion of packaged models, once",
        "baselines": "start and baselines",
        "test": "test split",
        **{name: cost.title for name, cost in budget.features.items()},
    }
    other_phases = "; ".join(f"{names[name]} {spans[name]}" for name in spans if name in names)
    total = ""
    if budget.gpu_hours is not None:
        hours = f", {units.number(budget.gpu_hours)} GPU hours" if plan.facts.hardware.gpus else ""
        interval = units.span(budget.sweep.low, budget.sweep.high)
        seconds = units.duration(budget.sweep.seconds)
        total = f" Together about {seconds} ({interval}){hours}, with {STACK}."
    texts.append(f"{words.sentence(other_phases)}.{total}")
    texts += [f"{words.sentence(note)}." for note in plan.candidates[0].stage_notes]
    if budget.cost_low_usd is not None and budget.cost_high_usd is not None:
        texts.append(f"Money: {budget.cost_low_usd:.2f} to {budget.cost_high_usd:.2f} USD.")
    texts += budget.limit_notes
    details = [
        f"confirmation {spans['confirmation']}: the best trials ({finalists}, each strategy's "
        f"best one first) are {budget.confirmed}.",
        *budget.notes,
        f"Times are estimates, from: {'; '.join(budget.timing)}.",
    ]
    return [*texts, *details] if verbose else texts


def _details(plan: Plan) -> Iterator[RenderableType]:
    """Reasons and parameters of each candidate, then answers and advice: for --verbose."""
    for candidate in plan.candidates:
        yield Text(f"\n{candidate.strategy} on {candidate.model}", style="bold")
        quality = f"{candidate.expected_quality} ({candidate.quality_source})"
        times = (f"time: {source}" for source in candidate.time_notes)
        yield sections([("", [quality, *candidate.setup_notes, *times])])
        for head, reasons in (("reason", candidate.reasons), ("caution", candidate.cautions)):
            rows = [(item.rule, item.why, item.source) for item in reasons]
            if rows:
                yield table((head, "why", "source"), rows)
        values = [
            (name, words.search_space(item, name), item.why, item.source)
            for name, item in candidate.parameters.items()
        ]
        yield table(("parameter", "range", "why", "source"), values)
    answers = [part for item in plan.answers for part in (item.question, item.answer)]
    advice = [f"{item.why} [{item.rule}]" for item in plan.advice]
    yield sections([("Answers", answers), ("Advice", advice)])


def _next_command(plan: Plan) -> str:
    model = f" and --model {plan.model_choice.model}" if plan.model_choice is not None else ""
    if plan.identity is not None:
        return f"The same flags{model} with sweeper run."
    has_sizes = any(model_facts.source == "size" for model_facts in plan.facts.models)
    needed_flags = [] if plan.facts.data.fingerprint else ["--data"]
    needed_flags += ["a --model with weights"] if has_sizes and not model else []
    return f"To train, give sweeper run {' and '.join(needed_flags) or 'data'}{model}."


def objective_line(objective: Objective) -> str:
    """A line on the objective by which trials are compared, and what they are pruned by."""
    name = objective.name if objective.function else objective.title
    return (
        f"{name} ({objective.direction_in_words}), on the validation items of the loss. "
        f"Trials are pruned by {objective.pruning}."
    )


def declared_lines(plan: Plan) -> list[str]:
    """A line for each parameter that the user declared, with the rule book's range."""
    by_text: dict[tuple[str, str], list[str]] = {}
    for candidate in plan.candidates:
        for name, parameter in candidate.parameters.items():
            if parameter.shipped:
                origin = f"{parameter.source}; the rule book: {parameter.shipped}"
                range_text = f"{name} {words.search_space(parameter)}"
                by_text.setdefault((range_text, origin), []).append(candidate.strategy)
    return [
        f"{range_text} ({', '.join(dict.fromkeys(strategies))}): {origin}"
        for (range_text, origin), strategies in by_text.items()
    ]
