"""Waits until work in the cluster is done; meanwhile says what it waits for and copies the log that matters."""

import asyncio
import signal
import threading
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

import structlog
from airflow.triggers.base import BaseTrigger, TriggerEvent

from podium import waiting
from podium.hooks.connection import connect
from podium.hooks.copied_log import LOGGER, copied
from podium.hooks.pod_log import Mark, PodLog
from podium.hooks.watch import Snapshot, snapshots
from podium.masking import hider
from podium.platform import settings
from podium.supersession import die_with_supervisor, lives_on

if TYPE_CHECKING:
    from kubernetes_asyncio.client import ApiClient, CoreV1Api

# A log that says nothing for so long once its container has ended has ended too, or cannot be read.
LOG_STALLED_S: Final = 10.0
# How long what nobody has copied yet may take, once the work is over; and how long it may say nothing meanwhile.
LOG_REST_S: Final = 60.0
LOG_REST_STALLED_S: Final = 5.0
SHOWN_EVERY_S: Final = 0.1
# How work ended that has a log.
HAS_RUN: Final = frozenset({"succeeded", "failed", "stopped"})
# How long work may stay silent before somebody wonders.
QUIET_S: Final = 15.0
# How long a task may take to clean up before it is cancelled once more.
CANCEL_PATIENCE_S: Final = 5.0

Payload = dict[str, Any]


class WorkTrigger(BaseTrigger):
    """Fires once when the work is over, gone or out of time.

    :param namespace: where the work is.
    :param name: of its object.
    :param uid: of its object: another one under the same name is not the one that was waited for.
    :param conn_id: the Kubernetes connection.
    :param deadline: seconds since the epoch, None for ever.
    :param copies_log: copy the log of the pod that matters into the task's.
    :param delete_on_kill: delete the object when somebody ends the task.
    :param not_before: seconds since the epoch; it fires no sooner. See `deferred`.
    :param secrets: what the log is not to show. Airflow encrypts a trigger's arguments.
    :param further: arguments of the child.
    """

    def __init__(
        self,
        *,
        namespace: str,
        name: str,
        uid: str,
        conn_id: str,
        deadline: float | None = None,
        copies_log: bool = False,
        delete_on_kill: bool = True,
        not_before: float = 0.0,
        secrets: Sequence[str] = (),
        **further: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.arguments: dict[str, Any] = {
            "namespace": namespace,
            "name": name,
            "uid": uid,
            "conn_id": conn_id,
            "deadline": deadline,
            "copies_log": copies_log,
            "delete_on_kill": delete_on_kill,
            "not_before": not_before,
            "secrets": list(secrets),
            **further,
        }
        self.namespace, self.name, self.uid = namespace, name, uid
        self.conn_id, self.deadline = conn_id, deadline
        self.copies_log, self.delete_on_kill, self.not_before = copies_log, delete_on_kill, not_before
        self._hide = hider(secrets)
        self._logs: dict[str, PodLog] = {}
        self._copied: dict[str, Mark] = {}
        self._progress = asyncio.Event()

    @property
    @abstractmethod
    def title(self) -> str:
        """What it waits for, for people."""

    @property
    @abstractmethod
    def container(self) -> str:
        """The container whose log matters."""

    @property
    def containers(self) -> list[str]:
        """The containers whose logs are copied, in the order in which they run."""
        return [self.container]

    @property
    @abstractmethod
    def log_pods(self) -> dict[str, str]:
        """The selector (`label_selector` or `field_selector`) of the pods whose log matters."""

    @property
    @abstractmethod
    def all_pods(self) -> dict[str, str]:
        """The selector of all pods of the work."""

    @abstractmethod
    async def wait(self, connection: "ApiClient") -> Payload:
        """Wait until the work is over, and say how: `status` is succeeded, failed or gone."""

    @abstractmethod
    async def delete(self, connection: "ApiClient") -> None:
        """Delete the work's object; one that is gone is fine."""

    def event(self, payload: Payload) -> Payload:
        """The event from how the work ended (`status` may also be timeout)."""
        return payload

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """As Airflow stores it."""
        return (f"{type(self).__module__}.{type(self).__qualname__}", self.arguments)

    def deferred(self) -> Self:
        """This trigger, for a task that defers now: it fires when the scheduler has had time to note that.

        A scheduler that hears of the end of a task's process only when the task is already at work again takes it for
        killed, and tries it anew (apache/airflow#67287, #72716).
        """
        self.not_before = self.arguments["not_before"] = time.time() + settings().faults.defer_noted_s
        return self

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then fire once."""
        from kubernetes_asyncio.client import CoreV1Api

        remaining = None if self.deadline is None else max(0.0, self.deadline - time.time())
        async with connect(self.conn_id) as connection:
            api = CoreV1Api(connection)
            teller = asyncio.create_task(self._tell(api))
            follower = asyncio.create_task(self._follow(api)) if self.copies_log else None
            try:
                try:
                    async with asyncio.timeout(remaining):
                        payload = await self.wait(connection)
                except TimeoutError:
                    payload = {"status": "timeout", "reason": "DeadlineExceeded", "message": ""}
                if follower is not None:
                    await self._finish_log(
                        api, follower, is_over=payload["status"] in ("succeeded", "failed", "stopped")
                    )
                    await self._await_shown()
            finally:
                for beside in filter(None, (teller, follower)):
                    await stop(beside)
                    self._report(beside)
        await asyncio.sleep(max(0.0, self.not_before - time.time()))
        yield TriggerEvent(self.event(payload))  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Delete the object, if somebody ended the task: see `podium.supersession.lives_on`."""
        if not self.delete_on_kill or await lives_on(self.task_instance):
            return
        self.log.info("The task was ended: deleting %s", self.title)
        async with connect(self.conn_id) as connection:
            await self.delete(connection)

    async def _tell(self, api: "CoreV1Api") -> None:
        """Say what pods wait for, whenever that changes, and that there is no pod when it is time for one."""
        said: list[str] = []
        changes = aiter(snapshots(partial(api.list_namespaced_pod, self.namespace), **self.all_pods))
        pods: Snapshot = {}
        pending = asyncio.ensure_future(anext(changes))
        try:
            while True:
                done, _ = await asyncio.wait({pending}, timeout=QUIET_S)
                if done:
                    pods = pending.result()
                    pending = asyncio.ensure_future(anext(changes))
                found = waiting.reasons(pods.values())
                if not done and not found:
                    found = await self._stuck(api, pods)
                for line in found:
                    if line not in said:
                        self.log.info("%s", line)
                said = found
        finally:
            await stop(pending)

    async def _stuck(self, api: "CoreV1Api", pods: Snapshot) -> list[str]:
        """What else holds up pods that have no reason of their own: the events say it."""
        if not pods:
            return [f"Waiting: {self.title} has no pod yet. Is its controller running? Is it queued?"]
        found = []
        for name, pod in pods.items():
            if (pod.get("status") or {}).get("phase") != "Pending":
                continue
            listed: Any = await api.list_namespaced_event(self.namespace, field_selector=f"involvedObject.name={name}")
            warnings = [each for each in listed.items if each.type == "Warning"]
            found += [f"Waiting: pod {name} is pending: {each.reason}: {each.message}" for each in warnings[-1:]]
        return found

    async def _follow(self, api: "CoreV1Api") -> None:
        """Copy the log of the newest pod that matters; when another takes its place, that one's too."""
        if self.task_instance is not None:
            self._copied = await asyncio.to_thread(copied, self.task_instance)
        async for pods in snapshots(partial(api.list_namespaced_pod, self.namespace), **self.log_pods):
            for log in self._started(api, pods):
                await log.copy(follow=True)
                self._progress.set()

    def _started(self, api: "CoreV1Api", pods: Snapshot) -> list[PodLog]:
        """The logs that are not copied yet, oldest pod first."""
        for pod in sorted(pods.values(), key=lambda pod: str(pod["metadata"].get("creationTimestamp"))):
            for container in self.containers:
                own = container == self.container
                source = pod["metadata"]["uid"] + ("" if own else f"/{container}")
                if source not in self._logs and waiting.has_started(pod, container):
                    already = self._copied.get(source)
                    what = "pod" if own else f"container {container} of pod"
                    self.log.info("Log of %s %s%s:", what, pod["metadata"]["name"], ", continued" if already else "")
                    self._logs[source] = PodLog(api, pod, container, partial(self._emit, source), already)
        return [log for log in self._logs.values() if not log.complete]

    def _emit(self, source: str, line: str, timestamp: str) -> None:
        self._progress.set()
        line = self._hide(line)
        if not timestamp:
            self.log.info("%s", line)
            return
        # The line keeps its own time: so the views of a log, merged from several processes, keep its order too, and
        # a successor of this triggerer finds where to go on.
        structlog.get_logger(logger_name=f"{LOGGER}{source}").info("%s", line, timestamp=timestamp)

    async def _finish_log(self, api: "CoreV1Api", follower: "asyncio.Task[None]", *, is_over: bool) -> None:
        """Give what is being copied time to end if its work has ended, then copy what has not even begun."""
        while is_over and any(not log.complete for log in self._logs.values()):
            self._progress.clear()
            try:
                async with asyncio.timeout(LOG_STALLED_S):
                    await self._progress.wait()
            except TimeoutError:
                break
        await stop(follower)
        rest = asyncio.create_task(self._copy_rest(api))
        end = time.monotonic() + LOG_REST_S
        while not rest.done() and time.monotonic() < end:
            self._progress.clear()
            await asyncio.wait({rest}, timeout=LOG_REST_STALLED_S)
            if not self._progress.is_set():
                break
        if not rest.done():
            await stop(rest)
            self.log.warning("The log of %s cannot be read to its end", self.title)
        elif (error := rest.exception()) is not None:
            self._incomplete(error)

    async def _copy_rest(self, api: "CoreV1Api") -> None:
        async for pods in snapshots(partial(api.list_namespaced_pod, self.namespace), **self.log_pods):
            for log in self._started(api, pods):
                await log.copy(follow=False)
            return

    async def _await_shown(self) -> None:
        """Wait until the last line is in the task's log: Airflow closes that when it hears of the trigger's end.

        Lines that are still on their way from this process to the triggerer then would end up in the triggerer's own.
        """
        marks = {uid: log.mark for uid, log in self._logs.items() if log.mark is not None}
        if self.task_instance is None or not marks:
            return
        try:
            async with asyncio.timeout(LOG_STALLED_S):
                while True:
                    shown = await asyncio.to_thread(copied, self.task_instance)
                    if all(uid in shown and shown[uid] >= mark for uid, mark in marks.items()):
                        return
                    await asyncio.sleep(SHOWN_EVERY_S)
        except Exception as error:
            self._incomplete(error)

    def _report(self, beside: "asyncio.Task[None]") -> None:
        if not beside.cancelled() and (error := beside.exception()) is not None:
            self._incomplete(error)

    def _incomplete(self, error: BaseException) -> None:
        # Logs and reasons are for reading along; what became of the work is known without them.
        self.log.warning("What is logged here of %s may be incomplete: %r", self.title, error)


def run_here(trigger: WorkTrigger) -> Payload:
    """Wait in this process instead of the triggerer's; returns the event's payload.

    A task's process dies with its supervisor then. On its own it could tell nobody what it found, and would go on
    beside the attempt that takes over.

    :raises AirflowTaskTimeout: the alarm of the task's execution_timeout went off meanwhile.
    """
    die_with_supervisor()
    alarmed = False
    # Signals come to the main thread alone.
    in_main = threading.current_thread() is threading.main_thread()

    async def first() -> Payload:
        waiter = asyncio.current_task()

        def stop() -> None:
            nonlocal alarmed
            alarmed = True
            if waiter is not None:
                waiter.cancel()

        if in_main:
            # Airflow's handler raises wherever the loop happens to be: in a callback, or a task beside this one, the
            # exception would be lost and the wait go on for ever.
            asyncio.get_running_loop().add_signal_handler(signal.SIGALRM, stop)
        async for event in trigger.run():
            payload: Payload = event.payload
            return payload
        raise RuntimeError("a trigger fires once")

    handler = signal.getsignal(signal.SIGALRM)
    try:
        return asyncio.run(first())
    except asyncio.CancelledError:
        if alarmed and callable(handler):
            handler(signal.SIGALRM, None)
        raise
    finally:
        if in_main:
            signal.signal(signal.SIGALRM, handler)


async def stop(task: "asyncio.Future[Any]") -> None:
    """Cancel something that runs beside, and wait until it has ended."""
    # Asked again until it obeys: a library on the way may take a cancellation for its own.
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=CANCEL_PATIENCE_S)
