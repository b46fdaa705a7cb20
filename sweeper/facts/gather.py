"""All facts of a spec, in one call: the second stage of the flow."""

from __future__ import annotations

from pathlib import Path

from sweeper.data.quality.check import quick_faults
from sweeper.errors import DataError
from sweeper.facts.dataset.bits_per_byte import known_bits, measured_bits
from sweeper.facts.dataset.curation import Curated, curated, mendable
from sweeper.facts.dataset.data_facts import corpus_facts, corpus_warnings, data_facts
from sweeper.facts.machine.hardware import hardware_facts
from sweeper.facts.machine.measured import with_measured
from sweeper.facts.models.model import model_facts
from sweeper.facts.record import Facts, ModelFacts
from sweeper.facts.suite import suite_facts
from sweeper.spec import Spec


def rows_of(spec: Spec, record: Path | None = None) -> Curated | None:
    """The data set of a spec and what was done to its rows; None if it names no data.

    Args:
        record: The list of changes of a run that is resumed, which is applied again.

    Raises:
        DataError: The data cannot be read, recognised or learnt from. The error has the command
            that mends it, where there is one.
    """
    if spec.data.named is None and spec.data.corpus is None:
        return None
    try:
        return curated(spec, record)
    except DataError as error:
        raise mendable(error, spec) from error


def gather(
    spec: Spec,
    *,
    measure_domain: bool = False,
    models: tuple[ModelFacts, ...] | None = None,
    rows: Curated | None = None,
) -> Facts:
    """Look at the models, the data and the machine that a spec names.

    Where several models compete, lengths and the domain are measured with the first one.

    Args:
        models: Facts of models to use instead of those that the spec names.
        measure_domain: Let the base model read some of the data; otherwise only an earlier
            measurement of this kind is used.

    Raises:
        ModelError: A model cannot be found, reached or read.
        DataError: The data cannot be read, recognised or learnt from.
        UsageError: The hardware is unknown, the domain cannot be measured, or the suite cannot be
            read.
    """
    if models is None:
        models = tuple(model_facts(model) for model in spec.models)
    hardware = with_measured(hardware_facts(spec.hardware), models)
    rows = rows or rows_of(spec)
    dataset = rows.dataset if rows else None
    data = data_facts(dataset, spec, models[0])
    if rows is not None:
        faults = quick_faults(rows.dataset, spec.data, spec.task)
        said = (*data.warnings, *(fault.sentence for fault in faults))
        found = {"faults": (*data.faults, *faults), "warnings": said, "changes": rows.counts}
        data = data.model_copy(update=found)
    if dataset is not None and (corpus := corpus_facts(dataset, spec, models[0])) is not None:
        said = (*data.warnings, *corpus_warnings(corpus))
        data = data.model_copy(update={"corpus": corpus, "warnings": said})
    if measure_domain:
        data = measured_bits(dataset, data, models[0], spec.aim)
    else:
        data = known_bits(data, models[0], spec.aim)
    return Facts(
        task=spec.task,
        models=models,
        data=data,
        hardware=hardware,
        aim=spec.aim,
        classes_by=spec.training.classes_by,
        suite=suite_facts(Path(spec.evaluation.suite)) if spec.evaluation.suite else None,
    )
