"""Parameters that the user declares: laid over the rule book's, refused where they cannot apply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from configs import config_of

from sweeper.errors import NothingFits, SpecError
from sweeper.planning.declared_parameters import valid_reasons
from sweeper.planning.planner import make_plan
from sweeper.plans import Parameter, Plan, Reason
from sweeper.search import optuna_space
from sweeper.search.cost_model.axes import axis_of
from sweeper.spec import Places, Spec
from sweeper.specfile import resolve, to_yaml


def declared_plan(scene: Any, text: str, places: Places | None = None, **options: Any) -> Plan:
    spec, facts = scene(**options)
    declared = yaml.safe_load(text.replace("1e-", "1.0e-"))
    whole = resolve({}, yaml.safe_load(to_yaml(spec)) | {"parameters": declared})
    return make_plan(whole.with_places(places or Places()), facts)


def parameter(plan: Plan, name: str, strategy: str = "lora") -> Parameter:
    return plan.candidate(strategy).parameters[name]


def test_a_range_is_the_range_and_the_allowed_one(scene: Any) -> None:
    text = "lora: {learning_rate: {low: 1e-6, high: 1e-1, log: true}}"
    places = Places(lambda path: "sweep.yaml:12 " + ".".join(map(str, path)))
    plan = declared_plan(scene, text, places)
    rate = parameter(plan, "learning_rate")
    assert (rate.low, rate.high, rate.allowed_low, rate.allowed_high) == (1e-6, 0.1, 1e-6, 0.1)
    assert rate.searched
    assert rate.log
    assert rate.source == "sweep.yaml:12 parameters.lora.learning_rate"
    assert rate.default == 6e-4
    assert rate.shipped == "1e-4 to 1e-3, default 6e-4"
    # a quarter of the range, as without a declaration
    assert rate.prior is not None
    assert rate.prior.spread == pytest.approx(5 / 4)
    known = optuna_space.distributions(plan)["lora.learning_rate"]
    assert (known.low, known.high) == (1e-6, 0.1)  # type: ignore[attr-defined]


def test_beyond_the_rule_book_is_a_warning_and_within_it_none(scene: Any) -> None:
    plan = declared_plan(scene, "lora: {r: [8, 16, 512], lora_alpha: 32}")
    told = [one.why for one in plan.warnings if one.rule == "parameters"]
    assert len(told) == 1
    assert "r 512" in told[0]
    assert "1 to 256" in told[0]


def test_choices_of_a_number_and_a_fixed_one(scene: Any) -> None:
    plan = declared_plan(scene, "lora: {r: [4, 16, 64], lora_alpha: 64, lora_dropout: 0}")
    rank, alpha = parameter(plan, "r"), parameter(plan, "lora_alpha")
    assert (rank.kind, rank.choices, rank.default) == ("categorical", (4, 16, 64), 16)
    assert (alpha.default, alpha.searched, alpha.allowed_high) == (64, False, 64.0)
    lora = plan.candidate("lora")
    values = {**lora.defaults(), "r": 64}
    config = config_of(plan, lora, values, number=0, attempt=1, origin="search")
    assert (config.parameters["r"], config.parameters["lora_dropout"]) == (64, 0.0)


def test_steps_are_all_that_the_search_gives(scene: Any) -> None:
    text = "lora: {lora_dropout: {low: 0, high: 0.2, step: 0.05}}"
    plan = declared_plan(scene, text)
    dropout = parameter(plan, "lora_dropout")
    known = optuna_space.distributions(plan)["lora.lora_dropout"]
    axis = axis_of("lora_dropout", dropout, known)
    values = {round(axis.value(unit / 99), 6) for unit in range(100)}  # type: ignore[union-attr]
    assert values == {0.0, 0.05, 0.1, 0.15, 0.2}
    assert known.step == 0.05  # type: ignore[attr-defined]


def test_all_means_every_strategy_that_has_it_and_the_strategy_itself_wins(scene: Any) -> None:
    plan = declared_plan(scene, "{all: {weight_decay: 0.3}, full: {weight_decay: 0.2}}")
    assert parameter(plan, "weight_decay").default == 0.3
    assert parameter(plan, "weight_decay", "full").default == 0.2


def test_a_default_alone_keeps_the_range(scene: Any) -> None:
    plan = declared_plan(scene, "lora: {learning_rate: {default: 0.0025}, r: {default: 32}}")
    rate, rank = parameter(plan, "learning_rate"), parameter(plan, "r")
    assert rate.default == rate.high == 0.0025
    assert (rate.allowed_low, rate.allowed_high) == (1e-5, 1e-2)
    assert (rank.default, rank.low, rank.high, rank.searched) == (32, 8, 64, False)


def test_the_rule_books_default_is_not_left_on_the_edge_of_a_range(scene: Any) -> None:
    plan = declared_plan(scene, "lora: {learning_rate: {low: 0.0006, high: 0.06}}")
    assert parameter(plan, "learning_rate").default == pytest.approx(6e-3)


def test_patience_that_is_declared_is_looked_at_as_often(scene: Any) -> None:
    asked = declared_plan(scene, "{}", training={"early_stopping_patience": 2})
    declared = declared_plan(scene, "all: {early_stopping_patience: 2}")
    assert declared.budget.rung_every == asked.budget.rung_every
    assert parameter(declared, "early_stopping_patience").default == 2


def test_the_full_budget_is_what_is_declared(scene: Any) -> None:
    plan = declared_plan(scene, "lora: {num_train_epochs: [1, 6]}")
    assert plan.budget.epochs == 6.0
    assert parameter(plan, "num_train_epochs").choices == (1.0, 6.0)
    assert parameter(plan, "num_train_epochs", "full").default == 6.0


def test_declared_modules_and_optimizer_are_counted(scene: Any) -> None:
    plain = declared_plan(scene, "lora: {r: 16, target_modules: qv}").candidate("lora")
    text = "lora: {r: 16, target_modules: qv, modules_to_save: [embed_tokens, lm_head]}"
    saved = declared_plan(scene, text).candidate("lora")
    tables = 2 * 32000 * 4096
    assert saved.trainable_parameters - plain.trainable_parameters == tables
    # float32 weights and two moments of each; gradients beside
    assert saved.memory.peak_gib - plain.memory.peak_gib > 12 * tables / 2**30
    lighter = declared_plan(scene, text.replace("}", ", optim: sgd}")).candidate("lora")
    states = 8 * (tables + plain.trainable_parameters) / 2**30
    assert saved.memory.parts["optimizer states"] == pytest.approx(states, rel=0.001)
    assert "optimizer states" not in lighter.memory.parts
    assert lighter.setup.optimizer == "sgd"
    assert saved.duration.seconds > plain.duration.seconds


def test_a_pattern_counts_the_layers_that_it_matches(scene: Any) -> None:
    every = declared_plan(scene, "lora: {r: 16, target_modules: [q_proj]}").candidate("lora")
    text = r"lora: {r: 16, target_modules: '.*layers\.[0-7]\..*q_proj'}"
    some = declared_plan(scene, text).candidate("lora")
    assert some.trainable_parameters * 4 == every.trainable_parameters


def test_what_no_longer_fits_is_rejected_with_its_need(scene: Any) -> None:
    text = "lora: {modules_to_save: [embed_tokens, lm_head]}"
    aim = {"strategies": ["lora"]}
    with pytest.raises(NothingFits, match="lora"):
        declared_plan(scene, text, gpu_gib=16.0, aim=aim)
    assert declared_plan(scene, text, gpu_gib=40.0, aim=aim).recommended == "lora"


def test_an_optimizer_among_choices_is_in_the_trials_configuration(scene: Any) -> None:
    plan = declared_plan(scene, "full: {optim: [adamw_torch, adafactor]}")
    full = plan.candidate("full")
    values = {**full.defaults(), "optim": "adafactor"}
    config = config_of(plan, full, values, number=0, attempt=1, origin="search")
    assert config.setup.optimizer == "adafactor"
    assert full.setup.optimizer == "adamw_torch"


def test_warmup_steps_stand_in_for_the_ratio(scene: Any) -> None:
    parameters = declared_plan(scene, "lora: {warmup_steps: 7}").candidate("lora").parameters
    assert "warmup_ratio" not in parameters
    assert parameters["warmup_steps"].default == 7


def test_a_guard_that_is_declared_needs_no_other_request(scene: Any) -> None:
    plan = declared_plan(scene, "lora: {replay_share: 0.25, kl_weight: 0}")
    assert parameter(plan, "replay_share").default == 0.25
    assert parameter(plan, "kl_weight").default == 0.0
    assert "replay_share" not in plan.candidate("full").parameters


def test_the_identity_has_what_is_declared(scene: Any) -> None:
    one = declared_plan(scene, "lora: {r: 8}").identity
    other = declared_plan(scene, "lora: {r: 16}").identity
    assert one is not None
    assert other is not None
    assert one.space != other.space
    assert one.model_copy(update={"space": ""}) == other.model_copy(update={"space": ""})
    spec, facts = scene()
    same = make_plan(Spec.model_validate(spec.model_dump() | {"parameters": {}}), facts).identity
    assert make_plan(spec, facts).identity == same


def test_a_strategy_that_does_not_compete_is_told(scene: Any) -> None:
    plan = declared_plan(scene, "qlora: {r: 8}", aim={"strategies": ["lora"]})
    told = [one.why for one in plan.warnings if one.rule == "parameters"]
    assert len(told) == 1
    assert "qlora does not compete" in told[0]


def test_sources_that_disagree_about_what_was_declared_are_not_told(scene: Any) -> None:
    parameters = declared_plan(scene, "lora: {r: 8}").candidate("lora").parameters
    about = {"rule": "one", "source": "x", "why": "r: 1 to 2"}
    rank, rate = (
        Reason(**about, disagrees_with="two", changes={name: parameters[name].range})
        for name in ("r", "learning_rate")
    )
    other = Reason(**about)
    assert valid_reasons([rank, rate, other], parameters) == (rate, other)


_COSINE = "all: {lr_scheduler_type: cosine, warmup_ratio: 0.1}"


def test_an_optimizer_that_wants_other_rates_is_a_warning(scene: Any) -> None:
    def told(text: str) -> list[str]:
        return [
            one.title for one in declared_plan(scene, text).warnings if one.rule == "parameters"
        ]

    assert told("lora: {optim: lion_32bit}") == ["Rates of AdamW"]
    assert told("lora: {optim: lion_32bit, learning_rate: 1e-4}") == []
    assert told("lora: {optim: adafactor}") == []


def test_rules_that_set_what_was_declared_are_no_reasons(scene: Any) -> None:
    plans = [declared_plan(scene, text) for text in ("{}", _COSINE)]
    before, after = ({one.rule for one in plan.candidate("lora").reasons} for plan in plans)
    assert before - after == {"constant-with-warmup"}


WRONG = [
    ("lora: {rank: 8}", "lora has no parameter 'rank'"),
    ("lora: {rank: 8}", "Did you mean 'r'?"),
    ("lora: {trainable_token_indices: 5}", "Did you mean 'modules_to_save'?"),
    ("all: {lerning_rate: 1e-4}", "Did you mean 'learning_rate'?"),
    ("lora: {r: big}", "It must be a whole number"),
    ("lora: {r: 0}", "a whole number above 0"),
    ("lora: {r: [8, 8.5]}", "r = 8.5"),
    ("lora: {lora_dropout: 1}", "It must be at most 0.99"),
    ("lora: {weight_decay: true}", "It must be a number"),
    ("lora: {use_dora: 1}", "use_dora = 1 is not known"),
    ("lora: {learning_rate: {low: 0.1, high: 0.01}}", "low <= high must hold"),
    ("lora: {learning_rate: {low: 0.1}}", "Give high as well"),
    ("lora: {learning_rate: {low: 0, high: 0.1}}", "range of learning_rate is logarithmic"),
    ("lora: {learning_rate: {low: 1e-4, high: 1e-3, default: 1e-2}}", "lies outside of low"),
    ("lora: {learning_rate: {default: 1}}", "Give low and high as well"),
    ("lora: {learning_rate: {min: 1e-4, max: 1e-3}}", "no key 'min'"),
    ("lora: {r: {choices: [8], low: 4}}", "choices and a range"),
    ("lora: {target_modules: {low: 1, high: 2}}", "has choices, not a range"),
    ("lora: {target_modules: [q_proj, v_prj]}", "Did you mean 'v_proj'?"),
    ("lora: {target_modules: [q_proj, all-linear]}", "A list of names is one value"),
    ("lora: {target_modules: '.*quer.*'}", "no linear layers"),
    ("lora: {target_modules: '*.q_proj'}", "nothing to repeat"),
    ("lora: {modules_to_save: [embed_token]}", "Did you mean 'embed_tokens'?"),
    ("full: {modules_to_save: [embed_tokens]}", "Strategies that have it: lora, qlora, adapter."),
    ("head: {C: 3}", "C of head cannot be set"),
    ("lora: {optim: adamw_trch}", "Did you mean 'adamw_torch'?"),
    ("qlora: {init_lora_weights: pissa}", "is not known"),
    ("lora: {warmup_steps: 5, warmup_ratio: 0.1}", "warmup_steps and warmup_ratio"),
    ("lora: {head_learning_rate: 0.1}", "It exists where new_head."),
    ("lora: {r: {}}", "no value is declared"),
    ("lora: {r: []}", "no value is declared"),
    ("lora: {r: null}", "None is not a value"),
    ("lora: {}", "at least 1 item"),
    ("lora: 8", "lora = 8"),
    ("[lora]", "parameters = ['lora']"),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_what_cannot_apply_is_refused(scene: Any, text: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        declared_plan(scene, text)
    assert words in str(caught.value)


def test_an_optimizer_that_cannot_run_here_is_refused(
    scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SpecError):
        declared_plan(scene, "full: {optim: paged_adamw_8bit}", model="smollm2", gpu_gib=None)
    monkeypatch.setattr("sweeper.planning.declared_parameters.is_installed", lambda name: False)
    here = {"model": "smollm2", "hardware": {"detected": True}}
    with pytest.raises(SpecError, match="torchao"):
        declared_plan(scene, "full: {optim: adamw_torch_4bit}", **here)


def test_more_epochs_than_the_request_has_are_refused(scene: Any) -> None:
    with pytest.raises(SpecError, match=r"training\.epochs"):
        declared_plan(scene, "lora: {num_train_epochs: 3}", training={"epochs": 2})


def test_what_is_declared_survives_the_resolved_file(tmp_path: Path) -> None:
    text = (
        "task: instruction\nmodel: 7B\nparameters:\n"
        "  lora:\n    r: [8, 16]\n    lora_alpha: 32\n    learning_rate: {low: 1e-5, high: 1e-3}\n"
        "    target_modules: {choices: [[q_proj, v_proj], all-linear]}\n"
        "    modules_to_save: [embed_tokens, lm_head]\n  all: {optim: [adafactor, sgd]}\n"
    )
    path, again = tmp_path / "sweep.yaml", tmp_path / "again.yaml"
    path.write_text(text)
    spec = resolve({}, path)
    assert spec.parameters["lora"]["target_modules"].choices == ("q_proj,v_proj", "all-linear")
    assert spec.parameters["lora"]["modules_to_save"].choices == ("embed_tokens,lm_head",)
    again.write_text(to_yaml(spec))
    assert resolve({}, again) == spec
    assert spec.places.where(("parameters", "lora", "r")) == f"{path}:5 parameters.lora.r"


@pytest.mark.parametrize(("rate", "warned"), [(4e-3, False), (1e-2, True)])
def test_a_rate_is_compared_with_the_default_of_the_rule_book(
    scene: Any, rate: float, warned: bool
) -> None:
    plan = declared_plan(scene, f"lora: {{r: 256, learning_rate: {rate}}}")
    texts = [reason.why for reason in plan.warnings if reason.rule == "parameters"]
    assert [" 6e-4, the default" in text for text in texts] == [True] * warned
