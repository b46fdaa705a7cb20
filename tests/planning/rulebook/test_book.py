from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from sweeper import packages
from sweeper.errors import RuleError
from sweeper.planning.rulebook.book import Rule, RuleBook, _shipped, rule_book
from sweeper.planning.rulebook.effects import Change, Effects
from sweeper.planning.rulebook.fact_table import FACTS
from sweeper.traits import traits

RULE = """\
- id: my-rule
  title: Mine
  when: {examples: {min: 10}}
  then:
    gap: {lora: {points: 2, sd: 1}}
    parameters:
      lora.r: {range: [4, 8], default: 4}
  why: Because.
  source: me
"""


def changing(book: RuleBook) -> list[Rule]:
    return [rule for rule in book.rules if isinstance(rule, Rule)]


def own(tmp_path: Path, text: str, name: str = "own.yaml") -> tuple[str, ...]:
    folder = tmp_path / "rules_of_mine"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return (str(folder),)


def test_the_shipped_book_is_sound_and_every_rule_says_why() -> None:
    book = rule_book()
    assert len(book.rules) > 80
    for rule in book.rules:
        if isinstance(rule, Rule):
            assert rule.why.endswith("."), rule.id
            assert rule.title
        assert rule.lines({})
        assert rule.source
        assert Path(rule.where.split(":")[0]).is_file()


def test_every_fact_in_the_table_is_described() -> None:
    for name, fact in FACTS.items():
        assert fact.name == name
        assert fact.description


def test_users_add_a_rule(tmp_path: Path) -> None:
    book = rule_book(own(tmp_path, RULE))
    assert book.rules[-1].id == "my-rule"
    assert len(book.rules) == len(rule_book().rules) + 1


def test_users_override_a_rule_by_its_id_and_theirs_is_applied_last(tmp_path: Path) -> None:
    book = rule_book(own(tmp_path, RULE.replace("my-rule", "lora-rank")))
    assert len(book.rules) == len(rule_book().rules)
    assert book.rules[-1].id == "lora-rank"
    assert book.rules[-1].source == "me"


QLORA = """\
strategy: qlora
title: QLoRA
what: As our house does it.
extends: lora
quality: {text: like LoRA, source: me}
parameters:
  use_dora:
    kind: categorical
    choices: [true]
    default: true
    source: me
    why: Our house wants it.
"""


def strategy_file(tmp_path: Path, name: str, text: str) -> tuple[str, ...]:
    folders = own(tmp_path, RULE)
    extra = Path(folders[0]) / "strategies"
    extra.mkdir()
    (extra / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folders


def test_users_change_the_parameters_of_a_strategy(tmp_path: Path) -> None:
    strategy = rule_book(strategy_file(tmp_path, "qlora", QLORA)).strategies["qlora"]
    assert strategy.parameters["use_dora"].parameter.default is True
    assert "learning_rate" in strategy.parameters
    assert strategy.traits == rule_book().strategies["qlora"].traits


def test_users_do_not_change_what_a_strategy_is(tmp_path: Path) -> None:
    text = QLORA.replace("extends", "label: Q\nchart: {color: 1, shape: circle}\nextends")
    with pytest.raises(RuleError, match=r"qlora\.yaml:1 "):
        rule_book(strategy_file(tmp_path, "qlora", text))


def test_a_strategy_that_no_package_brings_is_refused(tmp_path: Path) -> None:
    text = QLORA.replace("qlora", "dora", 1).replace(
        "extends", "label: DoRA\nchart: {color: 1, shape: circle}\nextends"
    )
    with pytest.raises(RuleError, match="'dora'"):
        rule_book(strategy_file(tmp_path, "dora", text))


def test_every_problem_is_reported_at_once_with_file_and_line(tmp_path: Path) -> None:
    text = """\
- id: bad
  title: Bad
  when: {exampels: {min: 10}}
  then:
    gap: {lroa: {points: 2, sd: 1}, full: {points: 1, sd: -1}}
    parameters:
      lora.rank: {default: 4}
      lora.r: {range: [8, 4]}
      full.learning_rate: {default: 7}
      lora.target_modules: {choices: [qx]}
    gpa: {lora: 1}
  warning: "There are {exampels} rows."
  answer: {what: now}
  why: Because.
  sorce: me
"""
    with pytest.raises(RuleError) as caught:
        rule_book(own(tmp_path, text))
    found = {problem.where.split(":")[1].split()[0]: problem for problem in caught.value.problems}
    lines = {"1", "3", "5", "7", "8", "9", "10", "11", "12", "13", "15"}
    assert lines <= set(found)
    whole = str(caught.value)
    for words in (
        "Did you mean 'examples'?",
        "Did you mean 'lora'?",
        "sd = -1",
        "lora has no parameter 'rank'",
        "low <= high must hold, but got [8, 4]",
        "learning_rate is allowed from 1e-06 to 0.003",
        "target_modules is never 'qx'",
        "Did you mean 'gap'?",
        "Did you mean 'source'?",
        "source is missing",
        "there is no key 'what' here",
    ):
        assert words in whole, words
    assert str(tmp_path) in whole


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (RULE + RULE, "two rules are called 'my-rule'"),
        (RULE.replace("  why: Because.\n", ""), "why is missing"),
        (RULE.replace("  title: Mine\n", "  title: Mine\n  title: Twice\n"), "duplicate key"),
        ("id: my-rule\n", "not a list of rules"),
        ("- just words\n", "is not a mapping"),
        (RULE.replace("{examples: {min: 10}}", "!!python/name:os.system"), "is not allowed"),
        (
            RULE.replace("gap: {lora: {points: 2, sd: 1}}", "gap: {lora: {points: true, sd: 1}}"),
            "valid number",
        ),
        (RULE.replace("lora.r", "r"), "does not name a strategy's parameter"),
        (RULE.replace("range: [4, 8], default: 4", ""), "no change is given"),
        (RULE.replace("default: 4", "default: 32"), "must be within the range 4 to 8"),
        (RULE.replace("default: 4", "defalt: 4"), "Did you mean 'default'?"),
        (RULE.replace("range: [4, 8], default: 4", "scale: 2"), "there is no key 'scale' here"),
        (
            RULE.replace("default: 4", "default_from: {fact: task, at: {1: 4}}"),
            "'task' is not a fact with a number",
        ),
        (RULE.replace("- id", "- - id"), "is not YAML"),
    ],
)
def test_a_mistake_in_a_rule_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(RuleError, match=r"own\.yaml") as caught:
        rule_book(own(tmp_path, text))
    assert words in str(caught.value)


def test_a_folder_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuleError):
        rule_book((str(tmp_path / "nowhere"),))
    with pytest.raises(RuleError):
        rule_book((str(tmp_path),))


def test_choices_of_a_rule_are_searched_or_change_the_default() -> None:
    book = rule_book()
    for rule in changing(book):
        for change in (one for one in rule.effects.changes if len(one.choices or ()) > 1):
            declared = [one.parameters.get(change.parameter) for one in book.strategies.values()]
            for parameter in filter(None, declared):
                searched = parameter.searched or change.searched
                assert searched or change.default != parameter.default, rule.id


def test_every_effect_is_used_by_some_shipped_rule() -> None:
    effects = [rule.effects for rule in changing(rule_book())]
    for name in Effects.model_fields:
        assert any(getattr(effect, name) for effect in effects), name
    for name in Change.model_fields:
        assert any(getattr(c, name) is not None for effect in effects for c in effect.changes), name


def test_a_note_says_something_and_changes_nothing(tmp_path: Path) -> None:
    notes = [rule for rule in rule_book().rules if not isinstance(rule, Rule)]
    assert len(notes) > 50
    for kind in ("warning", "advice", "caution", "answer"):
        assert any(getattr(note, kind) for note in notes), kind
    note = (
        '- {id: mine, when: {examples: {min: 10}}, source: me, advice: "Read {examples} rows."}\n'
    )
    assert rule_book(own(tmp_path, note)).rules[-1].advice == "Read {examples} rows."
    for text, words in (
        (note.replace(', advice: "Read {examples} rows."', ""), "then is missing"),
        (note.replace("{examples}", "{exampels}"), "there is no fact 'exampels'"),
        (note.replace("advice", "advise"), "Did you mean 'advice'?"),
        (note.replace("source: me, ", ""), "source is missing"),
    ):
        with pytest.raises(RuleError, match=r"own\.yaml") as caught:
            rule_book(own(tmp_path, text))
        assert words in str(caught.value)


def test_another_package_adds_rules_by_an_entry_point_without_being_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "their_rules"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n", encoding="utf-8")
    (package / "theirs.yaml").write_text(RULE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("theirs", "their_rules", traits.SEARCH_SPACES)
    monkeypatch.setattr(
        packages, "entries", lambda group: [entry] if group == traits.SEARCH_SPACES else []
    )
    for cached in (_shipped, traits.installed_folders, traits.strategy_files):
        cached.cache_clear()
    assert rule_book().rules[-1].id == "my-rule"
    monkeypatch.undo()
    for cached in (_shipped, traits.installed_folders, traits.strategy_files):
        cached.cache_clear()
