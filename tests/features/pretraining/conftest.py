"""Requests of the planner, tasks, and tiny models with trials, as tests of the core have them."""

from scenes import scene  # noqa: F401 - fixtures
from task_fixtures import (  # noqa: F401 - fixtures
    language_model,
    llama,
    make_task,
    make_tokenizer,
)
from training_fixtures import (  # noqa: F401 - fixtures
    answering,
    heard,
    make_config,
    make_shared,
    model_folders,
    topics,
)
