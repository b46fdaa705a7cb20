"""Data sets of the tests, and each kind of fault planted into them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from sweeper.data.examples import SPLITS
from sweeper.data.rows import read_rows
from sweeper.features.quality._checked_rows import CheckedRows, TokenCap, evaluation_rows
from sweeper.spec import DataSpec

NOUNS = """
    account address airport apple artist ball bank basket beach bicycle bird boat book bottle
    box bread bridge brush bus butter button cable cake camera candle car card carpet castle
    cat chair cheese church city clock cloud coat coffee coin computer corn cow cup curtain
    desk dog door dress drum duck ear egg engine farm feather field film finger fire fish flag
    floor flower forest fork frog garden gate gift glass glove goat gold grass guitar hammer
    hat heart hill horse hospital hotel house ice island jacket jar key kitchen knife lake
    lamp leaf letter library lock map market meadow milk mirror money moon mountain museum
    nail needle nest newspaper ocean office orange oven paint paper park pencil piano picture
    pillow pilot planet plate pocket police potato prison queen rabbit radio rain ring river
    road rocket roof rope salt school scissors shadow sheep ship shirt shoe shop silver snow
    soap spoon stamp star station stone storm street sugar sun table tail tea teacher temple
    tent ticket tiger tower train tree truck umbrella valley village violin wall watch water
    wheel window wing winter
""".split()  # noqa: SIM905
VERBS = """
    buy carry clean count draw find fix hide move open paint pull push repair sell send
""".split()  # noqa: SIM905


def sentence(rng: random.Random, verbs=VERBS) -> str:
    """An English sentence; two of them are hardly ever alike."""
    a, b, c, d, e, f = rng.sample(NOUNS, 6)
    one, two = rng.sample(verbs, 2)
    return rng.choice(
        (
            f"How can I {one} the {a} or {e} behind the {b} of my {c} and {two} a {d} {f}?",
            f"When you {one} {e} and the {a} with a {b}, is the {c} {f} in my {d}?",
            f"My {a} {f} and the {b} are here: {two} this {c}, {one} {e} for the {d}?",
        )
    )


@dataclass
class Planted:
    """Rows of each split (a text is a raw line), and where faults were planted."""

    rows: dict[str, list[dict | str]]
    text: str
    answer: str
    classes: bool
    lines: set[tuple[str, int]] = field(default_factory=set)
    against: list[dict] = field(default_factory=list)

    def add(self, row, split="train"):
        self.rows[split].append(row)
        self.lines.add((split, len(self.rows[split])))

    def pick(self, rng, count, split="train"):
        """Rows to spoil, noted as spoilt."""
        places = rng.sample(range(len(self.rows[split])), count)
        self.lines |= {(split, place + 1) for place in places}
        return [self.rows[split][place] for place in places]

    def copies(self, rng, count, split="train"):
        """Copies of rows."""
        return [dict(row) for row in rng.sample(self.rows[split], count)]

    def read(self, folder) -> CheckedRows:
        for split, rows in self.rows.items():
            lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
            (folder / f"{split}.jsonl").write_text("\n".join(lines))
        data = read_rows(
            DataSpec(path=str(folder)), "classification" if self.classes else "instruction"
        )
        cap = TokenCap(400, lambda texts: [len(text.split()) for text in texts], "in words")
        held = ()
        if self.against:
            path = folder.parent / f"{folder.name}-evaluation.jsonl"
            path.write_text("\n".join(map(json.dumps, self.against)))
            held = evaluation_rows(str(path))
        return CheckedRows(
            data.name, data.task, data.rows, data.forms, label_names={}, cap=cap, against=held
        )


def made(classes: bool, rows: int = 400, seed: int = 0) -> Planted:
    """A clean data set with three splits. Each class has verbs of its own."""
    rng = random.Random(seed)
    labels = ("card arrival", "lost money", "weather_forecast", "play-music")
    parts = {}
    for split, count in zip(SPLITS, (rows, rows // 4, rows // 4), strict=True):
        parts[split] = [
            {"text": sentence(rng, VERBS[n % 4 :: 4]), "label": labels[n % 4]}
            if classes
            else {"prompt": sentence(rng), "completion": f"{sentence(rng)[:-1]}. {sentence(rng)}"}
            for n in range(count)
        ]
    names = ("text", "label") if classes else ("prompt", "completion")
    return Planted(parts, *names, classes)


def real(folder, text: str, answer: str, classes: bool, rows: int = 600) -> Planted:
    """The first rows of each split of a real data set."""
    parts = {
        split: [
            json.loads(line)
            for line in (folder / f"{split}.jsonl").read_text().splitlines()[: rows // (1 + 2 * n)]
        ]
        for n, split in enumerate(SPLITS)
    }
    return Planted(parts, text, answer, classes)


def plain(folder, text, answer, rows=600) -> Planted:
    """Two columns of a data set, by the names that every task knows."""
    classes = answer == "label"
    names = ("text", "label") if classes else ("prompt", "completion")
    parts = {}
    for n, split in enumerate(SPLITS):
        lines = (folder / f"{split}.jsonl").read_text().strip().split("\n")[: rows // (1 + 2 * n)]
        parts[split] = [
            dict(zip(names, (row[text], row.get(answer) or row[f"{answer}s"][0]), strict=True))
            for row in map(json.loads, lines)
        ]
    return Planted(parts, *names, classes)


COUNT = 20
Plant = Callable[[Planted, random.Random], None]
BOTH, CLASSES, WRITTEN = (True, False), (True,), (False,)


def unreadable(to, rng):
    for n in range(COUNT):
        to.add(('{"text": "half', "not JSON", '["a", "list"]', "{'single': 'quotes'}")[n % 4])


def form(to, rng):
    for row in to.pick(rng, COUNT):
        row[to.answer] = {"odd": 1} if to.classes else 17.5


def empty(to, rng):
    for n, row in enumerate(to.pick(rng, COUNT)):
        row[(to.text, to.answer)[n % 2]] = ("", "  \n", None, "\t")[n % 4]


def garbled(to, rng):
    for n, row in enumerate(to.pick(rng, COUNT)):
        what = ("café", "naïve", "Größe", "it’s", "señor")[n % 5].encode().decode("cp1252")
        row[to.text] += f" {what}" if n % 4 else " lost �"


def white_space(to, rng):
    for n, row in enumerate(to.pick(rng, COUNT)):
        text = row[to.text]
        row[to.text] = (f"{text}  ", f"{text}\n", f"\ufeff{text}", text.replace(" ", " \u200b", 1))[
            n % 4
        ]


def templated(to, rng):
    for n, row in enumerate(to.pick(rng, COUNT)):
        text = row[to.text]
        row[to.text] = (
            f"[INST] {text} [/INST]",
            f"<|im_start|>user\n{text}<|im_end|>",
            f"<start_of_turn>user\n{text}<end_of_turn>",
            f"### Instruction:\n{text}\n### Response:",
        )[n % 4]


def markup(to, rng):
    for n, row in enumerate(to.pick(rng, COUNT)):
        text = row[to.text]
        row[to.text] = (
            f"<p>{text}</p>",
            f"{text} &amp; more",
            text.replace(" ", "&nbsp;", 2),
            f'See <a href="/x">{text}</a><br/>',
            f"It&#39;s {text}",
        )[n % 5]


def last_turn(to, rng):
    for n, row in enumerate(to.pick(rng, COUNT)):
        turns = [("user", row.pop(to.text)), ("assistant", row.pop(to.answer))]
        turns += [("user", "And then?"), ("system", "Be brief."), ("tool", "{}")][n % 3 :][:1]
        row["messages"] = [{"role": role, "content": text} for role, text in turns]


def two_formats(to, rng):
    for row in to.pick(rng, COUNT):
        turns = (("user", "Hello?"), ("assistant", "Who is there?"))
        row["messages"] = [{"role": role, "content": text} for role, text in turns]


def private(to, rng):
    kinds = (
        "mail me at ann.lee@mailbox.org",
        "call +49 30 1234 5678",
        "my card is 4111 1111 1111 1111",
        "my key is AKIAABCDEFGHIJKLMNOP",
        "IBAN DE89 3704 0044 0532 0130 00",
        "my number is 212-555-0143",
        "SSN 078-05-1120",
        "use ghp_" + "a1B2" * 9,
        "log in at https://ann:hunter22@db.host.org/x",
        "pay with sk_" + "live_" + "a1B2c3D4" * 3,
    )
    for n, row in enumerate(to.pick(rng, COUNT)):
        row[to.text] += f" {kinds[n % len(kinds)]}"


def label_variants(to, rng):
    for n, row in enumerate(to.pick(rng, COUNT)):
        label = row[to.answer]
        spaced = (f" {label}", f"{label} ", f"{label}\n", re.sub("[ _-]", "  ", label))
        variants = (label.upper(), label.replace("_", " "), label.title(), *spaced)
        other = [one for one in variants if one != label]
        row[to.answer] = other[n % len(other)]


def misspelt_labels(to, rng):
    for row in to.pick(rng, 6):
        label = row[to.answer]
        row[to.answer] = label[:3] + label[4:]


def label_noise(to, rng):
    labels = sorted({row[to.answer] for row in to.rows["train"]})
    for row in to.pick(rng, COUNT):
        row[to.answer] = rng.choice([label for label in labels if label != row[to.answer]])


def rare_labels(to, rng):
    for n, row in enumerate(to.pick(rng, COUNT)):
        row[to.answer] = (
            f"{('zebra', 'quartz', 'ivory', 'jungle', 'umber')[n // 4]}{'abcd'[n % 4] * 6}"
        )


def one_class(to, rng):
    for place, row in enumerate(to.rows["train"]):
        row[to.answer] = to.rows["train"][0][to.answer]
        to.lines.add(("train", place + 1))


def refusals(to, rng):
    said = (
        "I'm sorry, but I cannot help with that request.",
        "As an AI language model, I do not have personal opinions.",
        "I cannot assist with that.",
        "Sorry, I can't provide this information.",
        "Unfortunately, as an AI, I don't have access to that.",
        "I am unable to answer this question.",
        "I apologize, but I cannot fulfill this request.",
    )
    for n, row in enumerate(to.pick(rng, COUNT)):
        row[to.answer] = said[n % len(said)]


def boilerplate(to, rng):
    for row in to.pick(rng, COUNT):
        row[to.answer] = "Thank you for your question. Please contact our support team for more."


def duplicates(to, rng):
    for n, row in enumerate(to.copies(rng, COUNT)):
        row[to.text] = (row[to.text], row[to.text].upper(), f" {row[to.text]}")[n % 3]
        to.add(row)


def near_duplicates(to, rng):
    for row in to.copies(rng, 2 * COUNT):
        row[to.text] = edited(row[to.text], rng)
        to.add(row)


def conflicts(to, rng):
    for n, place in enumerate(rng.sample(range(len(to.rows["train"])), COUNT)):
        row = dict(to.rows["train"][place])
        others = sorted({r[to.answer] for r in to.rows["train"]} - {row[to.answer]})
        row[to.answer] = others[n % len(others)]
        to.lines.add(("train", place + 1))
        to.add(row)


def leakage(to, rng):
    for n, row in enumerate(to.copies(rng, COUNT, "test")):
        row[to.text] = (row[to.text], row[to.text].upper())[n % 2]
        to.add(row)


def near_leakage(to, rng):
    for row in to.copies(rng, 2 * COUNT, "test"):
        row[to.text] = edited(row[to.text], rng)
        to.add(row)


def edited(text: str, rng: random.Random) -> str:
    """The text with a small change at a random place."""
    words = text.split()
    place = rng.randrange(len(words))
    letter = rng.randrange(1, len(text) - 1)
    return rng.choice(
        (
            f"{text} please",
            f"so {text}",
            f"{text.upper().rstrip('?.')} now!",
            text[:letter] + text[letter + 1] + text[letter] + text[letter + 2 :],
            " ".join(words[:place] + words[place + 1 :]),
            " ".join([*words[:place], rng.choice(NOUNS), *words[place + 1 :]]),
        )
    )


def label_sets(to, rng):
    labels = sorted({row[to.answer] for row in to.rows["train"]})
    for place, row in enumerate(to.rows["test"]):
        row[to.answer] = str(labels.index(row[to.answer]))
        to.lines.add(("test", place + 1))


def lengths(to, rng):
    for n, row in enumerate(to.pick(rng, COUNT)):
        row[to.text] = row[to.text] * 30 if n % 4 else "ok"


def truncation(to, rng):
    for row in to.pick(rng, COUNT):
        row[to.text] = " ".join([row[to.text]] * (1 + 450 // len(row[to.text].split())))


def languages(to, rng):
    said = (
        "Wie kann ich die verlorene Karte für mein Konto sperren und eine neue bestellen?",
        "Où est la carte que vous avez envoyée et comment puis-je changer mon adresse?",
        "Cómo puedo cambiar el número de mi cuenta y la dirección de los envíos?",
        "Come posso cambiare il numero della mia carta e che cosa devo fare?",
        "Где находится моя новая карта и когда она придёт?",
        "请问我的银行卡什么时候可以寄到我的地址",
        "Hoe kan ik het adres van mijn kaart veranderen en wat moet ik doen?",
        "Como posso mudar o número da minha conta e o que é que você precisa?",
    )
    for n, row in enumerate(to.pick(rng, COUNT)):
        row[to.text] = f"{said[n % len(said)]} {n}"


def evaluation_sets(to, rng):
    rows = to.copies(rng, COUNT, "train")
    to.against += [{"question": sentence(rng), "answer": "?"} for _ in range(30)]
    for n in range(COUNT):
        long = " ".join(sentence(rng) for _ in range(2))
        to.against.append({"question": long, "answer": "?"})
        row = rows[n]
        row[to.text] = long if n % 2 else f"Please say: {long} Thanks."
        to.add(row)


PLANTS: dict[str, tuple[Plant, tuple[bool, ...]]] = {
    "unreadable": (unreadable, BOTH),
    "form": (form, BOTH),
    "empty": (empty, BOTH),
    "last-turn": (last_turn, WRITTEN),
    "two-formats": (two_formats, WRITTEN),
    "garbled": (garbled, BOTH),
    "markup": (markup, BOTH),
    "white-space": (white_space, BOTH),
    "templated": (templated, BOTH),
    "private": (private, BOTH),
    "label-variants": (label_variants, CLASSES),
    "misspelt-labels": (misspelt_labels, CLASSES),
    "label-noise": (label_noise, CLASSES),
    "relabel": (label_noise, CLASSES),
    "rare-labels": (rare_labels, CLASSES),
    "label-sets": (label_sets, CLASSES),
    "one-class": (one_class, CLASSES),
    "refusals": (refusals, WRITTEN),
    "boilerplate": (boilerplate, WRITTEN),
    "duplicates": (duplicates, BOTH),
    "near-duplicates": (near_duplicates, BOTH),
    "conflicts": (conflicts, BOTH),
    "leakage": (leakage, BOTH),
    "near-leakage": (near_leakage, BOTH),
    "lengths": (lengths, BOTH),
    "truncation": (truncation, BOTH),
    "languages": (languages, BOTH),
    "evaluation-sets": (evaluation_sets, BOTH),
}
CASES = [(name, classes) for name, (_, suited) in PLANTS.items() for classes in suited]
