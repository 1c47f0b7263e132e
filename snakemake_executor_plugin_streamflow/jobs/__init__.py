"""A Snakemake job becomes a task. The only room that knows Snakemake's job objects."""

from .prepare import prepare
from .task import Member, Output, Task
from .translate import Translator, why_not_direct

__all__ = ["Member", "Output", "Task", "Translator", "prepare", "why_not_direct"]
