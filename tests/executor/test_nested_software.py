"""Conda environments, containers, environment modules and notebooks, at sites that share nothing with the controller.

Rules that a command is enough for go to a site that has no Python at all.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from ..servers.apptainer import apptainer_image  # noqa: F401
from ..servers.conda import Conda, conda  # noqa: F401
from .running import FLOATING, Run, run_workflow

SNAKEFILE = """
    rule all:
        input: expand("out/{name}_plain.txt", name=["module", "named", "folder", "image"]),
            expand("out/{name}.txt", name=["module_script", "made_shell", "made_script", "image_script", "notebook"])
    rule module_plain:
        output: "out/module_plain.txt"
        envmodules: "tool/1.0"
        shell: "streamflow-module > {output}; echo $SHELLOPTS | grep -o pipefail >> {output}"
    rule module_script:
        output: "out/module_script.txt"
        envmodules: "tool/1.0"
        script: "scripts/module.sh"
    rule named_plain:
        output: "out/named_plain.txt"
        conda: "mine"
        shell: "streamflow-tool > {output}"
    rule folder_plain:
        output: "out/folder_plain.txt"
        conda: "TOP/conda/envs/mine"
        shell: "streamflow-tool > {output}"
    rule made_shell:
        output: "out/made_shell.txt"
        conda: "envs/tool.yaml"
        shell: "streamflow-tool > {output}"
    rule made_script:
        output: "out/made_script.txt"
        conda: "envs/tool.yaml"
        script: "scripts/tool.sh"
    rule image_plain:
        input: "it's in.txt"
        output: "out/image_plain.txt"
        container: "images/tools.sif"
        params: long="x" * LONG
        shell: "cat {input:q} > {output}; echo ${{APPTAINER_CONTAINER##*/}} {params.long} | cut -c -9 >> {output}"
    rule image_script:
        output: "out/image_script.txt"
        container: "images/tools.sif"
        script: "scripts/image.sh"
    rule notebook:
        input: "it's in.txt"
        output: "out/notebook.txt"
        params: word="hello"
        notebook: "scripts/tell.py.ipynb"
    """
SITES = """\
version: v1.0
bindings:
  - {rule: "*_plain", target: {deployment: bare}}
  - {rule: "*", target: {deployment: one}}
deployments:
  bare: {type: local, workdir: SITES/bare, config: {cores: 4, python: /none/python}}
  one: {type: local, workdir: SITES/one, config: {cores: 4PYTHON}}
"""
PLAIN = ["module_plain", "named_plain", "folder_plain", "image_plain"]
NOT_ITS_SOFTWARE = ["input-output", "persistence", "sources", "source-cache", "storage-local-copies"]
CELL = "open(snakemake.output[0], 'w').write(f'{snakemake.params.word} {open(snakemake.input[0]).read()}')"


def run_with_software(tmp_path: Path, conda: Conda, image: Path, python: str, *args: str) -> Run:
    def prepare(work: Path) -> None:
        cell = {"cell_type": "code", "id": "a", "metadata": {}, "execution_count": None, "outputs": [], "source": CELL}
        kernel: dict[str, object] = {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
        }
        kernel["language_info"] = {"name": "python"}
        notebook = {"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
        files = {
            "it's in.txt": "one two\n",
            "envs/tool.yaml": f"channels: ['{conda.channel}']\ndependencies: [{conda.tool} =1.0]\n",
            "scripts/tool.sh": f'{conda.tool} > "${{snakemake_output[0]}}"\n',
            "scripts/module.sh": 'streamflow-module > "${snakemake_output[0]}"\n',
            "scripts/image.sh": 'echo "${APPTAINER_CONTAINER##*/}" > "${snakemake_output[0]}"\n',
            "scripts/tell.py.ipynb": json.dumps(notebook),
            "../modules/tool/1.0": f"#%Module1.0\nprepend-path PATH {tmp_path}/modules/bin\nsetenv LOADED yes\n",
            "../modules/bin/streamflow-module": '#!/bin/sh\necho "loaded: $LOADED"\n',
        }
        for name, text in files.items():
            file = work / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        (tmp_path / "modules/bin/streamflow-module").chmod(0o755)
        (work / "images").mkdir()
        shutil.copy(image, work / "images")

    snakefile = SNAKEFILE.replace("TOP", str(tmp_path)).replace("LONG", "70_000")
    env = {"MODULEPATH": f"{tmp_path}/modules", "PATH": f"{conda.base}/bin:{_path()}", "PYTHONPATH": "/none"}
    methods = ["--software-deployment-method", "conda", "apptainer", "env-modules"]
    companion = SITES.replace("PYTHON", python and f", python: {python}")
    run = run_workflow(tmp_path, snakefile, companion, *args, *methods, prepare=prepare, env=env, timeout_s=240)
    wanted = {
        "module_plain": "loaded: yes\npipefail\n",
        "module_script": "loaded: yes\n",
        "named_plain": "mine: mine\n",
        "folder_plain": "mine: mine\n",
        "image_plain": "one two\ntools.sif\n",
        "image_script": "tools.sif\n",
        "notebook": "hello one two\n",
    }
    told = {file.stem: file.read_text() for file in (run.work / "out").iterdir()}
    made = told.pop("made_script")
    assert made.startswith("channel: ")
    assert told.pop("made_shell", made) == made
    assert told == {name: wanted[name] for name in told}
    assert told.keys() >= {*PLAIN, "notebook"}
    assert conda.created() == 1, "one for both rules, at the site and not here"
    return run


def _path() -> str:
    return f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"


def test_software_of_a_site(tmp_path: Path, conda: Conda, apptainer_image: Path) -> None:
    base = str(getattr(sys, "_base_executable", sys.executable))
    few = [f"out/{name}.txt" for name in (*PLAIN, "made_script", "notebook")]
    run = run_with_software(tmp_path, conda, apptainer_image, base, *few, "--shared-fs-usage", *NOT_ITS_SOFTWARE)
    assert "building a Python environment" in run.text, "what a notebook needs is part of it"
    assert (run.jobs("bare"), run.jobs("one")) == (4, 2)


def test_software_of_a_site_where_files_float(
    tmp_path: Path,
    conda: Conda,
    apptainer_image: Path,
) -> None:
    floating = [word for word in FLOATING if word != "software-deployment"]
    run = run_with_software(tmp_path, conda, apptainer_image, "", *floating)
    assert (run.jobs("bare"), run.jobs("one")) == (4, 5)
