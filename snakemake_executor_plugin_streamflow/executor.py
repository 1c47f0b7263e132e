"""Snakemake's calls in, Snakemake's reports out."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.real import RealExecutor
from snakemake_interface_executor_plugins.settings import ExecMode

if TYPE_CHECKING:
    from .engine import Engine
    from .jobs import Sources, Task, Translator
    from .model import Binding

_STOP_S = 9.0
"""Everything is down so many seconds after Ctrl-C, or a message says what is not."""


class Executor(RealExecutor):
    """The executor that `snakemake --executor streamflow` uses."""

    _engine: Engine | None = None

    def __post_init__(self) -> None:
        self._jobs: dict[str, Any] = {}
        self._companion = self._read_companion()
        self._check_rules()

    def run_jobs(self, jobs: list[Any]) -> None:
        from .jobs import cache, ordered, prepare, why_not_direct

        engine, translator = self._started()
        tasks = []
        for job in jobs:
            self.run_job_pre(job)
            try:
                members = ordered(job)
                for member in members:
                    self._refuse(member)
                bound = self._binding(members[-1]) is not None
                nested = bound and any(map(why_not_direct, members))
                self.workflow.async_run(prepare(job, nested=nested))
                if cache.uses_cache(job) and self.workflow.async_run(cache.fetch(job)):
                    self.report_job_submission(info := SubmittedJobInfo(job))
                    self.report_job_success(info)
                    continue
                task = translator.task(job, bound=bound)
            except Exception as error:
                self._reject(job, error)
                continue
            self._jobs[task.id] = job
            self.report_job_submission(SubmittedJobInfo(job, external_jobid=task.id))
            tasks.append(task)
        engine.submit(tasks)

    def run_job(self, job: Any) -> None:
        self.run_jobs([job])

    def handle_job_success(self, job: Any) -> None:
        if self._engine is not None:
            members = job.jobs if job.is_group() else (job,)
            self._engine.settle([str(f) for member in members for f in member.output])

    def cancel(self) -> None:
        self._stop("ended on request")

    def shutdown(self) -> None:
        self._stop("done")

    @property
    def cores(self) -> Any:
        return self.workflow.resource_settings.cores or "all"

    def get_exec_mode(self) -> ExecMode:
        return ExecMode.REMOTE

    def get_python_executable(self) -> str:
        return shlex.quote(sys.executable)

    def additional_general_args(self) -> str:
        return "--quiet progress rules host --nolock --ignore-incomplete --max-jobs-per-timespan 100/0s"

    def _started(self) -> tuple[Engine, Translator]:
        if self._engine is None:
            from .engine import Engine
            from .jobs import NestedCommands, Sources, Translator

            settings = self._settings()
            self._engine = Engine(
                self._companion,
                Path.cwd(),
                log=self.logger,
                done=self._report,
                keep_incomplete=self.workflow.execution_settings.keep_incomplete,
                keep_deployments=bool(getattr(settings, "keep_deployments", False)),
                transfer_limit=int(getattr(settings, "transfer_limit", 4)),
            )
            sources = Sources(self.workflow, self.logger.warning)
            self._translator = Translator(
                self._engine.run,
                self.envvars(),
                nested_here=self.format_job_exec,
                nested=NestedCommands(self.workflow, sources.caches),
                sources=sources,
            )
            self._engine.start()
            self._check_nested(self._engine, sources)
            # Snakemake would wait for running jobs on SIGTERM; here it ends them, as Ctrl-C does.
            if signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN:
                signal.signal(signal.SIGTERM, signal.default_int_handler)
        return self._engine, self._translator

    def _settings(self) -> Any:
        return getattr(self, "executor_settings", None) or getattr(self.workflow, "executor_settings", None)

    def _read_companion(self) -> Any:
        import os

        from snakemake_interface_common.exceptions import ApiError  # shown without a traceback

        from .config import find_companion, read_companion
        from .errors import ConfigError

        given = getattr(self._settings(), "file", None)
        try:
            path = find_companion(given, Path(str(self.workflow.main_snakefile)), Path.cwd())
            return read_companion(path, os.environ)
        except ConfigError as error:
            raise ApiError(str(error)) from None

    def _check_rules(self) -> None:
        """Warn of patterns that match nothing; refuse bound jobs that cannot be sent, before anything is started."""
        from snakemake_interface_common.exceptions import ApiError

        from .config import check_rules

        rules = {rule.name for rule in self.workflow.rules}
        groups = {str(rule.group) for rule in self.workflow.rules if rule.group}
        for warning in check_rules(self._companion, rules, groups):
            self.logger.warning(warning)
        problems = dict.fromkeys(
            problem
            for job in self.dag.needrun_jobs()
            if not job.is_local
            for problem in [self._problem(job)]
            if problem
        )
        if problems:
            raise ApiError("\n".join(problems))

    def _check_nested(self, engine: Engine, sources: Sources) -> None:
        """Refuse to start when a job needs Snakemake where it may run, and there is no Python for it."""
        from snakemake_interface_common.exceptions import WorkflowError

        from .jobs import why_not_direct

        needs: dict[Any, dict[str, None]] = {}
        jobs = [job for job in self.dag.needrun_jobs() if not job.is_local and why_not_direct(job)]
        for job in jobs:
            if (binding := self._binding(job)) is not None:
                needs.setdefault(binding.targets, {})[job.rule.name] = None
        if needs and (
            problems := engine.check_nested({t: list(rules) for t, rules in needs.items()}, sources.modules())
        ):
            raise WorkflowError("\n".join(problems))

    def _binding(self, job: Any) -> Binding | None:
        from .config import binding_for

        return binding_for(self._companion, job.rule.name, str(job.group) if job.group else None)

    def _problem(self, job: Any) -> str | None:
        from .jobs import why_not_sent

        binding = self._binding(job)
        if binding is None or (reason := why_not_sent(job)) is None:
            return None
        where = ", ".join(target.deployment for target in binding.targets)
        return (
            f"Rule {job.rule.name} is bound to {where}, but cannot be sent there: {reason}. "
            "Leave it unbound: then it runs on this machine."
        )

    def _refuse(self, job: Any) -> None:
        from snakemake_interface_common.exceptions import WorkflowError

        if problem := self._problem(job):
            raise WorkflowError(problem)

    def _reject(self, job: Any, error: Exception) -> None:
        from snakemake.exceptions import print_exception

        print_exception(error, self.workflow.linemaps)
        info = SubmittedJobInfo(job)
        self.report_job_submission(info, register_job=False)
        self.report_job_error(info)

    def _report(self, task: Task, error: Exception | None) -> None:
        """Called on the engine's loop, once for each task."""
        from .errors import StreamFlowError

        info = SubmittedJobInfo(self._jobs.pop(task.id), external_jobid=task.id)
        if error is None:
            from .jobs import cache

            if cache.uses_cache(info.job):
                threading.Thread(target=self._store_and_report, args=(info,), daemon=True).start()
            else:
                self.report_job_success(info)
            return
        message = str(error) if isinstance(error, StreamFlowError) else f"{type(error).__name__}: {error}"
        if not isinstance(error, StreamFlowError):
            import traceback

            self.logger.debug("".join(traceback.format_exception(error)))
        self.report_job_error(info, msg=message)

    def _store_and_report(self, info: SubmittedJobInfo) -> None:
        """Keep outputs in Snakemake's cache first; not on the engine's loop, which this would block."""
        from .jobs import cache

        try:
            self.workflow.async_run(cache.store(info.job))
        except Exception as error:
            self.report_job_error(info, msg=str(error))
        else:
            self.report_job_success(info)

    def _stop(self, how: str) -> None:
        engine, self._engine = self._engine, None
        if engine is None:
            return
        for problem in engine.stop(_STOP_S):
            self.logger.error(f"Left behind: {problem}")
        tally = engine.tally
        for name in sorted(tally.jobs):
            self.logger.info(
                f"streamflow: {name}: {tally.jobs[name]} jobs, "
                f"{tally.sent_b[name] / 1e6:.2f} MB sent there, {tally.fetched_b[name] / 1e6:.2f} MB brought back"
            )
