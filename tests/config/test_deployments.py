"""The `deployments:` section."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from snakemake_executor_plugin_streamflow.config.foreign import TYPES_NOT_YET
from snakemake_executor_plugin_streamflow.config.wraps import MAY_WRAP
from snakemake_executor_plugin_streamflow.model import OPTIONS, Bounds, FilesystemSpec, Limits, SshHop, Wraps

from .reading import deployments, one_problem, problems, read

TYPES = " or ".join(OPTIONS)
ABLE = " or ".join(sorted(outer for outer, inners in MAY_WRAP.items() if "ssh" in inners))


def test_every_key_of_a_deployment_is_read() -> None:
    found = read(
        """\
        version: v1.0
        deployments:
          login:
            type: ssh
            external: true
            lazy: false
            workdir: /scratch
            filesystem: {name: nas, shared: [/mnt/nas]}
            limits: {jobs: 3, cores: 1.5, memory: 4GB}
            limit: 200GB
            scheduling_policy: data_locality
            config: {nodes: [h]}
          tools:
            type: docker
            wraps: {deployment: login}
            filesystem: nas
            config: {image: i}
        """
    ).deployments
    login, tools = found["login"], found["tools"]
    assert (login.external, login.lazy, login.workdir) == (True, False, PurePosixPath("/scratch"))
    assert login.filesystem == FilesystemSpec("nas", (PurePosixPath("/mnt/nas"),))
    assert login.limits == Limits(3, 1.5, 4 * 10**9)
    assert login.limit_b == 200 * 10**9
    assert (tools.wraps, tools.filesystem) == (Wraps("login"), FilesystemSpec("nas"))
    assert (tools.external, tools.lazy, tools.workdir, tools.limits) == (False, True, None, Limits())


def test_hosts_are_names_or_mappings() -> None:
    text = deployments("a: {type: ssh, config: {nodes: [h, {hostname: 'i:22', sshKey: ~/k, tunnel: {hostname: j}}]}}")
    nodes = read(text).deployments["a"].options.nodes
    assert nodes == ("h", SshHop(hostname="i:22", ssh_key="/home/me/k", tunnel=SshHop(hostname="j")))


def test_names_with_underscores_are_accepted() -> None:
    text = deployments("a: {type: ssh, config: {nodes: [h], max_connections: 2, ssh_key: /k}}")
    options = read(text).deployments["a"].options
    assert (options.max_connections, options.ssh_key) == (2, "/k")


def test_the_name_of_the_controller_is_taken() -> None:
    assert "the machine that Snakemake runs on" in one_problem(deployments("controller: {type: local, workdir: /w}"))


def test_both_forms_of_a_name_at_once_are_a_mistake() -> None:
    text = deployments("a: {type: ssh, config: {nodes: [h], ssh_key: /k, sshKey: /k}}")
    assert one_problem(text).endswith("a.config.ssh_key: given twice, also as sshKey")


def test_relative_paths_start_at_the_folder_of_the_file(tmp_path) -> None:
    from snakemake_executor_plugin_streamflow.config import read_companion

    path = tmp_path / "streamflow.yml"
    path.write_text(deployments("a: {type: docker, config: {build: ./x/../box}}"))
    assert read_companion(path, {}).deployments["a"].options.build == str(tmp_path / "box")


@pytest.mark.parametrize(
    ("written", "size"),
    [("4GB", 4 * 10**9), ("500MB", 5 * 10**8), ("1GiB", 2**30), ("1.5 kb", 1500), ("7B", 7), ("1024", 1024)],
)
def test_sizes_have_units(written: str, size: int) -> None:
    assert (
        read(deployments(f"a: {{type: local, config: {{memory: {written}}}}}")).deployments["a"].options.memory == size
    )


@pytest.mark.parametrize(
    "written", ["4G", "GB", "-1GB", "-5", "1.5", "x", "4 GB GB", "0", "9999999999PB", "[]", "true"]
)
def test_what_is_no_size_is_a_mistake(written: str) -> None:
    assert "expected a size such as 4GB" in one_problem(
        deployments(f"a: {{type: local, config: {{memory: {written}}}}}")
    )


def test_environment_values_stay_as_they_are_written() -> None:
    text = deployments("a: {type: local, config: {env: {A: 010, B: yes, C: 1.50, D: 2001-01-01, E: x, F: 0x1F}}}")
    env = read(text).deployments["a"].options.env
    assert env == {"A": "010", "B": "yes", "C": "1.50", "D": "2001-01-01", "E": "x", "F": "0x1F"}


def test_an_environment_may_be_a_list_as_in_streamflow() -> None:
    text = deployments("a: {type: docker, config: {image: i, env: [A=1, B=x=y], entrypoint: sh, user: 1000}}")
    options = read(text).deployments["a"].options
    assert (options.env, options.entrypoint, options.user) == ({"A": "1", "B": "x=y"}, ("sh",), "1000")


def test_a_pair_of_ports_is_no_number_in_base_60() -> None:
    text = deployments("a: {type: docker, config: {image: i, publish: [22:22]}}")
    assert read(text).deployments["a"].options.publish == ("22:22",)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "a: {type: ssh, config: {nodes: 4}}",
            "3:34: deployments.a.config.nodes: expected a list of hosts, got a number",
        ),
        (
            "a: {type: ssh, config: {nodes: []}}",
            "3:34: deployments.a.config.nodes: expected a list of hosts, got nothing",
        ),
        ("a: {type: ssh, config: {nodes: [h, h]}}", "3:38: deployments.a.config.nodes[1]: the same host as nodes[0]"),
        ("a: {type: ssh}", "3:6: deployments.a.config.nodes: expected a list of hosts, got nothing"),
        (
            "a: {type: ssh, config: {nodes: [{username: u}]}}",
            "3:35: deployments.a.config.nodes[0].hostname: expected text",
        ),
        (
            "a: {type: ssh, config: {nodes: [h], sshkey: k}}",
            "config.sshkey: unknown key 'sshkey'; did you mean 'sshKey'?",
        ),
        ("a: {type: ssh, config: {nodes: [h], hostKeys: yolo}}", "expected known, accept-new or any, got 'yolo'"),
        ("a: {type: ssh, config: {nodes: [h], username: no}}", "expected text, got a boolean: put no in quotes"),
        ("a: {type: ssh, config: {nodes: [h], retries: -1}}", "expected a whole number of 0 or more, got '-1'"),
        ("a: {type: ssh, config: {nodes: [h], retries: 1.5}}", "expected a whole number of 0 or more, got '1.5'"),
        ("a: {type: ssh, config: {nodes: [h], sharedPaths: [mnt]}}", "sharedPaths[0]: expected an absolute path"),
        ("a: {type: local, config: {cores: .nan}}", "expected a number above 0, got '.nan'"),
        (
            "a: {type: local, workdir: some/where}",
            "3:29: deployments.a.workdir: expected an absolute path without '..'",
        ),
        ("a: {type: local, workdir: /a/../b}", "expected an absolute path without '..'"),
        ("a: {type: local, lasy: true}", "3:20: deployments.a.lasy: unknown key 'lasy'; did you mean 'lazy'?"),
        (
            "a: {type: sssh, config: {}}",
            f"deployments.a.type: expected {TYPES}, got 'sssh'; did you mean 'ssh'?",
        ),
        ("a: {config: {}}", "3:6: deployments.a.type: expected text, got nothing"),
        ("a: 4", "3:6: deployments.a: expected a mapping (type: ...), got a number"),
        ("'a/b': {type: local}", "3:3: deployments.a/b: expected a name of letters"),
        ("a: {type: local, filesystem: a/b}", "deployments.a.filesystem: expected a name of letters"),
        ("a: {type: docker}", "deployments.a.config: expected one of image, containerId or build"),
        (
            "a: {type: sge, config: {services: {s: {pack: {nodes: 2}}}}}",
            "services.s.pack: not for this type: an allocation is held",
        ),
        (
            "a: {type: docker, config: {image: i, containerId: c}}",
            "containerId: expected one of image, containerId or build",
        ),
        (
            "a: {type: docker, config: {containerId: c, replicas: 2}}",
            "config.replicas: expected 1: an existing container",
        ),
        ("a: {type: docker, config: {image: i, pull: sometimes}}", "pull: expected missing, always or never"),
        (
            "a: {type: docker, config: {image: i, memorySwap: 1}}",
            "memorySwap: StreamFlow's option is not supported yet",
        ),
    ],
)
def test_a_mistake_is_reported_where_it_stands(line: str, expected: str) -> None:
    assert expected in one_problem(deployments(line))


@pytest.mark.parametrize("name", TYPES_NOT_YET)
def test_types_that_only_streamflow_has_are_called_not_supported_yet(name: str) -> None:
    text = deployments(f"a: {{type: {name}, config: {{what: ever}}}}")
    assert one_problem(text) == f"3:13: deployments.a.type: not supported yet: expected {TYPES}, got '{name}'"


def test_docker_may_have_a_build_with_an_image_and_options_that_make_no_difference() -> None:
    text = deployments("a: {type: docker, config: {image: i, build: ., rm: true, sigProxy: false}}")
    assert read(text).deployments["a"].options.image == "i"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a: {type: docker, wraps: hos, config: {image: i}}", "got 'hos'; did you mean 'host'?"),
        (
            "a: {type: local, wraps: host}",
            f"deployments.a.wraps: local cannot wrap another deployment; {ABLE} can wrap ssh",
        ),
        (
            "a: {type: ssh, wraps: host, config: {nodes: [x]}}",
            f"ssh cannot wrap another deployment; {ABLE} can wrap ssh",
        ),
        ("a: {type: docker, wraps: box, config: {image: i}}", "docker cannot wrap docker; it can wrap local or ssh"),
        ("a: {type: docker, wraps: a, config: {image: i}}", "deployments wrap each other in a circle: a → a"),
        (
            "a: {type: docker, wraps: {deployment: host, service: que}, config: {image: i}}",
            "a.wraps.service: expected a service of deployment 'host', got 'que'; did you mean 'queue'?",
        ),
        (
            "a: {type: docker, wraps: {service: s}, config: {image: i}}",
            "a.wraps.deployment: expected text, got nothing",
        ),
    ],
)
def test_a_wrong_wraps_is_reported(line: str, expected: str) -> None:
    host = "host: {type: ssh, config: {nodes: [h], services: {queue: null}}}"
    assert expected in one_problem(deployments(line, host, "box: {type: docker, config: {image: i}}"))


def test_a_circle_of_wraps_is_reported_once_with_its_names() -> None:
    lines = [f"{a}: {{type: docker, wraps: {b}, config: {{image: i}}}}" for a, b in ("ab", "bc", "ca", "da")]
    found = problems(deployments(*lines))
    assert [line for line in found if "circle" in line] == [
        "3:28: deployments.a.wraps: deployments wrap each other in a circle: a → b → c → a"
    ]


def test_the_old_name_of_the_section_works_and_names_must_differ() -> None:
    assert set(read("{version: v1.0, models: {a: {type: local}}}").deployments) == {"a"}
    text = "version: v1.0\ndeployments: {a: {type: local}}\nmodels: {a: {type: local}}"
    assert one_problem(text) == "3:10: models.a: given in deployments too"


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file() -> None:
    found = problems(deployments("a: {type: x}", "b: {type: ssh, config: {nodes: 1, retries: x}}", "c: {tpye: local}"))
    assert [line.split(": ")[0] for line in found] == ["3:13", "4:34", "4:46", "5:6", "5:7"]


COMPOSE = "services: {db: {image: i}, worker: {image: i}}"


@pytest.mark.parametrize(
    ("target", "config", "expected"),
    [
        ("{deployment: a, service: wrker}", "", "got 'wrker'; did you mean 'worker'?"),
        ("{deployment: a}", "", "expected a service of deployment 'a': db or worker"),
        ("{deployment: a, service: db, needs: [worker]}", ", scale: {db: 2}", None),
        (
            "{deployment: a, service: db, needs: wrker}",
            "",
            "needs: expected a service of deployment 'a': db or worker, got 'wrker'; did you mean 'worker'?",
        ),
        (
            "{deployment: a, service: db}",
            ", scale: {x: 2}",
            "the Compose files have no service 'x'; they have db, worker",
        ),
        ("{deployment: a, service: db}", ", tls: true", "tls: StreamFlow's option is not supported yet"),
        ("{deployment: a, service: db}", ", build: true, noBuild: true", "noBuild: contradicts build"),
        ("{deployment: a, service: db}", ", verbose: true, projectName: p, scale: {db: 2}", None),
    ],
)
def test_a_compose_project_is_checked_against_its_files(
    tmp_path: Path, target: str, config: str, expected: str | None
) -> None:
    (tmp_path / "c.yaml").write_text(COMPOSE)
    text = deployments(f"a: {{type: docker-compose, config: {{files: [{tmp_path}/c.yaml]{config}}}}}")
    text += f"\nbindings: [{{rule: x, target: {target}}}]\n"
    if expected is None:
        assert read(text).deployments["a"].options.scale == {"db": 2}
    else:
        assert expected in one_problem(text)


def test_services_of_a_compose_file_that_only_compose_can_read_are_not_judged() -> None:
    text = deployments("a: {type: docker-compose, config: {files: [nowhere.yaml]}}")
    target = read(f"{text}\nbindings: [{{rule: x, target: {{deployment: a, service: any}}}}]\n").bindings[0].targets[0]
    assert target.service == "any"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a: {type: apptainer, config: {}}", "expected one of image or instanceName"),
        (
            "a: {type: singularity, config: {instanceName: x, replicas: 2}}",
            "replicas: expected 1: an existing instance",
        ),
        ("a: {type: singularity, config: {instanceName: x, instances: false}}", "instances: expected true"),
        ("a: {type: apptainer, config: {image: i, boot: true}}", "boot: StreamFlow's option is not supported yet"),
    ],
)
def test_options_of_apptainer_that_cannot_be(line: str, expected: str) -> None:
    assert expected in one_problem(deployments(line))


def test_what_apptainer_cannot_go_through_is_refused_by_name() -> None:
    text = deployments("s: {type: sge}", "a: {type: apptainer, wraps: s, config: {image: i}}")
    assert "apptainer cannot wrap sge; it can wrap docker or docker-compose or local or slurm or ssh" in one_problem(
        text
    )


def test_a_container_in_a_queue_needs_a_node_that_is_held() -> None:
    for services in ("{}", "{a: {}}", "{a: {}, b: {pack: {}}}"):
        text = deployments(
            f"s: {{type: slurm, config: {{services: {services}}}}}",
            "a: {type: apptainer, wraps: s, config: {image: i}}",
        )
        assert "a.wraps: expected a service of slurm with `pack`" in one_problem(text)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a: {type: kubernetes, config: {namespace: me}}", "expected one of files, kustomize or selector"),
        (
            "a: {type: kubernetes, config: {files: [m.yml], selector: a=b}}",
            "selector: expected none beside files or kustomize",
        ),
        (
            "a: {type: kubernetes, config: {files: m.yml, inCluster: true, kubeconfig: k}}",
            "inCluster: contradicts kubeconfig",
        ),
        ("a: {type: kubernetes-job, config: {services: {small: {count: 2}}}}", "expected one of image or template"),
        ("a: {type: kubernetes-job, config: {services: {Small: {image: i}}}}", "expected a name of small letters"),
        (
            "a: {type: kubernetes-job, config: {perTask: 3, services: {small: {image: i, count: 2}}}}",
            "services.small.count: expected none: with perTask",
        ),
        ("a: {type: kubernetes, wraps: box, config: {files: m.yml}}", "kubernetes cannot wrap docker"),
    ],
)
def test_mistakes_of_clusters(line: str, expected: str) -> None:
    assert expected in one_problem(deployments(f"{line}\n  box: {{type: docker, config: {{image: i}}}}"))


def test_replicas_and_scale_are_numbers_or_bounds(tmp_path: Path) -> None:
    (tmp_path / "compose.yml").write_text("services: {a: {image: i}, b: {image: i}}")
    scale = "{a: 2, b: {min: 2, max: 5, idle: 9}}"
    text = deployments(
        "one: {type: docker, config: {image: i, replicas: {max: 4}}}\n"
        f"  two: {{type: docker-compose, config: {{files: [{tmp_path}/compose.yml], scale: {scale}}}}}"
    )
    found = read(text).deployments
    assert found["one"].options.replicas == Bounds(min=1, max=4, idle=60)
    assert found["two"].options.scale == {"a": 2, "b": Bounds(min=2, max=5, idle=9)}


@pytest.mark.parametrize(
    ("deployment", "message"),
    [
        ("{type: docker, config: {image: i, replicas: {min: 3, max: 2}}}", "expected min of at most max, got 3 and 2"),
        ("{type: docker, config: {image: i, replicas: {min: 3}}}", "expected a whole number of 1 or more, got nothing"),
        ("{type: docker, config: {containerId: c, replicas: {max: 2}}}", "an existing container"),
        ("{type: docker, external: true, config: {image: i, replicas: {max: 2}}}", "an external deployment is used"),
        (
            "{type: apptainer, config: {image: i, replicas: {max: 2}}}",
            "expected a whole number of 1 or more, got a map",
        ),
        ("{type: ssh, config: {nodes: [h], scale: {max: 2}}}", "unknown key 'scale'"),
    ],
)
def test_what_cannot_follow_the_queue_is_refused(deployment: str, message: str) -> None:
    assert message in one_problem(deployments(f"a: {deployment}"))
