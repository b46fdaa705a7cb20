"""From a published record to the request and the facts that the planner would have had.

What a record leaves out has a stated default. Knows the records' fields, not how they are scored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sweeper.facts.record import DataFacts, Facts, HardwareFacts, LengthFacts, ModelFacts
from sweeper.planning.rulebook.apply_rules import RatedStrategy, rated_strategies
from sweeper.planning.rulebook.book import RuleBook
from sweeper.planning.rulebook.fact_table import fact_values
from sweeper.plans import Parameter
from sweeper.spec import AimSpec, ModelSpec, Spec, Task

# Defaults for what a record leaves out: a 7B decoder, 10,000 rows of 300 tokens.
PARAMETERS = 7_000_000_000
EXAMPLES = 10_000
TOKENS = 300.0

Record = Mapping[str, Any]

# How sources name the methods that sweeper knows; the rest is planned as LoRA.
_METHODS = (
    (r"^(qlora|qdora)", "qlora"),
    (r"^(full|osf|badam|mezo|lomo|galore)", "full"),
    (r"^(prefix|prompt|llama-adapter)", "prefix"),
    (r"^p-?tuning", "ptuning"),
    (r"^adapter", "adapter"),
    (r"^(head|linear)", "head"),
    (r"^(lora|dora|rslora|pissa|olora|loftq|lora\+)", "lora"),
)
_ENCODERS = re.compile(r"bert|electra|minilm|e5-|bge-|mpnet", re.IGNORECASE)
_CLASSIFICATION = re.compile(
    r"glue|boolq|copa|\brte\b|\bwic\b|\bwsc\b|sst|mnli|classif|sentiment|ontonotes|conll",
    re.IGNORECASE,
)
_CODE = re.compile(r"code|magicoder|humaneval|mbpp", re.IGNORECASE)


def known_strategy(record: Record) -> str | None:
    """The strategy that a record's method is, or None for a method that sweeper does not have."""
    method = str(record.get("method") or "lora").lower()
    return next((name for pattern, name in _METHODS if re.match(pattern, method)), None)


def strategy_of(record: Record) -> str:
    """The strategy that plans for a record's method: LoRA for methods that sweeper lacks."""
    return known_strategy(record) or "lora"


def learned_tokens(record: Record) -> float:
    """What there is to learn: a label a row, or an answer of a typical length."""
    rows = float(record.get("n_train") or EXAMPLES)
    return rows if task_of(record) == "classification" else rows * TOKENS


def task_of(record: Record) -> Task:
    """The task that a record's words name; instruction following if they name none."""
    words = f"{record.get('task') or ''} {record.get('task_type') or ''}"
    if _CLASSIFICATION.search(words):
        return "classification"
    return "code" if _CODE.search(words) else "instruction"


def standing_of(book: RuleBook, record: Record) -> RatedStrategy:
    """What the rules make of the record's strategy on the record's facts."""
    spec, facts = request_of(record)
    values = fact_values(spec, facts, facts.models[0])
    return rated_strategies(book, values)[strategy_of(record)]


def space_of(book: RuleBook, record: Record) -> dict[str, Parameter]:
    """The parameters that the plan would search for the record."""
    return standing_of(book, record).parameters


def request_of(record: Record) -> tuple[Spec, Facts]:
    """The request and the facts behind a record."""
    task = task_of(record)
    model = _model(record)
    rows = int(record.get("n_train") or EXAMPLES)
    aim = AimSpec(strategies=("lora", strategy_of(record)))
    facts = Facts(
        task=task,
        models=(model,),
        data=DataFacts(
            rows=rows,
            train_rows=rows,
            lengths=LengthFacts(
                mean=TOKENS,
                p50=int(TOKENS),
                p90=int(TOKENS),
                p99=int(TOKENS),
                longest=int(TOKENS),
                measured_with="assumed",
            ),
        ),
        hardware=HardwareFacts(
            device="cuda", name="assumed", detected=False, gpus=8, memory_gib=80.0, bf16=True
        ),
        aim=aim,
    )
    return Spec(task=task, models=(ModelSpec(id=model.id),), aim=aim), facts


def _model(record: Record) -> ModelFacts:
    """A typical shape of the record's size; width as recorded where it is."""
    name = str(record.get("model") or "model")
    parameters = int(record.get("n_params") or _size_in(name) or PARAMETERS)
    hidden = int(record.get("hidden") or 4096)
    encoder = bool(_ENCODERS.search(name))
    return ModelFacts(
        id=name,
        source="catalogue",
        model_type="bert" if encoder else "llama",
        kind="encoder" if encoder else "decoder",
        parameters=parameters,
        parameters_exact=False,
        layers=32,
        hidden_size=hidden,
        attention_heads=max(hidden // 128, 1),
        key_value_heads=max(hidden // 128, 1),
        head_dim=128,
        intermediate_size=4 * hidden,
        vocabulary_size=32000,
        context_length=4096,
        tied_embeddings=False,
        gated_mlp=not encoder,
    )


def _size_in(name: str) -> int | None:
    """Parameters by a size in a model's name, such as 7B or 350M, or by the name."""
    if name.startswith("DeepSeek-V3.1"):
        return 671_000_000_000
    match = re.search(r"(?<![\w.])(\d+(?:\.\d+)?)\s*([bm])(?![a-z])", name, re.IGNORECASE)
    if match is None:
        return None
    return int(float(match[1]) * (1e9 if match[2].lower() == "b" else 1e6))
