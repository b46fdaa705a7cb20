from __future__ import annotations

import pytest
from peft import PeftConfig

from sweeper.errors import UsageError
from sweeper.strategies.bottleneck import BottleneckConfig


def test_all_mistakes_are_reported_at_once():
    with pytest.raises(UsageError) as caught:
        BottleneckConfig(
            placement="houlsbi", non_linearity="reluu", reduction_factor=0.5, dropout=1.0
        )
    assert len(caught.value.problems) == 4
    assert "Did you mean 'houlsby'?" in str(caught.value)
    assert "Did you mean 'relu'?" in str(caught.value)


@pytest.mark.parametrize(("features", "factor", "size"), [(576, 16, 36), (100, 16, 6), (8, 64, 1)])
def test_bottleneck_size_is_rounded_down_but_never_zero(features, factor, size):
    assert BottleneckConfig(reduction_factor=factor).bottleneck_size(features) == size


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
