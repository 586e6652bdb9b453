"""Binds pods to nodes, and says why it cannot."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from decimal import Decimal

from include.devcluster.core import quantity
from include.devcluster.core.events import Recorder
from include.devcluster.core.objects import Object, condition, dig, labels, name, namespace, now, uid
from include.devcluster.core.registry import Registry
from include.devcluster.core.resources import NODES, PODS
from include.devcluster.core.store import Change
from include.devcluster.protocol.selectors import match_expression, match_label_selector

log = logging.getLogger(__name__)

NAME = "default-scheduler"
UNSCHEDULABLE: Object = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
NOT_READY: Object = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
_BLOCKING = ("NoSchedule", "NoExecute")


class NodeState:
    """A node and the pods on it.

    :ivar allocatable: what the node has for pods.
    :ivar used: what its pods ask for.
    """

    def __init__(self, node: Object) -> None:
        self.node, self.pods = node, list[Object]()
        self.allocatable = {k: quantity.parse(v) for k, v in (dig(node, "status.allocatable") or {}).items()}
        self.used: dict[str, Decimal] = {}

    def add(self, pod: Object) -> None:
        """Count a pod that is on the node."""
        self.pods.append(pod)
        for key, value in quantity.requests(pod).items():
            self.used[key] = self.used.get(key, Decimal(0)) + value

    @property
    def taints(self) -> list[Object]:
        """Its taints, those that its state implies too."""
        spec, ready = self.node.get("spec") or {}, condition(self.node, "Ready")
        implied = [UNSCHEDULABLE] if spec.get("unschedulable") else []
        if ready is None or ready["status"] != "True":
            implied.append(NOT_READY)
        return [*(spec.get("taints") or []), *implied]


class Scheduler:
    """Looks at all waiting pods whenever a pod or a node changes, the highest priority and the oldest first."""

    def __init__(self, registry: Registry) -> None:
        self._registry, self._recorder = registry, Recorder(registry, NAME)
        self._wake = asyncio.Event()
        self._said: dict[str, str] = {}
        self._queue: list[str] = []

    async def run(self) -> None:
        """Schedule until cancelled."""
        self._registry.store.listen(self._changed)
        self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                self._round()
            except Exception:
                log.exception("scheduling")

    def _changed(self, change: Change) -> None:
        if change.resource == NODES.key:
            self._wake.set()
        elif change.resource == PODS.key:
            done = change.type == "DELETED" or change.object["status"]["phase"] in ("Succeeded", "Failed")
            if done or not change.object["spec"].get("nodeName"):
                self._wake.set()

    def _round(self) -> None:
        store = self._registry.store
        everything = store.list(PODS.key)
        waiting = [p for p in everything if _waits(p)]
        if not waiting:
            return
        nodes = {name(node): NodeState(node) for node in store.list(NODES.key)}
        for pod in everything:
            own = pod["spec"].get("nodeName")
            if own in nodes and pod["status"]["phase"] not in ("Succeeded", "Failed"):
                nodes[own].add(pod)
        waiting.sort(key=lambda p: int(p["metadata"]["resourceVersion"]))
        uids = [uid(pod) for pod in waiting]
        self._queue = list(dict.fromkeys([*(u for u in self._queue if u in uids), *uids]))
        self._said = {own: text for own, text in self._said.items() if own in uids}
        rank = {own: place for place, own in enumerate(self._queue)}
        waiting.sort(key=lambda p: (-(p["spec"].get("priority") or 0), rank[uid(p)]))
        for pod in waiting:
            self._place(pod, list(nodes.values()))

    def _place(self, pod: Object, nodes: list[NodeState]) -> None:
        reasons: list[list[str]] = []
        fitting = []
        for state in nodes:
            why = refusals(pod, state, nodes)
            if why:
                reasons.append(why)
            else:
                fitting.append(state)
        if not fitting:
            self._explain(pod, explanation(nodes, reasons))
            return
        best = max(fitting, key=lambda state: (score(pod, state), -nodes.index(state)))
        chosen = name(best.node)

        def bind(obj: Object) -> Object:
            obj["spec"]["nodeName"] = chosen
            others = [c for c in obj["status"].get("conditions") or [] if c["type"] != "PodScheduled"]
            scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now()}
            obj["status"]["conditions"] = [*others, scheduled]
            return obj

        bound = self._registry.bind(pod, bind)
        best.add(bound)
        self._said.pop(uid(pod), None)
        self._recorder.event(bound, "Scheduled", f"Successfully assigned {namespace(pod)}/{name(pod)} to {chosen}")

    def _explain(self, pod: Object, message: str) -> None:
        """Say once (until it changes) why the pod stays Pending."""
        if self._said.get(uid(pod)) == message and condition(pod, "PodScheduled"):
            return
        self._said[uid(pod)] = message
        self._recorder.event(pod, "FailedScheduling", message, warning=True)
        value = {
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
            "lastProbeTime": None, "lastTransitionTime": now(),
        }  # fmt: skip
        others = [c for c in pod["status"].get("conditions") or [] if c["type"] != "PodScheduled"]
        self._registry.set_status(PODS, pod, {**pod["status"], "conditions": [*others, value]})


def _waits(pod: Object) -> bool:
    return (
        not pod["spec"].get("nodeName")
        and pod["status"]["phase"] == "Pending"
        and not pod["metadata"].get("deletionTimestamp")
        and pod["spec"].get("schedulerName") == NAME
        and not pod["spec"].get("schedulingGates")
    )


def refusals(pod: Object, state: NodeState, nodes: list[NodeState]) -> list[str]:
    """Why the pod may not run on this node; empty when it may. The first filter that refuses speaks."""
    filters: list[Callable[[], list[str]]] = [
        lambda: _unschedulable(pod, state),
        lambda: _taints(pod, state),
        lambda: [] if matches_node(pod, state.node) else ["node(s) didn't match Pod's node affinity/selector"],
        lambda: _resources(pod, state),
        lambda: _pod_affinity(pod, state, nodes),
    ]
    for check in filters:
        if why := check():
            return why
    return []


def _unschedulable(pod: Object, state: NodeState) -> list[str]:
    blocked = state.node["spec"].get("unschedulable") and not tolerates(pod, UNSCHEDULABLE)
    return ["node(s) were unschedulable"] if blocked else []


def _taints(pod: Object, state: NodeState) -> list[str]:
    for taint in state.taints:
        if taint["effect"] in _BLOCKING and not tolerates(pod, taint):
            return [f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value') or ''}}}"]
    return []


def tolerates(pod: Object, taint: Object) -> bool:
    """Whether one of the pod's tolerations covers the taint."""
    for toleration in pod["spec"].get("tolerations") or []:
        if toleration.get("effect") not in (None, "", taint["effect"]):
            continue
        if toleration.get("operator") == "Exists":
            if toleration.get("key") in (None, "", taint["key"]):
                return True
        elif toleration.get("key") == taint["key"] and (toleration.get("value") or "") == (taint.get("value") or ""):
            return True
    return False


def matches_node(pod: Object, node: Object) -> bool:
    """nodeSelector and required node affinity."""
    found = labels(node)
    if any(found.get(key) != value for key, value in (pod["spec"].get("nodeSelector") or {}).items()):
        return False
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or any(_term(term, node) for term in required.get("nodeSelectorTerms") or [])


def _term(term: Object, node: Object) -> bool:
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not fields:
        return False
    return all(match_expression(e, labels(node)) for e in expressions) and all(
        match_expression(f, {"metadata.name": name(node)}) for f in fields
    )


def _resources(pod: Object, state: NodeState) -> list[str]:
    missing = []
    for key, asked in quantity.requests(pod).items():
        if asked and asked > state.allocatable.get(key, Decimal(0)) - state.used.get(key, Decimal(0)):
            missing.append("Too many pods" if key == "pods" else f"Insufficient {key}")
    return missing


def _pod_affinity(pod: Object, state: NodeState, nodes: list[NodeState]) -> list[str]:
    affinity = pod["spec"].get("affinity") or {}
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    for term in (affinity.get("podAffinity") or {}).get(required) or []:
        everywhere = any(_selects(term, pod, other) for s in nodes for other in s.pods)
        first_of_its_kind = not everywhere and _selects(term, pod, pod)
        if not _neighbours(term, pod, state, nodes) and not first_of_its_kind:
            return ["node(s) didn't match pod affinity rules"]
    for term in (affinity.get("podAntiAffinity") or {}).get(required) or []:
        if _neighbours(term, pod, state, nodes):
            return ["node(s) didn't match pod anti-affinity rules"]
    for other_state in nodes:
        for other in other_state.pods:
            theirs = (other["spec"].get("affinity") or {}).get("podAntiAffinity") or {}
            for term in theirs.get(required) or []:
                if _same_domain(term, state, other_state) and _selects(term, other, pod):
                    return ["node(s) didn't satisfy existing pods anti-affinity rules"]
    return []


def _neighbours(term: Object, pod: Object, state: NodeState, nodes: list[NodeState]) -> bool:
    """Whether a pod that the term selects runs in the node's topology domain."""
    return any(_selects(term, pod, other) for s in nodes if _same_domain(term, state, s) for other in s.pods)


def _same_domain(term: Object, one: NodeState, other: NodeState) -> bool:
    key = term["topologyKey"]
    value = labels(one.node).get(key)
    return value is not None and value == labels(other.node).get(key)


def _selects(term: Object, owner: Object, other: Object) -> bool:
    spaces = term.get("namespaces") or [namespace(owner)]
    return namespace(other) in spaces and match_label_selector(term.get("labelSelector"), labels(other))


def score(pod: Object, state: NodeState) -> float:
    """Preferred affinity first, then untolerated soft taints, then the node with the most room."""
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    preferred = sum(
        item["weight"]
        for item in affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or []
        if _term(item["preference"], state.node)
    )
    soft = sum(t["effect"] == "PreferNoSchedule" and not tolerates(pod, t) for t in state.taints)
    allocatable, used = state.allocatable, state.used
    room = [float(1 - used.get(k, Decimal(0)) / allocatable[k]) for k in ("cpu", "memory") if allocatable.get(k)]
    average = sum(room) / len(room) if room else 0.0
    return float(average + 10.0 * preferred - 100.0 * soft)


def explanation(nodes: list[NodeState], reasons: list[list[str]]) -> str:
    """`0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 node(s) didn't match ...`"""
    if not nodes:
        return "no nodes available to schedule pods"
    counts = Counter(reason for why in reasons for reason in why)
    listed = ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))
    helped = sum(any(r.startswith(("Insufficient", "Too many")) for r in why) for why in reasons)
    preemption = []
    if helped:
        preemption.append(f"{helped} No preemption victims found for incoming pod")
    if helped < len(nodes):
        preemption.append(f"{len(nodes) - helped} Preemption is not helpful for scheduling")
    total = f"0/{len(nodes)} nodes are available"
    return f"{total}: {listed}. no new claims to deallocate, preemption: {total}: {', '.join(preemption)}."
