import json
from pathlib import Path

import pytest

from sweeper.features.review._record import Review
from tests.features.review.configurations import AXOLOTL


@pytest.fixture
def config(here):
    def write(text: str) -> str:
        Path("config.yaml").write_text(text)
        return "config.yaml"

    return write


def test_json_is_the_published_record(sweeper, config):
    ran = sweeper("review", config(AXOLOTL), "--gpu-memory", "24", "--examples", "500", "--json")
    (made,) = json.loads(ran.out)
    review = Review.model_validate_json(json.dumps(made))
    assert (ran.code, review.format, review.fits) == (0, "axolotl", True)
    assert (review.fields, review.understood, review.unknown) == (18, 18, ())


WARNED = AXOLOTL.replace("2e-4", "2e-6")
WRONG = AXOLOTL.replace("adapter: lora", "adapter: qlora")


@pytest.mark.parametrize(
    ("text", "flags", "code"),
    [
        (AXOLOTL, ["--fail-on", "warning"], 0),
        (WARNED, [], 0),
        (WARNED, ["--fail-on", "warning"], 5),
        (WRONG, [], 5),
        (WRONG, ["--json"], 5),
        (WRONG, ["--fail-on", "never"], 0),
        (WRONG, ["--fail-on", "nothing"], 2),
        ("a: 1\n", [], 2),
        (AXOLOTL, ["--data", "missing.jsonl"], 2),
        (AXOLOTL, ["--gpu", "no such card"], 2),
    ],
)
def test_exit_codes(sweeper, config, text, flags, code):
    ran = sweeper("review", config(text), *flags)
    assert (ran.code, "Traceback" in ran.err) == (code, False)


def test_the_page_names_file_line_evidence_and_patch(sweeper, config):
    ran = sweeper("review", config(WARNED), "--gpu-memory", "24", "--examples", "500")
    words = " ".join(ran.out.split())
    assert "config.yaml:13 [outside-evidence] learning_rate" in words
    assert "-learning_rate: 2e-6" in ran.out
    assert "fits 24.0 GiB" in words
