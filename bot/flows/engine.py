"""Durable execution: the one file that knows DBOS. Everything else sees `Engine` and plain coroutines.

What was learnt the hard way and is settled here: the application version is pinned (the default is a hash of the
source, so that an edit would strand pending workflows silently); recovery is tried five times in all, then the
incident is set aside; results are stored as JSON, not pickle; errors are reduced to a type and a safe sentence before
they are stored; the journal is WAL and one process holds the file.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import sqlite3
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot import telemetry
from bot.clock import Clock
from bot.errors import SitrepError
from bot.store.files import private

if TYPE_CHECKING:
    import dbos

log = logging.getLogger(__name__)

ENGINE_VERSION = "1"
"""Raised by hand when a workflow's steps change in a way that pending ones cannot follow (`Steps.since_edit` guards
smaller edits). Rows of another version are adopted at start-up."""
MAX_STARTS = 5
QUEUE = "triage"
LIVING = ["PENDING", "ENQUEUED", "DELAYED"]
SET_ASIDE = ["MAX_RECOVERY_ATTEMPTS_EXCEEDED", "ERROR"]
KEEP = timedelta(days=14)
"""How long finished workflows stay in the engine's database."""
AGAIN_AFTER = (timedelta(hours=1), timedelta(days=1))
"""What was set aside is begun again by the clock this long after, and no more often: an outage that is over must not
cost a card its facts for two weeks, and what ends the process must not end it every hour."""


class StepFailed(Exception):
    """A step ended in an error; carries its name and the error's type, nothing of the outside world's text."""


class EngineInUse(SitrepError):
    """Another process holds this state folder."""


Body = Callable[..., Coroutine[Any, Any, Any]]
Checkpoint = Callable[[str], None]


class Steps:
    """What a workflow's body may do: run named steps, in an order that is the same on every run."""

    def __init__(self, engine: type[dbos.DBOS], checkpoint: Checkpoint) -> None:
        self._dbos = engine
        self._checkpoint = checkpoint

    async def run(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """Run once and store the JSON result; a step that was in flight when the process died runs again."""
        return await self._dbos.run_step_async({"name": name}, self._body(name, work))

    async def since_edit(self, name: str) -> bool:
        """Whether this run reaches an edit of the workflow, known by this name for ever, for the first time or after
        having taken it before. False for one that went past this place under the code of before, which it follows to
        its end. Await it where no other step runs beside."""
        return await self._dbos.patch_async(name)

    def reserve(self, name: str, work: Callable[[], Awaitable[Any]]) -> asyncio.Task[Any]:
        """Start a step beside others; its place in the order is fixed now."""
        reservation = self._dbos.reserve_step()
        return asyncio.ensure_future(reservation.run_async({"name": name}, self._body(name, work)))

    async def first(self, *tasks: asyncio.Task[Any]) -> set[int]:
        """Wait until one is done; which ones are is stored, so that a second run decides alike. Returns indices."""
        done, _ = await self._dbos.asyncio_wait(list(tasks), return_when=asyncio.FIRST_COMPLETED)
        return {index for index, task in enumerate(tasks) if task in done}

    def _body(self, name: str, work: Callable[[], Awaitable[Any]]) -> Callable[[], Coroutine[Any, Any, Any]]:
        async def body() -> Any:
            self._checkpoint(f"{name}.before")
            try:
                with telemetry.tracer().start_as_current_span(telemetry.SPAN_STEP, attributes={telemetry.STEP: name}):
                    result = await work()
            except Exception as failed:  # noqa: BLE001 - whatever it was, only its type may be stored
                log.error("step %s failed with %s at %s", name, type(failed).__name__, _where(failed))
                raise StepFailed(f"{name}: {type(failed).__name__}") from None
            self._checkpoint(f"{name}.after")
            return result

        return body


class Engine:
    """Workflows by name, started under ids of ours. Use as: register, `launch`, `start`, `close`."""

    def __init__(self, home: Path, clock: Clock, *, concurrency: int = 8, checkpoint: Checkpoint | None = None) -> None:
        self._home = home
        self._clock = clock
        self._concurrency = concurrency
        self._checkpoint = checkpoint or (lambda _: None)
        self._bodies: dict[str, Body] = {}
        self._workflows: dict[str, Any] = {}
        self._dbos: type[dbos.DBOS] | None = None
        self._lock: Any = None

    def register(self, name: str, body: Body) -> None:
        """`body(steps, *ids)`; ids are strings or numbers, never texts from outside."""
        self._bodies[name] = body

    async def launch(self) -> None:
        """Take the folder, open the engine's database, recover what was running. Raises EngineInUse."""
        self.lock()
        _prepare(self._home / "engine.db")
        from dbos import DBOS

        logging.getLogger("dbos").addFilter(_without_values)
        DBOS(
            config={
                "name": "sitrep",
                "system_database_url": f"sqlite:///{self._home / 'engine.db'}",
                "application_version": ENGINE_VERSION,
                "executor_id": "local",
                "serializer": _serializer(),
                "log_level": "WARNING",
                "enable_otlp": False,
                "notification_listener_polling_interval_sec": 0.1,
            }
        )
        self._dbos = DBOS
        steps = Steps(DBOS, self._checkpoint)
        for name, body in self._bodies.items():
            self._workflows[name] = _workflow(DBOS, name, body, steps)
        DBOS.launch()
        await DBOS.register_queue_async(
            QUEUE, worker_concurrency=self._concurrency, polling_interval_sec=0.1, on_conflict="always_update"
        )
        await self._adopt_other_versions()

    async def start(self, name: str, workflow_id: str, *arguments: str | int, priority: int = 3) -> None:
        """Queue a workflow; the same id again is the same workflow. `priority`: 1 is first."""
        from dbos import SetEnqueueOptions, SetWorkflowID

        assert self._dbos is not None
        with SetWorkflowID(workflow_id), SetEnqueueOptions(priority=priority):
            await self._dbos.enqueue_workflow_async(QUEUE, self._workflows[name], *arguments)

    async def wait(self, workflow_id: str) -> Any:
        """A workflow's result; raises what it raised."""
        assert self._dbos is not None
        handle: Any = await self._dbos.retrieve_workflow_async(workflow_id)
        return await handle.get_result(polling_interval_sec=0.05)

    async def set_aside(self) -> list[str]:
        """Ids of triages and refreshes that were started five times and never ended, or ended in an error."""
        assert self._dbos is not None
        rows = await self._dbos.list_workflows_async(
            status=SET_ASIDE, name=["triage", "refresh"], load_input=False, load_output=False
        )
        return [row.workflow_id for row in rows]

    async def stuck(self, kind: str, incident_id: str) -> bool:
        """Whether a workflow of this kind and incident still waits or runs, or was set aside too lately or too often to
        be begun anew by the clock (AGAIN_AFTER)."""
        assert self._dbos is not None
        rows = await self._dbos.list_workflows_async(
            status=[*LIVING, *SET_ASIDE], workflow_id_prefix=f"{kind}:{incident_id}:",
            load_input=False, load_output=False,
        )  # fmt: skip
        ours = [row for row in rows if row.workflow_id.rpartition(":")[0] == f"{kind}:{incident_id}"]
        if any(row.status in LIVING for row in ours) or len(ours) > len(AGAIN_AFTER):
            return True
        now = self._clock.now().timestamp()
        last = max((row.updated_at or 0 for row in ours), default=0) / 1000
        return bool(ours) and now - last < AGAIN_AFTER[len(ours) - 1].total_seconds()

    async def living(self) -> list[str]:
        """Ids of the workflows that wait or run."""
        assert self._dbos is not None
        rows = await self._dbos.list_workflows_async(status=LIVING, load_input=False, load_output=False)
        return [row.workflow_id for row in rows]

    async def forget_old(self) -> int:
        """Delete what ended more than two weeks ago, in batches; returns how many."""
        assert self._dbos is not None
        before = (self._clock.now() - KEEP).isoformat()
        rows = await self._dbos.list_workflows_async(
            status=["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"],
            end_time=before, limit=500, load_input=False, load_output=False,
        )  # fmt: skip
        if rows:
            await self._dbos.delete_workflows_async([row.workflow_id for row in rows])
        return len(rows)

    async def forget_all(self) -> int:
        """Delete every workflow, whatever its state; returns how many. For the end of a workspace."""
        assert self._dbos is not None
        count = 0
        while rows := await self._dbos.list_workflows_async(limit=500, load_input=False, load_output=False):
            await self._dbos.delete_workflows_async([row.workflow_id for row in rows])
            count += len(rows)
        return count

    async def close(self) -> None:
        """Stop taking work. What is in flight stays pending and is recovered at the next start."""
        if self._dbos is not None:
            engine, self._dbos = self._dbos, None
            await asyncio.to_thread(engine.destroy, workflow_completion_timeout_sec=0, destroy_registry=True)
            # It had made its own pool this loop's default one, and has shut it down: what closes after us needs one.
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(thread_name_prefix="sitrep"))
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def lock(self) -> None:
        """Take the folder for this process, before anything in it is changed. Raises EngineInUse."""
        if self._lock is not None:
            return
        self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (self._home / "engine.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise EngineInUse(
                f"another sitrep process uses {self._home}; stop it, or give this one its own SITREP_HOME"
            ) from None
        self._lock = lock

    async def _adopt_other_versions(self) -> None:
        """Workflows of another engine version would stay untouched for ever: cancel them and go on under this one."""
        assert self._dbos is not None
        rows = await self._dbos.list_workflows_async(status=[*LIVING, "CANCELLED"], load_input=False, load_output=False)
        for row in rows:
            # Cancelled here is half of an adoption that a crash cut in two: nothing else cancels.
            if row.app_version in (None, ENGINE_VERSION):
                continue
            log.warning("workflow %s is of engine version %s; adopting it", row.workflow_id, row.app_version)
            done = await self._dbos.list_workflow_steps_async(row.workflow_id)
            first = 1 + max((step["function_id"] for step in done), default=0)
            if row.status != "CANCELLED":
                await self._dbos.cancel_workflow_async(row.workflow_id)
                self._checkpoint("adopt.cancelled")
            await self._dbos.rewind_workflow_async(
                row.workflow_id, start_step=first, application_version=ENGINE_VERSION, queue_name=QUEUE
            )


def _workflow(engine: type[dbos.DBOS], name: str, body: Body, steps: Steps) -> Any:
    async def workflow(*arguments: str | int) -> Any:
        with telemetry.within(str(arguments[0]) if arguments else None):  # the first is the incident's id
            return await body(steps, *arguments)

    workflow.__name__ = workflow.__qualname__ = name
    return engine.workflow(name=name, max_recovery_attempts=MAX_STARTS - 1)(workflow)


def _where(failed: BaseException) -> str:
    """File and line of the last frames; the exception's own text may hold what came from outside."""
    frames = traceback.extract_tb(failed.__traceback__)[-3:]
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))


def _prepare(path: Path) -> None:
    """Create the engine's database before the engine does: WAL, incremental vacuum, mode 0600."""
    private(path)
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.DatabaseError as failed:
        raise SitrepError(
            f"{path} cannot be opened as a database ({failed}); move it away: signals and cards are in sitrep.db, and "
            "only triages in flight are lost with it"
        ) from None
    finally:
        connection.close()


def _without_values(record: logging.LogRecord) -> bool:
    """Drop tracebacks of the engine's own log lines: they would carry arguments."""
    record.exc_info = None
    record.exc_text = None
    return True


def _serializer() -> Any:
    from dbos import Serializer

    class Json(Serializer):
        """Plain JSON. An exception becomes its type and our sentence, and comes back as StepFailed."""

        def name(self) -> str:
            return "sitrep_json"

        def serialize(self, data: Any) -> str:
            return json.dumps(data, separators=(",", ":"), ensure_ascii=False, default=_plain)

        def deserialize(self, serialized_data: str) -> Any:
            data = json.loads(serialized_data)
            if isinstance(data, dict) and "__failed__" in data:
                return StepFailed(data["__failed__"])
            return data

    return Json()


def _plain(value: Any) -> Any:
    if isinstance(value, BaseException):
        return {"__failed__": str(value) if isinstance(value, StepFailed) else type(value).__name__}
    raise TypeError(f"a step's result must be JSON, not {type(value).__name__}")
