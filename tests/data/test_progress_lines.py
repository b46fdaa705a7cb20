"""Long work is told about, short work is not."""

from types import SimpleNamespace

import pytest

from sweeper.data import progress_lines


@pytest.fixture
def lines(monkeypatch):
    heard = []
    monkeypatch.setattr(progress_lines, "_listeners", [])
    progress_lines.listen(lambda _line: None)
    progress_lines.listen(heard.append)
    return heard


def test_quick_work_says_nothing(lines):
    assert list(progress_lines.with_progress(range(5000), "counting", 5000)) == list(range(5000))
    assert lines == []


def test_slow_work_says_how_far_it_is(lines, monkeypatch):
    seconds = iter(range(99))
    clock = SimpleNamespace(monotonic=lambda: float(next(seconds)))
    monkeypatch.setattr(progress_lines, "time", clock)
    assert list(progress_lines.with_progress("abcdef", "spelling", 6)) == [*"abcdef"]
    assert lines == ["spelling: 17%, 2 s", "spelling: 50%, 4 s", "spelling: 83%, 6 s"]


def test_what_is_done_may_be_counted_otherwise(lines, monkeypatch):
    seconds = iter(range(0, 99, 3))
    clock = SimpleNamespace(monotonic=lambda: float(next(seconds)))
    monkeypatch.setattr(progress_lines, "time", clock)
    list(progress_lines.with_progress("ab", "reading", 200, done_so_far=lambda: 50))
    assert lines == ["reading: 25%, 3 s", "reading: 25%, 6 s"]
