"""A plan for people to read: facts, strategies, what was left out, the cost, the next command."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sweeper import units
from sweeper.facts.record import DomainFacts, Facts
from sweeper.hyperparameters import BATCH, EPOCHS, KEY_PARAMETERS, SHORT_NAMES
from sweeper.plans import Candidate, Duration, ModelChoice, Parameter, Plan
from sweeper.views.console import out


def show(plan: Plan, *, verbose: bool = False) -> None:
    """Print a plan to stdout."""
    console = out()
    if plan.model_choice is not None:
        _models(console, plan.model_choice)
    _facts(console, plan.facts)
    _candidates(console, plan)
    declared(console, plan)
    for candidate in plan.candidates:
        if verbose:
            _parameters(console, candidate)
        _reasons(console, candidate, verbose=verbose)
    _left_out(console, plan)
    _answers(console, plan)
    _warnings(console, plan)
    if verbose:
        _advice(console, plan)
    _budget(console, plan)


def _models(console: Console, choice: ModelChoice) -> None:
    """The models that were compared, those that cannot be used in one line."""
    console.print("[bold]Models[/bold] that were compared, since none was named (* recommended)")
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    columns = ["model", "size", "kind", "fits with", "memory, est.", "sweep, est."]
    for heading in (*columns, *choice.measures):
        table.add_column(heading, no_wrap=heading != "fits with")
    for one in choice.options:
        if one.memory is None or one.sweep is None:
            continue
        cells = [
            f"{one.model}{' *' if one.model == choice.model else ''}",
            units.count(one.parameters),
            one.kind,
            ", ".join(one.strategies),
            units.gib(one.memory.peak_gib),
            units.duration(one.sweep.seconds),
            *(f"{one.scores[name]:g}" if name in one.scores else "–" for name in choice.measures),
        ]
        table.add_row(*(escape(cell) for cell in cells))
    console.print(table)
    if out := [one.model for one in choice.options if not one.strategies]:
        console.print(escape(f"Cannot be used here: {', '.join(out)}"))
    for reason in choice.reasons:
        console.print(f"  + {escape(reason.why)}")
    for heading, text in (("one size down", choice.smaller), ("one size up", choice.larger)):
        if text:
            console.print(f"  {heading}: {escape(text)}")
    console.print()


def _facts(console: Console, facts: Facts) -> None:
    console.print("[bold]Facts[/bold]")
    for model in facts.models:
        exact = "" if model.parameters_exact else ", est."
        console.print(
            f"  model     {escape(model.id)}: {model.model_type} {model.kind}, "
            f"{units.count(model.parameters)} parameters{exact}"
        )
        if model.weights_note:
            console.print(f"            {escape(model.weights_note)}", style="dim")
    data = facts.data
    splits = ", ".join(f"{split.rows:,} {split.name} ({split.origin})" for split in data.splits)
    console.print(
        f"  data      {escape(data.path or 'not given')}: {data.rows:,} examples"
        + (f", {splits}" if splits else "")
    )
    if data.format:
        evidence = "; ".join(data.format_evidence)
        console.print(f"            {data.format}: {escape(evidence)}", style="dim")
    if data.labels:
        rows = sorted(label.rows for label in data.labels)
        console.print(f"            {len(rows)} classes with {rows[0]} to {rows[-1]} rows")
    if data.lengths:
        lengths = data.lengths
        console.print(
            f"            tokens: half under {lengths.p50}, 99% under {lengths.p99} "
            f"({escape(lengths.measured_with)})"
        )
    if data.domain.distance:
        console.print(f"            {domain_line(data.domain)}", style="dim")
    machine = facts.hardware
    found = "detected" if machine.detected else "stated"
    many = f"{machine.gpus} x " if machine.gpus > 1 else ""
    console.print(
        f"  hardware  {many}{escape(machine.name)}, {units.gib(machine.memory_gib)} ({found})"
    )


def domain_line(domain: DomainFacts) -> str:
    """How far the data lie from general text, and by which measure."""
    said: dict[str, str] = {}
    if domain.tokens_per_word and domain.general_tokens_per_word:
        ratio = domain.tokens_per_word / domain.general_tokens_per_word
        said["tokens-per-word"] = f"{ratio:.2f} times general text's tokens a word"
    if domain.bits_per_byte and domain.general_bits_per_byte:
        said["bits-per-byte"] = (
            f"{domain.bits_per_byte:.2f} bits a byte under the model, general text "
            f"{domain.general_bits_per_byte:.2f}"
        )
    told = said.pop(domain.decided_by, "as stated")
    besides = f"; besides, {'; '.join(said.values())}" if said else ""
    return f"language: {domain.distance} from general text ({told}{besides})"


def _candidates(console: Console, plan: Plan) -> None:
    headings, rows = candidate_table(plan)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, no_wrap=heading != "search space")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console.print("\n[bold]Strategies[/bold] in the order of their defaults (* start here)")
    console.print(table)


def candidate_table(plan: Plan) -> tuple[list[str], list[list[str]]]:
    """Headings, and the cells of each candidate; the recommended strategy has a star."""
    several = len({candidate.model for candidate in plan.candidates}) > 1
    headings = ["strategy", "memory, est.", "a trial, est.", "trained", "search space"]
    rows = []
    for candidate in plan.candidates:
        cells = [candidate.model] if several else []
        mark = " *" if candidate.strategy == plan.recommended else ""
        memory = candidate.memory
        cells += [
            candidate.strategy + mark,
            f"{units.gib(memory.peak_gib).removesuffix(' GiB')} of {units.gib(memory.limit_gib)}",
            units.span(candidate.duration.low, candidate.duration.high),
            units.count(candidate.trainable_parameters),
            ", ".join(_key_ranges(candidate)),
        ]
        rows.append(cells)
    return (["model"] if several else []) + headings, rows


def declared(console: Console, plan: Plan) -> None:
    """What the user declared of parameters, beside what the rule book has."""
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for candidate in plan.candidates:
        for name, parameter in candidate.parameters.items():
            if parameter.shipped:
                key = (name, range_of(parameter), parameter.source, parameter.shipped)
                found.setdefault(key, []).append(candidate.strategy)
    if found:
        console.print("\n[bold]Declared[/bold] by you; the search stays within these")
    for (name, given, source, shipped), strategies in found.items():
        whose = ", ".join(dict.fromkeys(strategies))
        console.print(f"  {escape(f'{name} {given}')} ({whose})")
        told = f"{source}; the rule book: {shipped}"
        console.print(f"      {escape(told)}", style="dim")


def _key_ranges(candidate: Candidate) -> list[str]:
    return [
        f"{SHORT_NAMES.get(name, name)} {range_of(candidate.parameters[name])}"
        for name in (*KEY_PARAMETERS, BATCH, EPOCHS)
        if name in candidate.parameters
    ]


def range_of(parameter: Parameter) -> str:
    """The best-practice range of a parameter with its default, in one cell."""
    if not parameter.searched:
        return scalar(parameter.default)
    if parameter.choices is not None:
        return "{" + "|".join(scalar(choice) for choice in parameter.choices) + "}"
    return f"{scalar(parameter.low)}..{scalar(parameter.high)} ({scalar(parameter.default)})"


def scalar(value: object) -> str:
    """One value of a parameter."""
    if isinstance(value, float) and not value.is_integer():
        text = units.rate(value) if abs(value) < 0.01 else units.number(value)
        return text.rstrip("0") if "." in text and "e" not in text else text
    if isinstance(value, float):
        return f"{value:.0f}"
    return str(value)


def _parameters(console: Console, candidate: Candidate) -> None:
    console.print(f"\n[bold]{candidate.strategy}[/bold]: parameters")
    for name, parameter in candidate.parameters.items():
        console.print(f"  {name:<28} {escape(range_of(parameter))}")
        console.print(f"      {escape(parameter.why)} ({escape(parameter.source)})", style="dim")


def _reasons(console: Console, candidate: Candidate, *, verbose: bool) -> None:
    console.print(f"\n[bold]{candidate.strategy}[/bold] {escape(candidate.expected_quality)}")
    ordered = sorted(candidate.reasons, key=lambda reason: -abs(reason.weight))
    shown = candidate.reasons if verbose else ordered[:3]
    for note in candidate.setup_notes if verbose else ():
        console.print(f"  {escape(note)}", style="dim")
    for reason in shown:
        console.print(f"  + {escape(reason.why)} [dim]{escape(f'[{reason.rule}]')}[/dim]")
        if verbose:
            console.print(f"      {escape(reason.source)}", style="dim")
    for caution in candidate.cautions if verbose else candidate.cautions[:2]:
        console.print(f"  ! {escape(caution.why)} [dim]{escape(f'[{caution.rule}]')}[/dim]")
    hidden = len(candidate.reasons) - len(shown)
    if hidden > 0:
        console.print(f"    {hidden} more with --verbose", style="dim")


def _left_out(console: Console, plan: Plan) -> None:
    if not plan.rejected:
        return
    console.print("\n[bold]Left out[/bold]")
    for rejected in plan.rejected:
        console.print(f"  {rejected.strategy}: {escape(rejected.reason)}")
        if rejected.remedy:
            console.print(f"      {escape(rejected.remedy)}", style="dim")


def _answers(console: Console, plan: Plan) -> None:
    if plan.answers:
        console.print("\n[bold]Answers[/bold]")
    for answer in plan.answers:
        console.print(f"  {escape(answer.question)}")
        console.print(f"      {escape(answer.answer)}")


def _warnings(console: Console, plan: Plan) -> None:
    notes = [reason.why for reason in plan.warnings] + list(plan.facts.data.warnings)
    if notes:
        console.print("\n[bold]Watch out[/bold]")
    for note in notes:
        console.print(f"  {escape(note)}")


def _advice(console: Console, plan: Plan) -> None:
    if plan.advice:
        console.print("\n[bold]Advice[/bold]")
    for reason in plan.advice:
        console.print(f"  {escape(reason.why)} [dim]{escape(f'[{reason.rule}]')}[/dim]")


def _budget(console: Console, plan: Plan) -> None:
    budget = plan.budget
    console.print("\n[bold]Budget[/bold]")
    _phase(console, "download", "weights that this machine lacks", budget.download)
    _phase(console, "conversion", "of packaged models, once", budget.conversion)
    _phase(console, "own text", "general text that the base model writes", budget.own_text)
    console.print(
        f"  search        {units.plural(budget.trials, 'trial')} of at most "
        f"{units.number(budget.epochs)} epochs ({units.count(budget.full_tokens)} tokens), "
        f"pruned from rung {budget.first_rung} of {budget.rungs}: "
        f"{units.span(budget.search.low, budget.search.high)}, est."
    )
    console.print(
        f"  confirmation  {units.plural(budget.finalists, 'finalist')} to "
        f"{units.plural(budget.confirmation_seeds, 'seed')} each: "
        f"{units.span(budget.confirmation.low, budget.confirmation.high)}, est."
    )
    for bought in budget.purchases:
        if bought.full_trials is not None:
            trials = units.plural(bought.full_trials, "full trial")
            gpus = units.plural(bought.gpus_per_trial, "GPU")
            shared = f" ({gpus} a trial, {bought.trials_at_once} at once)"
            shared = shared if plan.facts.hardware.gpus else ""
            console.print(f"  the budget buys {trials} of {bought.strategy}{shared}")
    _together(console, plan)
    for note in budget.notes:
        console.print(f"  {escape(note)}")
    if plan.identity is not None:
        console.print("\nNext: the same flags with [bold]sweeper run[/bold]")
    else:
        console.print("\nNext: [bold]sweeper run[/bold] with --data and a model that can be loaded")


def _phase(console: Console, name: str, what: str, phase: Duration | None) -> None:
    """A phase that not every run has."""
    if phase is not None:
        console.print(f"  {name:<13} {what}: {units.span(phase.low, phase.high)}, est.")


def _together(console: Console, plan: Plan) -> None:
    """The whole sweep on the clock, its price, and what the seconds rest on."""
    budget = plan.budget
    if budget.beside is not None:
        beside = units.span(budget.beside.low, budget.beside.high)
        console.print(f"  beside        start, baselines, test split: {beside}, est.")
    if (suite := plan.facts.suite) is not None:
        tasks = units.plural(len(suite.tasks), "task")
        _phase(console, "suite", f"base and finalists on {tasks}", budget.suite)
    if budget.sweep is not None and budget.gpu_hours is not None:
        whole = units.span(budget.sweep.low, budget.sweep.high)
        hours = f", {units.number(budget.gpu_hours)} GPU hours" if plan.facts.hardware.gpus else ""
        middle = units.duration(budget.sweep.seconds)
        console.print(f"  together      about {middle} ({whole}){hours}, est.")
    if budget.cost_low_usd is not None and budget.cost_high_usd is not None:
        console.print(
            f"  money         {budget.cost_low_usd:.2f} to {budget.cost_high_usd:.2f} USD"
        )
    if budget.energy_low_kwh is not None and budget.energy_high_kwh is not None:
        low, high = units.number(budget.energy_low_kwh), units.number(budget.energy_high_kwh)
        console.print(f"  energy        {low} to {high} kWh at the cards' board power")
    for text in budget.timing:
        console.print(f"  times         {escape(text)}")
