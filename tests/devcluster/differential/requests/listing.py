"""Lists, selectors, watches and the shapes of answers."""

from __future__ import annotations

from tests.devcluster.differential.case import PARTIAL, PARTIAL_LIST, TABLE, Cases, delete, get, patch, pod, post

_BED = [
    post("configmaps", {"metadata": {"name": f"bed-{n}", "labels": labels}, "data": {"n": str(n)}})
    for n, labels in enumerate(
        ({"case": "bed", "app": "a", "n": "1"}, {"case": "bed", "app": "b", "x/y": ""}, {"case": "bed"})
    )
]

_LABELS = {
    "equal": "app=a",
    "double": "app==a",
    "differs": "app!=a",
    "in": "app in (a,b)",
    "notin": "app notin (a, c)",
    "exists": "app",
    "not-exists": "!app",
    "two": "app=a,n=1",
    "empty-value": "x/y=",
    "greater": "n>0",
    "less": "n<0",
    "triple": "a===",
    "operator": "a=>b",
    "open": "app in (a",
    "no-values": "app in ()",
    "key-alone-bad": "a b",
    "comma": "app=a,",
    "only-comma": ",",
    "bad-value": "app=a b",
    "bad-key": "A_b/c=d",
    "spaces": " app = a ",
    "bad-value-chars": "app=ä",
    "in-spaces": "app  in(a , b)",
    "in-bad": "app in a",
    "not-not": "!!app",
    "greater-text": "n>a",
    "long": "a" * 64 + "=b",
    "value-long": "a=" + "b" * 64,
}
_FIELDS = {
    "name": "metadata.name=bed-1",
    "name-differs": "metadata.name!=bed-1,metadata.namespace={ns}",
    "double": "metadata.name==bed-1",
    "unknown": "spec.x=1",
    "broken": "metadata.name",
    "empty": "metadata.name=",
    "two": "metadata.name=bed-1,metadata.name=bed-2",
    "comma": "metadata.name=bed-1,",
    "escaped": "metadata.name=a\\,b",
    "escape-bad": "metadata.name=a\\b",
    "in": "metadata.name in (a)",
}


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text).replace("%7Bns%7D", "{ns}")


_POD_FIELDS = (
    "status.phase=Pending",
    "spec.nodeName=",
    "spec.restartPolicy=Always",
    "spec.schedulerName=nobody",
    "status.podIP=",
    "spec.hostNetwork=false",
    "spec.serviceAccountName=default",
    "status.reason=x",
    "spec.containers=x",
    "status.nominatedNodeName=",
)

CASES: Cases = {
    "labels": [
        *_BED,
        *(get(f"configmaps?labelSelector={_quoted(text)}") for text in ("case=bed",)),
    ],
    **{f"label-{key}": [get(f"configmaps?labelSelector={_quoted(text)}")] for key, text in _LABELS.items()},
    **{
        f"field-{key}": [get(f"configmaps?fieldSelector={_quoted(text)}&labelSelector=case%3Dbed")]
        for key, text in _FIELDS.items()
    },
    "pod-fields": [
        post("pods", pod("p1", metadata={"labels": {"case": "pf"}})),
        *(get(f"pods?labelSelector=case%3Dpf&fieldSelector={_quoted(text)}") for text in _POD_FIELDS),
    ],
    "secret-fields": [
        post("secrets", {"metadata": {"name": "s1"}, "type": "a.b/c"}),
        get("secrets?fieldSelector=type%3Da.b/c"),
        get("secrets?fieldSelector=type!%3Da.b/c,metadata.name%3Ds1"),
    ],
    "other-fields": [
        get("services?fieldSelector=spec.type%3DClusterIP"),
        get("services?fieldSelector=spec.clusterIP%3DNone"),
        get("/apis/scheduling.k8s.io/v1/priorityclasses?fieldSelector=value%3D5"),
        get("/api/v1/namespaces?fieldSelector=status.phase%3DActive,metadata.name%3D{ns}"),
        get("/api/v1/nodes?fieldSelector=spec.unschedulable%3Dtrue"),
        get("/api/v1/nodes?fieldSelector=status.phase%3Dx"),
    ],
    "limits": [
        get("configmaps?limit=1&labelSelector=case%3Dbed"),
        get("configmaps?limit=x"),
        get("configmaps?limit=-1"),
        get("configmaps?limit=0&labelSelector=case%3Dbed"),
        get("configmaps?continue=x"),
        get("configmaps?resourceVersion=x"),
        get("configmaps?resourceVersion=0&labelSelector=case%3Dbed"),
        get("configmaps?resourceVersion=1&resourceVersionMatch=NotOlderThan&labelSelector=case%3Dbed"),
        get("configmaps?resourceVersionMatch=Exact"),
        get("configmaps?resourceVersion=0&resourceVersionMatch=Exact"),
        get("configmaps?resourceVersion=5&resourceVersionMatch=Near"),
        get("configmaps?resourceVersion=1&resourceVersionMatch=Exact&labelSelector=case%3Dbed"),
        get("configmaps?resourceVersion=999999999&labelSelector=case%3Dbed"),
        get("configmaps/bed-1?resourceVersion=0"),
        get("configmaps/bed-1?resourceVersion=x"),
    ],
    "watch": [
        get("configmaps?watch=1&timeoutSeconds=1&labelSelector=case%3Dbed"),
        get("configmaps?watch=true&timeoutSeconds=1&resourceVersion=0&labelSelector=case%3Dbed"),
        get("configmaps?watch=1&timeoutSeconds=1&resourceVersion=1"),
        get("configmaps?watch=1&timeoutSeconds=1&resourceVersion=x"),
        get("configmaps?watch=maybe&timeoutSeconds=1&labelSelector=case%3Dbed"),
        get("configmaps?watch=false&labelSelector=case%3Dbed"),
        get("configmaps?watch=0&labelSelector=case%3Dbed"),
        get("configmaps?watch=1&timeoutSeconds=x"),
        get("configmaps?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Dbed-1"),
        get("configmaps?watch=1&timeoutSeconds=1&fieldSelector=spec.x%3D1"),
        get("configmaps?watch=1&timeoutSeconds=1&labelSelector=a%3D%3D%3D"),
        get("configmaps?watch=1&timeoutSeconds=1&sendInitialEvents=true"),
        get(
            "configmaps?watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&labelSelector=case%3Dbed"
        ),
        get(
            "configmaps?watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&labelSelector=case%3Dbed"
        ),
        get("configmaps?watch=1&timeoutSeconds=1&resourceVersionMatch=NotOlderThan"),
        get("configmaps?sendInitialEvents=true"),
        get(
            "configmaps?watch=1&timeoutSeconds=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&labelSelector=case%3Dbed"
        ),
        get("configmaps?watch=1&timeoutSeconds=1&limit=1&labelSelector=case%3Dbed"),
        get("configmaps?watch=1&timeoutSeconds=1&labelSelector=case%3Dbed", TABLE),
        get("configmaps?watch=1&timeoutSeconds=1&labelSelector=case%3Dbed", PARTIAL),
        get("configmaps/bed-1?watch=1&timeoutSeconds=1"),
        get("/api/v1/watch/namespaces/{ns}/configmaps?timeoutSeconds=1&labelSelector=case%3Dbed"),
        get("/api/v1/watch/namespaces/{ns}/configmaps/bed-1?timeoutSeconds=1"),
    ],
    "shapes": [
        get("configmaps?labelSelector=case%3Dbed", TABLE),
        get("configmaps/bed-1", TABLE),
        get("configmaps?labelSelector=case%3Dbed", PARTIAL_LIST),
        get("configmaps/bed-1", PARTIAL),
        get("configmaps?labelSelector=case%3Dbed", PARTIAL),
        get("configmaps/bed-1", PARTIAL_LIST),
        get("configmaps/bed-1?includeObject=None", TABLE),
        get("configmaps/bed-1?includeObject=Object", TABLE),
        get("configmaps/bed-1?includeObject=Some", TABLE),
        get("configmaps/not-there", TABLE),
        get("configmaps?limit=1&labelSelector=case%3Dbed", TABLE),
        get("configmaps/bed-1", "application/json;as=Table;v=v1beta1;g=meta.k8s.io"),
        get("configmaps/bed-1", "application/json;as=Chart;v=v1;g=meta.k8s.io"),
        get("configmaps/bed-1", "application/yaml"),
        get("configmaps/bed-1", "text/html"),
        get("configmaps/bed-1", "*/*"),
        get("configmaps/bed-1", "application/*"),
    ],
    "tables": [
        post("pods", pod("t1", metadata={"labels": {"case": "t"}})),
        get("pods?labelSelector=case%3Dt", TABLE),
        get("pods/t1", TABLE),
        post("secrets", {"metadata": {"name": "t1"}, "stringData": {"a": "1"}}),
        get("secrets/t1", TABLE),
        post(
            "services",
            {"metadata": {"name": "t1"}, "spec": {"ports": [{"port": 80, "protocol": "UDP"}], "selector": {"a": "b"}}},
        ),
        get("services/t1", TABLE),
        post(
            "persistentvolumeclaims",
            {
                "metadata": {"name": "t1"},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "storageClassName": "none",
                    "resources": {"requests": {"storage": "1Gi"}},
                },
            },
        ),
        get("persistentvolumeclaims?labelSelector=none", TABLE),
        get("serviceaccounts/default", TABLE),
        post(
            "/apis/coordination.k8s.io/v1/namespaces/{ns}/leases",
            {"metadata": {"name": "t1"}, "spec": {"holderIdentity": "me"}},
        ),
        get("/apis/coordination.k8s.io/v1/namespaces/{ns}/leases/t1", TABLE),
        get("/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical", TABLE),
        get("/api/v1/namespaces/{ns}", TABLE),
        get("events?limit=1", TABLE),
        get("/api/v1/nodes?labelSelector=none", TABLE),
        get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions?labelSelector=none", TABLE),
        post(
            "events",
            {
                "metadata": {"name": "e1"},
                "involvedObject": {"kind": "Pod", "namespace": "{ns}", "name": "p"},
                "reason": "R",
                "message": "m\n",
                "type": "Normal",
                "count": 3,
                "firstTimestamp": "2026-01-01T00:00:00Z",
                "lastTimestamp": "2026-01-01T00:00:01Z",
                "source": {"component": "c", "host": "h"},
            },
        ),
        get("events/e1", TABLE),
    ],
    "life-watched": [
        post("configmaps", {"metadata": {"name": "lw", "labels": {"case": "lw"}}}),
        patch("configmaps/lw", {"data": {"a": "b"}}),
        delete("configmaps/lw"),
        get("configmaps?watch=1&timeoutSeconds=1&labelSelector=case%3Dlw"),
        get("configmaps?labelSelector=case%3Dlw"),
    ],
}
