"""Gathers all facts that a plan is based on.

Modules that read rows are imported only if there are rows: a plan from a stated number of examples
does not need them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.errors import DataError, UsageError
from sweeper.facts.dataset.stated import stated_facts
from sweeper.facts.machine.hardware import hardware_facts
from sweeper.facts.machine.measured import with_measured
from sweeper.facts.models.model import model_facts
from sweeper.facts.record import DataChange, DataFacts, Facts, ModelFacts
from sweeper.features import parts
from sweeper.spec import Spec

if TYPE_CHECKING:
    from sweeper.data.examples import Dataset
    from sweeper.data.prepared import PreparedData


def rows_of(spec: Spec, record: Path | None = None) -> PreparedData | None:
    """The data set of a spec with the changes that were made to it; None if the spec names no data.

    Args:
        record: The file with the changes of a resumed run, which are made again.

    Raises:
        DataError: The data cannot be read, recognised or trained on. The error names a command
            that repairs them, if there is one.
    """
    if spec.data.named is None:
        return None
    from sweeper.data.prepared import prepared_data

    try:
        return prepared_data(spec, record)
    except DataError as error:
        advice = (mend(spec, error) for _, mend in parts.MEND_ERROR.all())
        raise DataError([*error.problems, *filter(None, advice)]) from error


def gather(
    spec: Spec,
    *,
    measure_domain: bool = False,
    models: tuple[ModelFacts, ...] | None = None,
    rows: PreparedData | None = None,
    for_run: bool = False,
) -> Facts:
    """The facts about the models, the data and the machine that a spec names.

    With several models, lengths and the domain are measured with the first one.

    Args:
        models: Facts of models to use instead of those that the spec names.
        measure_domain: Measure bits per byte with the base model; otherwise only an earlier
            measurement is used.
        rows: The data set, if it was read before.
        for_run: Whether a run follows, so that features may load torch in a child process.

    Raises:
        ModelError: A model cannot be found, reached or read.
        DataError: The data cannot be read, recognised or trained on.
        UsageError: The hardware is unknown, bits per byte cannot be measured, or a feature refuses
            the spec.
    """
    if models is None:
        models = tuple(model_facts(model) for model in spec.models)
    hardware = with_measured(hardware_facts(spec.hardware, for_run=for_run), models)
    rows = rows or rows_of(spec)
    if rows is not None:
        data = _read_facts(rows, spec, models[0], measure_domain=measure_domain)
    elif measure_domain:
        raise UsageError(
            "there are no data to measure", fix="Give --data PATH.", where="--measure-domain"
        )
    else:
        data = stated_facts(spec)
    facts = Facts(
        task=spec.task,
        models=models,
        data=data,
        hardware=hardware,
        aim=spec.aim,
        classes_by=spec.training.classes_by,
    )
    return _with_features(spec, facts, rows.dataset if rows else None, for_run=for_run)


def _with_features(spec: Spec, facts: Facts, dataset: Dataset | None, *, for_run: bool) -> Facts:
    gathered = ((name, hook(spec, facts, dataset, for_run)) for name, hook in parts.GATHER.all())
    records = {
        name: record.model_dump(mode="json") for name, record in gathered if record is not None
    }
    facts = facts.model_copy(update={"features": records})
    warnings_ = [text for _, warnings in parts.WARNINGS.all() for text in warnings(spec, facts)]
    data = facts.data.model_copy(update={"warnings": (*facts.data.warnings, *warnings_)})
    return facts.model_copy(update={"data": data})


def _read_facts(
    rows: PreparedData, spec: Spec, model: ModelFacts, *, measure_domain: bool
) -> DataFacts:
    from sweeper.data.write_rows import count_changes
    from sweeper.facts.dataset.data_facts import data_facts
    from sweeper.facts.dataset.domain_distance import with_measured_bits, with_stored_bits

    data = data_facts(rows.dataset, spec, model)
    faults = [fault for _, find in parts.FAULTS.all() for fault in find(spec, rows.dataset)]
    warnings = (*data.warnings, *(fault.sentence for fault in faults))
    changes = tuple(
        DataChange(remedy=remedy, action=action, rows=count)
        for (remedy, action), count in count_changes(rows.changes).items()
    )
    update = {"faults": (*data.faults, *faults), "warnings": warnings, "changes": changes}
    data = data.model_copy(update=update)
    if measure_domain:
        return with_measured_bits(rows.dataset, data, model, spec.aim)
    return with_stored_bits(data, model, spec.aim)
