"""Files that jobs make without declaring them."""

from __future__ import annotations

from pathlib import Path

import pytest

from .running import FLOATING, TWO_SITES, again, run_workflow

SNAKEFILE = """
rule all:
    input: "all", "parts/other"
checkpoint split:
    output: "parts/list"
    shell: "sleep 0.5; for i in a b; do mkdir -p parts/$i; echo $i >parts/$i/text; done; ls -d parts/? > {output}"
def texts(wildcards):
    with checkpoints.split.get().output[0].open() as parts:
        return [f"{part.strip()}/text" for part in parts]
rule join_two:
    input: texts
    output: "all"
    shell: "cat {input} > {output}"
rule effects:
    input: "word", "parts/other"
    shell: "mkdir -p 'two words' && cat word word > 'two words/of it'"
rule beside:
    output: "parts/other"
    shell: "echo half > {output}; sleep 1; echo whole > {output}"
"""


@pytest.mark.parametrize("options", [(), FLOATING], ids=["drop-in", "floating"])
def test_what_jobs_make_beside_their_outputs_is_known(tmp_path: Path, options: tuple[str, ...]) -> None:
    word = tmp_path / "work/word"
    targets = ("all", "effects")
    run = run_workflow(
        tmp_path, SNAKEFILE, TWO_SITES, *targets, *options, prepare=lambda work: (work / "word").write_text("tic")
    )
    assert (run.work / "all").read_text() == "a\nb\n", "what a checkpoint's file names, made at another site"
    assert (run.work / "parts/other").read_text() == "whole\n", "an output of a job that still ran was left alone"
    assert (run.work / "two words/of it").read_text() == "tictic", "what a rule without outputs has made"
    assert (run.jobs("one"), run.jobs("two")) == (3, 1)
    assert (run.work / "parts/a/text").exists() == (not options)
    word.write_text("toc")
    again(tmp_path, "effects", *options)
    assert (run.work / "two words/of it").read_text() == "toctoc"
