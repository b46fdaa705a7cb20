"""Bottleneck adapters as a PEFT tuner. Importing this package registers them with PEFT."""

from sweeper.strategies.bottleneck.config import BottleneckConfig, BottleneckType
from sweeper.strategies.bottleneck.model import BottleneckModel, register

__all__ = ["BottleneckConfig", "BottleneckModel", "BottleneckType"]

register()
