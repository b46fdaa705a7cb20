"""The table of well-known models, and the shapes of bare sizes."""

from sweeper.facts.models.catalogue import entries, parse_size, typical
from sweeper.resources import part_of_table


def test_the_models_that_stand_for_sizes_are_all_that_have_one():
    sized = {name: entry.size for name, entry in entries().items() if entry.size}
    assert len(sized) > 10
    part = part_of_table("models.yaml", "size")
    assert {name: fields["size"] for name, fields in part.items()} == sized


def test_a_size_has_the_shape_of_the_model_that_stands_for_it():
    for name, entry in entries().items():
        size = parse_size(entry.size or "")
        if size is not None:
            found, config = typical(size)
            assert entries()[found].size == entry.size, name
            assert {**config, "num_hidden_layers": 0} == {
                **entries()[found].config, "num_hidden_layers": 0,
            }  # fmt: skip
