"""StreamFlow's own form of bindings: the `workflows:` section."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ..model import Binding
from .bindings import Declarations, Placed, read_targets, where
from .reader import Reader
from .sections import WORKFLOW_TYPE, CompanionSection, StepSection

EVERYTHING = "*"


def read_workflows(reader: Reader, file: CompanionSection, declared: Declarations, path: Path) -> list[Placed]:
    """Check the workflows and return their bindings.

    In StreamFlow the binding of the longest path wins, whatever the order; here the first that matches does, so those
    of `/` come last.
    """
    found = []
    for name, workflow in file.workflows.items():
        if workflow.type is not None and workflow.type != WORKFLOW_TYPE:
            shown = reader.hint(workflow, "type", ())
            message = f"expected snakemake, {shown}: only Snakemake workflows can be bound; remove workflow {name!r}"
            reader.problem(workflow, "type", message)
            continue
        for step in workflow.bindings:
            binding = _binding(reader, step, declared)
            if binding:
                found.append((binding, where(reader, step, path)))
    return sorted(found, key=lambda placed: placed[0].rules == (EVERYTHING,))


def _binding(reader: Reader, step: StepSection, declared: Declarations) -> Binding | None:
    if reader.node(step, "port"):
        message = (
            "ports are not bound: remove this binding, and give the files of a deployment as inputs of rules, "
            'as storage("streamflow://DEPLOYMENT/PATH")'
        )
        reader.problem(step, "port", message)
        return None
    if step.step is None and reader.sound(step, "step"):
        reader.problem(step, "step", "expected /RULE, or / for every rule, got nothing")
    if not step.target and reader.sound(step, "target"):
        reader.problem(step, "target", "expected a target or a list, got nothing")
    targets = read_targets(reader, step.target or (), declared)
    if step.step is None or not targets:
        return None
    return Binding((PurePosixPath(step.step).name or EVERYTHING,), (), targets)
