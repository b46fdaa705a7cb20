"""Rows whose length or language is unusual, and answers that teach little."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from statistics import median

from sweeper.data.examples import normalised
from sweeper.data.long_rows import long_row
from sweeper.data.rows import FileRow
from sweeper.features.quality._checked_rows import CheckedRows
from sweeper.features.quality._kinds.base import Fault, FaultKind

MAX_Z_SCORE = 3.5
"""Modified z-score of an outlier (Iglewicz and Hoaglin 1993, How to Detect and Handle Outliers)."""

MIN_SPREAD = 0.2
"""Lower bound of the median deviation of log lengths, for rows of nearly equal length."""

MARGIN_OF_LOG_LENGTH = math.log(3)
"""If lengths differ much, as in the mixed tasks of T0, no z-score exceeds the limit. Then an
outlier is longer than three times the 95th percentile, or shorter than a third of the 5th. If
lengths differ little, at most 5% of the rows are too long, and 5% too short."""

MIN_LONG_CHARACTERS = 200
"""Characters up to which no text is too long."""

MIN_ROWS = 30
"""Minimum number of texts whose lengths are compared."""


class Lengths(FaultKind):
    """Rows whose input or answer is far from the usual length, on a logarithmic scale."""

    name = "lengths"
    order = 80
    title = "are much longer or shorter than the others"
    consequence = (
        "Often these are two joined rows, a page instead of a sentence, or half a text. The "
        "longest rows decide how much memory training takes."
    )
    remedy = "leave them out"
    severity = "note"

    def find(self, data: CheckedRows) -> list[Fault]:
        details: dict[int, str] = {}
        for what, sizes in (
            ("input", {index: len(row.input) for index, row, _ in data.usable}),
            ("answer", {index: len(row.written) for index, row, _ in data.usable if row.written}),
        ):
            for index, detail in _outliers(sizes):
                details.setdefault(index, f"the {what} has {detail}")
        return [Fault(index, detail) for index, detail in sorted(details.items())]


def _outliers(sizes: dict[int, int]) -> Iterator[tuple[int, str]]:
    """Row index and description of each unusual length."""
    if len(sizes) < MIN_ROWS:
        return
    logs = {index: math.log(size + 1) for index, size in sizes.items()}
    median_log = median(logs.values())
    spread = max(median(abs(log - median_log) for log in logs.values()), MIN_SPREAD)
    ordered = sorted(logs.values())
    percentile_95, percentile_5 = (ordered[int(share * len(ordered))] for share in (0.95, 0.05))
    # The median deviation of a normal distribution is 0.6745 standard deviations.
    max_distance = MAX_Z_SCORE * spread / 0.6745
    lower = min(max(median_log - max_distance, percentile_5 - MARGIN_OF_LOG_LENGTH), percentile_5)
    upper = max(
        min(median_log + max_distance, percentile_95 + MARGIN_OF_LOG_LENGTH),
        percentile_95,
        math.log(MIN_LONG_CHARACTERS + 1),
    )
    for index, log in logs.items():
        if not lower <= log <= upper:
            usual_length = round(math.exp(median_log) - 1)
            yield index, f"{sizes[index]:,} characters; the median is {usual_length:,}"


class Truncation(FaultKind):
    """Rows that training would cut."""

    name = "truncation"
    order = 82
    title = "are longer than the maximum number of tokens"
    consequence = (
        "Texts to classify lose their end. Prompts lose their beginning, and rows whose answer "
        "alone is too long are left out."
    )
    remedy = "leave them out; a higher --max-length keeps them, but needs more memory"
    needs = "single rows"

    def why_unchecked(self, data: CheckedRows) -> str:
        return "" if data.cap else "give --max-length, and --model for its tokenizer"

    def find(self, data: CheckedRows) -> list[Fault]:
        if data.cap is None:
            return []
        counts = data.cap.count([f"{row.input}\n{row.written}" for _, row, _ in data.usable])
        faults = []
        for (index, row, example), count in zip(data.usable, counts, strict=True):
            has_answer = bool(row.written) or example.templated
            outcome = long_row(data.task, has_prompt=has_answer)
            if count > data.cap.tokens and outcome != "divided":
                end = "beginning" if outcome == "shortened" else "end"
                faults.append(Fault(index, f"{count:,} tokens, {data.cap.how}; cut at its {end}"))
        return faults


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

MIN_DIFFERENT_WORDS = 2
"""Minimum number of different function words of a text's language; a single one may be a name."""

MIN_SHARE_OF_FUNCTION_WORDS = 0.15
"""Lowest share of function words. Prose has a third or more; in code, names that look like function
words are rarer."""

MAIN_SHARE = 0.8
"""Lowest share of the main language. Below it, several languages are taken to be on purpose."""

_MAX_CHARACTERS = 2000
"""Characters of a text that its language is determined from."""


class Languages(FaultKind):
    """Rows whose input or answer is in another language or script than nearly all others."""

    name = "languages"
    order = 84
    title = "are in another language than the others"
    consequence = (
        "They are too few to learn from, and the model may answer others in that language."
    )
    remedy = "leave them out"

    def find(self, data: CheckedRows) -> list[Fault]:
        """Rows whose input or answer is not in the main language of all inputs or answers.

        Translations have two main languages. If most inputs have no language, such as tables, the
        main language of the answers counts; and vice versa.
        """
        details: dict[int, str] = {}
        inputs = {index: language(row.input) for index, row, _ in data.usable}
        answers = {index: language(row.written) for index, row, _ in data.usable if row.written}
        main_input, main_answer = _main_language(inputs), _main_language(answers)
        for what, languages, main, other_main in (
            ("input", inputs, main_input, main_answer),
            ("answer", answers, main_answer, main_input),
        ):
            if main == "" and list(languages.values()).count("") >= MAIN_SHARE * len(languages):
                main = other_main
            for index, name in languages.items():
                if main and name and name != main:
                    details.setdefault(index, f"the {what} is in {name}")
        return [Fault(index, detail) for index, detail in sorted(details.items())]


def _main_language(names: Mapping[int, str]) -> str:
    """The language of nearly all texts with a known language; empty if there is none."""
    counts = Counter(name for name in names.values() if name)
    ((main, main_count),) = counts.most_common(1) or [("", 0)]
    return main if main_count >= MAIN_SHARE * counts.total() else ""


def language(text: str) -> str:
    """The language of a text by its function words, or its script; empty if neither is clear.

    >>> language("Wie kann ich die Karte sperren?"), language("Где моя карта?"), language("Ok, 5!")
    ('German', 'Cyrillic', '')
    """
    words = _WORD.findall(text[:_MAX_CHARACTERS].casefold())
    scripts = Counter(_script(word) for word in words)
    if not scripts:
        return ""
    script, count = scripts.most_common(1)[0]
    if script != "Latin":
        return script if count > scripts.total() / 2 else ""
    hits_by_language = Counter(
        {
            name: sum(word in function_words for word in words)
            for name, function_words in _WORDS.items()
        }
    )
    (best, best_hits), (_, second_hits) = hits_by_language.most_common(2)
    different_words = len(_WORDS[best].intersection(words))
    is_clear = different_words >= MIN_DIFFERENT_WORDS and best_hits >= max(
        2 * second_hits, MIN_SHARE_OF_FUNCTION_WORDS * len(words)
    )
    return best if is_clear else ""


def _script(word: str) -> str:
    first = unicodedata.name(word[0], "LATIN").split()[0]
    return "Chinese characters" if first == "CJK" else first.title()


_REFUSAL = re.compile(
    r"^\W*(?:(?:i['’]?m|i am) (?:very |so |really )?sorry,? (?:but )?(?:as an? |i |that )"
    r"|(?:sorry|i apologi[sz]e|my apologies|unfortunately),? (?:but |as an? |for \w+ \w+,? )?"
    r"(?:ai\b|i (?:can['’]?t|cannot|can not|am (?:not able|unable)|won['’]?t|do ?n[o'’]t have))"
    r"|i (?:cannot|can['’]?t|can not|am unable to|am not able to|won['’]?t) "
    r"(?:help|assist|provide|fulfil|comply|answer|complete|do that|create|generate|support|engage)"
    r"|as an? (?:ai|artificial intelligence|(?:large )?language model)\b)"
    r"|\bas an? (?:ai|artificial intelligence|large language)(?: language)? (?:model|assistant)\b",
    re.IGNORECASE,
)


class Refusals(FaultKind):
    """Canned refusals of other models."""

    name = "refusals"
    order = 40
    title = "have a refusal as their answer"
    consequence = "The model learns to refuse questions that it could answer."
    remedy = "leave them out"
    in_plan = True
    needs = "single rows"

    def fault_detail(self, data: CheckedRows, row: FileRow) -> str | None:
        """Empty if the answer begins like a refusal or speaks as a language model, else None.

        Not with tools: an assistant rightly refuses what its tools cannot do.
        """
        has_tools = row.example and any(turn.more for turn in row.example.messages)
        return "" if _REFUSAL.search(row.written) and not has_tools else None


MIN_WORDS = 4
"""Minimum words of boilerplate: a shorter answer (`yes`) may be right for many questions."""

MIN_QUESTIONS, MIN_SHARE_OF_ROWS = 5, 0.005
"""Different questions with the same answer: minimum number, and minimum share of all rows."""


class Boilerplate(FaultKind):
    """One long answer to many different questions."""

    name = "boilerplate"
    order = 42
    title = "have an answer that many different questions get word for word"
    consequence = "The model learns to give this answer too often."
    remedy = "leave them out"
    in_plan = True

    def find(self, data: CheckedRows) -> list[Fault]:
        """Rows with an answer of at least five different questions, or 0.5% of the rows if more."""
        questions: dict[str, dict[str, None]] = defaultdict(dict)
        places: dict[str, list[int]] = defaultdict(list)
        for index, row, example in data.usable:
            answer = normalised(row.written)
            if len(answer.split()) >= MIN_WORDS:
                questions[answer][example.key] = None
                places[answer].append(index)
        min_questions = max(MIN_QUESTIONS, MIN_SHARE_OF_ROWS * len(data.rows))
        return [
            Fault(index, f"{len(keys)} questions have it: {answer[:60]!r}")
            for answer, keys in questions.items()
            if len(keys) >= min_questions
            for index in places[answer]
        ]
