"""``sweeper rules``: the rule book can be read from the command line."""

import json
import re


def test_the_rule_book_is_listed_and_one_rule_is_shown_whole(sweeper):
    listed = sweeper("rules").out
    assert "start-with-lora" in listed
    shown = sweeper("rules", "lora-close-to-full").out
    for key in ("when", "then", "why", "source"):
        assert f"\n{key}" in shown
    assert re.search(r"\nwhere .*\.yaml:\d+\n", shown)


def test_ones_own_rule_overrides_and_its_mistakes_are_shown_with_their_line(sweeper, here):
    folder = here / "mine"
    folder.mkdir()
    (folder / "a.yaml").write_text(
        "- id: start-with-lora\n  title: Start with full\n  when: {examples: {min: 1}}\n"
        "  then: {gap: {full: {points: 50, sd: 0.1}}}\n  why: We always do.\n  source: house rule\n"
    )
    plan = ("plan", "--task", "classification", "--examples", "2000", "--gpu-memory", "200")
    ran = sweeper(*plan, "--model", "1B", "--rules", "mine", "--json")
    assert json.loads(ran.out)["recommended"] == "full"
    (folder / "a.yaml").write_text("- id: x\n  titel: y\n")
    ran = sweeper("rules", "--rules", "mine")
    assert ran.code == 2
    assert "a.yaml:2" in ran.err
    assert "'title'" in ran.err
