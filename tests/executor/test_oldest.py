"""The oldest Snakemake that is supported runs workflows in both modes."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from snakemake_executor_plugin_streamflow.jobs.supported import OLDEST

from ..storage.floating import FLOATING
from .running import TWO_SITES, command, environment, write_workflow

SNAKEFILE = """
rule all:
    input: "all"
rule number:
    output: temp("number")
    group: "both"
    shell: "echo 4 > {output}"
rule square:
    input: "number"
    output: "square"
    group: "both"
    run:
        with open(input[0]) as number, open(output[0], "w") as square:
            square.write(str(int(number.read()) ** 2))
rule all_two:
    input: "square"
    output: "all"
    shell: "cat {input} {input} > {output}"
"""


@pytest.fixture(scope="module")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Python with that Snakemake; all else is what this one has."""
    folder = tmp_path_factory.mktemp("oldest")
    venv.create(folder)
    python = folder / "bin" / "python"
    install = ["install", "-q", "--no-deps", "--disable-pip-version-check", f"snakemake=={OLDEST}"]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *install], check=True)
    own = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    (own / "others.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    return python


@pytest.mark.parametrize("options", [(), FLOATING], ids=["drop-in", "floating"])
def test_the_oldest_snakemake_runs_a_workflow(tmp_path: Path, oldest: Path, options: tuple[str, ...]) -> None:
    said = subprocess.run([oldest, "-m", "snakemake", "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == OLDEST
    work = write_workflow(tmp_path, SNAKEFILE, TWO_SITES)
    run = subprocess.run(
        [str(oldest), *command(*options)[1:]], cwd=work, env=environment(), capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert (work / "all").read_text() == "1616"
    assert "streamflow: two: 1 jobs" in run.stderr
    assert not [*tmp_path.glob("**/number")], "temporary files of groups are gone, at the site, too"
