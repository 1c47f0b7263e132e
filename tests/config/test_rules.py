"""Which binding a rule has."""

from __future__ import annotations

from pathlib import Path

from snakemake_executor_plugin_streamflow.config import (
    binding_for,
    check_devices,
    check_files,
    check_rules,
    read_companion,
)
from snakemake_executor_plugin_streamflow.model import (
    Binding,
    Companion,
    Deployment,
    DockerOptions,
    LocalOptions,
    Target,
)

HERE = (Target("here"),)


def companion(*pairs: tuple[str, str]) -> Companion:
    """Return a file with one binding for each `(rules, groups)`, names separated by blanks."""
    bindings = tuple(Binding(tuple(rules.split()), tuple(groups.split()), HERE) for rules, groups in pairs)
    where = tuple(f"f.yml:{line}:5" for line in range(1, len(pairs) + 1))
    return Companion(Path("f.yml"), bindings, {}, where)


def test_the_first_binding_that_names_rule_or_group_wins() -> None:
    file = companion(("a_*", ""), ("", "g"), ("a_x", ""), ("b B", "h"))
    assert binding_for(file, "a_x", "g") is file.bindings[0]
    assert binding_for(file, "z", "g") is file.bindings[1]
    assert binding_for(file, "B", None) is file.bindings[3]
    assert binding_for(file, "z", "h") is file.bindings[3]


def test_a_rule_that_nothing_names_has_no_binding_and_case_counts() -> None:
    file = companion(("a", ""), ("", "*"))
    assert binding_for(file, "A", None) is None


def test_patterns_that_match_nothing_are_named_with_the_nearest() -> None:
    assert check_rules(companion(("bwa_mme", ""), ("", "plot")), {"bwa_mem", "call"}, {"plots"}) == [
        "f.yml:1:5: no rule matches 'bwa_mme'; did you mean 'bwa_mem'?",
        "f.yml:2:5: no group matches 'plot'; did you mean 'plots'?",
    ]


def test_a_binding_that_earlier_ones_leave_nothing_for_is_named() -> None:
    warnings = check_rules(companion(("a*", ""), ("ab", "g")), {"aa", "ab", "c"}, {"g"})
    assert warnings == []
    warnings = check_rules(companion(("a*", ""), ("ab aa", "")), {"aa", "ab", "c"}, set())
    assert warnings == ["f.yml:2:5: this binding never applies: earlier ones already bind aa, ab; move it up"]


def test_after_a_binding_of_all_rules_a_group_has_no_effect() -> None:
    warnings = check_rules(companion(("*", ""), ("", "g")), {"a", "b"}, {"g"})
    assert warnings == ["f.yml:2:5: this binding never applies: earlier ones already bind g; move it up"]


def test_a_sound_file_has_no_warnings() -> None:
    assert check_rules(companion(("a", ""), ("", "g"), ("*", "")), {"a", "b"}, {"g"}) == []


def test_a_device_that_nobody_declares_is_named_once() -> None:
    bindings = (Binding(("train",), (), (Target("box"), Target("lab"))), Binding(("show",), (), (Target("cards"),)))
    deployments = {
        "box": Deployment("box", "local", LocalOptions()),
        "lab": Deployment("lab", "local", LocalOptions(resources={"tpu": 1})),
        "cards": Deployment("cards", "docker", DockerOptions(image="x", gpus="all")),
    }
    file = Companion(Path("f.yml"), bindings, deployments, ("f.yml:1:5", "f.yml:2:5"))
    wishes = {"train": ["mem_mb", "nvidia_gpu", "tpu", "upload"], "show": ["gpu"], "unbound": ["gpu"]}
    assert check_devices(file, wishes) == [
        "rule train asks for nvidia_gpu, which box, lab does not declare: it is not looked at when its jobs are placed "
        "there. If there are any: `config: {resources: {nvidia_gpu: 1}}`"
    ]
    assert check_devices(file, {"train": ["throttle"]}) == []


def test_files_that_bound_deployments_read_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "key").touch()
    (tmp_path / "folder").mkdir()
    file = tmp_path / "streamflow.yml"
    file.write_text(
        "version: v1.0\n"
        "bindings: [{rule: a, target: [{deployment: box}, {deployment: farm}]}, {rule: b, target: {deployment: c}}]\n"
        "deployments:\n"
        "  host: {type: ssh, config: {nodes: [h], sshKey: key, passwordFile: gone}}\n"
        "  box: {type: docker, wraps: host, config: {image: i}}\n"
        "  farm: {type: ssh, config: {nodes: [{hostname: i, tunnel: {hostname: j, sshKey: folder}}]}}\n"
        "  c: {type: ssh, config: {nodes: [k], sshKey: gone}}\n"
    )
    found = check_files(read_companion(file, {}), {"a"}, ())
    assert found == [
        f"{file}:4:69: deployments.host.config.passwordFile: expected a file that can be read, "
        f"got {tmp_path}/gone: No such file or directory",
        f"{file}:6:82: deployments.farm.config.nodes[0].tunnel.sshKey: expected a file that can be read, "
        f"got the directory {tmp_path}/folder",
    ]
    assert len(check_files(read_companion(file, {}), {"a", "b"}, ())) == 3


def test_files_that_a_deployment_is_brought_up_from_are_looked_at_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "streamflow.yml"
    configs = {
        "docker-compose": "{files: [gone], envFile: [gone]}",
        "kubernetes": "{files: [gone], kubeconfig: gone}",
        "kubernetes-job": "{services: {s: {template: gone}}}",
        "slurm": "{file: gone, services: {s: {file: gone}}}",
        "ssh": "{nodes: [h], configFile: gone}",
    }
    targets = ", ".join(f"{{deployment: {name}}}" for name in configs)
    lines = [f"  {name}: {{type: {name}, config: {config}}}" for name, config in configs.items()]
    text = f"version: v1.0\nbindings: [{{rule: a, target: [{targets}]}}]\ndeployments:\n"
    file.write_text(text + "\n".join(lines))
    found = check_files(read_companion(file, {}), {"a"}, ())
    assert len(found) == sum(config.count("gone") for config in configs.values())
    assert all(f"got {tmp_path}/gone: No such file" in line for line in found)
