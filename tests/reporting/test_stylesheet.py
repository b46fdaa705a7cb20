"""Colours of both themes, with contrast that can be read."""

import re

import pytest

from sweeper import resources
from sweeper.traits.traits import COLORS

MARKS = tuple(f"mark-{number}" for number in COLORS if number)
CSS = (resources.reports() / "assets" / "report.css").read_text()


def variables(selector):
    block = re.search(re.escape(selector) + r"\s*\{([^}]*)\}", CSS)[1]
    return dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})", block))


THEMES = {"light": variables(":root"), "dark": variables(':root[data-theme="dark"]')}


def luminance(color):
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", THEMES)
def test_text_has_4_5_to_1_and_marks_3_to_1(theme):
    colors = THEMES[theme]
    for ground in ("paper", "ground", "mark"):
        for text in ("ink", "accent") if ground == "mark" else ("ink", "muted", "accent"):
            assert contrast(colors[text], colors[ground]) >= 4.5, (text, ground)
    for name in (*MARKS, "mark-0"):
        assert contrast(colors[name], colors["paper"]) >= 3.0, name


def test_the_system_theme_and_the_button_give_the_same_colours():
    by_system = variables(':root:not([data-theme="light"])')
    assert by_system == THEMES["dark"]


def test_print_is_light_whatever_the_theme():
    block = CSS[CSS.index("@media print") :]
    printed = dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})", block))
    assert {name: printed[name] for name in MARKS} == {
        name: THEMES["light"][name] for name in MARKS
    }
    assert printed["paper"] == "#ffffff"


def test_nothing_is_fetched_by_the_stylesheet():
    assert "url(" not in CSS
    assert "@import" not in CSS
