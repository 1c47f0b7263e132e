"""What must survive a crash."""

from .journal import Journal
from .records import DeploymentRecord, Observed, RunRecord, State, TaskRecord

__all__ = ["DeploymentRecord", "Journal", "Observed", "RunRecord", "State", "TaskRecord"]
