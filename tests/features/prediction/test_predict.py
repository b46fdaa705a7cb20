"""An interrupted prediction continues where it stopped."""

import json

import pytest

from sweeper.errors import UsageError
from sweeper.features.prediction._predict import predict
from sweeper.features.prediction._steps import PredictionRequest


def test_an_unfinished_output_goes_on_and_is_not_taken_for_other_rows(saved, tmp_path):
    folder, _ = saved("classification", "lora")
    data, part = tmp_path / "rows.jsonl", tmp_path / "part"
    data.write_text("".join(json.dumps({"text": f"gold {n}"}) + "\n" for n in range(5)))
    request = PredictionRequest(
        weights=str(folder), data=str(data), part=str(part), batch_size=2, max_new_tokens=1
    )
    predict(request)
    whole = part.read_text().splitlines(keepends=True)
    part.write_text("".join(whole[:3]) + whole[3][:9])
    predict(request)
    assert part.read_text().splitlines(keepends=True)[:3] == whole[:3]
    rows = [json.loads(line) for line in part.read_text().splitlines()[1:]]
    assert sorted(row["row"] for row in rows) == [1, 2, 3, 4, 5]
    data.write_text(json.dumps({"text": "other"}) + "\n")
    with pytest.raises(UsageError):
        predict(request)
