from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jinja2 import Template

from sweeper.data.examples import Message
from sweeper.data.tools import calls_of, extras_json, tools_of
from sweeper.errors import DataError
from sweeper.facts.models import chat_template as forms
from sweeper.tasks.sequences.chat import Chat

MakeTokenizer = Callable[..., Any]

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] }}"
    "{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' }}"
    "{{ m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate user/assistant') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] | trim + eos_token }}{% endif %}{% endfor %}"
)
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
# Leaves earlier reasoning out, as templates of reasoning models do.
REASONING = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' and not loop.last %}{{ m['content'].split('</think>')[-1] }}"
    "{% else %}{{ m['content'] }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Opens the assistant's turn in another way than it later writes that turn.
CAPRICIOUS = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant now:\n' }}{% endif %}"
)

SYSTEM = Message("system", "You are a careful assistant.")
TURNS = (
    Message("user", "What is the capital of France?"),
    Message("assistant", "The capital of France is Paris."),
    Message("user", "Write a function."),
    Message("assistant", "def add(a, b):\n    return a + b"),
)
ASKED, SAID, ASKED_2, SAID_2 = (turn.content for turn in TURNS)

# Pieces of the conversation above and whether the model must learn to say them.
STYLES: dict[str, tuple[str, dict[str, Any], list[tuple[str, bool]]]] = {
    "ChatML": (
        CHATML,
        {"eos": "<|im_end|>"},
        [
            ("<|im_start|>system\nYou are a careful assistant.<|im_end|>\n", False),
            (f"<|im_start|>user\n{ASKED}<|im_end|>\n<|im_start|>assistant\n", False),
            (f"{SAID}<|im_end|>", True),
            (f"\n<|im_start|>user\n{ASKED_2}<|im_end|>\n<|im_start|>assistant\n", False),
            (f"{SAID_2}<|im_end|>", True),
        ],
    ),
    "Llama 3": (
        LLAMA3,
        {"bos": "<|begin_of_text|>", "eos": "<|eot_id|>"},
        [
            ("<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n", False),
            ("You are a careful assistant.<|eot_id|>", False),
            (f"<|start_header_id|>user<|end_header_id|>\n\n{ASKED}<|eot_id|>", False),
            ("<|start_header_id|>assistant<|end_header_id|>\n\n", False),
            (f"{SAID}<|eot_id|>", True),
            (f"<|start_header_id|>user<|end_header_id|>\n\n{ASKED_2}<|eot_id|>", False),
            ("<|start_header_id|>assistant<|end_header_id|>\n\n", False),
            (f"{SAID_2}<|eot_id|>", True),
        ],
    ),
    "Mistral": (
        MISTRAL,
        {"bos": "<s>"},
        [
            (f"<s>[INST] You are a careful assistant.\n\n{ASKED} [/INST]", False),
            (f" {SAID}</s>", True),
            (f"[INST] {ASKED_2} [/INST]", False),
            (f" {SAID_2}</s>", True),
        ],
    ),
    "Zephyr": (
        ZEPHYR,
        {},
        [
            ("<|system|>\nYou are a careful assistant.</s>\n", False),
            (f"<|user|>\n{ASKED}</s>\n<|assistant|>\n", False),
            (f"{SAID}</s>", True),
            (f"\n<|user|>\n{ASKED_2}</s>\n<|assistant|>\n", False),
            (f"{SAID_2}</s>", True),
        ],
    ),
    "no template": (
        "",
        {"bos": "<s>"},
        [
            ("<s>[INST] <<SYS>>\nYou are a careful assistant.\n<</SYS>>\n\n", False),
            (f"{ASKED} [/INST]", False),
            (f" {SAID}</s>", True),
            (f"[INST] {ASKED_2} [/INST]", False),
            (f" {SAID_2}</s>", True),
        ],
    ),
}


def _trained(tokenizer: Any, encoded: Any) -> str:
    return tokenizer.decode([label for label in encoded.labels() if label != -100])


@pytest.mark.parametrize("style", STYLES)
def test_exactly_the_assistants_tokens_are_trained_on(
    style: str, make_tokenizer: MakeTokenizer
) -> None:
    template, special, pieces = STYLES[style]
    tokenizer = make_tokenizer(template or None, **special)

    encoded = Chat(tokenizer).encode((SYSTEM, *TURNS))

    expected: list[tuple[int, bool]] = []
    for text, trained in pieces:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        expected += [(token, trained) for token in ids]
    seen = [
        (token, label == token) for token, label in zip(encoded.ids, encoded.labels(), strict=True)
    ]
    assert seen == expected
    assert encoded.rewritten == 0


@pytest.mark.parametrize("style", STYLES)
def test_a_beginning_token_is_never_doubled(style: str, make_tokenizer: MakeTokenizer) -> None:
    template, special, _ = STYLES[style]
    tokenizer = make_tokenizer(template or None, **special, add_bos_token=True)

    ids = Chat(tokenizer).encode(TURNS).ids

    assert ids.count(tokenizer.bos_token_id) == (1 if "bos" in special else 0)


@pytest.mark.parametrize("style", STYLES)
def test_an_end_marker_that_the_source_left_is_not_doubled(
    style: str, make_tokenizer: MakeTokenizer
) -> None:
    template, special, _ = STYLES[style]
    tokenizer = make_tokenizer(template or None, **special)
    chat = Chat(tokenizer)
    marked = (*TURNS[:-1], Message("assistant", f"{SAID_2}{tokenizer.eos_token}"))

    assert chat.encode(marked).ids == chat.encode(TURNS).ids


@pytest.mark.parametrize("style", STYLES)
def test_stop_tokens_hold_the_end_of_turn(style: str, make_tokenizer: MakeTokenizer) -> None:
    template, special, _ = STYLES[style]
    chat = Chat(make_tokenizer(template or None, **special))

    assert chat.encode(TURNS).ids[-1] in chat.stop_tokens


@pytest.mark.parametrize("style", STYLES)
def test_the_opening_ends_where_a_user_begins_to_speak(
    style: str, make_tokenizer: MakeTokenizer
) -> None:
    template, special, _ = STYLES[style]
    tokenizer = make_tokenizer(template or None, **special)
    chat = Chat(tokenizer)
    asked = tokenizer.decode(chat.prompt([Message("user", "Why is it so?")]))
    opening = tokenizer.decode(chat.opening())

    assert asked.startswith(opening)
    assert asked[len(opening) :].startswith("Why is it so?")


def test_a_conversation_is_asked_with_the_tokens_it_was_trained_with(
    make_tokenizer: MakeTokenizer,
) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.sampled_from(sorted(STYLES)), st.lists(TEXT, min_size=2, max_size=4))
    def check(style: str, contents: list[str]) -> None:
        template, special, _ = STYLES[style]
        tokenizer = make_tokenizer(template or None, **special)
        chat = Chat(tokenizer)
        roles = ("user", "assistant", "user", "assistant")
        pairs = contents[: len(contents) // 2 * 2]
        turns = [Message(r, c) for r, c in zip(roles, pairs, strict=False)]

        encoded = chat.encode(turns)

        start, end = encoded.answers[-1]
        assert encoded.ids[:start] == chat.prompt(turns[:-1])
        assert end == len(encoded.ids)
        answer = tokenizer.decode(encoded.ids[start:])
        assert turns[-1].content.strip() in answer
        assert answer.endswith(chat.end_of_turn)

    check()


TEXT = st.text(
    alphabet=st.characters(codec="utf-8", exclude_characters="<|>[]\r"), min_size=1, max_size=20
).filter(str.strip)


def test_a_template_that_rewrites_history_trains_only_what_was_said(
    make_tokenizer: MakeTokenizer,
) -> None:
    tokenizer = make_tokenizer(REASONING, eos="<|im_end|>")
    turns = (
        Message("user", "One?"),
        Message("assistant", "<think>hm</think>Two."),
        Message("user", "Three?"),
        Message("assistant", "<think>ah</think>Four."),
    )

    encoded = Chat(tokenizer).encode(turns)

    assert _trained(tokenizer, encoded) == "<think>ah</think>Four.<|im_end|>"
    assert encoded.rewritten == 1


def test_a_template_that_opens_a_turn_otherwise_is_followed_as_it_opens(
    make_tokenizer: MakeTokenizer,
) -> None:
    tokenizer = make_tokenizer(CAPRICIOUS, eos="<|im_end|>")
    chat = Chat(tokenizer)

    encoded = chat.encode(TURNS)

    assert _trained(tokenizer, encoded) == f"{SAID_2}<|im_end|>"
    assert encoded.ids[: encoded.answers[-1][0]] == chat.prompt(TURNS[:-1])
    assert encoded.rewritten == 1


def test_system_prompt_of_the_sweep_opens_conversations_without_one(
    make_tokenizer: MakeTokenizer,
) -> None:
    tokenizer = make_tokenizer(CHATML, eos="<|im_end|>")
    chat = Chat(tokenizer, system_prompt=SYSTEM.content)

    assert chat.encode(TURNS).ids == Chat(tokenizer).encode((SYSTEM, *TURNS)).ids
    assert chat.encode((SYSTEM, *TURNS)).ids == Chat(tokenizer).encode((SYSTEM, *TURNS)).ids


def test_neighbouring_turns_of_one_role_become_one(make_tokenizer: MakeTokenizer) -> None:
    chat = Chat(make_tokenizer(MISTRAL, bos="<s>"))
    apart = (Message("user", "One."), Message("user", "Two?"), Message("assistant", "Three."))
    together = (Message("user", "One.\n\nTwo?"), Message("assistant", "Three."))

    assert chat.encode(apart).ids == chat.encode(together).ids


def test_prompt_and_answer_never_share_a_token(make_tokenizer: MakeTokenizer) -> None:
    glue = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    tokenizer = make_tokenizer(glue)
    turns = (Message("user", "The cap"), Message("assistant", "ital of France"))
    whole = tokenizer("The capital of France</s>", add_special_tokens=False)["input_ids"]
    prompt = tokenizer("The cap", add_special_tokens=False)["input_ids"]
    assert whole[: len(prompt)] != prompt, "the example must be one that joins them"

    encoded = Chat(tokenizer).encode(turns)

    assert encoded.ids[: len(prompt)] == prompt
    assert _trained(tokenizer, encoded) == "ital of France</s>"


def test_a_tokenizer_that_puts_spaces_in_front_keeps_the_whole_answer(
    make_tokenizer: MakeTokenizer,
) -> None:
    glue = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    tokenizer = make_tokenizer(glue, puts_space_in_front=True)
    turns = (Message("user", "The cap"), Message("assistant", "ital of France"))

    encoded = Chat(tokenizer).encode(turns)

    assert encoded.ids == tokenizer("The capital of France</s>")["input_ids"]
    assert "ital of France" in _trained(tokenizer, encoded)


@pytest.mark.parametrize(
    ("turns", "said"),
    [
        (TURNS[:1], "does not end with the assistant's answer"),
        ((), "does not end with the assistant's answer"),
        (TURNS[1:2], "no question"),
    ],
)
def test_conversations_without_question_or_answer_are_refused(
    turns: tuple[Message, ...], said: str, make_tokenizer: MakeTokenizer
) -> None:
    with pytest.raises(DataError, match=said):
        Chat(make_tokenizer(CHATML, eos="<|im_end|>")).encode(turns)


def test_what_a_template_refuses_is_said_in_its_own_words(make_tokenizer: MakeTokenizer) -> None:
    chat = Chat(make_tokenizer(MISTRAL, bos="<s>"))

    with pytest.raises(DataError) as caught:
        chat.encode((Message("assistant", "Hello."), *TURNS))

    assert "assistant, user, assistant" in str(caught.value)


def test_a_date_in_the_template_stays_the_same(make_tokenizer: MakeTokenizer) -> None:
    dated = "{{ 'Today: ' + strftime_now('%d %b %Y') + '\n' }}" + CHATML
    tokenizer = make_tokenizer(dated, eos="<|im_end|>")

    written = Chat(tokenizer).write(TURNS)

    assert written.text.startswith("Today: 1 January 2025\n<|im_start|>user")
    assert len(written.answers) == 2


def test_the_default_of_several_templates_is_used(make_tokenizer: MakeTokenizer) -> None:
    several = make_tokenizer({"default": CHATML, "tool_use": ZEPHYR}, eos="<|im_end|>")
    one = make_tokenizer(CHATML, eos="<|im_end|>")

    assert Chat(several).encode(TURNS).ids == Chat(one).encode(TURNS).ids


def test_the_fallback_says_that_there_was_no_template(make_tokenizer: MakeTokenizer) -> None:
    assert not Chat(make_tokenizer()).has_template
    assert Chat(make_tokenizer(CHATML)).has_template


def test_without_a_template_other_families_than_llama_2_write_chatml(
    make_tokenizer: MakeTokenizer,
) -> None:
    tokenizer = make_tokenizer(bos="<|begin_of_text|>", eos="<|im_end|>")
    chat = Chat(tokenizer)
    written = chat.write(TURNS[:2])
    assert written.text == (
        f"<|begin_of_text|><|im_start|>user\n{ASKED}<|im_end|>\n"
        f"<|im_start|>assistant\n{SAID}<|im_end|>"
    )
    (answer,) = written.answers
    assert written.text[slice(*answer)] == f"{SAID}<|im_end|>"
    assert tokenizer.decode(chat.prompt(TURNS[:1])).endswith("<|im_start|>assistant\n")
    assert Chat(make_tokenizer(bos="<s>")).template != chat.template
    begins = Chat(make_tokenizer(bos="<|im_start|>", eos="<|im_end|>")).write(TURNS[:2])
    assert begins.text.startswith("<|im_start|>user")


def test_markers_that_are_no_tokens_are_text_and_the_answer_ends_with_eos() -> None:
    assert (
        forms.fallback({"<|eot_id|>"}, "<|begin_of_text|>", "<|end_of_text|>")
        is forms.CHATML_AS_TEXT
    )
    assert forms.fallback({"<|im_start|>", "<|im_end|>"}, None, "<|endoftext|>") is forms.CHATML
    assert forms.fallback(set(), "<s>", "</s>") is forms.INST
    turns = [{"role": turn.role, "content": turn.content} for turn in TURNS[:2]]
    text = Template(forms.CHATML_AS_TEXT.template).render(messages=turns, eos_token="<eos>")
    assert text == f"<|im_start|>user\n{ASKED}<|im_end|>\n<|im_start|>assistant\n{SAID}<eos>\n"


# As Qwen 2.5 writes tools, without its system prompt.
TOOLS = (
    "{% if tools %}<|im_start|>system\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}"
    "<|im_end|>\n{% endif %}{% for m in messages %}{% if m.role == 'tool' %}"
    "<|im_start|>user\n<tool_response>{{ m.content }}</tool_response><|im_end|>\n{% else %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}{% for c in m.tool_calls or [] %}"
    "<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}<|im_end|>\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CALLED = (
    Message("system", "", extras_json(tools=tools_of([{"name": "clock", "parameters": {}}]))),
    Message("user", "What time is it?"),
    Message(
        "assistant", "", extras_json(tool_calls=calls_of({"name": "clock", "arguments": {"h": 1}}))
    ),
    Message("tool", "noon"),
    Message("assistant", "It is noon."),
)


@pytest.mark.parametrize("template", [TOOLS, CHATML, MISTRAL])
def test_tools_calls_and_what_they_return_are_written_and_calls_are_trained_on(
    template: str, make_tokenizer: MakeTokenizer
) -> None:
    tokenizer = make_tokenizer(template, eos="<|im_end|>")
    chat = Chat(tokenizer)
    assert chat.writes_tools == (template is TOOLS)
    written = chat.write(CALLED)
    trained = [written.text[start:end] for start, end in written.answers]
    assert len(trained) == 2
    assert '"name": "clock"' in trained[0]
    assert '"arguments": {"h": 1}' in trained[0]
    assert "<tool_call>" in trained[0]
    assert trained[0].endswith("<|im_end|>")
    assert trained[1].strip() == "It is noon.<|im_end|>"
    untrained = written.text[: written.answers[0][0]] + written.text[written.answers[0][1] :]
    assert '"parameters": {}' in untrained
    assert "noon</tool_response>" in untrained.replace("\n", "")


def test_a_call_can_be_the_last_answer(make_tokenizer: MakeTokenizer) -> None:
    written = Chat(make_tokenizer(TOOLS, eos="<|im_end|>")).write(CALLED[:3])
    ((start, end),) = written.answers
    assert "clock" in written.text[start:end]


def test_a_system_prompt_of_the_sweep_joins_the_tools(make_tokenizer: MakeTokenizer) -> None:
    for template in (TOOLS, CHATML, MISTRAL):
        text = Chat(make_tokenizer(template, eos="<|im_end|>"), "Be kind.").write(CALLED).text
        assert "Be kind." in text
        assert "clock" in text


@pytest.mark.parametrize("template", [TOOLS, CHATML, MISTRAL, CAPRICIOUS])
def test_answers_of_weight_0_are_in_the_text_but_not_in_the_loss(
    template: str, make_tokenizer: MakeTokenizer
) -> None:
    chat = Chat(make_tokenizer(template, eos="<|im_end|>"))
    turns = [replace(turn, trained=number != 2) for number, turn in enumerate(CALLED)]
    every, some = chat.write(CALLED), chat.write(turns)
    assert some.text == every.text
    assert some.answers == every.answers[-1:]
    assert "clock" not in some.text[slice(*some.answers[0])]
    assert some.rewritten == 0
