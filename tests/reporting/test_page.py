"""What a page says in every state of a run: facts of the document, no pixels."""

import json
import re
import sys

import pytest
from section_figures import blocks_of

from sweeper.findings.verdict.next_step import next_step_line
from sweeper.plans import DECLARED
from sweeper.reporting.blocks import style_of
from sweeper.reporting.compose import sections
from sweeper.reporting.render import markdown, plain
from sweeper.reporting.sections import rules, verdict
from sweeper.reporting.sections._plan import declared_table
from sweeper.reporting.sections.cost import Figures
from sweeper.reporting.write import html
from sweeper.traits.traits import StrategyOnModel, known_strategies

SHAPES = (
    "zero", "one", "all-failed", "none-pruned", "not-finite", "constant", "running", "mixed",
    "text", "hostile",
)  # fmt: skip


@pytest.fixture
def parse(pages):
    """From HTML to a tree."""
    return sys.modules["page_tree"].parse


def reasons(page):
    return {p.attributes["data-reason"] for p in page.all("p") if "data-reason" in p.attributes}


@pytest.mark.parametrize("shape", SHAPES)
def test_sections_come_in_the_order_of_the_readers_questions(pages, reports, shape):
    ids = [section.attributes["id"] for section in pages[shape].all("section")]
    order = [module.HEADING.id for module in sections()] + ["not-measured"]
    first = ["verdict", "failures"] if shape == "all-failed" else ["verdict", "cost"]
    assert ids[:2] == first
    assert ids[2:] == [name for name in order if name in ids[2:]]


@pytest.mark.parametrize("shape", SHAPES)
def test_four_screens_are_open_and_every_other_section_is_one_line(pages, shape):
    for part in pages[shape].all("section"):
        name = part.attributes["id"]
        is_open = name in ("verdict", "cost", "samples", "limits")
        is_open |= (name, shape) == ("failures", "all-failed")
        assert (part.children[0].tag == "h2") is is_open, name
        if not is_open:
            (summary,) = (one for one in part.children[0].children if one.tag == "summary")
            assert summary.one("h2").text
            assert 0 < len(summary.one("span").text.split()) <= 40


@pytest.mark.parametrize("shape", SHAPES)
def test_ids_are_unique_and_every_link_leads_somewhere(pages, shape):
    ids = [e.attributes["id"] for e in pages[shape].all() if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    for link in pages[shape].all("a"):
        assert link.attributes["href"].startswith(("#", "https://"))
        assert link.attributes["href"][1:] in ids


@pytest.mark.parametrize("shape", SHAPES)
def test_every_figure_has_a_title_a_description_a_finding_and_its_numbers(pages, shape):
    for figure in pages[shape].all("figure"):
        assert figure.attributes["data-chart"]
        for svg in figure.all("svg"):
            assert svg.attributes["role"] == "img"
            assert svg.all("title")[0].text
            assert svg.all("desc")[0].text
        assert figure.one("figcaption").all("b")[0].text.endswith(".")
        name = figure.attributes["data-chart"]
        beside = name == "progress" or name.startswith("parameters-")
        assert figure.all("details", class_="data") or beside or name == "forest"


@pytest.mark.parametrize("shape", SHAPES)
def test_numbers_point_into_the_document(pages, reports, shape):
    document = json.loads((reports[shape].path / "report.json").read_text())
    checked = 0
    for table in pages[shape].all("table"):
        heads = [th.attributes.get("data-k", "") for th in table.all("th")]
        for row in table.one("tbody").all("tr"):
            base = row.attributes.get("data-k", "")
            for head, cell in zip(heads, row.all("td"), strict=True):
                if base and head:
                    value = look_up(document, base + head)
                    assert agrees(cell.text, value), (base + head, cell.text, value)
                    checked += 1
    for element in pages[shape].all("dd"):
        if "data-k" in element.attributes:
            assert agrees(element.text, look_up(document, element.attributes["data-k"]))
            checked += 1
    assert checked > 2


def look_up(document, pointer):
    for part in pointer.strip("/").split("/"):
        if isinstance(document, dict) and part not in document:
            return None
        document = document[int(part)] if isinstance(document, list) else document[part]
        if document is None:
            return None
    return document


def agrees(text, value):
    """Whether a cell says that value: absent as a dash, numbers to their shown digits."""
    if value is None or text == "–":
        return text in ("–", "") or "default is the best" in text
    if isinstance(value, str):
        return bool(text)
    number = re.search(r"[−-]?[\d,]*\.?\d+(?:e-?\d+)?", text)
    if isinstance(value, bool) or number is None:
        return str(value) in text or text == "<0.001"
    seen = float(number[0].replace(",", "").replace("−", "-"))
    scales = (1, 100, 1e-6, 1 / 60)
    if text == "<0.001":
        return value < 0.001
    decimals = len(number[0].split("e")[0].partition(".")[2])
    exponent = int(number[0].partition("e")[2] or 0)
    half = 0.51 * 10.0 ** (exponent - decimals)
    rough = 0.1 if text.startswith("about") else 5e-3
    return any(seen == pytest.approx(value * scale, rel=rough, abs=half) for scale in scales)


def test_verdicts_are_on_the_root(pages):
    found = {name: page.one("html").attributes["data-verdict"] for name, page in pages.items()}
    assert found["zero"] == found["all-failed"] == "none"
    assert found["one"] == found["running"] == "insufficient"
    assert found["mixed"] in ("tie", "recommend")


def test_a_baseline_that_wins_has_the_score_and_the_cost_of_the_card(report):
    made = report(trials=12, probe_loss=0.2)
    chosen = {"kind": "tie", "recommended_baseline": "probe"}
    decided = made.findings.verdict.model_copy(update=chosen)
    findings = made.findings.model_copy(update={"verdict": decided})
    card = blocks_of(made.model_copy(update={"findings": findings}), verdict)[0]
    assert [figure.name for figure in card.figures] == ["test accuracy", "to fit and score"]
    score = findings.tested_model("probe").score
    assert card.figures[0].text == f"{100 * score.value:.1f}%"
    assert card.figures[1].text == "7.0 s"
    assert card.css == ""


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ("zero", "no-trials"),
        ("one", "one-trial"),
        ("all-failed", "all-failed"),
        ("mixed", "not-measured"),
    ],
)
def test_empty_states_have_their_reason(pages, shape, reason):
    assert reason in reasons(pages[shape])


def test_zero_trials_show_plan_rules_and_the_command(pages):
    page = pages["zero"]
    assert page.one("table", id="plan").one("tbody").all("tr")
    assert page.one("table", id="rule-table").one("tbody").all("tr")
    assert "zero/sweep.yaml" in page.one("section", id="verdict").text
    assert not page.all("figure")


def test_one_trial_has_numbers_but_no_comparison_front_or_importance(pages):
    page = pages["one"]
    charts = {figure.attributes["data-chart"] for figure in page.all("figure")}
    assert charts == {"forest", "learning-curves"}
    assert "nothing to compare" in page.one("section", id="cost").text


def test_a_loss_that_is_no_number_keeps_its_row_with_the_reason(pages):
    row = pages["not-finite"].one("tr", id="trial-3")
    cells = [cell.text for cell in row.all("td")]
    assert cells[3] == "–"
    assert "not a finite number" in cells[-1]


def test_every_trial_can_be_linked_to_and_selected(pages):
    for number in range(24):
        row = pages["mixed"].one("tr", id=f"trial-{number}")
        assert row.attributes["data-trial"] == str(number)
        assert row.all("button")[0].attributes["aria-pressed"] == "false"
    marks = {
        e.attributes["data-trial"] for e in pages["mixed"].all() if "data-trial" in e.attributes
    }
    assert marks == {str(number) for number in range(24)}


def test_marks_of_a_trial_are_in_every_chart_of_trials(pages):
    page = pages["mixed"]
    best = page.one("table", id="strategy-table").one("tbody").all("tr")[0].attributes["data-trial"]
    for chart in ("cost-quality", "progress", "learning-curves"):
        figure = page.one("figure", data_chart=chart)
        assert [
            e
            for svg in figure.all("svg")
            for e in svg.all()
            if e.attributes.get("data-trial") == best
        ]


def test_strategies_differ_by_sign_and_ptuning_from_prefix_by_shape(pages):
    legend = pages["mixed"].one("figure", data_chart="learning-curves").one("ul", class_="legend")
    looks = {li.attributes.get("class") for li in legend.all("li")}
    assert {style_of(StrategyOnModel(name)).css for name in known_strategies()} <= looks


def test_the_test_split_appears_in_no_chart_of_trials(pages):
    for figure in pages["mixed"].all("figure"):
        if figure.attributes["data-chart"] == "forest":
            continue
        drawn = " ".join(t.text for svg in figure.all("svg") for t in svg.all("text"))
        assert "test" not in drawn


def test_words_that_promise_too_much_are_never_used(reports):
    for run in reports.values():
        for name in ("report.html", "report.md", "MODEL_CARD.md"):
            text = (run.path / name).read_text().lower()
            for word in ("optimal", "proves", "significantly", "best model"):
                assert word not in text, (run.path.name, name, word)


def test_a_strategy_that_is_not_known_here_is_drawn_all_the_same(report, parse):
    found = report(trials=6, prune=False)
    text = found.to_json().replace('"strategy": "head"', '"strategy": "my-method"')
    page = parse(html(type(found).from_json(text)))
    assert "my-method" in page.one("figure", data_chart="cost-quality").text


def test_the_test_table_holds_every_scored_model_with_its_answers_in_writing(pages):
    table = pages["text"].one("table", id_="tested")
    heads = [th.text for th in table.all("th")]
    for head in ("loss", "BLEU", "chrF", "ROUGE-L", "exact match"):
        assert any(text.startswith(head) for text in heads), head
    first = table.one("tbody").all("tr")[0]
    assert "trial" in first.all("td")[0].text
    note = next(p.text for p in pages["text"].all("p") if "decoded greedily" in p.text)
    assert "first 32 test items" in note
    assert "at most 96 tokens" in note


def test_what_a_trial_costs_to_use_stands_beside_its_scores(pages):
    table = pages["text"].one("table", id_="tested")
    assert cells(table, "weights on disk")[0] == ["2.4 MB"]
    assert cells(table, "base on disk")[0] == ["90.9 MB"]
    assert float(cells(table, "use")[0][0]) > 0


def test_a_classification_shows_its_classes_and_its_confusions(pages):
    page = pages["mixed"]
    assert len(page.one("table", id_="classes").one("tbody").all("tr")) == 7
    matrix = page.one("table", id_="confusion")
    assert len(matrix.all("th")) == 8
    texts = [td.text for tr in matrix.one("tbody").all("tr") for td in tr.all("td")[1:]]
    assert "0" not in texts
    assert sum(int(text) for text in texts if text) == 600


def cells(table, head):
    """The cells of the columns whose header begins so, row by row."""
    at = [n for n, th in enumerate(table.all("th")) if th.text.startswith(head)]
    return [[tr.children[n].text for n in at] for tr in table.one("tbody").all("tr")]


def number(text):
    return float(text.split(" (")[0].replace("−", "-"))


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_columns_of_a_gain_add_up_and_say_how_many_seeds(parse, report, seeds):
    made = report(trials=12, prune=False, seeds=seeds, seal=seeds > 1)
    table = parse(html(made)).one("table", id_="gains")
    columns = ("default", "best found", "gain", "seeds")
    texts = [[row[0] for row in cells(table, head)] for head in columns]
    compared = [row for row in zip(*texts, strict=True) if row[2] != "–"]
    assert compared
    assert any(row[3].endswith(f"and {seeds}") for row in compared)
    for default, best, gain, _ in compared:
        digits = len(gain.partition(".")[2])
        assert number(default) - number(best) == pytest.approx(number(gain), abs=1.1 * 10**-digits)


def test_a_tie_is_not_called_the_cheapest_where_a_cheaper_one_is_tied_too(report):
    document = report(trials=20, test_items=9)
    tied = document.findings.verdict.model_copy(
        update={"kind": "tie", "recommended_baseline": "probe"}
    )
    findings = document.findings.model_copy(update={"verdict": tied})
    card = blocks_of(document.model_copy(update={"findings": findings}), verdict)[0]
    assert "cheapest" not in f"{card.lead} {card.sentence}"


def test_limits_that_change_nothing_are_counted_below_the_verdict_and_each_is_once_in_markdown(
    report,
):
    document = report(trials=20)
    findings = document.findings
    assert findings.limits
    assert findings.decisive_limit is None
    below = blocks_of(document, verdict)[0].limits
    assert below.startswith(str(len(findings.limits)))
    assert not any(limit.text in below for limit in findings.limits)
    text = markdown(document)
    assert [text.count(plain(limit.text)) for limit in findings.limits] == [1] * len(
        findings.limits
    )


def test_the_next_step_and_its_command_stand_below_the_verdict(report):
    document = report(trials=20)
    step = document.findings.next_step
    card = blocks_of(document, verdict)[0]
    assert (card.step, card.command) == (next_step_line(step), step.command)
    assert step.command


def test_an_outcome_that_the_correction_took_back_says_so_in_the_tables(parse, report):
    document = report(trials=20)
    decided = document.findings.verdict
    first = decided.comparisons[0]
    clear = first.difference.model_copy(update={"value": 0.05, "low": 0.01, "high": 0.09})
    taken = {"difference": clear, "outcome": "within noise", "comparisons": 3}
    comparisons = (first.model_copy(update=taken), *decided.comparisons[1:])
    gains = tuple(
        gain.model_copy(update={"gain": clear, **taken}) if gain.gain else gain
        for gain in document.figures("cost", Figures).gains
    )
    findings = document.findings.model_copy(
        update={"verdict": decided.model_copy(update={"comparisons": comparisons})}
    )
    sections = {**document.sections, "cost": Figures(gains=gains).model_dump(mode="json")}
    changed = {"findings": findings, "sections": sections}
    page = parse(html(document.model_copy(update=changed)))
    told = "within noise after correcting for 3 comparisons"
    assert cells(page.one("table", id_="comparisons"), "A against B")[0] == [told]
    assert [told] in cells(page.one("table", id_="gains"), "best against default")
    assert f"(CI 0.010 to 0.090), {told}. The default would" in page.one("section", id_="cost").text


def test_what_the_user_declared_is_beside_what_the_rule_book_has(report):
    made = report(trials=4)
    assert declared_table(made) == []
    first = made.plan.strategies[0]
    rank = first.parameters["learning_rate"].model_copy(
        update={"shipped": "1e-4 to 3e-4 (2e-4)", "source": "sweep.yaml:7"}
    )
    given = first.model_copy(update={"parameters": {**first.parameters, "learning_rate": rank}})
    plan = made.plan.model_copy(update={"strategies": (given, *made.plan.strategies[1:])})
    (table,) = declared_table(made.model_copy(update={"plan": plan}))
    (row,) = table.rows
    assert [cell.text for cell in row.cells][3:] == ["1e-4 to 3e-4 (2e-4)", "sweep.yaml:7"]


def test_each_rule_of_the_plan_is_shown_once_with_its_place_in_the_document(report):
    made = report(trials=3, prune=False)
    (table,) = blocks_of(made, rules)
    given = [
        *(reason for one in made.plan.strategies for reason in (*one.reasons, *one.cautions)),
        *made.plan.warnings,
    ]
    shown = [row.cells[0].text for row in table.rows]
    assert sorted(shown) == sorted({reason.rule for reason in given} - {DECLARED})
    plan = json.loads(made.to_json())
    for row in table.rows:
        reason = look_up(plan, row.pointer)
        assert (reason["rule"], reason["source"]) == (row.cells[0].text, row.cells[3].text)
    effects = {row.cells[0].text: row.cells[2].text for row in table.rows}
    assert effects["lora-rate"].startswith("LoRA: learning_rate ")


def test_a_partial_run_has_a_banner_and_a_finished_one_has_none(pages):
    assert "12 of 20 trials; results may change" in pages["running"].one("p", class_="banner").text
    assert not pages["mixed"].all("p", class_="banner")


def test_on_a_gpu_time_is_gpu_minutes_and_on_a_cpu_minutes(pages):
    gpu = pages["mixed"].one("section", id="cost").text
    cpu = pages["none-pruned"].one("section", id="cost").text
    assert "GPU-minutes a trial" in gpu
    assert "peak GPU memory (GiB)" in gpu
    assert "GPU" not in cpu


def test_reasons_for_leaving_out_are_said_once(report, parse):
    found = report(trials=2)
    one = found.plan.rejected[0]
    rejected = tuple(
        one.model_copy(update={"strategy": StrategyOnModel(name)}) for name in ("prefix", "ptuning")
    )
    plan = found.plan.model_copy(update={"rejected": rejected})
    page = parse(html(found.model_copy(update={"plan": plan})))
    rows = page.one("table", id="left-out").one("tbody").all("tr")
    assert [row.all("td")[0].text for row in rows] == ["prefix, P-tuning"]
