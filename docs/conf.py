"""The documentation site, which ``make site`` builds from the Markdown files of the project."""

project = "sweeper"
html_title = "sweeper"
html_theme = "furo"
html_show_sphinx = False
html_copy_source = False
extensions = ["myst_parser", "sphinx_copybutton", "sphinx_external_toc"]
include_patterns = ["*.md", "docs/*.md", "benchmarks/*.md", "benchmarks/**/*.md"]
external_toc_path = "docs/toc.yml"
myst_heading_anchors = 4
