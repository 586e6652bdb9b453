"""MPIJob (kubeflow.org/v2beta1): workers first, then a launcher that starts the ranks inside them."""

from __future__ import annotations

from collections.abc import Sequence

from include.devcluster.controllers import mpi_pods
from include.devcluster.controllers.client import ApiError, KubeApi
from include.devcluster.controllers.informer import Informer
from include.devcluster.controllers.mpi_plan import index_of, plan
from include.devcluster.controllers.mpi_validation import errors_of, is_managed_elsewhere
from include.devcluster.controllers.objects import (
    CONFIG_MAPS,
    PODS,
    SECRETS,
    Manifest,
    Resource,
    has_condition,
    key_of,
    labels_of,
    utc_now,
)
from include.devcluster.controllers.reconciler import Controller, Key

MPI_JOBS = Resource("kubeflow.org", "v2beta1", "mpijobs", "MPIJob")


class MPIJobController(Controller):
    """Carries out the plan: config map and credentials before the launcher, pods, status, events."""

    resource = MPI_JOBS

    def __init__(self, api: KubeApi, owners: Informer, pods: Informer) -> None:
        super().__init__(api, owners, pods)
        self._launched: dict[Key, set[tuple[str, str]]] = {}  # job -> its uid, a launcher's name

    async def reconcile(self, owner: Manifest) -> float | None:
        """Make a plan and carry it out."""
        if is_managed_elsewhere(owner):
            return None
        if errors := errors_of(owner):
            await self.event(owner, "Warning", "ValidationError", f"Found validation errors: {errors}")
            return None
        pods = self.pods_of(owner)
        todo = plan(owner, pods, utc_now())
        if todo.launcher_attempt is not None and await self._has_vanished(owner, todo.launcher_attempt):
            todo = plan(owner, pods, utc_now(), vanished=True)
        for index in todo.create_workers:
            await self.create_child(owner, PODS, mpi_pods.worker_pod(owner, index))
        if todo.launcher_attempt is not None:
            await self._launch(owner, pods, todo.launcher_attempt)
        await self.update_status(owner, todo.status)
        for pod in todo.delete:
            await self.delete_pod(pod)
        if todo.status.get("completionTime") or has_condition(todo.status["conditions"], "Suspended"):
            # What goes from here on goes on purpose: after a suspension a launcher of the same name comes again.
            self._launched.pop(key_of(owner), None)
        await self._announce(owner, todo.status)
        return todo.again

    async def _has_vanished(self, owner: Manifest, attempt: int) -> bool:
        """Whether this launcher was made already and is no more: it may go before any status has counted it."""
        name = mpi_pods.launcher_name(owner, attempt)
        if (owner["metadata"]["uid"], name) not in self._launched.get(key_of(owner), ()):
            return False
        try:
            await self.api.get(PODS, owner["metadata"]["namespace"], name)
        except ApiError as error:
            if error.status != 404:
                raise
            return True
        return False

    async def _launch(self, owner: Manifest, pods: Sequence[Manifest], attempt: int) -> None:
        workers = [p for p in pods if labels_of(p).get(mpi_pods.ROLE_LABEL) == "worker"]
        await self.apply_child(owner, CONFIG_MAPS, mpi_pods.config_map(owner, sorted(workers, key=index_of)))
        account = self.api.credentials
        if account.token:
            secret = mpi_pods.credentials_secret(owner, account.server, account.token, account.ca_pem)
            await self.apply_child(owner, SECRETS, secret)
        launcher = mpi_pods.launcher_pod(owner, attempt, bool(account.token))
        await self.create_child(owner, PODS, launcher)
        launched = (owner["metadata"]["uid"], launcher["metadata"]["name"])
        self._launched.setdefault(key_of(owner), set()).add(launched)

    async def gone(self, key: Key) -> None:
        """Forget the launchers of a job that was deleted."""
        self._launched.pop(key, None)

    async def _announce(self, owner: Manifest, status: Manifest) -> None:
        before = {(c["type"], c["status"]) for c in (owner.get("status") or {}).get("conditions") or []}
        for condition in status.get("conditions") or []:
            if condition["status"] == "True" and (condition["type"], "True") not in before:
                kind = "Warning" if condition["type"] == "Failed" else "Normal"
                await self.event(owner, kind, condition["reason"], condition["message"])
