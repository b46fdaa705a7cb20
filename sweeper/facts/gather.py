"""All facts of a spec, in one call: the second stage of the flow."""

from __future__ import annotations

from sweeper.data.load import load
from sweeper.facts.data import data_facts
from sweeper.facts.hardware import hardware_facts
from sweeper.facts.model import model_facts
from sweeper.facts.record import Facts
from sweeper.spec import Spec


def gather(spec: Spec) -> Facts:
    """Look at the models, the data and the machine that a spec names.

    Where several models compete, lengths are measured with the first one's tokenizer.

    Raises:
        ModelError: A model cannot be found, reached or read.
        DataError: The data cannot be read, recognised or learnt from.
        UsageError: The hardware is unknown.
    """
    models = tuple(model_facts(model) for model in spec.models)
    hardware = hardware_facts(spec.hardware)
    has_data = spec.data.path is not None or spec.data.corpus is not None
    dataset = load(spec.data, spec.task) if has_data else None
    return Facts(
        task=spec.task,
        models=models,
        data=data_facts(dataset, spec, models[0]),
        hardware=hardware,
        aim=spec.aim,
    )
