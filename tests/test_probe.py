"""Which Pythons a location has."""

from __future__ import annotations

import subprocess
from pathlib import Path

from snakemake_executor_plugin_streamflow.runtime import probe


def test_a_python_without_its_library_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "python3").write_text("#!/bin/sh\necho no module named json >&2; exit 1\n")
    (tmp_path / "python3").chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", probe.script(None)], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert probe.parse(done.stdout) == []
    said = probe.choose([], None, probe.broken(done.stdout))
    assert isinstance(said, str)
    assert said.startswith(f"{tmp_path}/python3 lacks parts of its own library; the controller has Python 3.")
