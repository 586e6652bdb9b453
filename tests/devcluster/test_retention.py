"""What stays of finished pods and of events: weeks of use must not fill the disk."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from include.devcluster.config import Retention
from include.devcluster.core.objects import Object, name, timestamp
from include.devcluster.core.registry import Registry
from include.devcluster.core.resources import EVENTS, NAMESPACES, PODS, SERVICE_ACCOUNTS, Catalogue
from include.devcluster.core.store import Store
from include.devcluster.retention import Retainer

pytestmark = pytest.mark.dev_only

BEGAN = dt.datetime.now(dt.UTC).replace(microsecond=0)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    made = Registry(Store(tmp_path), Catalogue())
    made.create(NAMESPACES, "", {"metadata": {"name": "a"}})
    made.create(SERVICE_ACCOUNTS, "a", {"metadata": {"name": "default"}})
    return made


def pod(registry: Registry, own: str, phase: str, ended_after_s: float = 0.0) -> Object:
    made = registry.create(
        PODS, "a", {"metadata": {"name": own}, "spec": {"containers": [{"name": "main", "image": "busybox"}]}}
    )
    ended = timestamp(BEGAN + dt.timedelta(seconds=ended_after_s))
    status = {"phase": phase, "containerStatuses": [{"name": "main", "state": {"terminated": {"finishedAt": ended}}}]}
    return registry.set_status(PODS, made, status) or made


def left(registry: Registry) -> list[str]:
    return [name(each) for each in registry.store.list(PODS.key)]


def test_the_pods_that_finished_last_stay(registry: Registry, tmp_path: Path) -> None:
    for index in range(5):
        pod(registry, f"pod-{index}", "Failed" if index % 2 else "Succeeded", ended_after_s=-index)
    pod(registry, "at-work", "Running")
    Retainer(registry, tmp_path, Retention(seconds=60, pods=2)).sweep(BEGAN + dt.timedelta(seconds=90))
    assert left(registry) == ["at-work", "pod-0", "pod-1"]


def test_no_pod_goes_soon_after_its_end(registry: Registry, tmp_path: Path) -> None:
    for index in range(3):
        pod(registry, f"pod-{index}", "Failed", ended_after_s=-10 * index)
    retainer = Retainer(registry, tmp_path, Retention(seconds=60, pods=0, megabytes=0))
    retainer.sweep(BEGAN + dt.timedelta(seconds=45))
    assert left(registry) == ["pod-0", "pod-1"]
    retainer.sweep(BEGAN + dt.timedelta(seconds=61))
    assert left(registry) == []


def test_what_pods_leave_on_the_disk_is_bounded(registry: Registry, tmp_path: Path) -> None:
    for index in range(6):
        made = pod(registry, f"pod-{index}", "Failed", ended_after_s=-index)
        folder = tmp_path / "pods" / made["metadata"]["uid"] / "containers" / "main" / "0"
        folder.mkdir(parents=True)
        (folder / "log").write_bytes(b"x" * (1 << 20))
    Retainer(registry, tmp_path, Retention(seconds=0, megabytes=3)).sweep(BEGAN + dt.timedelta(seconds=1))
    assert left(registry) in (["pod-0", "pod-1"], ["pod-0", "pod-1", "pod-2"])


def test_events_go_after_an_hour(registry: Registry, tmp_path: Path) -> None:
    for own, minutes in (("old", -61), ("new", -59)):
        seen = timestamp(BEGAN + dt.timedelta(minutes=minutes))
        about = {"involvedObject": {"namespace": "a"}, "lastTimestamp": seen}
        registry.create(EVENTS, "a", {"metadata": {"name": own}, **about})
    Retainer(registry, tmp_path, Retention()).sweep(BEGAN)
    assert [name(each) for each in registry.store.list(EVENTS.key)] == ["new"]
