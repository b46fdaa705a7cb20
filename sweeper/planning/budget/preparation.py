"""What a model needs before it can be loaded: its download, or its conversion, as ranges.

Zero for weights that are on this machine. Knows sizes; asks no network.
"""

from __future__ import annotations

from sweeper import units
from sweeper.facts.record import Facts, ModelFacts
from sweeper.plan import Duration

# Assumed, since nobody has measured the connection: 100 Mbit/s, from 1 Gbit/s down to 25 Mbit/s.
_BITS_PER_SECOND = (1e9, 1e8, 25e6)
_BYTES = {"float32": 4, "float64": 8, "float8_e4m3fn": 1, "int8": 1}
# packaged:smollm2 (134.5 million parameters, dequantised and written as 540 MB) on two cores took
# 20.5 s, 25.8 s and 36.8 s, the longest with nothing in the file cache.
_SECONDS_PER_PARAMETER = tuple(seconds / 134.5e6 for seconds in (20.5, 25.8, 36.8))
# Other disks and processors, by half and double.
_OTHER_MACHINES = (0.5, 1.0, 2.0)


def download_seconds(facts: Facts) -> Duration | None:
    """Fetching the weights that the hub's cache lacks; None where nothing is fetched."""
    wanted = [_stored_bytes(m) for m in facts.models if m.missing == "download"]
    if not wanted:
        return None
    low, middle, high = (8 * sum(wanted) / rate for rate in _BITS_PER_SECOND)
    return Duration(seconds=round(middle, 3), low=round(low, 3), high=round(high, 3))


def conversion_seconds(facts: Facts) -> Duration | None:
    """Converting packaged models that were not yet; None where none is."""
    wanted = [m.parameters for m in facts.models if m.missing == "conversion"]
    if not wanted:
        return None
    low, middle, high = (
        round(sum(wanted) * seconds * factor, 3)
        for seconds, factor in zip(_SECONDS_PER_PARAMETER, _OTHER_MACHINES, strict=True)
    )
    return Duration(seconds=middle, low=low, high=high)


def download_notes(facts: Facts) -> tuple[str, ...]:
    """What the download's time assumes, in words; nothing where nothing is fetched."""
    wanted = [m for m in facts.models if m.missing == "download"]
    if not wanted:
        return ()
    size = units.gib(sum(map(_stored_bytes, wanted)) / units.GIB)
    slow, fast = _BITS_PER_SECOND[2] / 1e6, _BITS_PER_SECOND[0] / 1e9
    return (
        f"The weights of {', '.join(m.id for m in wanted)} are not on this machine: {size} to "
        f"download, at an assumed {_BITS_PER_SECOND[1] / 1e6:.0f} Mbit/s ({slow:.0f} Mbit/s to "
        f"{fast:.0f} Gbit/s).",
    )


def _stored_bytes(model: ModelFacts) -> float:
    return float(model.parameters * _BYTES.get(model.dtype, 2))
