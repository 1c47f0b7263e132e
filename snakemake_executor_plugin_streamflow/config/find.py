"""Find the companion file."""

from __future__ import annotations

from pathlib import Path

from ..errors import ConfigError

NAMES = ("streamflow.yml", "streamflow.yaml")

EXAMPLE = """\
version: v1.0
bindings:
  - {rule: "*", target: {deployment: cluster}}
deployments:
  cluster: {type: ssh, config: {nodes: [login.example.org], username: me}}
"""


def find_companion(given: str | None, snakefile: Path, workdir: Path) -> Path:
    """Return the companion file: the one that is given, else `streamflow.yml` in one of the usual folders.

    These are the working directory, the Snakefile's folder, and the one above when that is called `workflow`. A
    relative `given` is looked for in the present directory, then there.

    Raises:
        ConfigError: there is none; the message holds a complete example.
    """
    folders = [workdir.absolute(), snakefile.absolute().parent]
    if folders[-1].name == "workflow":
        folders.append(folders[-1].parent)
    folders = list(dict.fromkeys(folders))
    if given:
        path = Path(given).expanduser()
        candidates = [path.absolute(), *(folder / path for folder in folders)]
    else:
        candidates = [folder / name for folder in folders for name in NAMES]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    where = given or f"{NAMES[0]} in {' or '.join(str(folder) for folder in folders)}"
    example = "".join(f"    {line}\n" for line in EXAMPLE.splitlines())
    raise ConfigError([f"there is no companion file {where}; it says where rules run, for instance:\n\n{example}"])
