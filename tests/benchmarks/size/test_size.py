"""What counts as code."""

from __future__ import annotations

from benchmarks.size.__main__ import size_of

DOCUMENTED = '''"""A module."""

# A comment.


def add(first: int, second: int) -> int:
    """Their sum.

    >>> add(1, 2)
    3
    """
    return (  # a comment
        first + second
    )
'''
BARE = "def add(first: int, second: int) -> int: return (first\n + second\n)\n"


def test_docstrings_comments_and_blank_lines_are_no_code() -> None:
    assert size_of(DOCUMENTED).lines == 4


def test_nodes_do_not_depend_on_how_lines_are_broken() -> None:
    assert size_of(DOCUMENTED).nodes == size_of(BARE).nodes
    assert size_of(DOCUMENTED).lines > size_of(BARE).lines
