"""Attention on the tape: eager, SDPA and flash kernels; grouped and latent attention."""

from __future__ import annotations

from sweeper.memory.blocks import Recorder
from sweeper.memory.tape import Value


def attention(recorder: Recorder, x: Value, keys_from: Value | None = None) -> Value:
    """Self-attention, or cross-attention where keys and values come from another sequence."""
    if recorder.model.mla is not None:
        query, key, value = _latent(recorder, x)
    else:
        query, key, value = _projected(recorder, x, keys_from or x)
    mixed = _kernel(recorder, query, key, value)
    y = recorder.linear("o", mixed, recorder.model.hidden_size)
    return recorder.dropout(y) if recorder.traits.dropout else y


def _projected(recorder: Recorder, x: Value, source: Value) -> tuple[Value, Value, Value]:
    model, traits = recorder.model, recorder.traits
    wide, narrow = model.attention_heads * model.head_dim, model.key_value_heads * model.head_dim
    if "qkv" in recorder.family.names:
        fused = recorder.linear("qkv", x, wide + 2 * narrow)
        query, key = Value(wide, fused.item), Value(narrow, fused.item)
        # a slice keeps the whole of it alive
        value = fused if traits.fused_views else Value(narrow, fused.item)
        recorder.tape.record([query, key, value][: 2 if traits.fused_views else 3], [fused])
        if not traits.rope and not recorder.family.qk_norm:
            query = key = fused
    else:
        query = recorder.linear("q", x, wide)
        key = recorder.linear("k", source, narrow)
        value = recorder.linear("v", source, narrow)
    if recorder.family.qk_norm:
        query, key = recorder.norm(query), recorder.norm(key)
    if traits.rope:
        query, key = recorder.rotate(query), recorder.rotate(key)
    return query, key, value


def _latent(recorder: Recorder, x: Value) -> tuple[Value, Value, Value]:
    model = recorder.model
    mla, heads = model.mla, model.attention_heads
    assert mla is not None
    wide = heads * (mla.qk_nope_head_dim + mla.qk_rope_head_dim)
    if mla.q_lora_rank:
        compressed = recorder.norm(recorder.linear("q_a", x, mla.q_lora_rank))
        query = recorder.linear("q_b", compressed, wide)
    else:
        query = recorder.linear("q", x, wide)
    joint = recorder.linear("kv_a", x, mla.kv_lora_rank + mla.qk_rope_head_dim)
    latent = Value(mla.kv_lora_rank, joint.item)
    recorder.tape.record([latent], [joint])
    latent = recorder.norm(latent)
    expanded = recorder.linear("kv_b", latent, heads * (mla.qk_nope_head_dim + mla.v_head_dim))
    key = Value(wide, expanded.item)
    recorder.tape.record([key], [expanded])  # joined with the rotary part, a new tensor
    return recorder.rotate(query), key, expanded


def _kernel(recorder: Recorder, query: Value, key: Value, value: Value) -> Value:
    model, setup = recorder.model, recorder.setup
    heads = model.attention_heads
    # The fused kernel for CPUs has no dropout: there, SDPA computes in float32 and writes out the
    # scores as well.
    unfused = setup.device == "cpu" and recorder.traits.dropout
    narrow = query.item
    if unfused and setup.attention == "sdpa":
        query, key, value = (recorder.cast(part, 4) for part in (query, key, value))
    elif recorder.autocast:
        query, key, value = (recorder.cast(part, 2) for part in (query, key, value))
    mla = model.mla
    out = Value(heads * (mla.v_head_dim if mla else model.head_dim), query.item)
    inputs = list(dict.fromkeys([query, key, value]))
    grouped = model.attention_heads != model.key_value_heads and mla is None
    unknown = setup.attention == "sdpa" and not recorder.traits.fused_attention
    eager = setup.attention == "eager" or unfused or unknown
    # With a mask, transformers repeats shared keys and values itself; prefixes need a mask.
    masked = setup.attention == "sdpa" and (setup.padded or setup.traits.adds == "prefix")
    if grouped and (eager or masked):
        inputs = [query, *(_repeat(recorder, part, out.elements) for part in (key, value))]
        grouped = False
    if eager:
        _eager(recorder, inputs, out)
        return recorder.cast(out, narrow) if unfused else out
    # FlashAttention-2 adds up the queries' gradient in float32, and those of shared keys and
    # values a head at a time.
    workspace = 4.0 * out.elements + (2.0 * out.size if grouped else 0.0)
    saves = [*inputs, out, Value(heads, 4)]
    if masked:
        # SDPA turns a mask of booleans into one of numbers, anew in every layer, and keeps it.
        saves.append(Value(setup.sequence_length, out.item))
    recorder.tape.record([out], inputs, saves, workspace=workspace)
    return out


def _repeat(recorder: Recorder, x: Value, elements: float) -> Value:
    y = Value(elements, x.item)
    recorder.tape.record([y], [x])
    return y


def _eager(recorder: Recorder, inputs: list[Value], out: Value) -> None:
    tape, setup = recorder.tape, recorder.setup
    scores = Value(recorder.model.attention_heads * setup.sequence_length, out.item)
    query_key, value = inputs[:2], inputs[-1]
    tape.record([scores], query_key, query_key, workspace=scores.size)
    if recorder.traits.capped:
        capped = Value(scores.elements, scores.item)
        tape.record([capped], [scores], [capped], workspace=scores.size)
        scores = capped
    wide = Value(scores.elements, 4)
    upcast = recorder.cast(scores, 4)
    tape.record([wide], [upcast], [wide])
    weights = recorder.cast(wide, out.item)
    if recorder.traits.dropout:
        weights = recorder.dropout(weights)
    tape.record([out], [weights, value], [weights, value])
