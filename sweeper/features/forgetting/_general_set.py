"""General data, tokenised once, with the untrained base's losses on it.

If the user gives none, the base model writes it: where its tokenizer has a chat template, it writes
a question from the template's opening and answers it; otherwise it continues from the first token
of a text. Self-synthesised rehearsal (Huang et al. 2024, arXiv:2403.01244) replays such text;
Magpie (Xu et al. 2024, arXiv:2406.08464) gets questions from the template's opening.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sweeper.backend import ProgressReporter
from sweeper.cache import make_once
from sweeper.data.examples import Example, Message, input_key
from sweeper.data.similar import held_out, without_held_out_text
from sweeper.errors import UsageError
from sweeper.evaluation.evaluator import Evaluator, TokenizedSplit
from sweeper.evaluation.objective_values import Sampling, generate
from sweeper.features.forgetting._general_data import (
    FOLDER,
    HELD_BACK_TOKENS,
    GeneralText,
    SelfSampling,
    divided,
    general_text,
    own_text_folder,
)
from sweeper.features.forgetting.options import Options
from sweeper.plans import Half, autocast_dtype
from sweeper.spec import Scalar
from sweeper.strategies.strategy import Strategy
from sweeper.tasks.sequences.chat import Chat, Encoded, document
from sweeper.tasks.task import Evaluation, Feature
from sweeper.tasks.text import TextTask
from sweeper.textfiles import json_value
from sweeper.training.base_model.context import ModelContext
from sweeper.trials import TrialConfig

# One text to replay, and another to score.
_MIN_TEXTS = 2
# Files in the cache folder of the texts that a base wrote.
TEXTS, RECORD = "texts.json", "sampling.json"


class General(TextTask):
    """The task of general text, with a loss in nats per token.

    All tokens of plain text count, and the assistant's turns of conversations.
    """

    name = "general text"

    @cached_property
    def chat(self) -> Chat:
        """The chat without the task's system prompt, since general behaviour is measured."""
        return Chat(self.tokenizer)

    def encode_one(self, example: Example) -> Encoded:
        if example.messages:
            return self.chat.encode(list(example.messages))
        return document(self.tokenizer, example.text)


class GeneralSet:
    """General data, loaded on first use.

    Args:
        context: The base model and its data; its task's spec may name general data.
        sampling: Options for the text that the base writes if no general data is named.
    """

    def __init__(self, context: ModelContext, sampling: SelfSampling | None = None) -> None:
        self._context = context
        self._sampling = sampling or SelfSampling()
        self._options = context.task.spec.features.of(Options)
        self.writing_seconds = 0.0
        """Seconds that the base took to write general text in this process."""
        self._base_evaluations: dict[tuple[torch.dtype, Half | None, bool], Evaluation] = {}

    def watched(self, parameters: Mapping[str, Scalar]) -> bool:
        """Whether a trial with these parameters is scored on the held-back texts.

        True if general data is given, forgetting is limited or the trial replays text, and the
        model still writes text after training.
        """
        options = self._options
        requested = options.general is not None or options.max_points is not None
        replays = bool(parameters.get("replay_share"))
        return (requested or replays) and self._context.task.task_type == "CAUSAL_LM"

    @contextmanager
    def adding_writing_seconds(self, seconds: dict[str, float], name: str) -> Iterator[None]:
        """A context that adds the seconds in which the base writes text to ``seconds[name]``."""
        seconds_before = self.writing_seconds
        yield
        if (elapsed := self.writing_seconds - seconds_before) > 0:
            seconds[name] = seconds.get(name, 0.0) + elapsed

    @cached_property
    def text(self) -> GeneralText:
        """The user's general data, or text that the base wrote.

        Raises:
            UsageError: The model writes no text, or its texts are of no use.
        """
        context = self._context
        if context.task.task_type != "CAUSAL_LM":
            raise UsageError(
                "general text cannot be replayed or scored here",
                why="A model with a new classification head writes no text.",
                fix="Set training.classes_by to generate, or leave replay_share out.",
            )
        if self._options.general is not None:
            return general_text(context.task.spec, context.dataset)
        own_texts = self._written()
        clean = without_held_out_text(own_texts, held_out(context.dataset))
        if len({example.key for example in clean}) < _MIN_TEXTS:
            raise UsageError(
                f"{context.facts.id} wrote {len(clean)} usable texts by itself",
                why="They are what replay would use, since no general data was given.",
                fix="Name general text with --general.",
            )
        return divided(clean, seed=0, max_texts=len(clean))

    def _written(self) -> tuple[Example, ...]:
        """Texts that the base wrote, from the cache or written now."""
        context, sampling = self._context, self._sampling

        def write(folder: Path) -> None:
            start = time.perf_counter()
            rows = _write_texts(context.base(), context.tokenizer, sampling, context.on_progress)
            record = asdict(sampling) | {"seconds": time.perf_counter() - start}
            self.writing_seconds += record["seconds"]
            (folder / TEXTS).write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
            (folder / RECORD).write_text(json.dumps(record), encoding="utf-8")

        def waiting() -> None:
            context.on_progress("waiting for general text that another process writes", 0, 0)

        target = own_text_folder(context.facts, context.folder, sampling)
        folder = make_once(target, write, lambda path: _read_examples(path) is not None, waiting)
        return _read_examples(folder) or ()

    def task(self, tokens: int) -> General:
        """The task that encodes general text, cut to at most ``tokens``."""
        context, spec = self._context, self._context.task.spec
        cap = min(tokens, context.task.sequence_length)
        if self._options.general is None and not context.tokenizer.chat_template:
            # A text that the base wrote to this length was cut, so it has no end to learn.
            cap = min(cap, self._sampling.tokens)
        dataset = replace(context.dataset, path=str(self._options.general or FOLDER))
        return General(dataset, context.tokenizer, context.facts, spec, cap)

    def _encoded(
        self, examples: Sequence[Example], tokens: int, use: str
    ) -> tuple[General, list[tuple[Example, Feature]]]:
        """The task that encodes examples, and those with learnt tokens, each with its encoding."""
        task = self.task(tokens)
        pairs = zip(examples, task.encode(examples), strict=True)
        learnable_pairs = [(e, f) for e, f in pairs if any(label != -100 for label in f["labels"])]
        if not learnable_pairs:
            raise UsageError(
                f"none of the {use}",
                why=f"None has anything to learn within {task.sequence_length} tokens.",
                fix="Name other general text with --general, or raise training.max_length.",
            )
        return task, learnable_pairs

    @cached_property
    def replayed(self) -> tuple[General, list[Feature]]:
        """The task that collates general examples, and the encoded examples to replay."""
        cap = self._context.task.sequence_length
        task, learnable_pairs = self._encoded(
            self.text.replay, cap, "general texts can be replayed"
        )
        return task, [feature for _, feature in learnable_pairs]

    @cached_property
    def _held_back(self) -> tuple[General, TokenizedSplit]:
        use = "held-back general texts can be scored"
        task, learnable_pairs = self._encoded(self.text.held_back, HELD_BACK_TOKENS, use)
        return task, TokenizedSplit(task, [example for example, _ in learnable_pairs])

    def measure(
        self, model: nn.Module, batch: int, mixed_dtype: Half | None, count: int | None = None
    ) -> Evaluation:
        """Score a model on the held-back texts, or on the first ``count`` of them."""
        task, items = self._held_back
        progress = self._context.on_progress.steps("scoring general text")
        return Evaluator(task, items, batch, mixed_dtype, progress).evaluate(model, count)

    def of_base(self, strategy: Strategy, config: TrialConfig, batch: int) -> Evaluation:
        """The losses of the untrained base, loaded as for this trial, on the held-back texts.

        Computed once for each dtype, precision and quantisation.
        """
        precision = config.setup.precision
        dtype, mixed_dtype = strategy.base_dtype(precision), autocast_dtype(precision)
        quantized = strategy.quantization_config(config.parameters, dtype=dtype)
        key = dtype, mixed_dtype, quantized is not None
        if key not in self._base_evaluations:
            base = self._context.base_lender.lend(dtype, quantized)
            self._base_evaluations[key] = self.measure(base, batch, mixed_dtype)
        return self._base_evaluations[key]


def _read_examples(folder: Path) -> tuple[Example, ...] | None:
    """The examples in a folder; None if there are none or the file is damaged."""
    try:
        rows = json_value((folder / TEXTS).read_text(encoding="utf-8"))
        return tuple(_example(line, row) for line, row in enumerate(rows, start=1))
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _example(line: int, row: Sequence[str]) -> Example:
    if len(row) == 1:
        return Example(key=input_key(row[0]), line=line, text=row[0])
    question, answer = row
    turns = (Message("user", question), Message("assistant", answer))
    return Example(key=input_key(question), line=line, messages=turns)


def _write_texts(
    base: nn.Module, tokenizer: Any, sampling: SelfSampling, on_progress: ProgressReporter
) -> list[list[str]]:
    """Texts, or questions with answers, without empty and repeated ones."""
    chat = Chat(tokenizer)
    stops = chat.stop_tokens or (0,)

    def generate_texts(prompts: list[list[int]], progress_title: str) -> list[str]:
        def report_progress(done: int, _: int) -> None:
            on_progress(progress_title, start + done, len(prompts))

        generated: list[str] = []
        for start in range(0, len(prompts), sampling.batch):
            report_progress(0, 0)
            batch = prompts[start : start + sampling.batch]
            sampling_options = Sampling(sampling.temperature, seed=sampling.seed + start)
            answers = generate(
                base,
                tokenizer,
                batch,
                stops,
                max_new_tokens=sampling.tokens,
                batch_size=sampling.batch,
                sampling=sampling_options,
                on_progress=report_progress,
            )
            generated += [texts[0] for texts in answers]
        return generated

    def is_complete(text: str) -> bool:
        """Whether a text is neither empty nor cut, since a cut text would teach to stop early."""
        length = len(tokenizer(text, add_special_tokens=False)["input_ids"])
        return 0 < length < sampling.tokens

    if not chat.has_template:
        bos_token = tokenizer.bos_token_id
        first = [stops[0] if bos_token is None else bos_token]
        texts = generate_texts([first] * sampling.texts, "writing general text")
        return [[text] for text in dict.fromkeys(filter(None, texts))]
    generated = generate_texts([chat.opening()] * sampling.texts, "writing general questions")
    questions = [text for text in dict.fromkeys(generated) if is_complete(text)]
    prompts = [chat.prompt([Message("user", question)]) for question in questions]
    answers = generate_texts(prompts, "answering general questions")
    return [[q, a] for q, a in zip(questions, answers, strict=True) if is_complete(a)]
