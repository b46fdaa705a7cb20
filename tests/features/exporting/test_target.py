import pytest
import yaml

from sweeper.features.exporting._configuration import yaml_value


@pytest.mark.parametrize(
    "value", [2e-5, 1.0, 0.1, 3, True, None, "on", "a: b", ["x", 1e-7], {"k": 1e9}]
)
def test_a_value_reads_back_from_yaml_with_its_type(value):
    assert yaml.safe_load(yaml_value(value)) == value
    assert type(yaml.safe_load(yaml_value(value))) is type(value)
