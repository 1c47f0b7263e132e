"""Rules of every kind in one workflow, at a site that shares nothing with the controller."""

from __future__ import annotations

from pathlib import Path

from .running import FLOATING, TWO_SITES, run_workflow, same_as_local

SNAKEFILE = """
    import os, pathlib
    KINDS = ["bash", "r", "python", "wrapped", "jinja", "yte", "shadow", "timed", "cached"]
    configfile: "config/base.yaml"
    envvars: "KINDS_TOKEN"
    module other:
        snakefile: "../elsewhere/Snakefile"
        config: config
    use rule * from other as other_*
    rule all:
        input: expand("out/{kind}.txt", kind=KINDS), "moved.txt"
        default_target: True
    rule in_bash:
        output: "out/bash.txt"
        params: words=["a b", "c"], answer={"x": 1}
        script: "scripts/words.sh"
    rule in_r:
        input: a="in.txt"
        output: "out/r.txt"
        params: number=2.5, flag=True, words=["x", "y"]
        threads: 2
        script: "scripts/tell.R"
    rule in_python:
        input: unpack(lambda w: {"a": "in.txt", "more": ["in.txt", "scripts/words.sh"]})
        output: "out/python.txt"
        params: mapping={"a": [1, None]}, where=lambda w, input: input.a, path=pathlib.Path("x/y")
        resources: tokens=3
        script: "scripts/tell.py"
    rule wrapped:
        input: "in.txt"
        output: "out/wrapped.txt"
        wrapper: "v1/tools/count"
    rule jinja:
        input: "templates/page.j2"
        output: "out/jinja.txt"
        params: name="world"
        template_engine: "jinja2"
    rule yaml_template:
        input: "templates/page.yaml"
        output: "out/yte.txt"
        params: name="world"
        template_engine: "yte"
    rule shadowed:
        input: "in.txt"
        output: "out/shadow.txt"
        shadow: "shallow"
        run:
            shell("echo rubbish > left; cat {input} > {output}")
    rule timed:
        output: "out/timed.txt"
        benchmark: "bench/timed.tsv"
        script: "scripts/words.sh"
    rule big:
        output: temp("out/big")
        handover: True
        shell: "echo {resources.tokens} {resources.mem_mb} > {output}"
    rule cached:
        input: "out/big", "in.txt"
        output: "out/cached.txt"
        threads: 1
        run:
            with open(output[0], "w") as out:
                print(open(input[0]).read(), threads, resources.mem_mb, config, os.environ["KINDS_TOKEN"], file=out)
    """
FILES = {
    "work/in.txt": "one two\nthree\n",
    "work/config/base.yaml": "name: base\n",
    "work/config/more.yaml": "extra: [1, 2]\n",
    "work/scripts/words.sh": 'echo "${snakemake[rule]}" "${snakemake_params[answer]}" > "${snakemake_output[0]}"\n',
    "work/scripts/tell.R": (
        "writeLines(c(readLines(snakemake@input$a), snakemake@params$words, as.character(snakemake@params$number),\n"
        "             as.character(snakemake@threads), snakemake@config$name), snakemake@output[[1]])\n"
    ),
    "work/scripts/beside.py": "def shown(value):\n    return repr(value)\n",
    "work/scripts/tell.py": (
        "from beside import shown\n"
        "s = snakemake\n"
        "with open(s.output[0], 'w') as out:\n"
        "    print(shown(s.params.mapping), type(s.params.path).__name__, s.resources.tokens, file=out)\n"
        "    print(s.config, [open(f).read() for f in s.input.more], open(s.params.where).read(), file=out)\n"
    ),
    "work/templates/page.j2": "hello {{ params.name }} {{ rule }}\n",
    "work/templates/page.yaml": "hello: ?params.name\n",
    "elsewhere/Snakefile": ('rule moved:\n    input: "in.txt"\n    output: "moved.txt"\n    script: "move.py"\n'),
    "elsewhere/move.py": "import shutil\nshutil.copy(snakemake.input[0], snakemake.output[0])\n",
    "wrappers/v1/tools/count/environment.yaml": "channels: [nodefaults]\ndependencies: []\n",
    "wrappers/v1/tools/count/test/reads.fq": "data of a test\n",
    "wrappers/v1/tools/other/wrapper.py": "a tool that no rule uses\n",
    "wrappers/v1/tools/count/wrapper.py": (
        "from snakemake.shell import shell\nshell('wc -w < {snakemake.input[0]} > {snakemake.output[0]}')\n"
    ),
}


ARGS = ["--config", "cli=5", "--configfile", "config/more.yaml", "--set-threads", "cached=2", "--cores", "2"]
ARGS += ["--set-resources", "big:tokens=7", "--default-resources", "mem_mb=123", "tokens=1", "--skip-script-cleanup"]
ENV = {"KINDS_TOKEN": "secret"}
HERE = ("big", "jinja", "yaml_template")
"""Handed-over rules and templates are local jobs of Snakemake."""


def prepare(work: Path) -> None:
    for name, text in FILES.items():
        file = work.parent / name.replace("work/", f"{work.name}/", 1)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def wrappers(folder: Path) -> list[str]:
    return ["--wrapper-prefix", f"file://{folder}/wrappers/"]


def copies_of_scripts(work: Path) -> set[str]:
    return {file.name.partition(".")[2] for file in (work / ".snakemake/scripts").iterdir()}


def test_every_kind_makes_the_same_files_as_here(tmp_path: Path) -> None:
    timeless = SNAKEFILE.replace('        benchmark: "bench/timed.tsv"\n', "")
    run = same_as_local(tmp_path, timeless, *ARGS, *wrappers(tmp_path), prepare=prepare, env=ENV)
    assert run.jobs("one") == 8, f"all but {HERE}"
    assert copies_of_scripts(run.work) == copies_of_scripts(run.work.with_name("local")) != set()
    sent = {path.parent.name for path in (run.sites / "one").rglob("wrapper.py")}
    assert sent == {"count"}
    assert not list((run.sites / "one").rglob("reads.fq"))


def test_every_kind_works_where_files_float(tmp_path: Path) -> None:
    args = [*ARGS, *wrappers(tmp_path)]
    run = run_workflow(tmp_path, SNAKEFILE, TWO_SITES, *args, *FLOATING, prepare=prepare, env=ENV)
    assert run.jobs("one") == 8, f"all but {HERE}"
    assert {"tell.R", "tell.py", "words.sh"} <= copies_of_scripts(run.work)
    assert (run.sites / "one/bench/timed.tsv").read_text().startswith("s\th:m:s\t")
    assert (run.work / "out/r.txt").read_text().split() == ["one", "two", "three", "x", "y", "2.5", "2", "base"]
    assert (run.work / "out/cached.txt").read_text().startswith("7 123\n 2 123 {")
