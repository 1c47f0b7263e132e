"""Rules that need Snakemake itself, at sites that share nothing with the controller."""

from __future__ import annotations

from pathlib import Path

from ..servers.docker import DockerEngine, debian_image, docker_engine  # noqa: F401
from ..servers.python_image import python_image  # noqa: F401
from ..servers.ssh import SshHosts, ssh_hosts  # noqa: F401
from .running import FLOATING, TWO_SITES, again, run_workflow, same_as_local

SNAKEFILE = """
    configfile: "config/config.yaml"
    include: "rules/more.smk"
    rule all:
        input: "scripted.txt", "ran.txt", "timed.txt", "shadow.txt", "group.txt"
    rule ran:
        input: "in.txt"
        output: "ran.txt"
        log: "logs/ran.log"
        threads: 2
        run:
            from helpers.words import count
            with open(output[0], "w") as out, open(log[0], "w") as said:
                print(count(input[0]), config["name"], config["extra"], threads, file=out)
                print("logged", file=said)
    rule timed:
        output: "timed.txt"
        benchmark: "timed.tsv"
        shell: "echo {config[name]} >{output}"
    rule shadowed:
        input: "in.txt"
        output: "shadow.txt"
        shadow: "minimal"
        shell: "echo mine >rubbish; wc -l <{input} >{output}"
    rule first_two:
        output: temp("first.txt")
        group: "pair"
        run:
            open(output[0], "w").write("1\\n")
    rule second_two:
        input: "first.txt"
        output: "group.txt"
        group: "pair"
        shell: "cat {input} {input} >{output}"
    """


def prepare(work: Path) -> None:
    for folder in ("config", "rules", "helpers", "scripts"):
        (work / folder).mkdir(exist_ok=True)
    (work / "in.txt").write_text("one two\nthree\n")
    (work / "config/config.yaml").write_text("name: from-the-file\n")
    (work / "helpers/words.py").write_text("def count(path):\n    return len(open(path).read().split())\n")
    (work / "rules/more.smk").write_text(
        "import sys\nsys.path.insert(0, workflow.basedir)\n"
        'rule scripted:\n    input: "in.txt"\n    output: "scripted.txt"\n'
        '    params: what={"a": [1, None]}\n    script: "../scripts/tell.py"\n'
    )
    (work / "scripts/tell.py").write_text(
        "with open(snakemake.output[0], 'w') as out:\n"
        "    print(snakemake.params.what, snakemake.config['extra'], open(snakemake.input[0]).read(), file=out)\n"
    )


def test_the_same_files_as_here_at_local_sites(tmp_path: Path) -> None:
    run = same_as_local(
        tmp_path, SNAKEFILE.replace('benchmark: "timed.tsv"', ""), "--config", "extra=5", prepare=prepare
    )
    assert run.jobs("one") == 4
    assert run.jobs("two") == 1, "a group is one job"
    assert not (run.sites / "two" / "first.txt").exists()
    assert not (run.sites / "one" / "rubbish").exists()


def test_in_floating_mode(tmp_path: Path) -> None:
    snakefile = SNAKEFILE.replace('benchmark: "timed.tsv"', "")
    run = run_workflow(tmp_path, snakefile, TWO_SITES, "--config", "extra=5", *FLOATING, prepare=prepare)
    local = run_workflow(
        tmp_path, snakefile, None, "--executor", "local", "-c2", "--config", "extra=5", name="local", prepare=prepare
    )
    for name in ("scripted.txt", "ran.txt", "timed.txt", "shadow.txt", "group.txt"):
        assert (run.work / name).read_text() == (local.work / name).read_text()
    assert run.jobs("one") == 4


def test_a_benchmark_comes_home(tmp_path: Path) -> None:
    run = run_workflow(tmp_path, SNAKEFILE, TWO_SITES, "timed.txt", prepare=prepare)
    assert (run.work / "timed.tsv").read_text().startswith("s\th:m:s\t")


def test_a_site_without_python_is_refused_before_anything_runs(
    tmp_path: Path,
    docker_engine: DockerEngine,
    debian_image: str,
) -> None:
    companion = (
        'version: v1.0\nbindings:\n  - {rule: "*", target: {deployment: box}}\ndeployments:\n'
        f"  box: {{type: docker, config: {{image: '{debian_image}', dockerHost: '{docker_engine.address}'}}}}\n"
    )
    run = run_workflow(tmp_path, SNAKEFILE, companion, prepare=prepare, code=1)
    assert "there is no Python there; the controller has Python 3." in run.text
    assert "Needed by" in run.text
    assert all(rule in run.text.partition("Needed by")[2] for rule in ("scripted", "ran", "timed", "shadowed"))
    assert not (run.work / "group.txt").exists()
    assert "Traceback" not in run.text


def test_what_a_named_python_says_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'libpython.so: no such file' >&2; exit 127\n")
    broken.chmod(0o755)
    companion = (
        'version: v1.0\nbindings:\n  - {rule: "*", target: {deployment: box}}\ndeployments:\n'
        f"  box: {{type: local, workdir: '{tmp_path}/site', config: {{python: '{broken}'}}}}\n"
    )
    run = run_workflow(tmp_path, SNAKEFILE, companion, prepare=prepare, code=1)
    assert f"{broken} is no Python that can be run there (libpython.so: no such file)" in run.text


def ssh(hosts: SshHosts, more: str = "") -> str:
    config = f"username: root, sshKey: {hosts.key}, knownHosts: {hosts.known_hosts}, configFile: /dev/null{more}"
    return (
        'version: v1.0\nbindings:\n  - {rule: "*_two", target: {deployment: two}}\n'
        '  - {rule: "*", target: {deployment: one}}\ndeployments:\n'
        + "".join(
            f"  {name}: {{type: ssh, workdir: /root/nested, config: {{nodes: [{host}], {config}}}}}\n"
            for name, host in zip(("one", "two"), hosts.hosts, strict=False)
        )
    )


def test_a_runtime_is_built_at_hosts_that_have_none(tmp_path: Path, ssh_hosts: SshHosts) -> None:
    companion = ssh(ssh_hosts)
    run = same_as_local(
        tmp_path,
        SNAKEFILE.replace('benchmark: "timed.tsv"', ""),
        "--config",
        "extra=5",
        companion=companion,
        prepare=prepare,
    )
    assert run.text.count("building a Python environment") == 2, "one for each host"
    (run.work / "ran.txt").unlink()
    assert "building" not in again(tmp_path, "--config", "extra=5").text, "a later run finds it"


def test_a_runtime_is_built_in_a_container_without_network(
    tmp_path: Path, docker_engine: DockerEngine, python_image: str
) -> None:
    config = f"image: '{python_image}', dockerHost: '{docker_engine.address}', network: [none]"
    companion = (
        'version: v1.0\nbindings:\n  - {rule: "*", target: {deployment: box}}\ndeployments:\n'
        f"  box: {{type: docker, workdir: /root/nested, config: {{{config}}}}}\n"
    )
    run = same_as_local(
        tmp_path,
        SNAKEFILE.replace('benchmark: "timed.tsv"', ""),
        "--config",
        "extra=5",
        companion=companion,
        prepare=prepare,
    )
    assert "building a Python environment" in run.text
