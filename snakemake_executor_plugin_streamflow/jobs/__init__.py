"""A Snakemake job becomes a task. The only room that knows Snakemake's job objects."""

from . import cache
from .nested import LAUNCHER, PROGRAMS, PYTHON, NestedCommands
from .prepare import prepare
from .sources import Sources
from .task import Member, Output, Task
from .translate import Translator, ordered, why_not_direct, why_not_sent

__all__ = [
    "LAUNCHER",
    "PROGRAMS",
    "PYTHON",
    "Member",
    "NestedCommands",
    "Output",
    "Sources",
    "Task",
    "Translator",
    "cache",
    "ordered",
    "prepare",
    "why_not_direct",
    "why_not_sent",
]
