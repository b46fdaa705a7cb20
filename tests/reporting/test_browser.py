"""A real browser opens the page from a file: what it shows, does, asks for and says."""

import importlib.resources
import importlib.util
import re
import struct
import zlib
from pathlib import Path

import pytest

from sweeper.safe_text import visible

pytestmark = pytest.mark.slow

AXE = importlib.util.find_spec("axe_core_python")


@pytest.fixture
def show(browser, reports):
    """Opens the page of a shape: ``show("mixed", dark=True)``."""
    opened = []

    def open_(shape, hash_="", **look):
        page = browser.open(reports[shape].report_html, hash_, **look)
        opened.append(page)
        return page

    yield open_
    for page in opened:
        page.close()


def unfold(page):
    page.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")


def selected(page):
    """The trial that is selected, by what the page marks."""
    return page.run("[...new Set([...document.querySelectorAll('.on')].map(e => e.dataset.trial))]")


@pytest.mark.parametrize(
    "shape", ["zero", "all-failed", "running", "mixed", "hostile", "text", "unseen"]
)
def test_a_page_is_ready_asks_for_nothing_and_says_nothing(show, shape):
    page = show(shape)
    assert page.run("'ready' in document.documentElement.dataset")
    assert page.requests() == []
    assert page.messages() == []


def test_without_scripts_the_same_picture(show):
    with_, without = show("mixed", height=6400), show("mixed", scripts=False, height=6400)
    assert "data-ready" not in without.html()
    figures = re.compile(r"<figure.*?</figure>", re.DOTALL)
    assert figures.findall(without.html()) == figures.findall(with_.html())
    for chart in ("forest", "cost-quality"):
        drawn = without.picture(f"figure[data-chart={chart}] .panels")
        assert len(set(pixels(drawn))) > 100, f"{chart} is blank"


def test_hostile_names_do_nothing(show):
    page = show("hostile")
    assert page.run("document.scripts.length") == 1
    assert page.run("document.images.length") == 0
    assert "alert(1)" in page.run("document.body.innerText")


def test_nothing_on_a_page_is_unseen(show):
    page = show("unseen")
    texts = page.run(
        "[document.title, document.body.textContent, ...[...document.querySelectorAll('*')]"
        ".flatMap(e => [...e.attributes].map(a => a.value))]"
    )
    assert any("\\u202e" in text for text in texts)
    for text in texts:
        assert text == visible(text)


def test_a_click_selects_a_trial_everywhere_and_again_clears_it(show):
    page = show("mixed")
    unfold(page)
    row = "#strategy-table tbody tr[data-trial]"
    trial = page.run(f"document.querySelector('{row}').dataset.trial")
    page.click(f"{row} td:nth-child(3)")
    assert selected(page) == [trial]
    assert page.run("location.hash") == f"#trial-{trial}"
    assert page.run(f"document.querySelector('#trial-{trial} button').ariaPressed") == "true"
    charts = (
        "[...document.querySelectorAll('figure')].filter(f => f.querySelector('svg .on')).length"
    )
    assert page.run(charts) >= 3
    dimmed = (
        "(t => getComputedStyle([...document.querySelectorAll('svg [data-trial]')]"
        f".find(e => (e.dataset.trial === '{trial}') === t)).opacity)"
    )
    assert float(page.run(f"{dimmed}(true)")) == 1.0
    assert float(page.run(f"{dimmed}(false)")) < 0.2
    page.click(f"{row} td:nth-child(3)")
    assert selected(page) == []
    assert page.run("location.hash") == ""


def test_a_mark_can_be_clicked_and_escape_clears(show):
    page = show("mixed")
    mark = "figure[data-chart='cost-quality'] svg path[data-trial]"
    trial = page.run(f'document.querySelector("{mark}").dataset.trial')
    page.click(mark)
    assert selected(page) == [trial]
    shown = "document.querySelector('.picked')"
    assert page.run(f"{shown}.textContent").startswith(f"trial{trial}strategy")
    assert page.run(f"{shown}.querySelectorAll('svg path').length") >= 1
    page.press("Escape", 27)
    assert selected(page) == []
    assert page.run(f"{shown}.childElementCount") == 0


def test_a_row_can_be_chosen_from_the_keyboard(show):
    page = show("mixed")
    unfold(page)
    page.run("document.querySelector('#trial-5 button').focus()")
    page.press("Enter", 13)
    assert selected(page) == ["5"]


def test_a_link_to_a_trial_restores_its_selection(show):
    page = show("mixed", "#trial-7")
    assert selected(page) == ["7"]
    assert show("mixed", "#trial-9999").run("document.querySelectorAll('.on').length") == 0


def test_the_tooltip_says_what_the_table_says(show):
    page = show("mixed")
    mark = "figure[data-chart='cost-quality'] svg path[data-trial]"
    page.move(mark)
    text = page.run("document.querySelector('#tip').textContent")
    trial = page.run(f'document.querySelector("{mark}").dataset.trial')
    assert f"trial: {trial}" in text
    assert "validation loss: " in text


def test_the_trial_table_sorts_with_the_absent_last(show):
    page = show("mixed")
    unfold(page)
    column = (
        "[...document.querySelectorAll('#trial-table tbody tr')].map(r => r.cells[3].textContent)"
    )
    page.click("#trial-table th:nth-child(4) button")
    up = page.run(column)
    page.click("#trial-table th:nth-child(4) button")
    down = page.run(column)
    numbers = [float(text) for text in up if text != "–"]
    assert numbers == sorted(numbers)
    assert [float(text) for text in down if text != "–"] == sorted(numbers, reverse=True)
    assert up[-1] == down[-1] == "–"
    aria = "document.querySelector('#trial-table th:nth-child(4)').ariaSort"
    assert page.run(aria) == "descending"


def test_the_trial_table_filters_by_text_strategy_and_state(show):
    page = show("mixed")
    rows = "[...document.querySelectorAll('#trial-table tbody tr')].filter(r => !r.hidden).length"
    every = page.run(rows)
    choose = (
        "(name, value) => { const c = document.querySelector(`.filters [name=${name}]`);"
        " c.value = value; c.dispatchEvent(new Event('input')); }"
    )
    page.run(f"({choose})('state', 'failed')")
    assert page.run(rows) == 2
    page.run(f"({choose})('state', '')")
    page.run(f"({choose})('strategy', 'LoRA')")
    assert 0 < page.run(rows) < every
    page.run(f"({choose})('text', 'no such thing')")
    assert page.run(rows) == 0
    assert page.run("document.querySelector('.filters output').textContent") == f"0 of {every}"


def test_the_theme_follows_the_system_and_the_button(show):
    page = show("mixed", dark=True)
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.run(ground)
    page.click("#theme")
    light = page.run(ground)
    assert brightness(dark) < 60 < 200 < brightness(light)
    assert page.messages() == []


def brightness(color):
    return sum(int(part) for part in color.strip("rgb()").split(",")[:3]) / 3


@pytest.mark.parametrize("shape", ["mixed", "text"])
def test_the_table_of_strategies_fits_a_window_of_1200(show, shape):
    page = show(shape, width=1200)
    unfold(page)
    inside = "document.querySelector('#strategy-table').parentElement"
    assert page.run(f"{inside}.scrollWidth") <= page.run(f"{inside}.clientWidth")


EXAMPLE = Path(__file__).parents[2] / "reports" / "example.html"


@pytest.mark.parametrize("shape", ["example", "two-hundred", "mixed", "text", "running"])
def test_a_page_has_at_most_600_words_and_four_screens_before_it_is_unfolded(
    browser, reports, shape
):
    page = browser.open(EXAMPLE if shape == "example" else reports[shape].report_html)
    assert 100 < page.words() <= 600
    assert page.screens() <= 4
    page.close()


@pytest.mark.parametrize("width", [375, 640])
@pytest.mark.parametrize("shape", ["mixed", "hostile", "zero"])
def test_a_narrow_window_scrolls_only_inside_tables(show, shape, width):
    page = show(shape, width=width)
    unfold(page)
    assert page.run("document.documentElement.scrollWidth") == width
    scrolled = page.run(
        "[...document.querySelectorAll('body *')].filter(e => e.scrollWidth > e.clientWidth + 1"
        " && ['auto', 'scroll'].includes(getComputedStyle(e).overflowX)"
        " && !e.matches('.scroll, pre')).map(e => e.outerHTML.slice(0, 80))"
    )
    assert scrolled == []


def test_a_term_is_explained_for_keyboard_and_touch(show):
    page = show("mixed", scripts=False)
    page.call("Page.bringToFront")
    term = "document.querySelector('.term > button')"
    page.look()
    meaning = f"{term}.nextElementSibling.checkVisibility()"
    assert not page.run(meaning)
    page.run(f"{term}.focus()")
    assert page.run(meaning)
    assert page.run(f"{term}.getAttribute('aria-describedby') === {term}.nextElementSibling.id")


@pytest.mark.parametrize(("shape", "dark"), [("mixed", False), ("mixed", True), ("text", False)])
def test_axe_finds_nothing(show, shape, dark):
    assert AXE is not None, "axe-core-python is a development dependency"
    page = show(shape, dark=dark)
    unfold(page)
    axe = (importlib.resources.files("axe_core_python") / "axe.min.js").read_text()
    page.run(f"{axe}; 1")
    found = page.run(
        "axe.run(document).then(r => r.violations.map(v => [v.id, v.nodes.map(n => n.html)]))"
    )
    assert found == []


def test_marks_do_not_leave_their_chart_and_labels_do_not_overlap(show):
    page = show("mixed")
    unfold(page)
    overlaps = page.run(
        """[...document.querySelectorAll('svg.chart')].flatMap(svg => {
          const boxes = [...svg.querySelectorAll('text')].map(t => [t, t.getBoundingClientRect()]);
          return boxes.flatMap(([a, x], i) => boxes.slice(i + 1)
            .filter(([b, y]) => x.left < y.right - 1 && y.left < x.right - 1
                             && x.top < y.bottom - 3 && y.top < x.bottom - 3)
            .map(([b]) => [svg.ariaLabel, a.textContent, b.textContent]));
        })"""
    )
    assert overlaps == []
    outside = page.run(
        """[...document.querySelectorAll('svg.chart')].flatMap(svg => {
          const room = svg.getBoundingClientRect();
          return [...svg.querySelectorAll('[data-trial]')]
            .map(e => e.getBoundingClientRect())
            .filter(b => b.left < room.left - 4 || b.right > room.right + 4
                      || b.top < room.top - 4 || b.bottom > room.bottom + 4)
            .map(b => [svg.ariaLabel, b.left - room.left, b.top - room.top]);
        })"""
    )
    assert outside == []


def test_paper_is_light_short_and_shows_the_best_twenty(show):
    page = show("mixed", dark=True)
    unfold(page)
    page.click("#strategy-table tbody tr[data-trial] td:nth-child(3)")
    page.call("Emulation.setEmulatedMedia", media="print")
    assert brightness(page.run("getComputedStyle(document.body).backgroundColor")) == 255
    rows = "[...document.querySelectorAll('#trial-table tbody tr')]"
    assert page.run(f"{rows}.filter(r => getComputedStyle(r).display !== 'none').length") == 20
    faded = "[...document.querySelectorAll('svg [data-trial]:not(.on)')]"
    assert page.run(f"{faded}.every(e => +getComputedStyle(e).opacity > 0.2)")


def test_five_hundred_trials_stay_within_the_bars(browser, large):
    html = large.report_html.read_bytes()
    assert len(html) <= 1_200_000
    script = html[html.rindex(b"<script>") : html.rindex(b"</script>")]
    assert len(script) <= 20_000
    page = browser.open(large.report_html)
    assert page.run("'ready' in document.documentElement.dataset")
    assert page.run("document.querySelectorAll('*').length") <= 15_000
    assert page.requests() == []
    assert page.messages() == []
    pdf = page.pdf()
    assert len(pdf) <= 1_500_000
    assert pdf.count(b"/Type /Page\n") <= 15
    page.close()


def pixels(png):
    """The filtered scan lines of a PNG: a blank picture has hardly any distinct byte."""
    at, data = 8, b""
    while at < len(png):
        (length,), kind = struct.unpack(">I", png[at : at + 4]), png[at + 4 : at + 8]
        if kind == b"IDAT":
            data += png[at + 8 : at + 8 + length]
        at += 12 + length
    return zlib.decompress(data)
