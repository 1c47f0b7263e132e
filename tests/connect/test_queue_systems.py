"""What each queue system is asked, and how its answers are read.

Where the answers come from: `tests/recorded/README.md`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
from pathlib import Path

import pytest

from snakemake_executor_plugin_streamflow.connect.base import Inner
from snakemake_executor_plugin_streamflow.connect.flux import FluxQueue
from snakemake_executor_plugin_streamflow.connect.htcondor import HtcondorQueue
from snakemake_executor_plugin_streamflow.connect.local import LocalConnector
from snakemake_executor_plugin_streamflow.connect.lsf import LsfQueue
from snakemake_executor_plugin_streamflow.connect.oar import OarQueue
from snakemake_executor_plugin_streamflow.connect.pbs import PbsQueue
from snakemake_executor_plugin_streamflow.connect.queue import Queue, State, Submission, Wants
from snakemake_executor_plugin_streamflow.connect.queue_connector import QueueConnector
from snakemake_executor_plugin_streamflow.connect.queue_pack import Held, Node
from snakemake_executor_plugin_streamflow.connect.registry import connector_class
from snakemake_executor_plugin_streamflow.connect.sge import SgeQueue
from snakemake_executor_plugin_streamflow.connect.slurm import SlurmConnector, SlurmQueue
from snakemake_executor_plugin_streamflow.errors import DeployError, Unreachable
from snakemake_executor_plugin_streamflow.model import Deployment, LocalOptions
from snakemake_executor_plugin_streamflow.model.queue_options import (
    QUEUE_OPTIONS,
    FluxService,
    LsfService,
    OarService,
    Pack,
    PbsService,
    SgeService,
    SlurmOptions,
    SlurmService,
)

LOG = logging.getLogger(__name__)
RECORDED = Path(__file__).parents[1] / "recorded"
QUEUES: dict[str, Queue] = {
    queue.name: queue
    for queue in (SlurmQueue(), SgeQueue(), PbsQueue(), LsfQueue(), HtcondorQueue(), FluxQueue(), OarQueue())
}
IDS = {
    "slurm": "1", "sge": "1", "pbs": "1234.pbs-server", "lsf": "1234", "htcondor": "12.0", "flux": "fAEHQpyXFR",
    "oar": "6",
}  # fmt: skip


def recorded(name: str) -> str:
    """What a command printed."""
    return (RECORDED / name).read_text(encoding="utf-8")


def job(service: object = None, **wants: object) -> Submission:
    """A submission."""
    return Submission("run-1-align-1", "/w/a b/batch", "/w/a b/queue-output", "/w", Wants(**wants), service)  # type: ignore[arg-type]


def states(found: dict[str, object]) -> dict[str, str]:
    """States by id."""
    return {id: seen.state.name for id, seen in found.items()}  # type: ignore[attr-defined]


def test_every_type_has_a_connector_and_options() -> None:
    assert set(QUEUES) == set(QUEUE_OPTIONS)
    for name in QUEUES:
        assert issubclass(connector_class(name), QueueConnector)


@pytest.mark.parametrize("name", QUEUES)
def test_the_id_is_read_from_what_the_submit_command_printed(name: str) -> None:
    noise = "some site's banner: 42 jobs run\n"
    assert QUEUES[name].submitted(noise + recorded(f"{name}/submitted")) == IDS[name]


@pytest.mark.parametrize("name", [name for name in QUEUES if (RECORDED / name / "refused").exists()])
def test_a_refusal_holds_no_id(name: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        QUEUES[name].submitted(recorded(f"{name}/refused"))
    assert not QUEUES[name].may_pass(recorded(f"{name}/refused"))


@pytest.mark.parametrize(
    ("name", "file", "expected"),
    [
        (
            "slurm", "status",
            {"1": "ENDED", "2": "ENDED", "3": "ENDED", "4": "PENDING", "5": "OUT_OF_MEMORY", "6": "TIMED_OUT",
             "7": "NODE_FAILED", "8": "CANCELLED"},
        ),
        ("sge", "status", {"1": "RUNNING", "6": "RUNNING", "5": "REFUSED", "4": "PENDING"}),
        (
            "pbs", "status-professional",
            {"1.pbs-server": "PENDING", "2.pbs-server": "RUNNING", "3.pbs-server": "ENDED",
             "4.pbs-server": "TIMED_OUT", "5.pbs-server": "CANCELLED", "6.pbs-server": "CANCELLED",
             "7.pbs-server": "OUT_OF_MEMORY"},
        ),
        (
            "pbs", "status-torque",
            {"1.torque": "PENDING", "2.torque": "ENDED", "3.torque": "TIMED_OUT", "4.torque": "TIMED_OUT"},
        ),
        (
            "lsf", "status",
            {"1": "PENDING", "2": "RUNNING", "3": "ENDED", "4": "ENDED", "5": "TIMED_OUT", "6": "OUT_OF_MEMORY",
             "7": "CANCELLED", "8": "PREEMPTED", "9": "RUNNING", "10": "NODE_FAILED"},
        ),
        (
            "htcondor", "status-23",
            {"3.0": "RUNNING", "5.0": "PREEMPTED", "6.0": "PENDING", "8.0": "REFUSED", "9.0": "REFUSED"},
        ),
        (
            "htcondor", "status",
            {"1.0": "PENDING", "2.0": "RUNNING", "3.0": "OUT_OF_MEMORY", "4.0": "TIMED_OUT", "5.0": "PREEMPTED",
             "6.0": "REFUSED"},
        ),
        ("pbs", "status-function", {"171389798.mycluster": "PENDING"}),
        (
            "pbs", "status-cluster",
            {"68350.mycluster": "PENDING", "69301.mycluster": "RUNNING", "69302.mycluster": "PENDING"},
        ),
        ("pbs", "status-torque-failed", {"179.host": "NODE_FAILED"}),
        (
            "lsf", "status-clusters",
            {"261871": "ENDED", "764213236": "TIMED_OUT", "764220165": "PENDING", "764254593": "RUNNING",
             "764399747": "ENDED"},
        ),
        (
            "flux", "status",
            {"f1": "PENDING", "f2": "RUNNING", "f3": "ENDED", "f4": "ENDED", "f5": "TIMED_OUT", "f6": "CANCELLED",
             "f7": "NODE_FAILED"},
        ),
        ("flux", "status-failed", {"fdFmCpYwQZ5": "NODE_FAILED", "fcod73yYa6b": "NODE_FAILED"}),
        (
            "oar", "status",
            {"3": "RUNNING", "4": "RUNNING", "6": "PENDING", "7": "PENDING", "8": "PENDING", "9": "PENDING",
             "10": "PENDING"},
        ),
        ("oar", "status-again", {"1": "RUNNING", "2": "RUNNING"}),
    ],
)  # fmt: skip
def test_states_are_read(name: str, file: str, expected: dict[str, str]) -> None:
    assert states(QUEUES[name].states(recorded(f"{name}/{file}"))) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "file", "expected"),
    [
        ("sge", "history", {"2": "ENDED", "3": "TIMED_OUT", "6": "CANCELLED"}),
        ("htcondor", "history", {"7.0": "ENDED", "8.0": "CANCELLED"}),
        ("htcondor", "history-23", {"1.0": "ENDED", "2.0": "ENDED", "4.0": "CANCELLED"}),
        ("oar", "history", {"1": "ENDED", "2": "ENDED", "3": "TIMED_OUT", "4": "CANCELLED", "5": "ENDED"}),
        ("oar", "history-2", {"7": "CANCELLED", "8": "PREEMPTED"}),
    ],
)
def test_the_past_is_read(name: str, file: str, expected: dict[str, str]) -> None:
    assert QUEUES[name].history(list(expected))
    assert states(QUEUES[name].past(recorded(f"{name}/{file}"))) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["slurm", "pbs", "lsf"])
def test_what_a_queue_prints_for_a_job_tells_of_its_time_limit(name: str) -> None:
    assert QUEUES[name].explained(recorded(f"{name}/limit-output")) is State.TIMED_OUT
    assert QUEUES[name].explained("a plain error") is None


def test_a_job_that_oar_submits_again_waits() -> None:
    first = recorded("oar/history").partition('\n   "2" :')[0].rpartition("{")[0]
    assert states(QUEUES["oar"].past(first)) == {"1": "PENDING"}  # type: ignore[arg-type]
    assert QUEUES["oar"].cancel(["1"]) == "oardel --sql 'job_id IN (1) OR resubmit_job_id IN (1)'"


def test_lines_of_a_variable_are_no_attributes_of_a_pbs_job() -> None:
    said = "Job Id: 1.s\n    job_state = R\n    Variable_List = BASH_FUNC_f%%=() {  echo\n job_state = F\n},A=1\n"
    assert states(QUEUES["pbs"].states(said)) == {"1.s": "RUNNING"}  # type: ignore[arg-type]


def test_the_memory_limit_of_lsf_is_read_from_the_output_of_a_job() -> None:
    assert QUEUES["lsf"].explained(recorded("lsf/memory-output")) is State.OUT_OF_MEMORY


@pytest.mark.parametrize(("printed", "id"), [("ƒAEHQpyXFR", "fAEHQpyXFR"), ("fAEHQpyXFR", "fAEHQpyXFR")])
def test_a_job_of_flux_has_one_id_in_every_locale(printed: str, id: str) -> None:
    queue = FluxQueue()
    assert queue.submitted(f"{printed}\n") == id
    assert list(queue.states(f"{printed}|RUN||\n")) == [id]
    for locale in ("C", "C.UTF-8"):
        env = {**os.environ, "FLUX_JOB_ID": printed, "LC_ALL": locale}
        assert (
            subprocess.run(["sh", "-c", f"printf %s {queue.own_id}"], env=env, capture_output=True).stdout
            == id.encode()
        )


@pytest.mark.parametrize(
    "file",
    ["pbs/unknown", "pbs/unknown-torque", "lsf/unknown", "sge/cancel-unknown", "htcondor/unknown", "flux/unknown",
     "oar/unknown"],
)  # fmt: skip
def test_jobs_that_the_queue_no_longer_knows_are_no_error(file: str) -> None:
    assert QUEUES[file.split("/")[0]].knows_none(recorded(file))


@pytest.mark.parametrize("name", QUEUES)
def test_commands_are_shell_text_and_name_every_job(name: str) -> None:
    queue = QUEUES[name]
    ids = [IDS[name], IDS[name].replace("1", "7")]
    texts = [queue.submit(job()), queue.cancel(ids), queue.status(ids), queue.history(ids) or "true"]
    texts += [
        queue.submit(job(threads=4, mem_mb=2000, runtime_min=90, nodes=2, gpus=1, partition="it's", account="a b"))
    ]
    for text in texts:
        done = subprocess.run(["sh", "-n", "-c", f"{queue.prelude}\n{text}"], capture_output=True, text=True)
        assert done.returncode == 0, (text, done.stderr)
    assert all(one in queue.cancel(ids) for one in ids)
    assert "'/w/a b/batch'" in texts[0]


@pytest.mark.parametrize(
    ("name", "service", "wants", "expected"),
    [
        (
            "slurm",
            SlurmService(partition="main", mem="1G", exclusive="true", cpus_per_task=2, extra="--comment=x"),
            {"mem_mb": 500, "runtime_min": 90, "partition": "short", "gpus": 2, "gpu_model": "a100", "extra": "-x n1"},
            "sbatch --parsable --no-requeue --job-name=run-1-align-1 --output='/w/a b/queue-output' --cpus-per-task=2 "
            "--exclusive --partition=short --mem=500M --time=90 --gpus=a100:2 --comment=x -x n1 '/w/a b/batch'",
        ),
        (
            "sge",
            SgeService(queue="all.q", parallel_environment="mpi"),
            {"threads": 4, "mem_mb": 2000, "runtime_min": 90, "account": "p"},
            "qsub -terse -N sf-run-1-align-1 -o '/w/a b/queue-output' -j y -r n -S /bin/sh -V -q all.q -P p -pe mpi 4 "
            "-l h_rt=1:30:00,h_vmem=500M -wd /w '/w/a b/batch'",
        ),
        (
            "pbs",
            PbsService(destination="long", resources={"arch": "x86"}),
            {"runtime_min": 5},
            "qsub -N f-run-1-align-1 -o '/w/a b/queue-output' -j oe -r n -q long -l arch=x86 -l walltime=0:05:00 "
            "'/w/a b/batch'",
        ),
        (
            "pbs",
            PbsService(),
            {"threads": 4, "mem_mb": 100, "nodes": 2, "tasks": 4},
            "if [ \"$pro\" ]; then qsub -N f-run-1-align-1 -o '/w/a b/queue-output' -j oe -r n "
            "-l select=2:ncpus=8:mem=100mb:mpiprocs=2 '/w/a b/batch'; else qsub -N f-run-1-align-1 "
            "-o '/w/a b/queue-output' -j oe -r n -l nodes=2:ppn=8 -l mem=100mb '/w/a b/batch'; fi",
        ),
        (
            "lsf",
            LsfService(queue="normal"),
            {"threads": 4, "mem_mb": 2000, "runtime_min": 90},
            "bsub -J sf-run-1-align-1 -o '/w/a b/queue-output' -cwd /w -rn -q normal -W 90 -n 4 -M 2000MB "
            "-R 'span[hosts=1]' -R 'rusage[mem=2000MB]' <'/w/a b/batch'",
        ),
        (
            "flux",
            FluxService(queue="batch", setattr={"a.b": "1"}, rlimit=("core", "-*")),
            {"threads": 4, "runtime_min": 90},
            "flux submit --job-name=sf-run-1-align-1 --output='/w/a b/queue-output' --queue=batch --rlimit=core "
            "--rlimit='-*' --setattr=a.b=1 --time-limit=90m --cores-per-task=4 sh '/w/a b/batch'",
        ),
        (
            "oar",
            OarService(type="besteffort"),
            {"threads": 4, "runtime_min": 90},
            "oarsub -n sf-run-1-align-1 -O '/w/a b/queue-output' -E '/w/a b/queue-output' -d /w -t besteffort "
            "-l /nodes=1/core=4,walltime=1:30:00 'sh '\"'\"'/w/a b/batch'\"'\"''",
        ),
    ],
)
def test_resources_become_options(name: str, service: object, wants: dict[str, object], expected: str) -> None:
    assert QUEUES[name].submit(job(service, **wants)) == expected


def test_htcondor_is_given_a_description() -> None:
    text = HtcondorQueue().submit(job(threads=4, mem_mb=2000, runtime_min=90))
    assert text.startswith("condor_submit -terse - <<'SUBMIT'\n")
    for line in ("request_cpus = 4", "request_memory = 2000MB", "allowed_execute_duration = 5400", "queue"):
        assert f"\n{line}\n" in text


def test_slurm_names_clusters_where_the_id_does() -> None:
    queue = SlurmQueue()
    assert queue.submitted("17;fast\n") == "17;fast"
    assert "scancel --clusters=fast 17" in queue.cancel(["1", "17;fast"])
    said = "CLUSTER: fast\n17|RUNNING|None\n"
    assert states(queue.states(said)) == {"17;fast": "RUNNING"}  # type: ignore[arg-type]


@pytest.mark.parametrize(("asked", "tool"), [("status", "squeue"), ("history", "sacct")])
def test_slurm_is_told_apart_where_it_does_not_name_the_cluster_itself(tmp_path: Path, asked: str, tool: str) -> None:
    row = "17|RUNNING|None" if tool == "squeue" else "17|COMPLETED|None"
    (tmp_path / tool).write_text(f"#!/bin/sh\necho '{row}'\n")
    (tmp_path / tool).chmod(0o755)
    queue = SlurmQueue()

    def found(*ids: str) -> set[str]:
        text = getattr(queue, asked)(ids)
        env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        said = subprocess.run(["sh", "-c", text], env=env, capture_output=True, text=True, check=True).stdout
        assert ("CLUSTER" in said) == (ids != ("17",))
        return set(queue.states(said))

    assert found("17") == {"17"}
    assert found("17;fast") == {"17;fast"}
    assert found("17;fast", "17", "17;slow") == {"17;fast", "17", "17;slow"}


def test_a_cluster_that_does_not_know_its_jobs_hides_no_others(tmp_path: Path) -> None:
    (tmp_path / "squeue").write_text("#!/bin/sh\ncase $1 in *=old) exit 1;; esac; echo '18|RUNNING|None'\n")
    (tmp_path / "squeue").chmod(0o755)
    queue, env = SlurmQueue(), {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", queue.status(["17;old", "18;new"])], env=env, capture_output=True, text=True)
    assert set(queue.states(done.stdout)) == {"18;new"}
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("said", "code", "fails"),
    [
        ("slurm_load_jobs error: Unable to contact slurm controller", 1, True),
        ("slurm_load_jobs error: Invalid job id specified", 1, False),
        ("", 0, False),
    ],
)
def test_a_controller_that_does_not_answer_says_nothing_of_an_allocation(
    tmp_path: Path, said: str, code: int, fails: bool
) -> None:
    (tmp_path / "squeue").write_text(f"#!/bin/sh\nprintf '{said}' >&2\nexit {code}\n")
    (tmp_path / "squeue").chmod(0o755)
    here = Deployment("here", "local", LocalOptions())

    async def ask() -> list[Node]:
        local = LocalConnector(here, run="r", inner=None, log=LOG)
        inner = Inner(local, (await local.locations(None))[0])
        held = Held("q/pack", SlurmQueue(), None, inner, "r", LOG)
        held._id = "17"
        return await held.nodes()

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        if fails:
            with pytest.raises(Unreachable, match="Unable to contact"):
                asyncio.run(ask())
        else:
            assert asyncio.run(ask()) == []


def test_an_allocation_is_given_back_when_that_of_another_service_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    async def hold(held: Held) -> None:
        calls.append(f"hold {held.name}")
        if held.name == "q/b":
            raise DeployError("refused")

    async def release(held: Held) -> None:
        calls.append(f"release {held.name}")

    monkeypatch.setattr(Held, "hold", hold)
    monkeypatch.setattr(Held, "release", release)
    pack = Pack(nodes=1)
    options = SlurmOptions(services={"a": SlurmService(pack=pack), "b": SlurmService(pack=pack)})
    connector = SlurmConnector(Deployment("q", "slurm", options), run="r", inner=None, log=LOG)
    with pytest.raises(DeployError, match="refused"):
        asyncio.run(connector.deploy())
    assert calls == ["hold q/a", "hold q/b", "release q/a", "release q/b"]


@pytest.mark.parametrize(
    ("said", "nodes"),
    [
        ("8|500M|n[1-2]\nn1\nn2\n", [Node("n1", 4, 500 << 20), Node("n2", 4, 500 << 20)]),
        ("4|2Gc|n1\nn1\n", [Node("n1", 4, 8 << 30)]),
        ("4|0|n1\nn1\n", [Node("n1", 4, None)]),
        ("slurm_load_jobs error: Invalid job id specified\n", []),
        ("", []),
    ],
)
def test_the_nodes_of_a_slurm_allocation_are_read(said: str, nodes: list[Node]) -> None:
    assert SlurmQueue().nodes(said) == nodes


def test_a_whole_node_is_asked_for_unless_cores_are_given() -> None:
    assert SlurmQueue().whole(Pack(nodes=2)).extra == "--exclusive --mem=0"
    assert SlurmQueue().whole(Pack(cores=4, memory=10**9)).extra == ""


def test_resources_have_snakemakes_names() -> None:
    wants = Wants.of(
        {"runtime": 5, "slurm_partition": "a", "partition": "b", "gpu": 1, "threads": 2, "mpi": "srun"}, "slurm"
    )
    assert wants == Wants(threads=2, runtime_min=5, partition="a", gpus=1)
    assert Wants.of({"queue": "q", "slurm_partition": "a"}, "lsf") == Wants(partition="q")


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"slurm_partition": "a"}, "--partition=a"),
        ({"slurm_account": "me"}, "--account=me"),
        ({"slurm_extra": "--mail-type=END"}, "--mail-type=END"),
        ({"cluster": "c1"}, "--clusters=c1"),
        ({"clusters": "c1,c2"}, "--clusters=c1,c2"),
        ({"slurm_cluster": "c1"}, "--clusters=c1"),
        ({"gres": "gpu:a100:2"}, "--gres=gpu:a100:2"),
        ({"gpu": 2}, "--gpus=2"),
        ({"gpus": 2, "gpu_model": "a100"}, "--gpus=a100:2"),
        ({"gpu_model": "a100"}, "--gpus=a100:1"),
        ({"gpu": 1, "cpus_per_gpu": 4}, "--cpus-per-gpu=4 --gpus=1"),
        ({"gpu": 1, "tasks_per_gpu": 2}, "--ntasks-per-gpu=2 --gpus=1"),
        ({"mem_mb": 900}, "--mem=900M"),
        ({"mem_mb": 900, "mem_mb_per_cpu": 300}, "--mem-per-cpu=300M"),
        ({"disk_mb": 50}, "--tmp=50M"),
        ({"runtime": 60}, "--time=60"),
        ({"threads": 8}, "--cpus-per-task=8"),
        ({"threads": 8, "cpus_per_task": 2}, "--cpus-per-task=2"),
        ({"threads": 8, "cpus_per_task": -1}, ""),
        ({"mpi": "srun", "tasks": 4}, "--ntasks=4"),
        ({"mpi": "mpirun", "nodes": 2, "tasks_per_node": 4}, "--nodes=2 --ntasks-per-node=4"),
        ({"constraint": "avx512"}, "--constraint=avx512"),
        ({"qos": "high"}, "--qos=high"),
        ({"reservation": "course"}, "--reservation=course"),
    ],
)
def test_slurm_is_asked_for_what_its_own_executor_plugin_asks_for(
    resources: dict[str, int | str], expected: str
) -> None:
    asked = Submission("j", "/b", "/o", "/w", Wants.of({"threads": 1} | resources, "slurm"))
    text = SlurmQueue().submit(asked)
    between = text.removeprefix("sbatch --parsable --no-requeue --job-name=j --output=/o").removesuffix("/b").strip()
    assert between == expected


def test_what_a_rule_asks_for_replaces_what_the_service_says_of_the_same() -> None:
    service = SlurmService(mem="1G", cpus_per_task=2, gpus="1", clusters="c1")
    text = SlurmQueue().submit(job(service, mem_mb_per_cpu=300, cpus_per_gpu=4, gres="gpu:1", clusters="c2"))
    assert not any(option in text for option in ("--mem=", "--cpus-per-task", "--gpus=", "c1"))


_MOST: dict[str, int | str] = {
    "threads": 4, "mem_mb": 2000, "disk_mb": 300, "runtime": 90, "queue": "long", "account": "me", "constraint": "fast",
    "gpu": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "pbs",
            "-q long|-A me|-l walltime=1:30:00|select=1:ncpus=4:mem=2000mb:ngpus=1|nodes=1:ppn=4:gpus=1|mem=2000mb",
        ),
        ("sge", "-q long|-P me|-pe smp 4|h_rt=1:30:00,h_vmem=500M,gpu=1"),
        ("lsf", "-q long|-P me|-W 90|-n 4|-gpu num=1|-M 2000MB|rusage[mem=2000MB]|select[fast]"),
        (
            "htcondor",
            "request_cpus = 4|request_memory = 2000MB|request_disk = 300MB|request_gpus = 1"
            "|allowed_execute_duration = 5400|accounting_group = me|requirements = fast",
        ),
        ("flux", "--queue=long|--bank=me|--time-limit=90m|--cores-per-task=4|--gpus-per-task=1|--requires=fast"),
        ("oar", "-q long|--project=me|/nodes=1/gpu=1/core=4,walltime=1:30:00|-p fast"),
    ],
)
def test_the_others_are_asked_for_what_they_know(name: str, expected: str) -> None:
    asked = Submission("j", "/b", "/o", "/w", Wants.of(_MOST, name))
    text = QUEUES[name].submit(asked)
    assert [part for part in expected.split("|") if part not in text] == []
