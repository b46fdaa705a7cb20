"""Settings that contradict each other, or do not do what they seem to do.

Each check is a function that yields findings; ``CHECKS`` names all of them. A check that depends on
how one trainer behaves asks its table.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from sweeper import yamlfile
from sweeper.features.review._case import Case
from sweeper.features.review._cost import evaluates
from sweeper.features.review._formats import matches
from sweeper.features.review._record import Finding
from sweeper.planning.rulebook.rules import rule_book

_TRANSFORMERS = "transformers documentation, TrainingArguments"
_PEFT = "PEFT documentation, LoraConfig"
_LORA_FIELDS = ("r", "lora_alpha", "lora_dropout", "target_modules")
_TEMPLATES = Path(__file__).parent / "_templates.yaml"
#: A share of the steps above which warmup is most of the training.
_MOST_WARMUP = 0.5
#: How alike a field and a known one are where it is likely a slip, as difflib counts.
_ALIKE = 0.9


def _packing(case: Case) -> Iterator[Finding]:
    training, table = case.training, case.config.table
    joined = training.packing or training.padding_free
    if not joined or training.stage != "sft" or table.packing_masked:
        return
    why = (
        "Packed rows see each other: attention crosses from one to the next, and the model learns "
        "to answer with another row in view."
    )
    source = (
        "Krell et al. 2021, arXiv:2107.02027, section 3.2 (packing without cross-contamination); "
        f"{table.source}"
    )
    if training.packing_masks is not None:
        if not training.packing_masks:
            yield case.finding(
                "packing-without-masks", "warning", ("packing",),
                "rows are packed, and attention is not kept within a row",
                why=why, source=source, change={"packing_masks": True},
            )  # fmt: skip
    elif training.packing_strategy == "wrapped":
        yield case.finding(
            "packing-without-masks", "warning", ("packing_strategy",),
            "the strategy 'wrapped' cuts rows anywhere and lets attention cross between them",
            why=why, source=source, change={"packing_strategy": "bfd"},
        )  # fmt: skip
    elif table.packing_needs and not matches(training.attention or "", table.packing_needs):
        yield case.finding(
            "packing-without-masks", "warning", ("packing", "padding_free", "attention"),
            "rows are packed, and "
            + (f"{training.attention} does" if training.attention else "default attention may")
            + " not keep them apart",
            why=why, source=source, change={"attention": "flash_attention_2"},
        )  # fmt: skip


def _unlimited_packing(case: Case) -> Iterator[Finding]:
    if case.training.packing and case.training.sequence_length is None:
        yield case.finding(
            "packing-without-length", "error", ("packing",),
            "rows are packed, and no sequence length is set to pack them into",
            source=case.config.table.source, change={"sequence_length": 2048},
        )  # fmt: skip


def _prompt_loss(case: Case) -> Iterator[Finding]:
    if not case.training.prompt_loss or case.training.stage != "sft":
        return
    rule = next((one for one in rule_book().rules if one.id == "loss-on-outputs"), None)
    yield case.finding(
        "loss-on-prompt", "note", ("prompt_loss",),
        "the loss includes the prompts",
        why="The model also learns to write prompts. That seldom helps, unless answers are short "
        "and rows are few.",
        source=f"{rule.source if rule else ''}; Shi et al. 2024, arXiv:2405.14394, abstract "
        "(a loss on instructions helps with long instructions, short answers or few rows)",
        rule="loss-on-outputs" if rule else "",
        change={"prompt_loss": False},
    )  # fmt: skip


def _warmup(case: Case) -> Iterator[Finding]:
    training, steps = case.training, case.steps
    ratio, count = training.warmup_ratio or 0.0, training.warmup_steps or 0.0
    if case.given("warmup_ratio") and case.given("warmup_steps") and ratio and count:
        yield case.finding(
            "two-warmups", "warning", ("warmup_ratio", "warmup_steps"),
            "warmup is given both as a share and as a number of steps",
            why="transformers uses the number, and Axolotl refuses both.",
            source=f"{_TRANSFORMERS} (warmup_steps)", fix="Remove one of them.",
        )  # fmt: skip
    if training.lr_scheduler_type == "constant" and case.given("lr_scheduler_type"):
        if ratio or count:
            yield case.finding(
                "warmup-without-effect", "warning",
                ("lr_scheduler_type", "warmup_ratio", "warmup_steps"),
                "the schedule 'constant' has no warmup, so the one that is set has no effect",
                source="transformers, optimization.py (get_scheduler)",
                change={"lr_scheduler_type": "constant_with_warmup"},
            )  # fmt: skip
        return
    share = count / steps if count >= 1 and steps else 0.0 if count >= 1 else count or ratio
    if share > _MOST_WARMUP:
        number = f"{count:g} of {steps:,} steps" if count >= 1 else f"{share:.0%} of the steps"
        yield case.finding(
            "warmup-too-long", "error" if share >= 1 else "warning",
            ("warmup_steps",) if count else ("warmup_ratio",),
            f"the learning rate warms up for {number}"
            + (", so that it never gets to its value" if share >= 1 else ""),
            why="Warmup is meant for the first steps; common recipes use 3-10% of them.",
            source="common practice (rule constant-with-warmup)", value=count or ratio,
            high=_MOST_WARMUP * steps if count >= 1 and steps else _MOST_WARMUP,
            change={"warmup_steps": max(round(0.05 * steps), 1)} if count >= 1 and steps
            else {"warmup_ratio": 0.05},
        )  # fmt: skip


def _evaluation(case: Case) -> Iterator[Finding]:
    training, table, steps = case.training, case.config.table, case.steps
    asked = ("evals_per_epoch", "eval_steps", "eval_strategy")
    off = str(training.eval_strategy or "no").lower() in ("no", "false", "none")
    wanted = (training.evals_per_epoch or 0) > 0 or (training.eval_steps or 0) > 0 or not off
    held_out = bool(training.validation_data) or (training.validation_share or 0) > 0
    if table.evaluates_if_held_out and case.given(*asked) and wanted and not held_out:
        yield case.finding(
            "evaluation-never", "warning", asked,
            "evaluation is asked for, and no rows are held out for it, so that it never happens",
            why="Nothing shows when the model begins to overfit.", source=table.source,
            change={"validation_share": 0.05},
        )  # fmt: skip
    elif table.evaluates_if_held_out and held_out and not wanted:
        yield case.finding(
            "evaluation-never", "warning", ("validation_share", "validation_data"),
            "rows are held out, and nothing evaluates on them",
            why="They are lost for training.", source=table.source,
            change={"evals_per_epoch": 1},
        )  # fmt: skip
    elif not table.evaluates_if_held_out and off and case.given("eval_steps"):
        if "eval_strategy" in table.defaults and training.eval_steps:
            yield case.finding(
                "evaluation-never", "warning", ("eval_steps", "eval_strategy"),
                "evaluation every so many steps is asked for, and the strategy is 'no'",
                source=f"{_TRANSFORMERS} (eval_strategy)", change={"eval_strategy": "steps"},
            )  # fmt: skip
    elif case.given("eval_steps") and steps and (training.eval_steps or 0) > max(steps, 1):
        yield case.finding(
            "evaluation-never", "warning", ("eval_steps",),
            f"the first evaluation would come after {training.eval_steps:g} steps, and the "
            f"training has {steps:,}",
            why="Nothing shows when the model begins to overfit.", source=table.source,
            value=training.eval_steps, high=float(steps),
            change={"eval_steps": max(steps // 4, 1)},
        )  # fmt: skip
    never = off and not case.given("evals_per_epoch") and (
        "eval_strategy" in table.defaults or not case.given("eval_steps")
    )  # fmt: skip
    needs = case.given("load_best_model_at_end") and training.load_best_model_at_end
    if never and (needs or training.early_stopping_patience):
        yield case.finding(
            "best-without-evaluation", "error",
            ("load_best_model_at_end", "early_stopping_patience"),
            "the best weights are asked for, and nothing is evaluated to find them",
            source=f"{_TRANSFORMERS} (load_best_model_at_end)",
            change={"eval_strategy": "steps"},
        )  # fmt: skip


def _best(case: Case) -> Iterator[Finding]:
    training = case.training
    if not (training.load_best_model_at_end and evaluates(case)):
        return
    evaluated, saved = str(training.eval_strategy), str(training.save_strategy)
    if "best" in saved or training.eval_strategy is None:
        return
    every, each = training.save_steps or 0, training.eval_steps or 0
    apart = evaluated == "steps" and every > 1 and each > 1 and every % each != 0
    if evaluated != saved or apart:
        yield case.finding(
            "best-not-saved", "error", ("load_best_model_at_end", "save_strategy", "save_steps"),
            "the best weights are asked for, and weights are saved at other times than evaluated",
            source=f"{_TRANSFORMERS} (load_best_model_at_end)",
            fix="Set save_strategy like eval_strategy, and save_steps to a multiple of eval_steps.",
        )  # fmt: skip


def _same_rows(case: Case) -> Iterator[Finding]:
    training = case.training
    train, held_out = set(training.train_data or ()), set(training.validation_data or ())
    parts = [
        {_part(item) for item in given.value if isinstance(item, dict)}
        for given in case.given("train_data", "validation_data")
        if isinstance(given.value, list)
    ]
    same = train & held_out
    if len(parts) == 2:
        same = {path for path, *_ in parts[0] & parts[1]}
    if same and (training.train_split or "train") == (training.eval_split or "train"):
        yield case.finding(
            "evaluates-on-train", "warning", ("validation_data", "train_data"),
            f"the rows of {', '.join(sorted(same))} are trained on and evaluated on",
            why="The score says how well rows are remembered, not how well the model does.",
            source="definition: a held-out set shares no rows with training",
            fix="Evaluate on other rows, or hold out a share of these.",
        )  # fmt: skip


def _part(item: Mapping[str, object]) -> tuple[str, ...]:
    keys = ("path", "name", "split", "data_files", "shards")
    return tuple(str(item.get(key, "")) for key in keys)


def _template(case: Case) -> Iterator[Finding]:
    template, model = case.training.chat_template, case.training.model
    if template is None or model is None or case.training.stage == "pretraining":
        return
    lines: Mapping[str, str] = yamlfile.read(_TEMPLATES).data
    own = next((name for name, models in lines.items() if matches(model, models)), None)
    if own is None or matches(template, own):
        return
    if any(matches(template, name) for name in lines):
        yield case.finding(
            "other-chat-template", "warning", ("chat_template", "model"),
            f"the template {template} is not that of {model}, which was tuned with another "
            f"({own.split('|')[0]})",
            why="The model has learnt the markers of its own template. Others cost quality, and "
            "whoever uses the model later must know them.",
            source=_rule_source("use-chat-template"), rule="use-chat-template",
            fix="Use the template of the base model's tokenizer.",
        )  # fmt: skip


def _rule_source(name: str) -> str:
    return next((one.source for one in rule_book().rules if one.id == name), "")


def _rslora(case: Case) -> Iterator[Finding]:
    training = case.training
    rank, alpha = training.r, training.lora_alpha
    if not (training.use_rslora and rank and alpha):
        return
    most = rule_book().strategies["lora"].parameters["lora_alpha"].parameter.bounds[1]
    plain = alpha * math.sqrt(rank)
    if most is not None and plain > most:
        yield case.finding(
            "alpha-with-rslora", "warning", ("lora_alpha", "use_rslora", "r"),
            f"with rsLoRA, alpha {alpha:g} at rank {rank} scales the update like an alpha of "
            f"{plain:,.0f} without it",
            why="rsLoRA divides alpha by the square root of the rank, not by the rank.",
            source="Kalajdzievski 2023, arXiv:2312.03732, section 3", rule="rslora-for-large-ranks",
            value=alpha, high=round(most / math.sqrt(rank), 1),
            change={"lora_alpha": max(round(alpha / math.sqrt(rank)), 1)},
        )  # fmt: skip


def _adapter(case: Case) -> Iterator[Finding]:
    training = case.training
    lora = [one for name in _LORA_FIELDS for one in case.given(name) if one.value is not None]
    if training.method == "full" and lora and case.config.format != "peft":
        yield case.finding(
            "adapter-not-trained", "warning", _LORA_FIELDS,
            "LoRA is configured, but no adapter is switched on: all weights are trained",
            source=case.config.table.source, change={"method": "lora"},
        )  # fmt: skip
    quantised = training.load_in_4bit or training.load_in_8bit or training.quantization is not None
    if training.method == "full" and quantised:
        yield case.finding(
            "quantised-and-full", "error", ("load_in_4bit", "load_in_8bit", "quantization"),
            "the weights are quantised, and no adapter is trained",
            why="Quantised weights cannot be trained.",
            source="transformers documentation, bitsandbytes", change={"method": "lora"},
        )  # fmt: skip
    if training.load_in_4bit and training.load_in_8bit:
        yield case.finding(
            "two-quantisations", "error", ("load_in_8bit", "load_in_4bit"),
            "weights cannot be loaded in four bits and in eight",
            source="transformers documentation, BitsAndBytesConfig",
            change={"load_in_8bit": False},
        )  # fmt: skip
    asked = [str(one.value).lower() for one in case.given("method")]
    if "qlora" in asked and not training.load_in_4bit and training.quantization is None:
        yield case.finding(
            "qlora-without-4bit", "error", ("method", "load_in_4bit"),
            "QLoRA is asked for, and the weights are not loaded in four bits",
            source=case.config.table.source, change={"load_in_4bit": True},
        )  # fmt: skip


def _new_tokens(case: Case) -> Iterator[Finding]:
    training = case.training
    saved = " ".join(training.modules_to_save or ())
    if training.new_tokens and training.method in ("lora", "qlora") and "embed" not in saved:
        yield case.finding(
            "new-tokens-untrained", "warning", ("new_tokens", "modules_to_save"),
            "tokens are added, and their embeddings are not trained",
            why="An adapter leaves the embeddings frozen, so that new tokens stay random.",
            source=f"{_PEFT} (modules_to_save)",
            fix="Add embed_tokens and lm_head to the modules to save.",
        )  # fmt: skip


def _precision(case: Case) -> Iterator[Finding]:
    training = case.training
    both = [one.value for one in case.given("bf16", "fp16")]
    if training.bf16 and training.fp16 and both == [True, True]:
        yield case.finding(
            "two-precisions", "error", ("fp16", "bf16"),
            "bf16 and fp16 are both on", source=f"{_TRANSFORMERS} (bf16, fp16)",
            change={"fp16": False},
        )  # fmt: skip


def _without_effect(case: Case) -> Iterator[Finding]:
    training = case.training
    limited = case.given("max_steps") and (training.max_steps or 0) > 0
    if limited and case.given("num_train_epochs"):
        yield case.finding(
            "epochs-without-effect", "note", ("num_train_epochs", "max_steps"),
            f"the training ends after {training.max_steps:,} steps, whatever the number of epochs",
            source=f"{_TRANSFORMERS} (max_steps)", fix="Remove one of them.",
        )  # fmt: skip
    if training.packing and training.group_by_length:
        yield case.finding(
            "grouping-without-effect", "note", ("group_by_length", "packing"),
            "packed rows all have one length, so that grouping by length does nothing",
            source=f"{_TRANSFORMERS} (group_by_length)", change={"group_by_length": False},
        )  # fmt: skip


def _batch(case: Case) -> Iterator[Finding]:
    whole, devices = case.training.global_batch, case.training.gpus or 1
    if whole is not None and whole < case.micro_batch * devices:
        yield case.finding(
            "batch-too-small", "error", ("global_batch", "micro_batch", "gpus"),
            f"a batch of {whole} is less than {case.micro_batch} examples on each of {devices} "
            "devices",
            source=case.config.table.source, change={"global_batch": case.micro_batch * devices},
        )  # fmt: skip


def _context(case: Case) -> Iterator[Finding]:
    length, model = case.training.sequence_length, case.model
    stretched = any(
        matches(name, "*rope*|overrides_of_model_config*") for name in case.config.names
    )
    if model is None or model.weights_note or not length or stretched:
        return
    if length > model.context_length:
        yield case.finding(
            "longer-than-context", "warning", ("sequence_length",),
            f"sequences have up to {length:,} tokens, and the context of {model.id} has "
            f"{model.context_length:,}",
            why="The model has not seen such positions.", source="the model's config.json",
            value=length, high=float(model.context_length),
            change={"sequence_length": model.context_length},
        )  # fmt: skip


def _misspelt(case: Case) -> Iterator[Finding]:
    table = case.config.table
    known = [name for name in (*table.fields, *table.noted) if "*" not in name]
    for name in case.config.unknown:
        others = [one for one in known if one not in case.config.names]
        for near in difflib.get_close_matches(name, others, 1, _ALIKE):
            yield Finding(
                kind="unknown-field", level="note", fields=(name,), file=case.config.file,
                line=case.config.names[name], what=f"{table.title} may not have a field {name!r}",
                source=table.source, fix=f"Did you mean {near}?",
            )  # fmt: skip


CHECKS: tuple[Callable[[Case], Iterator[Finding]], ...] = (
    _packing, _unlimited_packing, _prompt_loss, _warmup, _evaluation, _best, _same_rows, _template,
    _rslora, _adapter, _new_tokens, _precision, _without_effect, _batch, _context, _misspelt,
)  # fmt: skip
