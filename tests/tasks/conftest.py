"""The fixtures of tasks; tests of features take what they need of the same module."""

from task_fixtures import (  # noqa: F401 - fixtures
    language_model,
    llama,
    make_context,
    make_task,
    make_tokenizer,
)
