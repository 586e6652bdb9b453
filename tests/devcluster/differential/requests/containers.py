"""Containers of pods, good and bad."""

from __future__ import annotations

from typing import Any

from tests.devcluster.differential.case import Cases, pod, post

GPU = "nvidia.com/gpu"
_CHECK: dict[str, Any] = {"exec": {"command": ["true"]}}
_GET: dict[str, Any] = {"httpGet": {"port": 80}}


def _env(*variables: Any) -> dict[str, Any]:
    return {"env": list(variables)}


def _from(**source: Any) -> dict[str, Any]:
    return _env({"name": "X", "valueFrom": source})


def _resources(**resources: Any) -> dict[str, Any]:
    return {"resources": resources}


def _probe(kind: str = "readinessProbe", **probe: Any) -> dict[str, Any]:
    return {kind: probe}


def _ports(*ports: Any) -> dict[str, Any]:
    return {"ports": list(ports)}


CONTAINERS: dict[str, dict[str, Any]] = {
    # ---- names, images
    "plain": {},
    "no-name": {"name": ""},
    "name-null": {"name": None},
    "name-upper": {"name": "Main"},
    "name-long": {"name": "a" * 64},
    "name-number": {"name": 1},
    "image-empty": {"image": ""},
    "image-null": {"image": None},
    "image-space": {"image": " busybox"},
    "image-number": {"image": 1.36},
    "image-latest": {"image": "busybox:latest"},
    "image-untagged": {"image": "registry:5000/team/busybox"},
    "image-digest": {"image": "busybox@sha256:" + "0" * 64},
    "pull-policy-unknown": {"imagePullPolicy": "Sometimes"},
    "pull-policy-empty": {"imagePullPolicy": ""},
    # ---- command, args, others
    "args-number": {"args": [1]},
    "args-null": {"args": None},
    "args-of-null": {"args": ["a", None]},
    "args-text": {"args": "true"},
    "args-empty": {"args": []},
    "command-bool": {"command": ["sh", True]},
    "command-null": {"command": None},
    "command-object": {"command": {"a": 1}},
    "working-dir": {"workingDir": "/work"},
    "stdin": {"stdin": True, "stdinOnce": True, "tty": False},
    "stdin-text": {"stdin": "yes"},
    "termination-policy-unknown": {"terminationMessagePolicy": "Log"},
    "termination-path-empty": {"terminationMessagePath": ""},
    # ---- env
    "env": _env({"name": "A", "value": "1"}, {"name": "B"}),
    "env-number": _env({"name": "X", "value": 1}),
    "env-bool": _env({"name": "X", "value": True}),
    "env-float": _env({"name": "X", "value": 1.5}),
    "env-object": _env({"name": "X", "value": {"a": "b"}}),
    "env-null": _env({"name": "X", "value": None}),
    "env-no-name": _env({"value": "1"}),
    "env-name-dotted": _env({"name": "a.b-c_d", "value": "1"}),
    "env-name-digit": _env({"name": "1a", "value": "1"}),
    "env-name-equals": _env({"name": "a=b", "value": "1"}),
    "env-name-utf8": _env({"name": "ä", "value": "1"}),
    "env-twice": _env({"name": "A", "value": "1"}, {"name": "A", "value": "2"}),
    "env-map": {"env": {"A": "1"}},
    "env-value-and-from": _env({"name": "X", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
    "env-from-nothing": _from(),
    "env-from-two": _from(fieldRef={"fieldPath": "metadata.name"}, configMapKeyRef={"name": "c", "key": "k"}),
    "env-field": _from(fieldRef={"fieldPath": "metadata.name"}),
    "env-field-label": _from(fieldRef={"fieldPath": "metadata.labels['a/b']"}),
    "env-field-label-bad": _from(fieldRef={"fieldPath": "metadata.labels['a b']"}),
    "env-field-unknown": _from(fieldRef={"fieldPath": "spec.hostname"}),
    "env-field-none": _from(fieldRef={}),
    "env-resource": _from(resourceFieldRef={"resource": "limits.cpu"}),
    "env-resource-divisor": _from(resourceFieldRef={"resource": "limits.cpu", "divisor": "1m"}),
    "env-resource-divisor-bad": _from(resourceFieldRef={"resource": "limits.cpu", "divisor": "2m"}),
    "env-resource-unknown": _from(resourceFieldRef={"resource": "limits.gpu"}),
    "env-secret": _from(secretKeyRef={"name": "s", "key": "k", "optional": True}),
    "env-secret-no-key": _from(secretKeyRef={"name": "s"}),
    "env-secret-key-bad": _from(secretKeyRef={"name": "s", "key": "a b"}),
    "env-secret-no-name": _from(secretKeyRef={"key": "k"}),
    "env-map-no-name": _from(configMapKeyRef={"key": "k"}),
    "envfrom": {"envFrom": [{"prefix": "P_", "configMapRef": {"name": "c"}}]},
    "envfrom-nothing": {"envFrom": [{}]},
    "envfrom-both": {"envFrom": [{"configMapRef": {"name": "c"}, "secretRef": {"name": "s"}}]},
    "envfrom-prefix": {"envFrom": [{"prefix": "1=", "configMapRef": {"name": "c"}}]},
    "envfrom-no-name": {"envFrom": [{"secretRef": {}}]},
    # ---- resources
    "cpu-number": _resources(requests={"cpu": 1}, limits={"cpu": 2}),
    "cpu-float": _resources(requests={"cpu": 0.25}),
    "cpu-float-odd": _resources(requests={"cpu": 0.1}),
    "cpu-text": _resources(requests={"cpu": "0.5"}),
    "cpu-thousand": _resources(requests={"cpu": "1000m"}),
    "cpu-nano": _resources(requests={"cpu": "1n"}),
    "cpu-sub-nano": _resources(requests={"cpu": "0.1n"}),
    "memory-mi": _resources(requests={"memory": "1024Mi"}),
    "memory-bytes": _resources(requests={"memory": 1073741824}),
    "memory-e": _resources(requests={"memory": "1e3"}),
    "memory-float": _resources(requests={"memory": "1.5Gi"}),
    "memory-k": _resources(requests={"memory": "1500k"}),
    "memory-m": _resources(requests={"memory": "100m"}),
    "memory-million": _resources(requests={"memory": "1000000"}),
    "memory-spaces": _resources(requests={"memory": "1 Gi"}),
    "memory-GB": _resources(requests={"memory": "1GB"}),
    "memory-big-e": _resources(requests={"memory": "12E"}),
    "memory-exponent": _resources(requests={"memory": "1.2E6"}),
    "memory-plus": _resources(requests={"memory": "+5Mi"}),
    "memory-huge": _resources(requests={"memory": "100000000000000000000"}),
    "quantity-null": _resources(requests={"cpu": None}),
    "quantity-empty": _resources(requests={"cpu": ""}),
    "quantity-bool": _resources(requests={"cpu": True}),
    "quantity-object": _resources(requests={"cpu": {"a": 1}}),
    "cpu-negative": _resources(requests={"cpu": "-1"}),
    "limits-negative": _resources(limits={"memory": "-1Mi"}),
    "requests-above": _resources(requests={"cpu": "2"}, limits={"cpu": "1"}),
    "memory-above": _resources(requests={"memory": "2Gi"}, limits={"memory": "1Gi"}),
    "both-above": _resources(requests={"cpu": "2", "memory": "2Gi"}, limits={"cpu": "1", "memory": "1Gi"}),
    "limits-alone": _resources(limits={"cpu": "1", "memory": "1Gi"}),
    "resource-unknown": _resources(requests={"gpu": "1"}),
    "resource-bad-name": _resources(requests={"a b": "1"}),
    "resource-kubernetes": _resources(limits={"kubernetes.io/thing": "1"}),
    "resource-requests-prefix": _resources(limits={"requests.nvidia.com/gpu": "1"}),
    "gpu": _resources(limits={GPU: 1}),
    "gpu-both": _resources(limits={GPU: "2"}, requests={GPU: 2}),
    "gpu-requests-alone": _resources(requests={GPU: 1}),
    "gpu-unequal": _resources(requests={GPU: 1}, limits={GPU: 2}),
    "gpu-half": _resources(limits={GPU: "0.5"}),
    "gpu-half-both": _resources(limits={GPU: "500m"}, requests={GPU: "500m"}),
    "storage": _resources(requests={"ephemeral-storage": "1Gi"}, limits={"ephemeral-storage": "2Gi"}),
    "hugepages": _resources(requests={"hugepages-2Mi": "4Mi", "cpu": "1"}, limits={"hugepages-2Mi": "4Mi"}),
    "hugepages-alone": _resources(limits={"hugepages-2Mi": "4Mi"}),
    "hugepages-odd": _resources(limits={"hugepages-2Mi": "3Mi", "cpu": "1"}),
    "resources-list": {"resources": []},
    "requests-list": _resources(requests=["cpu"]),
    "claims-unknown": _resources(claims=[{"name": "x"}]),
    # ---- ports
    "port": _ports({"containerPort": 80}, {"containerPort": 81, "protocol": "UDP", "name": "dns"}),
    "port-none": _ports({"name": "x"}),
    "port-zero": _ports({"containerPort": 0}),
    "port-high": _ports({"containerPort": 65536}),
    "port-text": _ports({"containerPort": "80"}),
    "port-float": _ports({"containerPort": 80.5}),
    "port-whole-float": {"ports": [{"containerPort": 80.0}]},
    "port-name-long": _ports({"containerPort": 80, "name": "a-name-that-is-long"}),
    "port-name-upper": _ports({"containerPort": 80, "name": "HTTP"}),
    "port-name-digits": _ports({"containerPort": 80, "name": "80"}),
    "port-name-twice": _ports({"containerPort": 80, "name": "a"}, {"containerPort": 81, "name": "a"}),
    "port-protocol": _ports({"containerPort": 80, "protocol": "http"}),
    "port-twice": _ports({"containerPort": 80}, {"containerPort": 80}),
    "host-port": _ports({"containerPort": 80, "hostPort": 70000}),
    "host-port-twice": _ports({"containerPort": 80, "hostPort": 90}, {"containerPort": 81, "hostPort": 90}),
    "host-ip": _ports({"containerPort": 80, "hostIP": "nowhere"}),
    # ---- probes and hooks
    "probe": _probe(**_CHECK),
    "probe-none": _probe(),
    "probe-period-alone": _probe(periodSeconds=5),
    "probe-two": _probe(**_CHECK, **_GET),
    "probe-http": _probe(**_GET),
    "probe-http-named": _probe(httpGet={"port": "web", "path": "/ready", "scheme": "HTTPS"}),
    "probe-http-port-text": _probe(httpGet={"port": "80"}),
    "probe-http-port-zero": _probe(httpGet={"port": 0}),
    "probe-http-no-port": _probe(httpGet={"path": "/"}),
    "probe-http-scheme": _probe(httpGet={"port": 80, "scheme": "ftp"}),
    "probe-http-header": _probe(httpGet={"port": 80, "httpHeaders": [{"name": "a b", "value": "1"}]}),
    "probe-tcp": _probe(tcpSocket={"port": 70000}),
    "probe-grpc": _probe(grpc={"port": 0}),
    "probe-exec-empty": _probe(exec={"command": []}),
    "probe-negative": _probe(
        **_CHECK, initialDelaySeconds=-1, timeoutSeconds=-1, periodSeconds=-2, failureThreshold=-3
    ),
    "probe-text": _probe(**_CHECK, periodSeconds="5"),
    "liveness-success": _probe("livenessProbe", **_CHECK, successThreshold=2),
    "startup-success": _probe("startupProbe", **_CHECK, successThreshold=2),
    "readiness-grace": _probe(**_CHECK, terminationGracePeriodSeconds=5),
    "liveness-grace": _probe("livenessProbe", **_CHECK, terminationGracePeriodSeconds=5),
    "liveness-grace-zero": _probe("livenessProbe", **_CHECK, terminationGracePeriodSeconds=0),
    "hook": {"lifecycle": {"preStop": {"exec": {"command": ["true"]}}}},
    "hook-empty": {"lifecycle": {"preStop": {}}},
    "hook-sleep": {"lifecycle": {"preStop": {"sleep": {"seconds": 5}}}},
    "hook-sleep-long": {"lifecycle": {"preStop": {"sleep": {"seconds": 500}}}},
    # ---- security
    "security": {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "capabilities": {"drop": ["ALL"]},
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": False,
        }
    },
    "security-user": {"securityContext": {"runAsUser": -1}},
    "security-user-text": {"securityContext": {"runAsUser": "root"}},
    "security-escalation": {"securityContext": {"privileged": True, "allowPrivilegeEscalation": False}},
    "security-seccomp": {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}},
    "security-seccomp-type": {"securityContext": {"seccompProfile": {"type": "Mine"}}},
    "security-seccomp-no-type": {"securityContext": {"seccompProfile": {}}},
    "security-seccomp-local": {"securityContext": {"seccompProfile": {"type": "Localhost"}}},
    # ---- restart
    "restart-policy": {"restartPolicy": "Always"},
    "resize-policy": {"resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}]},
    "resize-policy-unknown": {"resizePolicy": [{"resourceName": "gpu", "restartPolicy": "Maybe"}]},
}

CASES: Cases = {name: [post("pods", pod(name, container))] for name, container in CONTAINERS.items()}
