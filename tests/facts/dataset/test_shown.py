"""The example of a plan: what the model reads, and what the loss is computed on."""

from sweeper.data.examples import Example, Message
from sweeper.data.tools import calls_of, extras_json, text_with_calls
from sweeper.facts.dataset.data_facts import shown_example
from sweeper.facts.record import ShownExample
from sweeper.spec import Spec
from sweeper.views.plan_view import marked


def written(conversations):
    return ["".join(f"<{t.role}>{text_with_calls(t)}<end>" for t in one) for one in conversations]


def shown(example, labels=(), **spec):
    found = shown_example(example, Spec.model_validate(spec), labels, written)
    return marked(found, None)


def test_answers_of_a_conversation_are_marked_and_the_same_words_before_are_not():
    turns = (Message("user", "Yes."), Message("assistant", "Yes."), Message("user", "Why?"),
             Message("assistant", "So."))  # fmt: skip
    text = shown(Example("k", 1, messages=turns), task="instruction")
    assert text == "<user>Yes.<end><assistant>«Yes.»<end><user>Why?<end><assistant>«So.»<end>"


def test_a_call_of_a_tool_is_marked():
    call = Message("assistant", "", extras_json(tool_calls=calls_of({"name": "clock"})))
    text = shown(Example("k", 1, messages=(Message("user", "Time?"), call)), task="instruction")
    assert "«<tool_call>" in text


def test_a_class_is_what_a_head_predicts_or_what_is_written():
    example = Example("k", 1, text="Where?", label="question")
    assert shown(example, task="classification") == "Where? «question»"
    named = shown(example, ("order", "question"), task="classification",
                  training={"classes_by": "generate"})  # fmt: skip
    assert "belong to: order, question?" in named
    assert "<assistant>«question»<end>" in named


def test_code_is_asked_with_its_assertions_and_a_system_prompt_is_there():
    turns = (Message("user", "Write f."), Message("assistant", "def f(): ..."))
    example = Example("k", 1, messages=turns, tests=("assert f() is None",))
    text = shown(example, task="code", training={"system_prompt": "Be brief."})
    assert text.startswith("<system>Be brief.<end>")
    assert "assert f() is None<end><assistant>«def f(): ...»" in text


def test_a_long_example_loses_its_middle_and_keeps_its_marks():
    text = "a" * 5000 + "b" * 5000
    short = marked(ShownExample(line=1, text=text, trained=((5000, 10000),)), 200)
    assert len(short) <= 202
    assert short.startswith("aaa")
    assert "«bbb" in short
    assert short.endswith("bbb»")
    many = [(n * 100 + 50, n * 100 + 100) for n in range(50)]
    assert len(marked(ShownExample(line=1, text=text[:5000], trained=tuple(many)), 200)) <= 220
