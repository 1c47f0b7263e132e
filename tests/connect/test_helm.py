"""The Helm connector: what helm is told, and releases in the cluster that KUBECONFIG names."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import yaml

from snakemake_executor_plugin_streamflow.connect.helm import HelmConnector
from snakemake_executor_plugin_streamflow.connect.helm_command import HelmCommand, install_words, uninstall_words
from snakemake_executor_plugin_streamflow.connect.helm_values import all_values
from snakemake_executor_plugin_streamflow.connect.kubernetes_api import Cluster
from snakemake_executor_plugin_streamflow.connect.kubernetes_manifests import containers, parse_manifests
from snakemake_executor_plugin_streamflow.errors import DeployError
from snakemake_executor_plugin_streamflow.model import Deployment, HelmOptions
from tests.servers import kubernetes as servers
from tests.servers.helm import helm_library

namespace = servers.namespace
EXAMPLE = Path(__file__).parents[2] / "examples" / "helm"
CHART = str(EXAMPLE / "chart")
PASSWORD = {"db": {"password": "s3cret"}}
LOG = logging.getLogger(__name__)
HELM = shutil.which("helm")

FAKE = """#!/bin/sh
echo "$@" >> "$RECORD/argv"
case " $* " in
    *" list "*) cat "$RECORD/list" ;;
    *" install "*)
        for word; do case $last in
            --values) stat -c %a "$word" "${word%/*}" >> "$RECORD/modes"; cat "$word" > "$RECORD/values" ;;
            --repository-config) cat "$word" > "$RECORD/repositories" ;;
        esac; last=$word; done
        echo '{}' ;;
esac
"""
LISTED = '[{"name":"r","namespace":"n","revision":"1","status":"pending-install","chart":"c-0.1.0","app_version":""}]'


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a stand-in for the helm command was told, and what it finds: it can show argv and files of every call."""
    (tmp_path / "helm").write_text(FAKE)
    (tmp_path / "helm").chmod(0o755)
    (tmp_path / "list").write_text("[]\n")
    monkeypatch.setenv("RECORD", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def test_no_value_is_on_a_command_line(record: Path) -> None:
    options = HelmOptions(
        chart="c",
        repo="http://r",
        username="me",
        password="pass1",
        values={"a": "pass2"},
        command_line_values="b.c=pass3",
    )
    asyncio.run(HelmCommand(options, "r", "n").install({"x": "y"}))

    assert "pass" not in (record / "argv").read_text()
    assert json.loads((record / "values").read_text()) == {"a": "pass2", "b": {"c": "pass3"}}
    (entry,) = yaml.safe_load((record / "repositories").read_text())["repositories"]
    assert (entry["url"], entry["username"], entry["password"]) == ("http://r", "me", "pass1")
    modes = (record / "modes").read_text().split()
    assert modes == ["600", "700"]


def test_who_we_are_is_told_in_the_environment(record: Path) -> None:
    (record / "helm").write_text('#!/bin/sh\necho "$@" >> "$RECORD/argv"; env >> "$RECORD/env"; echo "[]"\n')
    options = HelmOptions(
        chart="c", kube_apiserver="https://h:1", kube_token="pass1", kube_as_user="u", kube_as_group=("g", "h"),
        kube_ca_file="/ca", kube_tls_server_name="n", kube_insecure_skip_tls_verify=True,
    )  # fmt: skip
    asyncio.run(HelmCommand(options, "r", "n").there())
    assert "pass" not in (record / "argv").read_text()
    told = {line for line in (record / "env").read_text().splitlines() if line.startswith("HELM_KUBE")}
    assert told == {
        "HELM_KUBEAPISERVER=https://h:1", "HELM_KUBETOKEN=pass1", "HELM_KUBEASUSER=u", "HELM_KUBEASGROUPS=g,h",
        "HELM_KUBECAFILE=/ca", "HELM_KUBETLS_SERVER_NAME=n", "HELM_KUBEINSECURE_SKIP_TLS_VERIFY=true",
    }  # fmt: skip


def test_files_with_values_are_gone_afterwards(record: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "t"))
    asyncio.run(HelmCommand(HelmOptions(chart="c"), "r", "n").install({}))
    assert (record / "values").read_text() == "{}"
    assert list((tmp_path / "t").iterdir()) == []


def test_a_release_in_any_state_has_its_name(record: Path) -> None:
    command = HelmCommand(HelmOptions(chart="c", kubeconfig="/k", kube_context="x"), "r.s", "n")
    assert not asyncio.run(command.there())
    (record / "list").write_text(LISTED)
    assert asyncio.run(command.there({"streamflow.run": "1"}))
    said = (record / "argv").read_text().splitlines()[-1]
    assert said == (
        "--namespace n --kube-context x --kubeconfig /k list --filter ^r[.]s$ --deployed --failed --pending "
        "--superseded --uninstalling --output json --selector streamflow.run=1"
    )


def test_two_deployments_of_a_run_do_not_take_down_each_others_release(
    record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def namespace(_: object) -> str:
        return "n"

    monkeypatch.setattr(Cluster, "namespace", namespace)
    options = HelmOptions(chart="c", release_name="r")
    connector = HelmConnector(Deployment("one", "helm", options), run="r1", inner=None, log=LOG)
    asyncio.run(connector.undeploy())
    said = (record / "argv").read_text().splitlines()[-1]
    assert said.endswith(" --selector streamflow.run=r1,streamflow.deployment=one")


def test_options_become_arguments() -> None:
    options = HelmOptions(
        chart="c",
        repo="http://r",
        chart_version="1",
        yaml_values=("/v.yml",),
        timeout=60,
        wait_for_jobs=True,
        dep_up=True,
        dependency_update=True,
        labels="a=b",
        post_renderer="p",
        post_renderer_args=("-x",),
        cascade="orphan",
        no_hooks=True,
        keep_history=True,
    )
    said = " ".join(install_words(options, "r", {"l": "m"}, "/own.yml"))
    assert said == (
        "install r c --timeout 60s --output json --hide-notes --values /v.yml --values /own.yml --dependency-update "
        "--no-hooks --wait-for-jobs --version 1 --post-renderer p --repo http://r --post-renderer-args -x --wait "
        "--labels a=b,l=m"
    )
    said = " ".join(uninstall_words(options, "r"))
    assert said == "uninstall r --timeout 60s --cascade orphan --no-hooks --keep-history"


def test_values_are_merged_as_helm_does(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("a: {b: 1, c: [1, 2]}\nd: 1\n")
    (tmp_path / "b.yml").write_text("a: {c: [3]}\n")
    files = (str(tmp_path / "a.yml"), str(tmp_path / "b.yml"))
    options = HelmOptions(
        chart="c",
        yaml_values=files,
        values={"a": {"e": 1}, "d": None},
        command_line_values="x=1,y=1",
        set_json=("y=[2]",),
        string_values="x=2",
        set_literal=("z=a,b",),
    )
    assert all_values(options) == {"a": {"b": 1, "c": [3], "e": 1}, "d": None, "x": "2", "y": 1, "z": "a,b"}


def test_the_chart_of_the_example_is_sound() -> None:
    report = helm_library().lint(CHART, PASSWORD, strict=False)
    assert [one for one in report["messages"] if one["severity"] >= 3] == []
    assert report["errors"] == []


def test_the_chart_of_the_example_makes_a_database_and_workers() -> None:
    with helm_library().Chart.load(CHART) as chart:
        files = chart.render({**PASSWORD, "worker": {"replicas": 7}}, name="r", namespace="n")
    objects = parse_manifests("\n---\n".join(files.values()), "the chart")
    assert set(containers(objects)) == {"db", "worker"}
    (workers,) = [one for one in objects if one["kind"] == "Deployment"]
    assert workers["spec"]["replicas"] == 7


# In a cluster

Make = Callable[..., HelmConnector]


@pytest.fixture(params=["command", "library"])
def make(request: pytest.FixtureRequest, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make a connector of the example's chart, by the helm command of this machine or without it."""
    if request.param == "library":
        helm_library()
        path = [folder for folder in os.environ["PATH"].split(":") if not Path(folder, "helm").exists()]
        monkeypatch.setenv("PATH", ":".join(path))
    elif HELM is None:
        pytest.skip("NOT TESTED: this machine has no helm: releases are installed by the library only")

    def make(chart: str = CHART, *, external: bool = False, run: str = "r1", **options: Any) -> HelmConnector:
        values = {**PASSWORD, "worker": {"replicas": 1, "cpu": "100m"}, **options.pop("values", {})}
        given = HelmOptions(chart=chart, namespace=namespace, timeout=60, values=values, grace_period=1, **options)
        return HelmConnector(Deployment("rel", "helm", given, external=external), run=run, inner=None, log=LOG)

    return make


def _with(*connectors: HelmConnector, do: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Do something with connectors, and take down what they brought up."""

    async def all_of_it() -> Any:
        try:
            return await do()
        finally:
            for connector in connectors:
                await connector.undeploy()
                await connector.close()

    return asyncio.run(all_of_it())


def test_a_release_is_installed_used_and_uninstalled(make: Make, namespace: str) -> None:
    connector, again = make(release_name="full"), make(release_name="full")
    other, theirs = make(release_name="full", run="r2"), make(release_name="full", run="r2", external=True)

    async def do() -> None:
        await connector.deploy()
        found = await connector.locations(None)
        assert {one.service for one in found} == {"db", "worker"}
        (worker,) = [one for one in found if one.service == "worker"]
        assert (worker.cores, worker.memory_b) == (1, 256 << 20)
        async with await connector.open(worker, ["sh", "-c", 'redis-cli -h "$REDIS_HOST" ping']) as channel:
            assert await channel.read() == b"PONG\n"
            assert await channel.wait() == 0
        assert await theirs.locations(None) == found
        with pytest.raises(DeployError, match="there is a release full already"):
            await other.deploy()
        await other.undeploy()  # it is not theirs: it stays
        assert await connector.locations(None) == found
        await again.undeploy()
        with pytest.raises(DeployError):
            await theirs.locations(None)

    _with(connector, other, theirs, do=do)
    assert servers.names(namespace, "deployment,statefulset,service,secret") == []


def test_a_release_whose_image_is_not_there_fails_at_once_and_leaves_nothing(make: Make, namespace: str) -> None:
    connector = make(values={"image": "streamflow.invalid/no:1"})

    async def do() -> str:
        with pytest.raises(DeployError) as error:
            await connector.deploy()
        return str(error.value)

    said = _with(connector, do=do)
    assert "ImagePullBackOff" in said
    assert "waits" in said
    assert servers.names(namespace, "deployment,statefulset,service,secret") == []


def test_a_chart_that_is_wrong_is_told_in_helms_words(make: Make, namespace: str) -> None:
    connector = make(values={"db": {"password": ""}})

    async def do() -> None:
        with pytest.raises(DeployError, match=r"(?s)cannot be installed.*db.password is missing"):
            await connector.deploy()

    _with(connector, do=do)


def test_the_example_counts_words_in_the_cluster(make: Make, namespace: str, tmp_path: Path) -> None:
    work = shutil.copytree(EXAMPLE, tmp_path / "work", ignore=shutil.ignore_patterns("results", ".snakemake"))
    file = yaml.safe_load((work / "streamflow.yml").read_text())
    file["deployments"]["release"]["config"] |= {"namespace": namespace, "gracePeriod": 1}
    (work / "streamflow.yml").write_text(yaml.safe_dump(file))
    words = [sys.executable, "-m", "snakemake", "--nocolor", "--executor", "streamflow", "--jobs", "4"]
    env = {**os.environ, "DB_PASSWORD": "s3cret"}
    ended = subprocess.run(words, cwd=work, env=env, capture_output=True, text=True, timeout=240)

    assert ended.returncode == 0, ended.stderr
    rows = [line.split("\t") for line in (work / "results/words.tsv").read_text().splitlines()]
    assert rows[:2] == [["the", "28"], ["and", "9"]]
    assert "s3cret" not in ended.stdout + ended.stderr
    assert servers.names(namespace, "deployment,statefulset,service,secret") == []
