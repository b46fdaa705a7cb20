"""Words of the hand-written pages: python docs/words.py [COMMIT]

Counts README.md, CONTRIBUTING.md and docs/*.md in the working tree, or at a commit. Generated
pages, generated blocks, comments and fenced code are left out. The pages of benchmarks/ are
counted apart; the change log is not counted.

The pages of commit 1166088e have REFERENCE words; the aim is four fifths of that.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = 31_470
MADE = "made by `make docs`"
_BLOCK = re.compile(r"<!-- ([\w ]+): made by `make docs`.*?<!-- end of \1 -->", re.DOTALL)
_FENCE = re.compile(r"^( *)(`{3,}).*?^\1\2 *$", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


def words(text: str) -> int:
    """Words of a page that a person wrote; 0 for a generated page."""
    if text.startswith(f"<!-- {MADE}"):
        return 0
    for pattern in (_BLOCK, _FENCE, _COMMENT):
        text = pattern.sub("", text)
    return sum(any(map(str.isalnum, word)) for word in text.split())


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def _pages(commit: str | None) -> dict[str, str]:
    """The text of each page by its path."""
    listed = ("ls-tree", "-r", "--name-only", commit) if commit else ("ls-files",)
    paths = [
        path
        for path in _git(*listed).splitlines()
        if re.fullmatch(r"README\.md|CONTRIBUTING\.md|(docs/[^/]+|benchmarks/.+)\.md", path)
    ]
    if commit:
        return {path: _git("show", f"{commit}:{path}") for path in paths}
    return {path: (ROOT / path).read_text(encoding="utf-8") for path in paths}


if __name__ == "__main__":
    commit = sys.argv[1] if len(sys.argv) > 1 else None
    counts = {path: words(text) for path, text in _pages(commit).items()}
    measured = {path: n for path, n in counts.items() if path.startswith("benchmarks/")}
    written = {path: n for path, n in counts.items() if path not in measured and n}
    for path, n in sorted(written.items(), key=lambda item: -item[1]):
        print(f"{n:6,}  {path}")
    total = sum(written.values())
    print(f"{total:6,}  all pages; {total / REFERENCE:.1%} of {REFERENCE:,} at 1166088e")
    print(f"{sum(measured.values()):6,}  benchmarks/, counted apart")
