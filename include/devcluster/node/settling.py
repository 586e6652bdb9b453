"""Answers about new pods come when they are worth something: an operator that sees Pending sleeps for seconds."""

from __future__ import annotations

import asyncio

from include.devcluster.core import scheduler
from include.devcluster.core.errors import ApiError
from include.devcluster.core.objects import Object, condition, dig, namespace, uid
from include.devcluster.core.resources import PODS
from include.devcluster.core.store import Store

SETTLE_S = 2.0
"""How long the answer to a new pod waits for it to run."""


async def settled(store: Store, pod: Object) -> None:
    """Waits until the pod runs, or until it is known why it does not, or for a while."""
    subscription = store.subscribe(PODS.key)
    try:
        async with asyncio.timeout(SETTLE_S):
            while True:
                current = store.get(PODS.key, namespace(pod), pod["metadata"]["name"])
                if current is None or uid(current) != uid(pod) or _is_settled(current):
                    return
                await subscription.next(SETTLE_S)
    except (TimeoutError, ApiError):  # it takes too long, or too much happens meanwhile
        return
    finally:
        subscription.close()


def _is_settled(pod: Object) -> bool:
    status = pod["status"]
    if status["phase"] != "Pending" or pod["metadata"].get("deletionTimestamp"):
        return True
    if pod["spec"]["schedulerName"] != scheduler.NAME or pod["spec"].get("schedulingGates"):
        return True  # nobody here will run it
    if (scheduled := condition(pod, "PodScheduled")) and scheduled["status"] == "False":
        return True
    if pod["spec"].get("initContainers") and pod["spec"].get("nodeName"):
        return True
    waiting = [dig(c, "state.waiting.reason") for c in status.get("containerStatuses") or []]
    return any(reason not in (None, "ContainerCreating", "PodInitializing") for reason in waiting)
