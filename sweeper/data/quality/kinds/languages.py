"""Rows in another language than the others."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping

from sweeper.data.quality.kinds.base import Fault, Kind
from sweeper.data.rows import DataRows

_FUNCTION_WORDS = {
    "English": "the of and to is are this that with for what how you from have which my an it can",
    "German": "der das und ist nicht ein eine ich mit zu den von auf wie sie für dem einen kann",
    "French": "le les et est une dans que qui pour pas sur vous avec je du au ce mon cette puis",
    "Spanish": "el los las y es una que por con del se cómo mi lo está más qué su puedo",
    "Italian": "il gli della è che una di non sono come del le nel questo più ho posso mia",
    "Portuguese": "os é uma que com não da em como meu minha um são está seu posso ao",
    "Dutch": "het een en van niet dat te zijn voor met hoe ik je wat aan deze naar mijn kan",
}
"""The commonest words of each language, without those that are English words, too."""

_WORDS = {name: frozenset(words.split()) for name, words in _FUNCTION_WORDS.items()}
_WORD = re.compile(r"[^\W\d_]+")

LEAST_HITS = 2
"""Different function words that a language is told by; a single one may be a name."""

LEAST_SHARE = 0.15
"""Share of the words that are function words. Prose has a third or more; names of variables that
look like function words are rarer in code."""

MAIN_SHARE = 0.8
"""Share of the rows in one language from which on the others stand out. Below it, the data set is
meant to hold several."""

_LOOKED_AT = 2000
"""Characters of a text."""


class Languages(Kind):
    """Rows whose input or answer is in another language or script than nearly all others."""

    name = "languages"
    order = 84
    title = "are in another language than the others"
    consequence = (
        "They are too few to learn from, and the model may answer others in that language."
    )
    remedy = "leaves them out"

    def find(self, data: DataRows) -> list[Fault]:
        """Inputs and answers are looked at apart, since a translation has two languages.

        If hardly any of one of them is in a language, such as tables, that of the other counts.
        """
        found: dict[int, str] = {}
        inputs = {place: language(row.input) for place, row, _ in data.usable}
        answers = {place: language(row.written) for place, row, _ in data.usable if row.written}
        mains = _main(inputs), _main(answers)
        other = {"input": mains[1], "answer": mains[0]}
        for what, told, main in (("input", inputs, mains[0]), ("answer", answers, mains[1])):
            if main == "" and list(told.values()).count("") >= MAIN_SHARE * len(told):
                main = other[what]
            for place, name in told.items():
                if main and name and name != main:
                    found.setdefault(place, f"the {what} is in {name}")
        return [Fault(place, said) for place, said in sorted(found.items())]


def _main(told: Mapping[int, str]) -> str:
    """The language of nearly all texts that are in a language; empty if there is none."""
    counts = Counter(name for name in told.values() if name)
    ((main, most),) = counts.most_common(1) or [("", 0)]
    return main if most >= MAIN_SHARE * counts.total() else ""


def language(text: str) -> str:
    """The language of a text by its function words, or its script; empty where neither tells.

    >>> language("Wie kann ich die Karte sperren?"), language("Где моя карта?"), language("Ok, 5!")
    ('German', 'Cyrillic', '')
    """
    words = _WORD.findall(text[:_LOOKED_AT].casefold())
    scripts = Counter(_script(word) for word in words)
    if not scripts:
        return ""
    script, many = scripts.most_common(1)[0]
    if script != "Latin":
        return script if many > scripts.total() / 2 else ""
    hits = Counter({name: sum(word in known for word in words) for name, known in _WORDS.items()})
    (best, most), (_, second) = hits.most_common(2)
    different = len(_WORDS[best].intersection(words))
    told = different >= LEAST_HITS and most >= max(2 * second, LEAST_SHARE * len(words))
    return best if told else ""


def _script(word: str) -> str:
    first = unicodedata.name(word[0], "LATIN").split()[0]
    return "Chinese characters" if first == "CJK" else first.title()
