"""The options of a Helm deployment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_plugin_streamflow.config.duration import seconds
from snakemake_executor_plugin_streamflow.config.helm_set import set_values, typed
from snakemake_executor_plugin_streamflow.model import HelmOptions

from ..servers.helm import helm_library
from .reading import deployments, one_problem, problems, read


def _options(config: str, **environ: str) -> HelmOptions:
    options = read(deployments(f"a: {{type: helm, config: {config}}}"), environ).deployments["a"].options
    assert isinstance(options, HelmOptions)
    return options


@pytest.fixture
def no_helm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without the helm command."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def some_helm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with a helm command."""
    (tmp_path / "helm").write_text("#!/bin/sh\n")
    (tmp_path / "helm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.parametrize(
    ("text", "number"), [("90s", 90), ("5m", 300), ("1h30m", 5400), ("1000m", 60000), ("0.5s", 1), ("5", None)]
)
def test_a_time_is_read_as_seconds(text: str, number: int | None) -> None:
    assert seconds(text) == number
    if number:
        assert _options(f"{{chart: c, timeout: {text}}}").timeout == number


@pytest.mark.parametrize("text", ["0s", "5 minutes", "1m1h", "soon", "''"])
def test_what_is_no_time_is_refused(text: str) -> None:
    assert "a time such as 90s, 5m" in one_problem(
        deployments(f"a: {{type: helm, config: {{chart: c, timeout: {text}}}}}")
    )


@pytest.mark.parametrize(("word", "waits"), [("true", True), ("watcher", True), ("legacy", True), ("hookOnly", False)])
def test_the_words_of_helm_4_for_waiting_are_understood(word: str, waits: bool) -> None:
    assert _options(f"{{chart: c, wait: {word}}}").wait is waits


def test_values_are_any_tree_with_variables_replaced() -> None:
    options = _options('{chart: c, values: {a: {b: [1, {c: "${N}"}, null], d: no}, "e.f": 1.5}}', N="x")
    assert options.values == {"a": {"b": [1, {"c": "x"}, None], "d": False}, "e.f": 1.5}


def test_a_variable_in_values_must_be_set() -> None:
    found = one_problem(deployments('a: {type: helm, config: {chart: c, values: {a: [{b: "${N}"}]}}}'))
    assert "config.values.a[0].b: the environment variable N is not set" in found


def test_values_that_contain_themselves_are_refused() -> None:
    assert "does not contain itself" in one_problem(
        deployments("a: {type: helm, config: {chart: c, values: {a: &x [*x]}}}")
    )


def test_a_chart_is_a_path_only_where_it_is_one(tmp_path: Path) -> None:
    (tmp_path / "Chart.yaml").touch()
    assert _options("{chart: redis}").chart == "redis"
    assert _options("{chart: 'oci://host/charts/redis'}").chart == "oci://host/charts/redis"
    assert _options(f"{{chart: {tmp_path}}}").chart == str(tmp_path)
    assert "there is no /" in one_problem(deployments("a: {type: helm, config: {chart: ./redis}}"))


@pytest.mark.parametrize("name", ["helm3", "helm4"])
def test_names_and_options_of_streamflow_are_known(name: str, some_helm: None) -> None:
    config = (
        "{chart: c, rollbackOnFailure: true, depUp: true, kubeContext: k, insecureSkipTLSVerify: true, timeout: 1000m}"
    )
    assert problems(deployments(f"a: {{type: {name}, config: {config}}}")) == []


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("{}", "config.chart: expected text, got nothing"),
        ("{chart: c, releaseName: A_b}", "small letters, digits"),
        ("{chart: c, yamlValues: nowhere.yml}", "there is no file"),
        ("{chart: c, commandLineValues: 'a=1,b'}", "expected key=value after 'b'"),
        ("{chart: c, setJson: ['a={']}", "not valid JSON"),
        ("{chart: c, serverSide: true}", "not supported yet"),
        ("{chart: c, inCluster: true, kubeApiserver: 'https://h'}", "contradicts kubeApiserver"),
        ("{chart: c, repo: 'http://r', password: p}", "expected username too"),
        ("{chart: c, username: u, password: p}", "expected repo too"),
    ],
)
def test_mistakes_are_told(config: str, said: str) -> None:
    assert said in one_problem(deployments(f"a: {{type: helm, config: {config}}}"))


BOUND = (
    "version: v1.0\nbindings: [{{rule: r, target: {{deployment: a}}}}]\ndeployments:\n  a: {{type: helm, config: {}}}\n"
)


def test_credentials_of_the_cluster_are_options_of_helm(tmp_path: Path) -> None:
    (tmp_path / "ca").touch()
    options = _options(
        f"{{chart: c, kubeApiserver: 'https://h:1', kubeToken: '${{T}}', kubeAsUser: u, kubeAsGroup: [g, h], "
        f"kubeCaFile: {tmp_path}/ca, kubeTLSServerName: n, kubeInsecureSkipTLSVerify: true}}",
        T="secret",
    )
    assert (options.kube_apiserver, options.kube_token) == ("https://h:1", "secret")
    assert (options.kube_as_user, options.kube_as_group) == ("u", ("g", "h"))
    assert (options.kube_tls_server_name, options.kube_insecure_skip_tls_verify) == ("n", True)


def test_what_the_library_cannot_do_is_told_where_there_is_no_command(no_helm: None) -> None:
    found = one_problem(BOUND.format("{chart: c, postRenderer: p}"))
    assert "config.postRenderer: needs the helm command" in found


def test_a_machine_without_helm_is_told_so_when_the_file_is_read(
    no_helm: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snakemake_executor_plugin_streamflow.config.helm.find_spec", lambda name: None)
    found = one_problem(BOUND.format("{chart: c}"))
    assert "this machine has no helm: install helm 3.13 or newer" in found
    assert problems(deployments("a: {type: helm, config: {chart: c}}")) == []  # no job goes there


def _ours(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    set_values(found, text, typed)
    return found


@pytest.mark.parametrize(
    "text",
    [
        "a=1,b.c=x,b.d=true",
        "a={x,2,true}",
        "a={}",
        r"a=x\,y,b\.c=1",
        "a[0].b=1,a[1].b=2",
        "a[1]=x",
        "a=,b=null",
        "a=007,b=-3,c=0",
        "a=x=y",
        "a.b=1,a.c={p,q}",
        "a={x},b={y\\,z}",
    ],
)
def test_set_is_read_as_helm_reads_it(text: str) -> None:
    helm_python = helm_library()
    assert _ours(text) == helm_python.parse_set_string(text)


WORDS = st.text("abc", min_size=1, max_size=3)


@given(st.dictionaries(WORDS, st.text(st.characters(exclude_categories=["C"]), max_size=8), max_size=4))
def test_any_text_survives_behind_backslashes(wanted: dict[str, str]) -> None:
    text = ",".join(f"{key}={''.join(chr(92) + character for character in value)}" for key, value in wanted.items())
    found: dict[str, Any] = {}
    if text:
        set_values(found, text, str)
    assert found == wanted
