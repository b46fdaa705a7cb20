"""sweeper: how should I fine-tune this model on this data with this hardware, and how do I know?

Importing this package loads nothing heavy. Follow one run through ``sweeper.spec``,
``sweeper.facts``, ``sweeper.planning``, ``sweeper.execution``, ``sweeper.findings`` and
``sweeper.reporting``: each stage reads the artifact of the stage before it.
"""

__version__ = "0.1.0"
