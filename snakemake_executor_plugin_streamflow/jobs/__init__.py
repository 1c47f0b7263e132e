"""A Snakemake job becomes a task. The only room that knows Snakemake's job objects."""

from . import cache
from .names import floats, name_of
from .nested import LAUNCHER, PROGRAMS, PYTHON, NestedCommands
from .outlook import Outlook, Rest
from .prepare import SCRIPTS, check_protected, prepare
from .sources import Sources
from .supported import why_too_old
from .targets import targets
from .task import Ensure, Member, Output, Task
from .translate import Translator, added_variables, ordered, why_not_direct

__all__ = [
    "LAUNCHER",
    "PROGRAMS",
    "PYTHON",
    "SCRIPTS",
    "Ensure",
    "Member",
    "NestedCommands",
    "Outlook",
    "Output",
    "Rest",
    "Sources",
    "Task",
    "Translator",
    "added_variables",
    "cache",
    "check_protected",
    "floats",
    "name_of",
    "ordered",
    "prepare",
    "targets",
    "why_not_direct",
    "why_too_old",
]
