"""Whether the search is over, as the command sees it: all trials ended, or all that were begun.

Knows what a study was asked for; what ends a search early ``sweeper.search.ending`` says.
"""

from __future__ import annotations

from dataclasses import dataclass

from sweeper.execution.loop import Loop
from sweeper.plan import Plan
from sweeper.search import ending
from sweeper.search.study import TOTAL
from sweeper.spec import SearchSpec


@dataclass
class SearchEnd:
    """Asked again and again while a search runs.

    Args:
        loop: Of this call.
        plan: Of the run.
        asked: What may end the search.
    """

    loop: Loop
    plan: Plan
    asked: SearchSpec
    _looked_at: int = -1

    def __call__(self) -> bool:
        """Whether no trial runs any more and none will be begun."""
        loop, total = self.loop, self.loop.progress.total
        if loop.ledger.finished(total) >= total:
            return True
        found = ending.look(loop.queue.study, self.plan) if self._is_due() else None
        if found is None:
            return False
        allowed = loop.queue.study.user_attrs[TOTAL]
        loop.look()  # only now: whoever begins one after this is told that it may not
        begun = ending.begun(loop.ledger.trials)
        text = f"the search ends after {begun} of {total} trials: {found.because}"
        first, loop.progress.search_ended = not loop.progress.search_ended, text
        if first:  # another worker may have begun one more just before, which later looks count
            loop.say("search-ended", text=text)
        return begun <= allowed and loop.ledger.finished(begun) >= begun

    def _is_due(self) -> bool:
        # A worker looks where it ends a trial. Here it counts where a trial ended without one, and
        # to learn what a worker found: whenever another trial has ended, and at the start.
        ended = len(self.loop.ledger.results)
        changed, self._looked_at = ended != self._looked_at, ended
        return ending.can_end(self.asked) and (changed or bool(self.loop.progress.search_ended))
