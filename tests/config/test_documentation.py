"""What the documentation says is what the program does: files, commands, options, links, the first example."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry
from snakemake_interface_storage_plugins.registry import StoragePluginRegistry

from snakemake_executor_plugin_streamflow.cli.parser import parse
from snakemake_executor_plugin_streamflow.config import json_schema, read_companion
from snakemake_executor_plugin_streamflow.config.foreign import IGNORED_OPTIONS
from snakemake_executor_plugin_streamflow.config.reader import keys
from snakemake_executor_plugin_streamflow.config.sections import (
    BindingSection,
    CompanionSection,
    DeploymentSection,
    TargetSection,
)
from snakemake_executor_plugin_streamflow.model import OPTIONS, QUEUE_OPTIONS, JobService, queue_options

from .reading import HOME, read

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "examples" / "README.md")
}
GUIDE, FURTHER, COMMANDS = PAGES["docs/companion-file.md"], PAGES["docs/further.md"], PAGES["docs/command-line.md"]
ENVIRON = {"USER": "me", "DB_PASSWORD": "x", "PWD": "/home/me/run", "CLUSTER_USER": "me"}
VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def _blocks(language: str) -> list[tuple[str, str]]:
    """Return each block of code in that language, with its page."""
    pattern = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [(name, block) for name, text in PAGES.items() for block in pattern.findall(text)]


YAML = _blocks("yaml")
FILES = [pytest.param(block, id=name) for name, block in YAML if "version:" in block]
PROFILES = [pytest.param(block, id=name) for name, block in YAML if "version:" not in block]


@pytest.mark.parametrize("block", FILES)
def test_every_companion_file_in_the_documentation_is_accepted(block: str) -> None:
    VALIDATOR.validate(yaml.safe_load(block))
    read(block, ENVIRON)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*/streamflow*.yml")), ids=str)
def test_every_companion_file_of_the_examples_is_accepted(path: Path) -> None:
    VALIDATOR.validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    read_companion(path, ENVIRON, HOME)


@pytest.mark.parametrize("block", PROFILES)
def test_every_profile_in_the_documentation_is_that_of_the_example(block: str) -> None:
    example = ROOT / "examples" / "variant-calling" / "profiles" / "floating" / "config.yaml"
    assert {**yaml.safe_load(block), "jobs": 0} == {**yaml.safe_load(example.read_text("utf-8")), "jobs": 0}


def _section(name: str) -> str:
    """Return where the options of a type are described."""
    if name in QUEUE_OPTIONS:
        return _under("Queues")
    if name.startswith("kubernetes"):
        return PAGES["docs/kubernetes.md"]
    if name.startswith("helm"):
        return PAGES["docs/helm.md"]
    return _under(f"`{name}`") + (_under("`docker`") if name == "podman" else "")


def _under(title: str) -> str:
    (found,) = re.findall(rf"^### [^\n]*{title}[^\n]*\n(.*?)(?=^##|\Z)", GUIDE, re.MULTILINE | re.DOTALL)
    assert isinstance(found, str)
    return found


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_described_with_its_type(name: str) -> None:
    text = _under("Options of every type") + _section(name)
    names = {key.name for key in keys(OPTIONS[name])} | IGNORED_OPTIONS.get(OPTIONS[name], frozenset())
    assert [one for one in sorted(names) if f"`{one}`" not in text] == []


def test_every_key_that_is_no_option_is_described() -> None:
    services = [getattr(queue_options, f"{name}Service") for name in ("Htcondor", "Lsf", "Oar", "Pbs", "Sge")]
    sections = [CompanionSection, BindingSection, TargetSection, DeploymentSection, JobService, *services]
    text = GUIDE + PAGES["docs/queues.md"] + PAGES["docs/kubernetes.md"]
    names = {key.name for section in sections for key in keys(section)}
    names |= {name for section, ignored in IGNORED_OPTIONS.items() if section in sections for name in ignored}
    assert [one for one in sorted(names) if f"`{one}`" not in text] == []


@pytest.mark.parametrize("page", ["README.md", "docs/companion-file.md", "docs/further.md"])
def test_every_type_of_deployment_is_named(page: str) -> None:
    types = set(OPTIONS) - {"helm3", "helm4"}
    assert [name for name in sorted(types) if f"`{name}`" not in PAGES[page]] == []


def test_links_lead_somewhere() -> None:
    broken = []
    for name, text in PAGES.items():
        for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text)):
            path, _, anchor = link.partition("#")
            if ":" in path:
                continue
            target = (ROOT / name).parent / path if path else ROOT / name
            if not target.exists() or (anchor and anchor not in _anchors(target)):
                broken.append(f"{name}: {link}")
    assert broken == []


def _anchors(page: Path) -> list[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


def test_pages_are_found_from_the_readme() -> None:
    pages = [name for name in PAGES if name.startswith("docs/")]
    assert [name for name in pages if f"]({name}" not in PAGES["README.md"]] == []


def _help(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        parse([*words.split(), "--help"])
    assert ended.value.code == 0, f"snakemake-streamflow {words}"
    return capsys.readouterr().out


def test_commands_that_the_documentation_names_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    found = {one for text in PAGES.values() for one in re.findall(r"snakemake-streamflow ((?:data )?[a-z]+)\b", text)}
    for words in found - {"shows"}:  # the only sentence that goes on after the name
        _help(words, capsys)


def test_every_command_and_its_options_are_described(capsys: pytest.CaptureFixture[str]) -> None:
    def named(words: str) -> set[str]:
        return set(re.findall(r"^    ([a-z]+)  ", _help(words, capsys), re.MULTILINE))

    commands = (named("") - {"data"}) | {f"data {word}" for word in named("data")}
    assert {"status", "data where"} <= commands
    for words in commands:
        assert f"`{words}" in COMMANDS
        options = set(re.findall(r"^  (--[a-z-]+)", _help(words, capsys), re.MULTILINE))
        assert options
        assert {option for option in options if option not in COMMANDS} == set()


def test_options_of_snakemake_that_the_plugins_add_are_those_that_are_described() -> None:
    executor = ExecutorPluginRegistry().get_plugin("streamflow")
    storage = StoragePluginRegistry().get_plugin("streamflow")
    there = {
        f"--{plugin.cli_prefix}-{name.replace('_', '-')}"
        for plugin in (executor, storage)
        for name in plugin.settings_cls.__dataclass_fields__
        if name not in ("max_requests_per_second", "max_workers", "tag", "use_default")
    }
    named = {one for text in PAGES.values() for one in re.findall(r"--(?:storage-)?streamflow-[a-z-]+", text)}
    assert named - there == set()
    assert {one for one in there if f"`{one}" not in FURTHER} == set()


def test_the_catalogue_shows_intro_and_further_as_they_are() -> None:
    intro = PAGES["docs/intro.md"]
    assert 1 <= len(re.findall(r"\.(?=\s|$)", intro)) <= 5
    assert "#" not in intro
    text = re.sub(r"^```.*?^```", "", FURTHER, flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"^(?:#{1,2} |:::|!!!|> \[!|\.\. )", text, re.MULTILINE) == []
    assert re.findall(r"<[a-z/]", text) == []
    assert text.startswith("### ")


def test_the_first_example_runs_as_it_is_written(tmp_path: Path) -> None:
    five_minutes = PAGES["README.md"].split("## Five minutes")[1]
    snakefile, companion = re.findall(r"^```\w*\n(.*?)^```", five_minutes, re.MULTILINE | re.DOTALL)[:2]
    files, command = re.findall(r"^    (\w.*)$", re.sub(r"^```.*?^```", "", five_minutes, flags=re.M | re.S), re.M)[:2]
    (tmp_path / "Snakefile").write_text(snakefile)
    site = tmp_path / "site"
    assert "/tmp/streamflow-box" in companion
    (tmp_path / "streamflow.yml").write_text(companion.replace("/tmp/streamflow-box", str(site)))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "HOME": str(tmp_path)}
    ended = subprocess.run(
        ["sh", "-ec", f"{files}\n{command}"],
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stdout
    assert (tmp_path / "results" / "report.txt").read_text().split() == ["3", "2"]
    assert (site / "results" / "a.count").exists()
