"""The life of pods: phases, exit codes, restarts, deletion, probes."""

from __future__ import annotations

import pytest

from tests.devcluster.cluster import Cluster, eventually, refused


def test_a_pod_that_ends_well_succeeds(cluster: Cluster, name: str) -> None:
    pod = cluster.run(name, "echo done")
    (container,) = pod.status.container_statuses
    done = container.state.terminated
    assert pod.status.phase == "Succeeded"
    assert (done.exit_code, done.reason, container.ready, container.restart_count) == (0, "Completed", False, 0)
    assert done.started_at <= done.finished_at
    assert pod.status.pod_ip
    assert pod.spec.node_name
    ready = cluster.condition(name, "Ready")
    assert ready is not None
    assert (ready.status, ready.reason) == ("False", "PodCompleted")


def test_a_pod_that_ends_badly_fails_with_its_exit_code(cluster: Cluster, name: str) -> None:
    pod = cluster.run(name, "exit 3")
    done = pod.status.container_statuses[0].state.terminated
    assert pod.status.phase == "Failed"
    assert (done.exit_code, done.reason) == (3, "Error")


def test_a_killed_container_has_128_plus_the_signal(cluster: Cluster, name: str) -> None:
    # a grandchild, so that process 1 of a container takes the signal
    pod = cluster.run(name, "sh -c 'kill -9 $$$$'; exit $?")
    assert pod.status.container_statuses[0].state.terminated.exit_code == 137


def test_a_command_that_does_not_exist_is_a_start_error(cluster: Cluster, name: str) -> None:
    pod = cluster.run(name, container={"command": ["/no/such/program"]})
    done = pod.status.container_statuses[0].state.terminated
    assert (pod.status.phase, done.exit_code, done.reason) == ("Failed", 128, "StartError")
    assert "/no/such/program" in done.message
    assert "no such file or directory" in done.message


def test_environment_command_and_arguments_are_expanded(cluster: Cluster, name: str) -> None:
    env = [
        {"name": "ONE", "value": "1"},
        {"name": "TWO", "value": "$(ONE)+1"},
        {"name": "PLAIN", "value": "$$(ONE)"},
        {"name": "UNKNOWN", "value": "$(NOTHING)"},
    ]
    container = {
        "command": ["sh", "-c", 'echo "$0|$1|$TWO|$PLAIN|$UNKNOWN"'],
        "args": ["$(ONE)", "a$(TWO)"],
        "env": env,
    }
    assert cluster.output(name, container=container) == "1|a1+1|1+1|$(ONE)|$(NOTHING)\n"


def test_the_downward_api_tells_a_container_about_its_pod(cluster: Cluster, name: str) -> None:
    fields = {
        "NAME": "metadata.name", "SPACE": "metadata.namespace", "UID": "metadata.uid", "APP": "metadata.labels['app']",
        "IP": "status.podIP", "NODE": "spec.nodeName", "NOTE": "metadata.annotations['note']",
    }  # fmt: skip
    env = [{"name": key, "valueFrom": {"fieldRef": {"fieldPath": path}}} for key, path in fields.items()]
    env.append({"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}})
    env.append({"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "requests.memory", "divisor": "1Mi"}}})
    resources = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "250m", "memory": "64Mi"}}
    metadata = {"labels": {"app": "shop"}, "annotations": {"note": "hi"}}
    text = cluster.output(
        name, 'echo "$NAME|$SPACE|$UID|$APP|$IP|$NODE|$NOTE|$CPU|$MEM|$(hostname)"; echo $HOSTNAME',
        metadata=metadata, container={"env": env, "resources": resources},
    )  # fmt: skip
    pod = cluster.pod(name)
    got = text.splitlines()[0].split("|")
    status = pod.status
    expected = [name, cluster.namespace, pod.metadata.uid, "shop", status.pod_ip, pod.spec.node_name, "hi", "250", "32"]
    assert got[:9] == expected
    assert text.splitlines()[1] == name


def test_the_working_directory_is_the_containers(cluster: Cluster, name: str) -> None:
    assert cluster.output(name, "pwd", container={"workingDir": "/usr"}) == "/usr\n"


def test_a_working_directory_that_is_missing_is_made(cluster: Cluster, name: str) -> None:
    assert cluster.output(name, "echo x > file; cat file", container={"workingDir": "/some/place"}) == "x\n"


def test_init_containers_run_one_after_the_other_before_the_others(cluster: Cluster, name: str) -> None:
    mount = [{"name": "shared", "mountPath": "/shared"}]
    inits = [
        {
            "name": f"init-{i}",
            "image": "busybox:1.36",
            "command": ["sh", "-c", f"echo {i} >> /shared/order"],
            "volumeMounts": mount,
        }
        for i in (1, 2)
    ]
    text = cluster.output(
        name, "cat /shared/order", initContainers=inits, volumes=[{"name": "shared", "emptyDir": {}}],
        container={"volumeMounts": mount},
    )  # fmt: skip
    assert text == "1\n2\n"
    statuses = cluster.pod(name).status.init_container_statuses
    assert [s.state.terminated.exit_code for s in statuses] == [0, 0]


def test_an_init_container_is_ready_once_it_has_ended_well(cluster: Cluster, name: str) -> None:
    """And what follows waits for it; one that stays at work is ready as others are."""
    shell = {"image": "busybox:1.36", "volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    wait = "until [ -e /shared/go ]; do sleep 0.1; done"
    inits = [
        {"name": "helper", "restartPolicy": "Always", "command": ["sleep", "600"], **shell},
        {"name": "init", "command": ["sh", "-c", wait], **shell},
    ]
    cluster.start(name, "sleep 600", initContainers=inits, volumes=[{"name": "shared", "emptyDir": {}}])

    def seen() -> tuple[list[bool], str]:
        initialized = cluster.condition(name, "Initialized")
        statuses = cluster.pod(name).status.init_container_statuses or []
        return [each.ready for each in statuses], initialized.status if initialized else ""

    def at_work() -> bool:
        statuses = cluster.pod(name).status.init_container_statuses or []
        return [bool(each.state.running) for each in statuses] == [True, True]

    eventually(at_work)
    assert seen() == ([True, False], "False")
    cluster.exec(name, "touch", "/shared/go", container="helper")
    eventually(lambda: seen() == ([True, True], "True"))


def test_a_failed_init_container_fails_the_pod(cluster: Cluster, name: str) -> None:
    inits = [{"name": "init", "image": "busybox:1.36", "command": ["sh", "-c", "exit 4"]}]
    pod = cluster.run(name, "echo never", initContainers=inits)
    assert pod.status.phase == "Failed"
    assert pod.status.init_container_statuses[0].state.terminated.exit_code == 4
    assert pod.status.container_statuses[0].state.waiting.reason == "PodInitializing"


def test_restart_on_failure_goes_on_until_it_succeeds(cluster: Cluster, name: str) -> None:
    mount = [{"name": "kept", "mountPath": "/kept"}]
    script = "echo x >> /kept/tries; [ $(wc -l < /kept/tries) -ge 2 ]"
    pod = cluster.run(
        name,
        script,
        restartPolicy="OnFailure",
        volumes=[{"name": "kept", "emptyDir": {}}],
        container={"volumeMounts": mount},
    )
    container = pod.status.container_statuses[0]
    assert (pod.status.phase, container.restart_count) == ("Succeeded", 1)


def test_a_container_that_keeps_failing_backs_off(cluster: Cluster, name: str) -> None:
    cluster.start(name, "echo once more; exit 1", restartPolicy="Always")
    waiting = cluster.waiting_reason(name, "CrashLoopBackOff")
    assert "back-off 10s restarting failed container=main" in waiting.message
    pod = cluster.pod(name)
    assert pod.status.phase == "Running"
    assert pod.status.container_statuses[0].last_state.terminated.exit_code == 1
    assert cluster.event(name, "BackOff").type == "Warning"
    assert cluster.log(name, previous=True) == "once more\n"


def test_a_deleted_pod_gets_sigterm_and_its_grace_period(cluster: Cluster, name: str) -> None:
    script = "trap 'echo stopping; exit 7' TERM; echo up; while true; do sleep 0.1; done"
    cluster.start(name, script, metadata={"finalizers": ["podium.test/hold"]}, terminationGracePeriodSeconds=20)
    eventually(lambda: cluster.log(name) if cluster.pod(name).status.phase == "Running" else "")
    # Followed from before: a kubelet removes a deleted pod's containers, and their logs, as soon as they have ended.
    followed = cluster.core.read_namespaced_pod_log(name, cluster.namespace, follow=True, _preload_content=False)
    cluster.core.delete_namespaced_pod(name, cluster.namespace)
    done = eventually(lambda: cluster.state(name).terminated)
    assert done.exit_code == 7
    assert followed.data.decode().splitlines() == ["up", "stopping"]
    assert cluster.pod(name).metadata.deletion_timestamp
    cluster.core.patch_namespaced_pod(name, cluster.namespace, {"metadata": {"finalizers": None}})
    eventually(lambda: cluster.gone(name))


def test_a_pod_that_ignores_sigterm_is_killed_after_its_grace_period(cluster: Cluster, name: str) -> None:
    cluster.start(name, "trap '' TERM; echo up; while true; do sleep 0.1; done", terminationGracePeriodSeconds=2)
    eventually(lambda: cluster.pod(name).status.phase == "Running" and cluster.log(name))
    answer = cluster.core.delete_namespaced_pod(name, cluster.namespace)
    assert answer.metadata.deletion_timestamp
    assert answer.metadata.deletion_grace_period_seconds == 2
    eventually(lambda: cluster.gone(name), 30)


def test_a_forced_deletion_is_immediate(cluster: Cluster, name: str) -> None:
    cluster.start(name, "sleep 60", terminationGracePeriodSeconds=30)
    cluster.wait(name, "Running")
    cluster.core.delete_namespaced_pod(name, cluster.namespace, grace_period_seconds=0)
    assert cluster.gone(name)


def test_a_finished_pod_is_deleted_at_once(cluster: Cluster, name: str) -> None:
    cluster.run(name)
    cluster.core.delete_namespaced_pod(name, cluster.namespace)
    assert cluster.gone(name)


def test_an_image_that_is_not_there_is_said_so(cluster: Cluster, name: str) -> None:
    cluster.start(name, container={"image": "podium.test/no-such-image:1"})
    cluster.waiting_reason(name, "ErrImagePull", "ImagePullBackOff")
    waiting = cluster.waiting_reason(name, "ImagePullBackOff")
    assert 'Back-off pulling image "podium.test/no-such-image:1"' in waiting.message
    assert cluster.pod(name).status.phase == "Pending"
    assert cluster.event(name, "Failed", 'Failed to pull image "podium.test/no-such-image:1"').type == "Warning"
    refused(400, lambda: cluster.log(name), message="trying and failing to pull image")


def test_an_image_that_may_not_be_pulled_is_said_so(cluster: Cluster, name: str) -> None:
    cluster.start(name, container={"image": "podium.test/no-such-image:1", "imagePullPolicy": "Never"})
    cluster.waiting_reason(name, "ErrImageNeverPull")


def test_an_image_reference_that_is_none_is_said_so(cluster: Cluster, name: str) -> None:
    cluster.start(name, container={"image": "No Such:Image"})
    cluster.waiting_reason(name, "InvalidImageName")


def test_a_pod_past_its_deadline_fails(cluster: Cluster, name: str) -> None:
    pod = cluster.run(name, "sleep 60", activeDeadlineSeconds=2)
    assert (pod.status.phase, pod.status.reason) == ("Failed", "DeadlineExceeded")


def test_a_pod_runs_until_its_last_container_has_ended(cluster: Cluster, name: str) -> None:
    body = cluster.manifest(name, "exit 0")
    body["spec"]["containers"].append(
        {**body["spec"]["containers"][0], "name": "slow", "command": ["sh", "-c", "sleep 3; exit 1"]}
    )
    cluster.core.create_namespaced_pod(cluster.namespace, body)
    eventually(lambda: cluster.state(name).terminated)
    assert cluster.state(name, "slow").running
    assert cluster.pod(name).status.phase == "Running"
    assert cluster.wait(name, "Succeeded", "Failed").status.phase == "Failed"


def test_a_container_leaves_a_message(cluster: Cluster, name: str) -> None:
    pod = cluster.run(name, "echo -n 'bad input' > /dev/termination-log; exit 2")
    assert pod.status.container_statuses[0].state.terminated.message == "bad input"


def test_the_log_is_the_message_where_a_container_asks_for_that(cluster: Cluster, name: str) -> None:
    container = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    pod = cluster.run(name, "echo first; sleep 0.5; echo last words >&2; exit 2", container=container)
    assert pod.status.container_statuses[0].state.terminated.message == "first\nlast words\n"


def test_a_readiness_probe_makes_ready(cluster: Cluster, name: str) -> None:
    probe = {"exec": {"command": ["test", "-e", "/tmp/x/ready"]}, "periodSeconds": 1}
    mount = [{"name": "x", "mountPath": "/tmp/x"}]
    script = "sleep 2; touch /tmp/x/ready; sleep 60"
    cluster.start(
        name,
        script,
        volumes=[{"name": "x", "emptyDir": {}}],
        container={"readinessProbe": probe, "volumeMounts": mount},
    )
    cluster.wait(name, "Running")
    assert not cluster.is_ready(name)
    assert cluster.condition(name, "ContainersReady").reason == "ContainersNotReady"
    eventually(lambda: cluster.is_ready(name))
    cluster.exec(name, "rm", "/tmp/x/ready")
    eventually(lambda: not cluster.is_ready(name))
    assert cluster.pod(name).status.phase == "Running"


SERVER = (
    "import http.server, os, socketserver; "
    "socketserver.TCPServer.allow_reuse_address = True; "
    "http.server.ThreadingHTTPServer((os.environ['IP'], 8080), http.server.SimpleHTTPRequestHandler).serve_forever()"
)


@pytest.mark.parametrize("check", [{"httpGet": {"path": "/", "port": "web"}}, {"tcpSocket": {"port": 8080}}])
def test_a_server_is_probed_at_its_pods_address(cluster: Cluster, name: str, check: dict[str, object]) -> None:
    container = {
        "image": "python:3.11-slim",
        "command": ["python3", "-c", SERVER],
        "ports": [{"name": "web", "containerPort": 8080}],
        "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "readinessProbe": {**check, "periodSeconds": 1},
    }
    cluster.start(name, container=container)
    eventually(lambda: cluster.is_ready(name))


def test_two_pods_have_addresses_of_their_own(cluster: Cluster, name: str) -> None:
    names = [f"{name}-{i}" for i in range(2)]
    for each in names:
        cluster.start(each, "sleep 60")
    addresses = {cluster.wait(each, "Running").status.pod_ip for each in names}
    assert len(addresses) == 2


def test_a_failed_liveness_probe_restarts_the_container(cluster: Cluster, name: str) -> None:
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    cluster.start(name, "sleep 60", restartPolicy="Always", container={"livenessProbe": probe})
    eventually(lambda: cluster.status(name).restart_count >= 1)
    assert "failed liveness probe, will be restarted" in cluster.event(name, "Killing").message
    assert "Liveness probe failed" in cluster.event(name, "Unhealthy").message


def test_what_a_pod_is_made_of_may_not_change(cluster: Cluster, name: str) -> None:
    cluster.start(name, "sleep 60")
    change = {"spec": {"containers": [{"name": "main", "command": ["true"]}]}}
    refused(
        422, lambda: cluster.core.patch_namespaced_pod(name, cluster.namespace, change),
        reason="Invalid", message="pod updates may not change fields other than",
    )  # fmt: skip
    labelled = cluster.core.patch_namespaced_pod(name, cluster.namespace, {"metadata": {"labels": {"a": "b"}}})
    assert labelled.metadata.labels == {"a": "b"}


def test_a_pod_that_makes_no_sense_is_refused(cluster: Cluster, name: str) -> None:
    create = cluster.core.create_namespaced_pod
    no_containers = cluster.manifest(name, containers=[])
    refused(
        422, lambda: create(cluster.namespace, no_containers), reason="Invalid", message="spec.containers: Required"
    )
    refused(
        422, lambda: create(cluster.namespace, cluster.manifest("Not_A_Name")), message="lowercase RFC 1123 subdomain"
    )
    mount = {"volumeMounts": [{"name": "nothing", "mountPath": "/x"}]}
    refused(
        422, lambda: create(cluster.namespace, cluster.manifest(name, container=mount)), message='Not found: "nothing"'
    )
    refused(
        422,
        lambda: create(cluster.namespace, cluster.manifest(name, restartPolicy="Sometimes")),
        message="Unsupported value",
    )


def test_a_pod_needs_a_namespace_and_a_service_account(cluster: Cluster, name: str) -> None:
    create = cluster.core.create_namespaced_pod
    refused(
        404,
        lambda: create("no-such-namespace", cluster.manifest(name)),
        message='namespaces "no-such-namespace" not found',
    )
    body = cluster.manifest(name, serviceAccountName="nobody")
    refused(
        403, lambda: create(cluster.namespace, body), reason="Forbidden", message='serviceaccount "nobody" not found'
    )


def test_a_name_is_taken_once(cluster: Cluster, name: str) -> None:
    cluster.start(name, "sleep 60")
    refused(409, lambda: cluster.start(name), reason="AlreadyExists", message=f'pods "{name}" already exists')


def test_names_are_generated(cluster: Cluster, name: str) -> None:
    body = cluster.manifest("x")
    body["metadata"] = {"generateName": f"{name}-"}
    one, two = (cluster.core.create_namespaced_pod(cluster.namespace, body).metadata.name for _ in range(2))
    assert one.startswith(f"{name}-")
    assert len(one) == len(name) + 6
    assert one != two


def test_defaults_are_filled_in(cluster: Cluster, name: str) -> None:
    body = {
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "main", "image": "busybox", "command": ["sleep", "60"]}]},
    }
    cluster.core.create_namespaced_pod(cluster.namespace, body)
    spec = cluster.pod(name).spec
    assert (spec.restart_policy, spec.dns_policy, spec.scheduler_name) == (
        "Always",
        "ClusterFirst",
        "default-scheduler",
    )
    assert (spec.termination_grace_period_seconds, spec.service_account_name) == (30, "default")
    (container,) = spec.containers
    assert (container.image_pull_policy, container.termination_message_path) == ("Always", "/dev/termination-log")
    assert cluster.pod(name).status.qos_class == "BestEffort"
    assert {t.key for t in spec.tolerations} == {"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"}


def test_gpus_are_told_to_the_containers_that_asked(cluster: Cluster, name: str) -> None:
    limits = {"requests": {"cpu": "10m"}, "limits": {"nvidia.com/gpu": "2"}}
    for suffix in ("a", "b"):
        cluster.start(f"{name}-{suffix}", "echo $NVIDIA_VISIBLE_DEVICES; sleep 60", container={"resources": limits})
    seen = [
        eventually(lambda s=s: cluster.pod(f"{name}-{s}").status.phase == "Running" and cluster.log(f"{name}-{s}"))
        for s in "ab"
    ]
    given = [set(text.strip().split(",")) for text in seen]
    assert [len(g) for g in given] == [2, 2]
    assert not given[0] & given[1]
