"""Snakemake's calls in, Snakemake's reports out."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.real import RealExecutor
from snakemake_interface_executor_plugins.settings import ExecMode, SharedFSUsage

from . import checks
from .pace import Pace
from .settings import STARTED_WITH, ExecutorSettings

if TYPE_CHECKING:
    from .driver import Driver
    from .engine import Engine
    from .jobs import Task, Translator
    from .journal import TaskRecord
    from .model import Binding

_STOP_S = 6.5
"""Everything is down so many seconds after all jobs have been ended, or a message says what is not."""


class Executor(RealExecutor):
    """The executor that `snakemake --executor streamflow` uses."""

    _driver: Driver | None = None

    def __post_init__(self) -> None:
        self._jobs: dict[str, Any] = {}
        self._pace = Pace()
        self._temporary: set[str] = set()
        self._doubtful: set[str] = set()
        self._ended_well: set[Any] = set()  # Snakemake hears of an end a little later
        self._settings = self.executor_settings or ExecutorSettings()
        checks.check_options(self.workflow, floating=self._floating)
        self._companion = checks.companion_of(self.workflow, self._settings.file)
        checks.check_rules(self.workflow, self._companion, self.logger.warning)
        if self._floating and not len(self.dag):  # Snakemake will say that there is nothing to be done
            self._bring_targets_home()

    def run_jobs(self, jobs: list[Any]) -> None:
        from snakemake.exceptions import ProtectedOutputException

        from .jobs import cache

        driver, translator = self._started()
        self._discard()
        tasks: list[Task] = []
        again: dict[str, TaskRecord] = {}
        for job in jobs:
            self.run_job_pre(job)
            try:
                begun = self._begun.get(self._known_as(job) or "")
                bound = self._prepare(job, begun=begun is not None)
                if cache.uses_cache(job) and self.workflow.async_run(cache.fetch(job)):
                    self.report_job_submission(info := SubmittedJobInfo(job))
                    self.report_job_success(info)
                    continue
                task = translator.task(job, bound=bound)
            except ProtectedOutputException:
                raise  # ends the run, as it does locally: Snakemake removes the outputs of jobs that fail
            except Exception as error:
                self._reject(job, error)
                continue
            self._jobs[task.id] = job
            if begun is not None:
                again[task.id] = begun
            known_as = begun.job if begun is not None else task.id
            self.report_job_submission(SubmittedJobInfo(job, external_jobid=known_as))
            self._pace.begin(task.id)
            tasks.append(task)
        driver.submit(tasks, again)
        self._pace.wait([task.id for task in tasks])

    def _known_as(self, job: Any) -> str | None:
        """The identity under which an earlier run, which has died, has sent a job."""
        members = job.jobs if job.is_group() else (job,)  # those without outputs are not known
        return next(filter(None, map(self.dag.incomplete_external_jobid, members)), None)

    def _prepare(self, job: Any, *, begun: bool) -> bool:
        """Do what Snakemake does at the controller before a job runs; return whether a binding sends it somewhere.

        Args:
            begun: an earlier run has begun it: its outputs may be there.
        """
        from .jobs import check_protected, floats, ordered, prepare, why_not_direct

        members = ordered(job)
        bound = self._floating or self._binding(members[-1]) is not None
        if self._floating:
            for member in members:
                check_protected(member, lambda paths: self._engine.wait(self._engine.errands.protected(paths)))
                for f in member.input:  # storage of another kind: its files come to the controller
                    if f.is_storage and not floats(f):
                        self.workflow.async_run(f.retrieve_from_storage())
        if begun:
            for f in (f for member in members for f in (*member.output, *member.log)):
                f.prepare()
            return bound
        self.workflow.async_run(prepare(job, nested=bound and any(map(why_not_direct, members))))
        return bound

    def run_job(self, job: Any) -> None:
        self.run_jobs([job])

    def handle_job_success(self, job: Any) -> None:
        if self._driver is not None and not self._floating:
            members = _members(job)
            self._driver.settle([str(f) for member in members for f in member.output])
            self._temporary.update(str(f) for member in members for f in member.output if f.flags.get("temp"))
            self._doubtful.update(str(f) for member in members for f in (*member.input, *member.output))

    def _discard(self) -> None:
        """Have sites remove what Snakemake has removed here because no job needs it any more."""
        gone = {path for path in self._temporary & self._doubtful if not os.path.lexists(path)}
        self._doubtful.clear()
        self._temporary -= gone
        if gone and self._driver is not None:
            self._driver.discard(sorted(gone))

    def cancel(self) -> None:
        def wait(*_: object) -> None:
            self.logger.warning(f"Jobs at sites are being ended: this takes at most {_STOP_S + 3:.0f} s.")

        numbers = (signal.SIGINT, signal.SIGTERM) if _may_handle_signals() else ()
        before = {number: signal.signal(number, wait) for number in numbers}
        try:
            self._stop()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def shutdown(self) -> None:
        if self._driver is not None:
            self._discard()
            self._driver.finish()
        try:
            if self._floating:
                self._bring_targets_home()
        finally:
            self._stop()

    @property
    def cores(self) -> Any:
        return self.workflow.resource_settings.cores or "all"

    def get_exec_mode(self) -> ExecMode:
        return ExecMode.REMOTE

    def get_python_executable(self) -> str:
        return shlex.quote(sys.executable)

    def additional_general_args(self) -> str:
        return "--quiet progress rules host --nolock --ignore-incomplete --max-jobs-per-timespan 100/0s"

    @property
    def _floating(self) -> bool:
        """Whether files stay where they are made."""
        return SharedFSUsage.INPUT_OUTPUT not in self.workflow.storage_settings.shared_fs_usage

    def _bring_targets_home(self) -> None:
        """Bring home final targets that an earlier run, or a failure, has left at sites.

        Raises:
            WorkflowError: one of them did not arrive.
        """
        from snakemake_interface_common.exceptions import WorkflowError

        from .errors import DataLost, SiteError
        from .jobs import floats, name_of, targets
        from .model import is_address

        if self._settings.leave_targets:
            return
        wanted = {str(f) for f in targets(self.dag)}
        made = [(job, f) for job in self.dag.jobs for f in job.output if f in wanted and floats(f) and not f.is_temp]
        engine = self._make_engine()
        paths = [(job, engine.files.canonical(name)) for job, f in made if not is_address(name := name_of(f))]
        try:
            engine.wait(engine.errands.bring_home([path for _, path in paths]))
            if lost := [path for job, path in paths if self.dag.finished(job) and engine.files.state(path) is None]:
                raise DataLost(f"{', '.join(lost)}: nobody has it any more", *lost)
        except SiteError as error:
            raise WorkflowError(
                f"Not all final targets could be brought home: {error}\nRun again: what is lost is made anew."
            ) from None

    def _started(self) -> tuple[Driver, Translator]:
        if self._driver is None:
            from .driver import Driver
            from .jobs import NestedCommands, Outlook, Sources, Translator, added_variables

            self._engine = engine = self._make_engine()
            self._reports = ThreadPoolExecutor(1, "streamflow-reports")
            self._outlook = outlook = Outlook(self.workflow, engine.files.canonical)
            self._driver = Driver(
                engine,
                done=self._ended,
                maker=self._maker,
                later=lambda: outlook.needed_for(job for job in outlook.unended() if job not in self._ended_well),
                keep_incomplete=self.workflow.execution_settings.keep_incomplete,
                rest=None if self._settings.keep_deployments else outlook.rest,
            )
            sources = Sources(self.workflow, self.logger.warning)
            self._translator = Translator(
                engine.run,
                {**added_variables(os.environ, STARTED_WITH), **self.envvars()},
                nested_here=self.format_job_exec,
                nested=NestedCommands(self.workflow, sources.caches),
                sources=sources,
                floating=self._floating,
                leave=self._settings.leave_targets,
                exists=self._is_somewhere if self._floating else os.path.lexists,
            )
            engine.loop.call_soon_threadsafe(engine.bring_up_eager)
            checks.check_nested(self.dag, self._binding, self._driver, sources)
            known = (self._known_as(job) for job in self.dag.needrun_jobs() if not job.is_local)
            self._begun = self._driver.take_over({name for name in known if name})
            # Snakemake would wait for running jobs on SIGTERM; here it ends them, as Ctrl-C does.
            if _may_handle_signals() and signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN:
                signal.signal(signal.SIGTERM, signal.default_int_handler)
        return self._driver, self._translator

    def _make_engine(self) -> Engine:
        from .engine import Engine, engine_of

        here, companion, limit = Path.cwd(), self._companion, self._settings.transfer_limit
        return engine_of(here, companion.path, lambda: Engine(companion, here, log=self.logger, transfer_limit=limit))

    def _is_somewhere(self, path: str) -> bool:
        """Whether there is a file; one that a killed run was to update is no less the old one."""
        files = self._engine.files
        path = files.canonical(path)
        return files.state(path) is not None or (path in files.doubtful and files.ledger.version(path) is not None)

    def _maker(self, path: str) -> Task | None:
        """The task of the job that makes a file. On the engine's loop."""
        job = self._outlook.maker(path)
        return self._translator.task(job, bound=True) if job is not None else None

    def _binding(self, job: Any) -> Binding | None:
        from .config import binding_for

        return binding_for(self._companion, job.rule.name, str(job.group) if job.group else None)

    def _reject(self, job: Any, error: Exception) -> None:
        from snakemake.exceptions import print_exception

        print_exception(error, self.workflow.linemaps)
        info = SubmittedJobInfo(job)
        self.report_job_submission(info, register_job=False)
        self.report_job_error(info)

    def _ended(self, task: Task, error: Exception | None) -> None:
        """Called on the engine's loop, once for each task.

        A thread of its own reports: it waits for the scheduler, which may be waiting for the engine.
        """
        if error is None and (job := self._jobs.get(task.id)) is not None:
            self._ended_well.update(_members(job))
        self._pace.end(task.id)
        self._reports.submit(self._report, task, error)

    def _report(self, task: Task, error: Exception | None) -> None:
        try:
            self._tell(task, error)
        except Exception as failed:  # a report that fails must be seen
            self.logger.error(f"{task.name}: its end could not be reported: {type(failed).__name__}: {failed}")
        self._pace.told(task.id)

    def _tell(self, task: Task, error: Exception | None) -> None:
        from .errors import StreamFlowError

        info = SubmittedJobInfo(self._jobs.pop(task.id), external_jobid=task.id)
        if error is None:
            from .jobs import cache

            try:
                if cache.uses_cache(info.job):
                    self.workflow.async_run(cache.store(info.job))
            except Exception as failed:
                self._ended_well.difference_update(_members(info.job))
                self.report_job_error(info, msg=str(failed))
            else:
                self.report_job_success(info)
            return
        message = str(error) if isinstance(error, StreamFlowError) else f"{type(error).__name__}: {error}"
        if not isinstance(error, StreamFlowError):
            import traceback

            self.logger.debug("".join(traceback.format_exception(error)))
        logs = [
            output.path for output in task.outputs() if output.log and task.floating and os.path.exists(output.path)
        ]
        if info.job.is_group():  # of a group Snakemake shows no message
            self.logger.error(message)
        self.report_job_error(info, msg=message, aux_logs=logs)

    def _stop(self) -> None:
        driver, self._driver = self._driver, None
        if driver is None:
            return
        driver.stop()
        self._reports.shutdown(wait=False, cancel_futures=True)
        for problem in self._engine.take_down(keep=self._settings.keep_deployments, timeout_s=_STOP_S):
            self.logger.error(f"Left behind: {problem}")
        tally = driver.tally
        for name in sorted(tally.jobs):
            self.logger.info(
                f"streamflow: {name}: {tally.jobs[name]} jobs, "
                f"{tally.sent_b[name] / 1e6:.2f} MB sent there, {tally.fetched_b[name] / 1e6:.2f} MB brought back"
            )


def _members(job: Any) -> tuple[Any, ...]:
    return tuple(job.jobs) if job.is_group() else (job,)


def _may_handle_signals() -> bool:
    """Whether Snakemake runs in the main thread; Python takes no handlers from others."""
    return threading.current_thread() is threading.main_thread()
