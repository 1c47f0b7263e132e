"""Software that a rule asks for and a site has: its image, conda environment or modules, around a plain command.

It is what Snakemake puts around a command (`shell.py` and `deployment/` there), with the paths of the site instead of
those of this machine. What would have to be made first (an environment of a file, an image from a registry) is left to
a Snakemake at the site.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from ..remote.job import Command
from ..remote.quote import quote

FIND_MODULES = r"""for sf_f in "${MODULESHOME-}/init/bash" "${LMOD_PKG-}/init/bash" /etc/profile.d/lmod.sh \
    /etc/profile.d/z00_lmod.sh /etc/profile.d/modules.sh /usr/share/lmod/lmod/init/bash /usr/share/modules/init/bash \
    /usr/share/Modules/init/bash; do [ -r "$sf_f" ] || continue; BASH_ENV=$sf_f; export BASH_ENV; break; done
unset sf_f"""
"""Has every bash that is started begin with what defines `module`: functions do not come through `sh`, and nothing that
is not a login shell defines it."""

PREPARE_MODULES = f"""bash -c 'type module' >/dev/null 2>&1 || {{ {FIND_MODULES}; }}"""

_MODULES = f"""type module >/dev/null 2>&1 || {{ {FIND_MODULES}; [ -z "${{BASH_ENV-}}" ] || . "$BASH_ENV"; }}
module purge && MODULES_VERBOSITY=concise module load """

_CONDA = r"""sf_b=$(conda info --json) || exit 1
sf_b=$(printf '%s\n' "$sf_b" | sed -n 's/.*"conda_prefix": *"\([^"\\]*\)".*/\1/p')
[ -n "$sf_b" ] || sf_b=$(conda info --base) || exit 1
{}source "$sf_b"/bin/activate {}; unset sf_b; """
_BLOCKED = "unset R_LIBS PYTHONPATH PERLLIB PERL5LIB; "

_CONTAINER = """sf_s=singularity; if command -v apptainer >/dev/null 2>&1; then sf_s=apptainer; fi
"$sf_s" exec --home "$(pwd -P)" {} {}"""


def asked(job: Any) -> set[str]:
    """Return which kinds of software Snakemake is to provide for a job."""
    methods = {method.name for method in job.dag.workflow.deployment_settings.deployment_method}
    values = (("CONDA", "conda_env_spec"), ("APPTAINER", "container_img_url"), ("ENV_MODULES", "env_modules"))
    return {name for name, attribute in values if name in methods and getattr(job, attribute)}


def image(job: Any) -> str | None:
    """Return the path of a job's image when that is a file or folder; None when it has none, or one of a registry."""
    found = job.container_img if "APPTAINER" in asked(job) else None
    return str(found.path) if found is not None and found.is_local and not found.is_containerized else None


def why_made(job: Any) -> str | None:
    """Return why Snakemake has to provide a job's software itself; None when a command can."""
    kinds = asked(job)
    if len(kinds) > 1:
        return "it uses several of `conda:`, `container:` and `envmodules:`"
    if "CONDA" in kinds:
        deployment = job.dag.workflow.deployment_settings
        if getattr(job.conda_env_spec, "file", None) is not None or deployment.conda_base_path:
            return "it uses `conda:`"
    if "APPTAINER" in kinds and image(job) is None:
        return "it uses `container:`"
    return None


def with_software(job: Any, command: Command) -> Command:
    """Return a command that runs with the software that its job asks for; see `why_made`."""
    from snakemake.shell import shell

    kinds = asked(job)
    if "ENV_MODULES" in kinds:
        return replace(command, before=f"{_MODULES}{' '.join(job.env_modules.names)}; ")
    if "CONDA" in kinds:
        spec = job.conda_env_spec
        blocked = _BLOCKED if shell.conda_block_conflicting_envvars else ""
        return replace(command, before=_CONDA.format(blocked, quote(str(getattr(spec, "name", None) or spec.path))))
    if "APPTAINER" in kinds:
        args = job.dag.workflow.deployment_settings.apptainer_args
        return replace(command, within=_CONTAINER.format(args, quote(str(image(job)))))
    return command


def image_here(job: Any) -> str | None:
    """Return a job's image when it lies in the working directory: it is sent along. Others are those of the site."""
    path = image(job)
    return os.path.abspath(path) if path and not os.path.isabs(path) and os.path.exists(path) else None
