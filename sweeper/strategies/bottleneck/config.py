"""The configuration of bottleneck adapters."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peft.config import PeftConfig

from sweeper.errors import Problem, UsageError, near_match

PLACEMENTS = ("houlsby", "pfeiffer")
NON_LINEARITIES = ("relu", "gelu", "silu", "tanh")

_NOTICE = """
## How to load this adapter

It is a bottleneck adapter, a type that PEFT does not know by itself. Install `sweeper` and import
the module that registers it before PEFT reads this folder:

```python
import sweeper.strategies.bottleneck  # registers the adapter type
from peft import PeftModel

model = PeftModel.from_pretrained(base_model, "path/to/this/folder")
```

It cannot be merged into the base model: it is not linear in its input.
"""


class BottleneckType(enum.StrEnum):
    """The one PEFT type that this package adds.

    PEFT looks its types up in dictionaries whose keys compare and hash as their string, and asks
    a type for ``.value`` here and there: an enumeration of our own satisfies both, so that PEFT's
    own (closed) one stays untouched.
    """

    BOTTLENECK = "BOTTLENECK"


@dataclass
class BottleneckConfig(PeftConfig):
    """Configuration of bottleneck adapters (Houlsby et al. 2019; Pfeiffer et al. 2020).

    A small network ``h + up(f(down(dropout(h))))`` on the output ``h`` of a projection, before
    the model adds its residual.

    Args:
        placement: ``houlsby``: after the attention's and after the MLP's output projection of
            every layer (arXiv:1902.00751, figure 2). ``pfeiffer``: after the MLP's only
            (arXiv:2005.00052), half the parameters. Not used where ``target_modules`` is given.
        reduction_factor: Width of the residual stream over width of the bottleneck, at least 1.
        non_linearity: ``f``; ReLU as in arXiv:2005.00052, equation 1.
        dropout: Probability with which a feature of the adapter's input is dropped.
        target_modules: Names of linear modules whose outputs are adapted. Found in the model's
            structure if None.
        exclude_modules: Names that are left out of ``target_modules``.
        modules_to_save: Modules besides the adapters that are trained and saved.
    """

    placement: str = field(default="houlsby")
    reduction_factor: float = field(default=16.0)
    non_linearity: str = field(default="relu")
    dropout: float = field(default=0.0)
    target_modules: list[str] | set[str] | str | None = field(default=None)
    exclude_modules: list[str] | set[str] | str | None = field(default=None)
    modules_to_save: list[str] | None = field(default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = BottleneckType.BOTTLENECK
        if isinstance(self.target_modules, list):
            self.target_modules = set(self.target_modules)
        if problems := list(self._problems()):
            raise UsageError(problems)

    def bottleneck_size(self, features: int) -> int:
        """Width of the bottleneck on an output of ``features`` features; at least 1.

        >>> BottleneckConfig(reduction_factor=16).bottleneck_size(576)
        36
        """
        return max(1, int(features // self.reduction_factor))

    def save_pretrained(self, save_directory: str, **kwargs: Any) -> None:
        """Writes the configuration, and into the folder's card how to load the adapter."""
        super().save_pretrained(save_directory, **kwargs)
        card = Path(save_directory) / "README.md"
        text = card.read_text(encoding="utf-8") if card.exists() else ""
        if _NOTICE not in text:
            card.write_text(text.rstrip() + "\n" + _NOTICE, encoding="utf-8")

    def _problems(self) -> Iterator[Problem]:
        for name, known in (("placement", PLACEMENTS), ("non_linearity", NON_LINEARITIES)):
            if (value := getattr(self, name)) not in known:
                yield Problem(f"{name} is {value!r}.", near_match(value, known))
        if self.reduction_factor < 1:
            why = "It must be at least 1, so that the bottleneck is not wider than the layer."
            yield Problem(f"reduction_factor is {self.reduction_factor}.", why)
        if not 0 <= self.dropout < 1:
            yield Problem(f"dropout is {self.dropout}.", "It must be in [0, 1).")
