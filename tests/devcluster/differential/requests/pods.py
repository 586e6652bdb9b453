"""Pods as a whole, good and bad."""

from __future__ import annotations

from typing import Any

from tests.devcluster.differential.case import Cases, pod, post

BOX = {"name": "main", "image": "busybox:1.36"}


def _volume(**source: Any) -> dict[str, Any]:
    return {"volumes": [{"name": "v", **source}]}


def _mounts(*mounts: Any, volumes: Any = ({"name": "v"},)) -> dict[str, Any]:
    return {"containers": [{**BOX, "volumeMounts": list(mounts)}], "volumes": list(volumes)}


def _tolerates(**toleration: Any) -> dict[str, Any]:
    return {"tolerations": [toleration]}


def _node(*terms: Any) -> dict[str, Any]:
    return {
        "affinity": {
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
        }
    }


def _expression(**expression: Any) -> dict[str, Any]:
    return _node({"matchExpressions": [expression]})


def _apart(**term: Any) -> dict[str, Any]:
    return {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}


def _spread(**constraint: Any) -> dict[str, Any]:
    return {"topologySpreadConstraints": [constraint]}


PODS: dict[str, dict[str, Any]] = {
    # ---- containers as a list
    "containers-none": {"containers": []},
    "containers-null": {"containers": None},
    "containers-map": {"containers": {"main": BOX}},
    "containers-of-null": {"containers": [None]},
    "containers-twice": {"containers": [BOX, BOX]},
    "init": {"initContainers": [{**BOX, "name": "init"}]},
    "init-same-name": {"initContainers": [BOX]},
    "init-readiness": {"initContainers": [{**BOX, "name": "i", "readinessProbe": {"exec": {"command": ["a"]}}}]},
    "init-lifecycle": {"initContainers": [{**BOX, "name": "i", "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}]},
    "init-sidecar": {"initContainers": [{**BOX, "name": "i", "restartPolicy": "Always"}]},
    "init-never": {"initContainers": [{**BOX, "name": "i", "restartPolicy": "Sometimes"}]},
    "ephemeral": {"ephemeralContainers": [{**BOX, "name": "e"}]},
    # ---- policies
    "restart-never": {"restartPolicy": "Never"},
    "restart-unknown": {"restartPolicy": "never"},
    "restart-null": {"restartPolicy": None},
    "restart-empty": {"restartPolicy": ""},
    "dns-policy-unknown": {"dnsPolicy": "Mine"},
    "dns-none": {"dnsPolicy": "None"},
    "dns-config": {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.2.3.4"], "searches": ["a.b"]}},
    "dns-config-bad": {"dnsConfig": {"nameservers": ["here"]}},
    "preemption-unknown": {"preemptionPolicy": "Maybe"},
    "preemption-never": {"preemptionPolicy": "Never"},
    "grace": {"terminationGracePeriodSeconds": 5},
    "grace-zero": {"terminationGracePeriodSeconds": 0},
    "grace-negative": {"terminationGracePeriodSeconds": -5},
    "grace-text": {"terminationGracePeriodSeconds": "5"},
    "grace-float": {"terminationGracePeriodSeconds": 5.5},
    "deadline": {"activeDeadlineSeconds": 60},
    "deadline-zero": {"activeDeadlineSeconds": 0},
    "deadline-negative": {"activeDeadlineSeconds": -1},
    "deadline-huge": {"activeDeadlineSeconds": 99999999999},
    "os": {"os": {"name": "linux"}},
    "os-unknown": {"os": {"name": "beos"}},
    # ---- names
    "node-name-bad": {"nodeName": "Node_1"},
    "host-name": {"hostname": "here", "subdomain": "there"},
    "host-name-bad": {"hostname": "Here.now"},
    "subdomain-bad": {"subdomain": "a.b"},
    "account-unknown": {"serviceAccountName": "nobody"},
    "account-bad": {"serviceAccountName": "No Body"},
    "account-old-field": {"serviceAccount": "default"},
    "scheduler-empty": {"schedulerName": "", "nodeSelector": {"no": "where"}},
    "pull-secrets": {"imagePullSecrets": [{"name": "a"}, {"name": "b"}]},
    "pull-secrets-no-name": {"imagePullSecrets": [{}]},
    "runtime-class-unknown": {"runtimeClassName": "gvisor"},
    "priority-class-unknown": {"priorityClassName": "nobody-has-it"},
    "priority-class-system": {"priorityClassName": "system-node-critical"},
    "priority-alone": {"priority": 7},
    "priority-zero": {"priority": 0},
    "gates": {"schedulingGates": [{"name": "podium.test/wait"}]},
    "gates-twice": {"schedulingGates": [{"name": "a.b/c"}, {"name": "a.b/c"}]},
    "gates-bad": {"schedulingGates": [{"name": "a b"}]},
    "readiness-gates": {"readinessGates": [{"conditionType": "podium.test/ready"}]},
    "readiness-gates-bad": {"readinessGates": [{"conditionType": "a b"}]},
    "aliases": {"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}]},
    "aliases-bad": {"hostAliases": [{"ip": "here", "hostnames": ["A b"]}]},
    "booleans": {"hostNetwork": False, "hostPID": False, "shareProcessNamespace": False, "enableServiceLinks": False},
    "boolean-text": {"hostNetwork": "true"},
    "host-network": {"hostNetwork": True, "containers": [{**BOX, "ports": [{"containerPort": 8080}]}]},
    "host-network-port": {
        "hostNetwork": True,
        "containers": [{**BOX, "ports": [{"containerPort": 80, "hostPort": 81}]}],
    },
    "share-and-host-pid": {"hostPID": True, "shareProcessNamespace": True},
    "security": {
        "securityContext": {"runAsUser": 1000, "fsGroup": 1000, "supplementalGroups": [1], "runAsNonRoot": False}
    },
    "security-negative": {"securityContext": {"runAsUser": -1, "fsGroup": -1, "supplementalGroups": [-1]}},
    "security-change-policy": {"securityContext": {"fsGroupChangePolicy": "Maybe"}},
    "security-sysctl": {"securityContext": {"sysctls": [{"name": "A B", "value": "1"}]}},
    # ---- where it may run
    "selector": {"nodeSelector": {"kubernetes.io/os": "linux", "no": "where"}},
    "selector-number": {"nodeSelector": {"a": 1}},
    "selector-bad-key": {"nodeSelector": {"a b": "c"}},
    "selector-bad-value": {"nodeSelector": {"a": "b c"}},
    "toleration": _tolerates(key="gpu", operator="Equal", value="yes", effect="NoSchedule"),
    "toleration-all": _tolerates(operator="Exists"),
    "toleration-no-key": _tolerates(value="x"),
    "toleration-exists-value": _tolerates(key="a", operator="Exists", value="x"),
    "toleration-operator": _tolerates(key="a", operator="In"),
    "toleration-effect": _tolerates(key="a", operator="Exists", effect="Never"),
    "toleration-seconds": _tolerates(key="a", operator="Exists", effect="NoSchedule", tolerationSeconds=5),
    "toleration-key": _tolerates(key="a b", operator="Exists"),
    "toleration-value": _tolerates(key="a", value="b c"),
    "toleration-not-ready": _tolerates(
        key="node.kubernetes.io/not-ready", operator="Exists", effect="NoExecute", tolerationSeconds=7
    ),
    "affinity": _expression(key="pool", operator="In", values=["a", "b"]),
    "affinity-no-values": _expression(key="pool", operator="In"),
    "affinity-exists-values": _expression(key="pool", operator="Exists", values=["a"]),
    "affinity-operator": _expression(key="pool", operator="Near", values=["a"]),
    "affinity-gt": _expression(key="pool", operator="Gt", values=["a"]),
    "affinity-gt-two": _expression(key="pool", operator="Gt", values=["1", "2"]),
    "affinity-key": _expression(key="a b", operator="Exists"),
    "affinity-no-terms": _node(),
    "affinity-empty-term": _node({}),
    "affinity-field": _node({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}),
    "affinity-field-unknown": _node({"matchFields": [{"key": "spec.x", "operator": "In", "values": ["n"]}]}),
    "affinity-weight": {
        "affinity": {
            "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 0, "preference": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}
                ]
            }
        }
    },
    "apart": _apart(topologyKey="kubernetes.io/hostname", labelSelector={"matchLabels": {"a": "b"}}),
    "apart-no-key": _apart(labelSelector={"matchLabels": {"a": "b"}}),
    "apart-bad-key": _apart(topologyKey="a b"),
    "apart-selector": _apart(topologyKey="a", labelSelector={"matchExpressions": [{"key": "a", "operator": "Gt"}]}),
    "apart-selector-values": _apart(
        topologyKey="a", labelSelector={"matchExpressions": [{"key": "a", "operator": "In"}]}
    ),
    "apart-namespace": _apart(topologyKey="a", namespaces=["A b"]),
    "spread": _spread(maxSkew=1, topologyKey="zone", whenUnsatisfiable="DoNotSchedule", labelSelector={}),
    "spread-skew": _spread(maxSkew=0, topologyKey="zone", whenUnsatisfiable="DoNotSchedule"),
    "spread-when": _spread(maxSkew=1, topologyKey="", whenUnsatisfiable="Perhaps"),
    # ---- volumes and mounts
    "volume": _volume(),
    "volume-empty-dir": _volume(emptyDir={"medium": "Memory", "sizeLimit": "1024Mi"}),
    "volume-size-negative": _volume(emptyDir={"sizeLimit": "-1"}),
    "volume-two-sources": _volume(emptyDir={}, configMap={"name": "c"}),
    "volume-no-name": {"volumes": [{"emptyDir": {}}]},
    "volume-bad-name": {"volumes": [{"name": "A_b", "emptyDir": {}}]},
    "volume-twice": {"volumes": [{"name": "v"}, {"name": "v"}]},
    "volume-config-map": _volume(configMap={"name": "c", "items": [{"key": "k", "path": "p"}], "defaultMode": 256}),
    "volume-config-map-no-name": _volume(configMap={}),
    "volume-item-no-path": _volume(configMap={"name": "c", "items": [{"key": "k"}]}),
    "volume-item-no-key": _volume(configMap={"name": "c", "items": [{"path": "k"}]}),
    "volume-item-absolute": _volume(configMap={"name": "c", "items": [{"key": "k", "path": "/p"}]}),
    "volume-item-up": _volume(configMap={"name": "c", "items": [{"key": "k", "path": "../p"}]}),
    "volume-mode": _volume(configMap={"name": "c", "defaultMode": 512}),
    "volume-mode-text": _volume(configMap={"name": "c", "defaultMode": "0644"}),
    "volume-secret": _volume(secret={"secretName": "s"}),
    "volume-secret-no-name": _volume(secret={}),
    "volume-secret-name": _volume(secret={"name": "s"}),
    "volume-claim": _volume(persistentVolumeClaim={"claimName": "c"}),
    "volume-claim-no-name": _volume(persistentVolumeClaim={}),
    "volume-claim-name-bad": _volume(persistentVolumeClaim={"claimName": "A b"}),
    "volume-host-path": _volume(hostPath={"path": "/tmp"}),
    "volume-host-path-none": _volume(hostPath={}),
    "volume-host-path-up": _volume(hostPath={"path": "/tmp/../etc"}),
    "volume-host-path-type": _volume(hostPath={"path": "/tmp", "type": "Folder"}),
    "volume-downward": _volume(downwardAPI={"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}),
    "volume-downward-env": _volume(downwardAPI={"items": [{"path": "l", "fieldRef": {"fieldPath": "status.podIP"}}]}),
    "volume-downward-none": _volume(downwardAPI={"items": [{"path": "l"}]}),
    "volume-downward-no-container": _volume(
        downwardAPI={"items": [{"path": "l", "resourceFieldRef": {"resource": "limits.cpu"}}]}
    ),
    "volume-projected": _volume(projected={"sources": [{"configMap": {"name": "c"}}, {"secret": {"name": "s"}}]}),
    "volume-projected-two": _volume(projected={"sources": [{"configMap": {"name": "c"}, "secret": {"name": "s"}}]}),
    "volume-projected-none": _volume(projected={}),
    "volume-projected-conflict": _volume(
        projected={
            "sources": [
                {"configMap": {"name": "c", "items": [{"key": "a", "path": "x"}]}},
                {"secret": {"name": "s", "items": [{"key": "a", "path": "x"}]}},
            ]
        }
    ),
    "volume-token": _volume(projected={"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 60}}]}),
    "volume-nfs": _volume(nfs={"server": "", "path": "x"}),
    "volume-csi": _volume(csi={}),
    "volume-ephemeral": _volume(
        ephemeral={
            "volumeClaimTemplate": {
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
            }
        }
    ),
    "volume-ephemeral-none": _volume(ephemeral={}),
    "mount": _mounts({"name": "v", "mountPath": "/a", "readOnly": False}),
    "mount-unknown": _mounts({"name": "w", "mountPath": "/a"}),
    "mount-no-path": _mounts({"name": "v"}),
    "mount-no-name": _mounts({"mountPath": "/a"}),
    "mount-same-path": _mounts({"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/a"}),
    "mount-same-path-two": _mounts(
        {"name": "v", "mountPath": "/a"}, {"name": "w", "mountPath": "/a"}, volumes=[{"name": "v"}, {"name": "w"}]
    ),
    "mount-colon": _mounts({"name": "v", "mountPath": "/a:b"}),
    "mount-relative": _mounts({"name": "v", "mountPath": "a"}),
    "mount-sub-path": _mounts({"name": "v", "mountPath": "/a", "subPath": "x/y"}),
    "mount-sub-path-up": _mounts({"name": "v", "mountPath": "/a", "subPath": "../x"}),
    "mount-sub-path-absolute": _mounts({"name": "v", "mountPath": "/a", "subPath": "/x"}),
    "mount-sub-path-both": _mounts({"name": "v", "mountPath": "/a", "subPath": "x", "subPathExpr": "$(X)"}),
    "mount-propagation": _mounts({"name": "v", "mountPath": "/a", "mountPropagation": "Everywhere"}),
    "mount-propagation-both-ways": _mounts({"name": "v", "mountPath": "/a", "mountPropagation": "Bidirectional"}),
    "mount-recursive": _mounts({"name": "v", "mountPath": "/a", "recursiveReadOnly": "Enabled"}),
    "device-of-empty-dir": {
        "containers": [{**BOX, "volumeDevices": [{"name": "v", "devicePath": "/dev/x"}]}],
        "volumes": [{"name": "v"}],
    },
    "mounts-null": {"containers": [{**BOX, "volumeMounts": None}], "volumes": None},
    # ---- much at once
    "many": {
        "restartPolicy": "no",
        "dnsPolicy": "no",
        "containers": [{"name": "", "image": ""}],
        "volumes": [{"name": ""}],
    },
    "overhead": {"overhead": {"cpu": "1"}},
    "resources": {"resources": {"requests": {"cpu": "1"}}},
    "host-users": {"hostUsers": False},
    "set-hostname": {"setHostnameAsFQDN": True},
}

CASES: Cases = {name: [post("pods", pod(name, None, **spec))] for name, spec in PODS.items()}
CASES |= {
    "no-spec": [post("pods", {"metadata": {"name": "no-spec"}})],
    "spec-null": [post("pods", {"metadata": {"name": "spec-null"}, "spec": None})],
    "spec-empty": [post("pods", {"metadata": {"name": "spec-empty"}, "spec": {}})],
    "spec-text": [post("pods", {"metadata": {"name": "spec-text"}, "spec": "a pod"})],
    "spec-list": [post("pods", {"metadata": {"name": "spec-list"}, "spec": []})],
    "with-status": [post("pods", {**pod("with-status"), "status": {"phase": "Running", "podIP": "1.2.3.4"}})],
    "status-bad": [post("pods", {**pod("status-bad"), "status": {"phase": 1}})],
}
