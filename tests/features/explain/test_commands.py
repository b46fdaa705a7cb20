"""explain: the reasons for a plan, from the command line."""

import json


def test_explain_names_what_would_change_the_decision(sweeper, here):
    plan = sweeper(
        "plan", "--task", "classification", "--examples", "2000", "--gpu-memory", "24",
        "--model", "7B", "--strategies", "lora,full", "--set", "lora.r=16", "--json",
    )  # fmt: skip
    (here / "plan.json").write_text(plan.out)
    ran = sweeper("explain", "plan.json")  # takes seconds, so its JSON is left to the next test
    assert ran.code == 0
    assert "Declared" in ran.out
    epochs = json.loads(plan.out)["budget"]["epochs"]
    told = f"Epochs {epochs:g} in a full trial of this plan, in place of the rules' defaults"
    assert told in " ".join(ran.out.split())
    changes, rules = ran.out.split("Changes ")[1].split("Rules that fired")
    fired, near = rules.split("Rules that nearly fired")
    assert "memory_gib = " in changes
    assert "start-with-lora if" in " ".join(fired.split())
    assert " fires if " in near


def test_explain_takes_the_rules_that_a_plan_was_made_with(sweeper, here):
    (here / "mine").mkdir()
    (here / "mine" / "a.yaml").write_text(
        "- id: house-style\n  title: Ours\n  when: {examples: {min: 1}}\n"
        "  then: {gap: {full: {points: 50, sd: 0.1}}}\n  why: We always do.\n  source: house rule\n"
    )
    plan = ("plan", "--task", "instruction", "--examples", "2000", "--gpu-memory", "200")
    made = sweeper(*plan, "--model", "1B", "--strategies", "lora,full", "--rules", "mine", "--json")
    (here / "plan.json").write_text(made.out)
    assert "house-style" not in sweeper("explain", "plan.json", "--json").out
    parts = json.loads(sweeper("explain", "plan.json", "--rules", "mine", "--json").out)
    assert "house-style" in {rule["rule"] for rule in parts["fired"]}
    assert parts["near_misses"]
    assert "We always do." in sweeper("explain", "house-style", "--rules", "mine").out
