"""A real browser on the page for raters: keyboard, saved progress, and the file that it exports."""

import importlib.resources
import json
import time

import pytest

from sweeper.features.ratings._page import (
    RATINGS_FORMAT,
    Ratings,
    keep_ratings,
    rendered,
    write_page,
)

pytestmark = pytest.mark.slow

HOSTILE = "</script><script>alert(1)</script>\u202e<img src=x onerror=alert(2)>"
BLOCKED = "Object.defineProperty(window, 'localStorage', {get() { throw new Error('no'); }});"


@pytest.fixture
def page(tmp_path):
    """A page of three pairs with hostile texts."""
    parts = ("asked", "reference", "left", "right")
    pairs = [{"id": f"p{n}", **{part: f"{part} {n}{HOSTILE}" for part in parts}} for n in range(3)]
    data = {"format": RATINGS_FORMAT, "page": "0123456789abcdef", "pairs": pairs}
    path = tmp_path / "page.html"
    path.write_text(rendered("mine", data))
    return path


def place(tab):
    return tab.run("document.getElementById('place').textContent")


def start(tab, name="ann"):
    tab.run(f"document.getElementById('rater').value = {json.dumps(name)}")
    tab.click("#start button")


def downloaded(browser, tab, folder, button):
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    tab.click(button)
    for _ in range(6000):
        if found := [path for path in folder.glob("*.json") if path.stat().st_size]:
            return found[0]
        time.sleep(0.05)
    raise AssertionError("nothing was downloaded")


def test_keys_rate_and_a_new_tab_resumes_where_the_last_one_ended(browser, page):
    tab = browser.open(page)
    start(tab)
    assert place(tab) == "Pair 1 of 3, 0 rated"
    tab.press("1", 49)
    tab.press("ArrowRight", 39)
    assert place(tab) == "Pair 3 of 3, 2 rated"
    tab.press("Backspace", 8)
    assert place(tab) == "Pair 2 of 3, 2 rated"
    assert tab.run("document.querySelector('[data-choice=right]').ariaPressed") == "true"
    assert tab.run("document.getElementById('left').textContent").startswith("left 1</script>")
    again = browser.open(page)
    assert place(again) == "Pair 3 of 3, 2 rated"
    again.press("3", 51)
    assert again.run("document.getElementById('end').hidden") is False
    for one in (tab, again):
        assert one.requests() == []
        assert one.messages() == []
        one.close()


def test_the_exported_file_is_read_back(browser, make_run, tmp_path):
    run = make_run(task="instruction", strategies=("lora",), model="packaged:smollm2", trials=4)
    path, key = write_page(run)
    tab = browser.open(path)
    start(tab, "Zoë B.")
    for _ in key.pairs:
        tab.press("2", 50)
    folder = tmp_path / "down"
    folder.mkdir()
    file = downloaded(browser, tab, folder, "#download")
    ratings = Ratings.read(file)
    assert ratings.rater == "Zoë B."
    assert ratings.checksum == ratings.expected_checksum()
    kept = keep_ratings(run, [file])
    assert set(kept.raters[0].ratings.values()) == {"right"}
    tab.close()


def test_without_storage_the_page_says_so_and_saves_to_a_file(browser, page, tmp_path):
    tab = browser.open(page)
    tab.call("Page.addScriptToEvaluateOnNewDocument", source=BLOCKED)
    tab.go(page.as_uri())
    start(tab)
    tab.press("1", 49)
    assert tab.run("document.getElementById('unkept').hidden") is False
    tab.run("document.querySelector('details.end').open = true")
    file = downloaded(browser, tab, tmp_path, "#save")
    assert "unfinished" in file.name
    tab.go(page.as_uri())
    assert tab.run("document.getElementById('start').hidden") is False
    tab.run("document.querySelector('details.end').open = true")
    root = tab.call("DOM.getDocument", depth=0)["root"]["nodeId"]
    node = tab.call("DOM.querySelector", nodeId=root, selector="#load")["nodeId"]
    tab.call("DOM.setFileInputFiles", files=[str(file)], nodeId=node)
    for _ in range(6000):
        if place(tab) == "Pair 2 of 3, 1 rated":
            break
        time.sleep(0.05)
    assert place(tab) == "Pair 2 of 3, 1 rated"
    tab.close()


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing(browser, page, dark):
    tab = browser.open(page, dark=dark)
    axe = (importlib.resources.files("axe_core_python") / "axe.min.js").read_text()
    tab.run(f"{axe}; localStorage.clear(); 1")
    violations = "axe.run(document).then(r => r.violations.map(v => [v.id, v.nodes[0].html]))"
    assert tab.run(violations) == []
    start(tab)
    tab.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert tab.run(violations) == []
    for _ in range(3):
        tab.press("3", 51)
    assert tab.run(violations) == []
    tab.run("localStorage.clear()")
    tab.close()
