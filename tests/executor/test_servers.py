"""The same workflow over ssh and in containers."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..servers.docker import DockerEngine, debian_image, docker_engine  # noqa: F401
from ..servers.ssh import SshHosts, ssh_hosts  # noqa: F401
from .running import again, same_as_local

SNAKEFILE = """
    rule all:
        input: "all.txt", "d2.txt"
    rule part:
        input: "in.txt"
        output: "parts/{n}.txt"
        log: "logs/{n}.log"
        threads: 1
        shell: "cat {input} > {output}; echo {wildcards.n} $OMP_NUM_THREADS >> {output}; echo done > {log}"
    rule folder:
        input: expand("parts/{n}.txt", n=range(4))
        output: directory("d")
        shell: "mkdir -p {output}/sub; cat {input} > {output}/sub/all; ln -s sub/all {output}/link"
    rule of_folder_two:
        input: "d"
        output: "d2.txt"
        shell: "cat {input}/link > {output}"
    rule gather_two:
        input: expand("parts/{n}.txt", n=range(4))
        output: "all.txt"
        shell: "cat {input} > {output}"
    """


@pytest.fixture
def ssh(request: pytest.FixtureRequest) -> str:
    hosts: SshHosts = request.getfixturevalue("ssh_hosts")
    config = f"username: root, sshKey: {hosts.key}, knownHosts: {hosts.known_hosts}, configFile: /dev/null"
    return "".join(
        f"  {name}: {{type: ssh, workdir: /root/work, config: {{nodes: [{host}], {config}}}}}\n"
        for name, host in zip(("one", "two"), hosts.hosts, strict=False)
    )


@pytest.fixture
def docker(request: pytest.FixtureRequest) -> str:
    engine: DockerEngine = request.getfixturevalue("docker_engine")
    image = request.getfixturevalue("debian_image")
    return "".join(
        f"  {name}: {{type: docker, config: {{image: '{image}', dockerHost: '{engine.address}', pull: never}}}}\n"
        for name in ("one", "two")
    )


@pytest.mark.parametrize("kind", ["ssh", "docker"])
def test_the_same_files_as_here(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    companion = (
        "version: v1.0\n"
        'bindings:\n  - {rule: "*_two", target: {deployment: two}}\n  - {rule: "*", target: {deployment: one}}\n'
        f"deployments:\n{request.getfixturevalue(kind)}"
    )

    def prepare(work: Path) -> None:
        (work / "in.txt").write_text("in\n" * 100_000)

    run = same_as_local(tmp_path, SNAKEFILE, companion=companion, prepare=prepare)
    one, two = _names(run.text)
    assert run.jobs(one) == 5
    assert run.jobs(two) == 2
    assert run.sent_mb(one) == pytest.approx(0.3, abs=0.02), "the input travels once"
    if kind == "ssh":
        for path in ("all.txt", "d2.txt"):
            (run.work / path).unlink()
        second = again(tmp_path)
        assert second.jobs(two) == 2
        assert second.sent_mb(two) == 0, "the second run finds what the first one brought"


def _names(text: str) -> tuple[str, str]:
    def found(name: str) -> str:
        return next(
            line.split(": ")[1]
            for line in text.splitlines()
            if line.startswith("streamflow: ") and name in line.split(": ")[1]
        )

    return found("one"), found("two")
