from __future__ import annotations

from peft import PeftConfig

from sweeper.strategies.bottleneck import BottleneckConfig


def test_config_comes_back_from_its_folder_as_its_own_class(tmp_path):
    config = BottleneckConfig(task_type="CAUSAL_LM", placement="pfeiffer", reduction_factor=8)
    config.save_pretrained(str(tmp_path))
    loaded = PeftConfig.from_pretrained(str(tmp_path))
    assert isinstance(loaded, BottleneckConfig)
    assert loaded == config


def test_card_says_how_to_load_and_says_it_once(tmp_path):
    (tmp_path / "README.md").write_text("# Mine\n")
    for _ in range(2):
        BottleneckConfig().save_pretrained(str(tmp_path))
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("# Mine\n")
    assert text.count("import sweeper.strategies.bottleneck") == 1
