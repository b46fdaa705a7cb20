"""The shape of a model from its ``config.json``, with the same names for every family."""

from __future__ import annotations

from collections.abc import Mapping

from sweeper.errors import ModelError
from sweeper.facts.models.linear_layers import (
    HYBRIDS,
    WITHOUT_ATTENTION,
    Family,
    Flag,
    Kind,
    families,
)
from sweeper.facts.record import LatentAttention, MixtureOfExperts, ModelShape

Config = Mapping[str, object]

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "hidden_size": ("n_embd", "d_model", "dim", "n_embed"),
    "num_hidden_layers": ("n_layer", "num_layers", "n_layers"),
    "num_attention_heads": ("n_head", "num_heads", "n_heads", "attention_heads"),
    "num_key_value_heads": ("num_kv_heads", "n_head_kv"),
    "intermediate_size": ("n_inner", "ffn_dim", "d_ff", "hidden_dim", "ffn_hidden_size"),
    "max_position_embeddings": ("n_positions", "max_seq_len", "seq_length"),
    "head_dim": ("d_kv",),
    "num_experts": ("num_local_experts", "n_routed_experts"),
    "decoder_sparse_step": ("interleave_moe_layer_step",),
    "dtype": ("torch_dtype",),
}
"""From the name of a setting to its names in other families."""

_UNKNOWN = Family()
"""The assumed family of an unknown model type: a modern decoder, gated, RMSNorm, no biases."""

_ATTENTION_LAYERS = {"attention", "full_attention", "sliding_attention"}


class Settings:
    """The values of a ``config.json``, with synonyms of names and defaults of the family."""

    def __init__(self, config: Config, where: str = "") -> None:
        inner = config.get("text_config")
        self.config: Config = {**config, **inner} if isinstance(inner, Mapping) else config
        self.where = where
        model_type = self.config.get("model_type") or "unknown"
        if not isinstance(model_type, str):
            raise ModelError(f"model_type is {model_type!r}", why="It must be text.", where=where)
        self.model_type = model_type
        family = families().get(self.model_type)
        self.family = family or _UNKNOWN
        self.knows_family = family is not None

    def get(self, name: str) -> object:
        """The value of a setting or of its synonym; null counts as missing."""
        for source in (self.config, self.family.defaults):
            for key in (name, *SYNONYMS.get(name, ())):
                if source.get(key) is not None:
                    return source[key]
        return None

    def number(self, name: str, default: int | None = None) -> int:
        """The value of a setting that is an integer.

        Raises:
            ModelError: It is missing and has no default, or is not an integer.
        """
        value = self.get(name)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            raise ModelError(
                f"config.json does not say {name}" if value is None else f"{name} is {value!r}",
                why=f"Without it nothing can be computed for model type {self.model_type!r}.",
                fix="Is this the configuration of a language model, as transformers writes it?",
                where=self.where,
            )
        return value

    def size(self, name: str, default: int | None = None) -> int:
        """The value of a setting that is a positive integer.

        Raises:
            ModelError: It is missing and has no default, or is not a positive integer.
        """
        value = self.number(name, default)
        if value < 1:
            raise ModelError(f"{name} is {value}", why="It must be at least 1.", where=self.where)
        return value

    def flag(self, flag: Flag) -> bool:
        """The flag, or the value of the setting that it names."""
        return bool(self.get(flag)) if isinstance(flag, str) else flag


def architecture(config: Config, where: str = "") -> ModelShape:
    """The shape that a configuration describes.

    Raises:
        ModelError: A width, the number of layers or the vocabulary is missing, or the model is
            not a transformer.
    """
    settings = Settings(config, where)
    _check_kind(settings)
    family = settings.family
    hidden = settings.size("hidden_size")
    heads = settings.size("num_attention_heads")
    layers = settings.size("num_hidden_layers")
    intermediate = settings.size("intermediate_size", 4 * hidden)
    if not settings.get("num_experts"):
        # In Granite 4 without experts, the shared expert is the whole feed-forward block.
        intermediate = settings.size("shared_intermediate_size", intermediate)
    context = settings.size("max_position_embeddings", 2048)
    layer_types = settings.get("layer_types")
    stated_types = set(map(str, layer_types)) if isinstance(layer_types, list) else set()
    attention_only = settings.model_type not in HYBRIDS or (
        bool(stated_types) and stated_types <= _ATTENTION_LAYERS
    )
    return ModelShape(
        model_type=settings.model_type,
        kind=_kind(settings),
        layers=layers,
        hidden_size=hidden,
        attention_heads=heads,
        key_value_heads=_key_value_heads(settings, heads),
        head_dim=settings.size("head_dim", max(1, hidden // heads)),
        # Llama 4 states the width of experts, and separately that of dense layers.
        intermediate_size=settings.size("intermediate_size_mlp", intermediate),
        vocabulary_size=settings.size("vocab_size"),
        context_length=context - family.reserved_positions,
        tied_embeddings=settings.flag("tie_word_embeddings"),
        gated_mlp=family.gated or "gated" in str(settings.get("feed_forward_proj")),
        parallel_blocks=settings.flag(family.parallel),
        moe=_experts(settings, layers, intermediate),
        mla=_latent_attention(settings),
        dtype=str(settings.get("dtype") or "float32").removeprefix("torch."),
        attention_only=attention_only,
    )


def _check_kind(settings: Settings) -> None:
    """Check that the parameters of a model of this kind can be counted.

    Raises:
        ModelError: The model has no attention, or is an unknown encoder-decoder.
    """
    name = settings.model_type
    if name in WITHOUT_ATTENTION:
        raise ModelError(
            f"{name} is not a transformer",
            why="Its layers have no attention; neither its memory nor suitable methods are known.",
            fix="Choose a transformer: a decoder for text, an encoder for classification.",
            where=settings.where,
        )
    if not settings.knows_family and settings.get("is_encoder_decoder"):
        raise ModelError(
            f"{name} is an encoder-decoder of a family that is not known here",
            why="sweeper trains no encoder-decoders; of these, it predicts only the memory of T5.",
            fix="Choose a decoder for text, or an encoder for classification.",
            where=settings.where,
        )


def _kind(settings: Settings) -> Kind:
    if settings.knows_family:
        return settings.family.kind
    architectures = settings.get("architectures")
    names = " ".join(map(str, architectures)) if isinstance(architectures, list) else ""
    return "encoder" if "MaskedLM" in names or "ForPreTraining" in names else "decoder"


def _key_value_heads(settings: Settings, heads: int) -> int:
    if settings.model_type == "gpt_bigcode":
        return 1 if settings.get("multi_query") else heads
    if settings.model_type == "falcon" and not settings.get("new_decoder_architecture"):
        return 1 if settings.get("multi_query") else heads
    return settings.size("num_key_value_heads", heads)


def _experts(settings: Settings, layers: int, intermediate: int) -> MixtureOfExperts | None:
    if not settings.get("num_experts"):  # missing or 0 in dense variants of sparse families
        return None
    width = settings.size("moe_intermediate_size", intermediate)
    shared = settings.number("n_shared_experts", 0) * width
    return MixtureOfExperts(
        experts=settings.size("num_experts"),
        experts_per_token=settings.size("num_experts_per_tok", 1),
        intermediate_size=width,
        shared_intermediate_size=settings.number("shared_expert_intermediate_size", shared),
        layers=_sparse_layers(settings, layers),
    )


def _sparse_layers(settings: Settings, layers: int) -> int:
    """The number of layers with experts: all but the first few (DeepSeek), or every n-th layer
    with exceptions (Qwen)."""
    step = settings.size("decoder_sparse_step", 1)
    dense_layers = settings.get("mlp_only_layers")
    exceptions = dense_layers if isinstance(dense_layers, list) else []
    first = settings.number("first_k_dense_replace", 0)
    return sum(
        layer >= first and layer not in exceptions and (layer + 1) % step == 0
        for layer in range(layers)
    )


def _latent_attention(settings: Settings) -> LatentAttention | None:
    if settings.get("kv_lora_rank") is None:
        return None
    # In DeepSeek-V2-Lite, null means "no low rank for queries". A missing field means the default.
    stated = settings.config.get("q_lora_rank", settings.family.defaults.get("q_lora_rank"))
    return LatentAttention(
        q_lora_rank=stated if isinstance(stated, int) else None,
        kv_lora_rank=settings.size("kv_lora_rank"),
        qk_nope_head_dim=settings.size("qk_nope_head_dim", 128),
        qk_rope_head_dim=settings.size("qk_rope_head_dim", 64),
        v_head_dim=settings.size("v_head_dim", 128),
    )
