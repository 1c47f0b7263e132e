"""Floating files beside addressed ones, files of other storage plugins, and rules that need Snakemake."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ..executor.test_servers import docker, ssh  # noqa: F401
from ..servers.docker import DockerEngine, debian_image, docker_engine  # noqa: F401
from ..servers.ssh import SshHosts, ssh_hosts  # noqa: F401
from .floating import SITES, files, floating, no_copies, once_more
from .test_floating import CHAIN, sources


def test_addressed_files_are_used_in_place_and_travel_straight_to_other_sites(tmp_path: Path) -> None:
    data = tmp_path / "sites/data"
    data.mkdir(parents=True)
    (data / "big.in").write_text("x" * 1_000_000)
    companion = SITES.replace("two: {type: local,", "two: {type: local, filesystem: {name: lab},")
    run = floating(
        tmp_path,
        """
    rule all:
        input: "here", "sum", storage("streamflow://labSITES/results/end")
    rule in_place_one:
        input: big=storage("streamflow://oneSITES/data/{name}.in"), small="small"
        output: "{name}.size"
        params: place=lambda wildcards, input: input.big
        shell: "echo {input.big} > {output}; wc -c < {params.place} >> {output}; cat {input.small} >> {output}"
    rule elsewhere_two:
        input: storage("streamflow://oneSITES/data/big.in"), "big.size"
        output: storage("streamflow://labSITES/results/end"), "sum"
        shell: "cat {input} > {output[0]}; wc -c < {input[0]} > {output[1]}"
    rule here:
        input: storage("streamflow://oneSITES/data/big.in"), storage("streamflow://labSITES/results/end")
        output: "here"
        shell: "cat {input} | wc -c > {output}"
    """,
        companion=companion,
        prepare=lambda work: (work / "small").write_text("small\n") and None,
    )
    lines = f"{data}/big.in\n1000000\nsmall\n"
    assert (run.sites / "one/big.size").read_text() == lines, "the command got the file's own path"
    assert (run.sites / "results/end").read_text() == "x" * 1_000_000 + lines
    assert (run.work / "sum").read_text() == "1000000\n"
    assert int((run.work / "here").read_text()) == 2_000_000 + len(lines)
    assert run.sent_mb("one") == pytest.approx(0, abs=0.01)
    assert run.sent_mb("two") == pytest.approx(1, abs=0.01)
    assert no_copies(run.work)
    assert "Nothing to be done" in once_more(tmp_path).text
    (data / "big.in").write_text("y")
    changed = once_more(tmp_path)
    assert (changed.jobs("one"), changed.jobs("two")) == (1, 1)
    assert (run.work / "sum").read_text() == "1\n"


def test_files_of_another_storage_plugin_are_read_and_written(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    (store / "in").write_text("in\n")
    run = floating(
        tmp_path,
        f"""
    storage:
        provider="fs"
    rule all:
        input: "end"
    rule first_one:
        input: storage.fs("{store}/in")
        output: "mid", storage.fs("{store}/out")
        shell: "cat {{input}} {{input}} > {{output[0]}}; cp {{output[0]}} {{output[1]}}"
    rule second_two:
        input: "mid", storage.fs("{store}/out")
        output: "end"
        shell: "cat {{input}} > {{output}}"
    """,
    )
    assert (store / "out").read_text() == "in\nin\n"
    assert (run.work / "end").read_text() == 4 * "in\n"
    assert "Nothing to be done" in once_more(tmp_path).text


def test_rules_that_need_snakemake_work_where_files_float(tmp_path: Path) -> None:
    def prepare(work: Path) -> None:
        (work / "in").write_text("in\n")
        (work / "script.py").write_text(
            "with open(snakemake.input[0]) as f, open(snakemake.output[0], 'w') as g: g.write(f.read() + 'script\\n')"
        )

    data = tmp_path / "sites/data"
    data.mkdir(parents=True)
    (data / "x").write_text("x\n")
    run = floating(
        tmp_path,
        """
    rule all:
        input: "end", "quick"
    rule python_one:
        input: "in"
        output: "python", temp("passing"), touch("touched")
        log: "logs/python.log"
        benchmark: "bench.tsv"
        run:
            with open(input[0]) as f, open(output[0], "w") as g:
                g.write(f.read() + "python\\n")
            open(output[1], "w").close()
    rule script_two:
        input: "python", "passing", "touched"
        output: "scripted"
        script: "script.py"
    rule here:
        input: "scripted"
        output: "end"
        run:
            with open(input[0]) as f, open(output[0], "w") as g:
                g.write(f.read() + "here\\n")
    rule quick_one:
        input: storage("streamflow://oneSITES/data/x")
        output: "quick"
        run:
            with open(input[0]) as f, open(output[0], "w") as g:
                g.write(f.read() * 2)
    """,
        prepare=prepare,
    )
    assert (run.work / "end").read_text() == "in\npython\nscript\nhere\n"
    assert (run.work / "quick").read_text() == "x\nx\n"
    assert files(run.sites / "one") >= {"in", "python", "touched", "quick", "logs/python.log", "bench.tsv"}
    assert "passing" not in files(run.sites / "one") | files(run.sites / "two")
    assert no_copies(run.work)
    assert "Nothing to be done" in once_more(tmp_path).text


@pytest.mark.parametrize("kind", ["ssh", "docker"])
def test_files_float_at_hosts_and_in_containers(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    companion = SITES.partition("deployments:")[0] + "deployments:\n" + request.getfixturevalue(kind)
    snakefile = (
        CHAIN
        + """
    rule tree_one:
        input: "mid/a.txt"
        output: temp(directory("tree")), protected("safe"), ensure("sure", non_empty=True)
        shell:
            "mkdir -p {output[0]}/x; cp {input} {output[0]}/x; ln -s x/a.txt {output[0]}/l; "
            "cp {input} {output[1]}; cp {input} {output[2]}"
    rule end_of_tree_two:
        input: "tree", "sure", "safe"
        output: "whole"
        shell: "cat {input[0]}/l {input[1]} {input[2]} | wc -c > {output}"
    """
    )
    snakefile = snakefile.replace('"out/a.txt", "out/b.txt"', '"out/a.txt", "out/b.txt", "whole"')
    run = floating(tmp_path, snakefile, companion=companion, prepare=sources)
    assert (run.work / "out/a.txt").read_text().strip() == "400000"
    assert (run.work / "whole").read_text().strip() == "1200000"
    assert files(run.work) == {
        *("Snakefile", "streamflow.yml", "in/a.txt", "in/b.txt", "out/a.txt", "out/b.txt", "whole")
    }
    if kind == "ssh":
        hosts: SshHosts = request.getfixturevalue("ssh_hosts")
        assert not os.path.exists(hosts.root(1) / "root/work/tree")
        assert "Nothing to be done" in once_more(tmp_path).text
        once_more(tmp_path, "--delete-all-output")
        assert files(hosts.root(2) / "root/work") == set()
