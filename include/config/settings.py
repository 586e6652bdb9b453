"""The settings of one environment (`local`, `dev`, `staging`, `prod`).

`load_settings()` reads `include/config/<environment>.yaml`. The environment is `PODIUM_ENV`, `local` when
unset. Any key may be overridden by `PODIUM_<SECTION>__<KEY>`, for instance `PODIUM_PORTS__KAFKA=19092`.
All of it is validated at once; an error names the file, the key and the mend.
"""

import datetime as dt
import os
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    YamlConfigSettingsSource,
)

CONFIG_DIR = Path(__file__).parent
ENVIRONMENTS = ("local", "dev", "staging", "prod")

Port = Field(ge=1024, le=65535)
Fraction = Field(ge=0.0, le=1.0)


class ConfigError(Exception):
    """The configuration of an environment cannot be used; the text says which file, key and mend."""


class Section(BaseModel):
    """A part of the settings: immutable, and strict about unknown keys so that a typo never passes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Ports(Section):
    """TCP ports of the embedded platform, on 127.0.0.1; `*_pods` are on `kubernetes.host_address`, if that is given."""

    kafka: int = Port
    kafka_controller: int = Port
    s3: int = Port
    s3_master: int = Port
    s3_volume: int = Port
    s3_filer: int = Port
    s3_grpc: int = Port
    s3_master_grpc: int = Port
    s3_volume_grpc: int = Port
    s3_filer_grpc: int = Port
    postgres: int = Port
    mlflow: int = Port
    gateway: int = Port
    gateway_admin: int = Port
    kubernetes: int = Port
    airflow: int = Port
    kafka_pods: int = Port
    s3_pods: int = Port
    postgres_pods: int = Port
    mlflow_pods: int = Port
    gateway_pods: int = Port
    supervisor: int = Port

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        taken: dict[int, str] = {}
        for name, port in self.model_dump().items():
            if port in taken:
                raise ValueError(f"{name} and {taken[port]} both use port {port}: give each its own")
            taken[port] = name
        return self


class Endpoints(Section):
    """Where the platform's services are. Empty in `local`, where they follow from the ports."""

    kafka_bootstrap_servers: str = ""
    s3_endpoint_url: str = ""
    s3_region: str = "us-east-1"
    lake_warehouse: str = "s3://lake/warehouse"
    lake_catalog_uri: str = Field(default="", description="postgresql://host:port/database, without credentials")
    mlflow_tracking_uri: str = ""
    gateway_url: str = Field(default="", description="base address that inference requests go to")
    metrics_url: str = Field(default="", description="Prometheus, or the proxy's admin address in local")


class Kafka(Section):
    """How clients get into Kafka. Who they are lies in files of the Secret `podium-credentials`, never here.

    `kafka_username` and `kafka_password` for SASL; `kafka_ca.pem`, the authority that signed the brokers' certificates
    (without it those of the system are trusted); `kafka_client.crt` and `kafka_client.key` where brokers ask for a
    certificate of the client.
    """

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    connection_id: str = Field(default="kafka_default", description="Airflow's own connection, for announced batches")

    @model_validator(mode="after")
    def _mechanism(self) -> Self:
        if (self.security_protocol == "SASL_SSL") != (self.sasl_mechanism is not None):
            raise ValueError(
                "sasl_mechanism belongs to security_protocol SASL_SSL: give both, or neither (a password never goes "
                "over a connection without TLS, so there is no SASL_PLAINTEXT)"
            )
        return self


class Toleration(Section):
    """A toleration as Kubernetes has it."""

    key: str
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class NodePool(Section):
    """A named group of equal nodes."""

    nodes: int = Field(ge=0, description="how many nodes the pool has at most")
    node_selector: dict[str, str]
    tolerations: tuple[Toleration, ...] = ()
    cpu: str = Field(description="CPU of one node, as a Kubernetes quantity")
    memory: str = Field(description="memory of one node, as a Kubernetes quantity")
    gpus: int = Field(default=0, ge=0, description="GPUs of one node")
    gpu_product: str | None = None
    price_per_gpu_hour: float = Field(default=0.0, ge=0.0, description="US dollars")
    topology_key: str | None = Field(
        default=None,
        description="label of nodes whose value all pods of a gang share, e.g. topology.kubernetes.io/zone",
    )
    kueue_queue: str | None = Field(default=None, description="Kueue's LocalQueue, where the cluster has Kueue")

    @model_validator(mode="after")
    def _gpus_have_product_and_price(self) -> Self:
        if self.gpus and not (self.gpu_product and self.price_per_gpu_hour):
            raise ValueError(
                "a pool with gpus needs gpu_product and price_per_gpu_hour: GPU-hours are accounted by them"
            )
        return self

    @property
    def total_gpus(self) -> int:
        """GPUs of the whole pool: the slots of its Airflow pool."""
        return self.nodes * self.gpus


class Kubernetes(Section):
    """The cluster that runs the work."""

    namespace: str
    service_account: str = "podium-jobs"
    spark_service_account: str = Field(default="podium-spark", description="of Spark drivers, which start executors")
    connection_id: str = "kubernetes_default"
    platform_config_map: str = "podium-platform"
    credentials_secret: str = "podium-credentials"
    kubeconfig: Path | None = Field(
        default=None, description="embedded: a cluster of your own instead of the dev cluster; with a bearer token"
    )
    host_address: str = Field(
        default="", description="IP address of this machine that the pods of that cluster reach its services by"
    )
    operators: bool = Field(
        default=False,
        description="that cluster runs the Spark operator, the MPI operator and KServe: Podium's controllers stay off",
    )

    @field_validator("kubeconfig")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value and value.expanduser().absolute()

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.kubeconfig is None) != (not self.host_address):
            raise ValueError("kubeconfig and host_address belong together: give both (a cluster of your own) or none")
        if self.operators and self.kubeconfig is None:
            raise ValueError("operators run on a cluster of your own: give its kubeconfig and host_address, or drop it")
        return self


class Airflow(Section):
    """How patient and how parallel Airflow is."""

    parallelism: int = Field(ge=1)
    retries: int = Field(ge=0)
    retry_delay_s: float = Field(ge=0)
    owner: str
    lake_connection_id: str = Field(default="podium_lake", description="AWS connection to the lake's bucket")
    pseudonyms_connection_id: str = Field(
        default="podium_pseudonyms",
        description="connection whose password is the key that people's names are hashed with",
    )


class Faults(Section):
    """How soon it is seen that a process has died, and how long an outage is borne.

    A false alarm costs an attempt, never the work: the next attempt joins it. So these may be tighter than Airflow's
    own (300 s), as long as they are longer than the longest pause of a healthy process.
    """

    task_heartbeat_s: int = Field(ge=1, description="how often a task says that it lives")
    task_heartbeat_timeout_s: int = Field(ge=3, description="a task that was silent for so long is tried again")
    job_heartbeat_s: int = Field(ge=1, description="how often scheduler and triggerer say that they live")
    job_timeout_s: int = Field(
        ge=3, description="what a scheduler or triggerer had that was silent for so long is taken over"
    )
    orphan_check_interval_s: int = Field(ge=1, description="how often tasks of dead schedulers are looked for")
    abandoned_work_check_s: float = Field(
        gt=0, description="how often work is looked for whose task has ended, to be deleted"
    )
    api_outage_s: float = Field(ge=0, description="how long a task asks again when the cluster's API is away")

    @model_validator(mode="after")
    def _patient(self) -> Self:
        for timeout, heartbeat in (
            ("task_heartbeat_timeout_s", "task_heartbeat_s"),
            ("job_timeout_s", "job_heartbeat_s"),
        ):
            if getattr(self, timeout) < 3 * getattr(self, heartbeat):
                raise ValueError(f"{timeout} must be at least three times {heartbeat}: one heartbeat may well be late")
        return self


class Accounting(Section):
    """Who had how many GPUs for how long."""

    schedule: str | None = Field(default=None, description="cron: when the ledger is brought up to date")


class Lineage(Section):
    """Where OpenLineage events of the tasks go."""

    transport: Literal["none", "file", "kafka", "http"] = Field(
        default="none", description="file: logs/lineage of the embedded platform, one JSON object a line"
    )
    namespace: str = Field(default="podium", description="of the jobs in the events")
    topic: str = Field(default="", description="kafka: the topic, on the platform's broker")
    url: str = Field(default="", description="http: base address of an OpenLineage API, for instance Marquez")

    @model_validator(mode="after")
    def _where(self) -> Self:
        for transport, key in (("kafka", "topic"), ("http", "url")):
            if self.transport == transport and not getattr(self, key):
                raise ValueError(f"transport {transport} needs {key}")
        return self


class Notifications(Section):
    """Who is told of a failed task: connections of Airflow, each a channel. None of them, nobody."""

    slack_webhook_connection_id: str | None = None
    pagerduty_events_connection_id: str | None = None
    alertmanager_connection_id: str | None = Field(default=None, description="an HTTP connection")

    @property
    def any(self) -> bool:
        """Whether somebody is told."""
        return any(self.model_dump().values())


class Links(Section):
    """Where a task's page leads; addresses with the places {namespace} and {name} (of the object in the cluster)."""

    pod_logs: str | None = None
    spark_ui: str | None = None

    @field_validator("pod_logs", "spark_ui")
    @classmethod
    def _known_places(cls, value: str | None) -> str | None:
        try:
            (value or "").format(namespace="", name="")
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f"{value!r} has a place that is neither {{namespace}} nor {{name}}") from error
        return value


class IngestTopic(Section):
    """Events of one topic, to tables of their own; the DAG `ingest_<name>`."""

    topic: str = Field(description="its name in Kafka")
    partitions: int = Field(ge=1, description="of the topic, where the demonstration makes it")
    contract: str = Field(pattern=r"^[a-z_]+\.v[1-9][0-9]*$", description="a file of include/contracts")
    table: str = Field(
        pattern=r"^[a-z_]+\.[a-z_]+$", description="of accepted events; quarantine is <table>_quarantine"
    )
    schedule: str = Field(description="cron expression of the intervals")
    batches: str | None = Field(
        default=None,
        description="topic of announcements {start, end} that start the ingest of an interval at once; <batches>.dlq "
        "takes what is none; both must exist",
    )
    unit: Literal["run", "day"] = Field(
        default="run", description="what is ingested, judged and replaced as one: a run's whole interval, or each day"
    )
    start_date: dt.date
    end_date: dt.date | None = None
    max_active_runs: int = Field(ge=1)
    allowed_lateness_s: int = Field(ge=0)
    max_bad_fraction: float = Fraction
    processes: int = Field(
        default=2, ge=1, le=16, description="that share an interval of many records; its pod asks for a CPU for each"
    )


class Ingest(Section):
    """Events from Kafka to the lake."""

    timezone: str = Field(description="time zone of the shops, in which the boundaries of all schedules lie")
    topics: dict[Annotated[str, StringConstraints(pattern=r"^[a-z_]+$")], IngestTopic]

    @property
    def transactions(self) -> IngestTopic:
        """The topic that features and models are made of."""
        return self.topics["transactions"]

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if "transactions" not in self.topics:
            raise ValueError("topics.transactions is missing: features and models are made of it")
        for key in ("topic", "table"):
            values = [getattr(topic, key) for topic in self.topics.values()]
            if twice := {value for value in values if values.count(value) > 1}:
                raise ValueError(f"{key} {', '.join(sorted(twice))} stands under two topics: give each its own")
        return self

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{value!r} is no IANA time zone, for instance America/New_York") from error
        return value


class Features(Section):
    """The Spark job that makes the feature tables."""

    schedule: str | None = Field(default=None, description="cron, beside the asset that starts it; backfills need one")
    cutoffs: tuple[dt.date, ...] = Field(min_length=1, description="first days of months, in the shop's time")
    driver_cores: int = Field(ge=1)
    driver_memory: str
    executor_instances: int = Field(ge=0)
    core_request: str | None = Field(
        default=None, description="CPU request of driver and executors, where it is less than their cores"
    )

    @field_validator("cutoffs")
    @classmethod
    def _months(cls, value: tuple[dt.date, ...]) -> tuple[dt.date, ...]:
        if any(day.day != 1 for day in value) or list(value) != sorted(set(value)):
            raise ValueError("cutoffs are first days of months, ascending, each once")
        return value


class Recommender(Section):
    """Training and judging of the recommender."""

    schedule: str | None = Field(default=None, description="cron, beside the asset that starts it; backfills need one")
    model_name: str
    experiment: str
    node_pool: str
    workers: int = Field(ge=1)
    gpus_per_worker: int = Field(ge=0)
    worker_cpu: str = Field(default="2", description="CPU request of one worker, a Kubernetes quantity")
    worker_memory: str = Field(default="4Gi", description="memory request and limit of one worker")
    train_cutoffs: tuple[dt.date, ...] = Field(min_length=1)
    validation_cutoff: dt.date
    evaluation_cutoff: dt.date
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1, description="rows a worker and step")
    learning_rate: float = Field(gt=0)
    seed: int
    min_lift: float = Field(ge=0, description="how far the candidate must lie above each required baseline")
    required_baselines: tuple[Literal["popularity", "own_frequency", "decayed_frequency"], ...]

    @model_validator(mode="after")
    def _no_leak(self) -> Self:
        if max(self.train_cutoffs) >= self.validation_cutoff or self.validation_cutoff >= self.evaluation_cutoff:
            raise ValueError(
                "train_cutoffs must lie before validation_cutoff, and that before evaluation_cutoff: "
                "otherwise the judged month leaks into training"
            )
        return self


class RolloutStep(Section):
    """One step of a canary."""

    traffic_percent: int = Field(ge=1, le=100)
    min_seconds: float = Field(ge=0, description="watch at least this long")
    max_seconds: float = Field(gt=0, description="give up, and roll back, when there is no verdict by then")

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.min_seconds > self.max_seconds:
            raise ValueError(f"min_seconds {self.min_seconds} is more than max_seconds {self.max_seconds}")
        return self


class Rollout(Section):
    """How a model reaches production, and when it is taken back."""

    schedule: str | None = Field(default=None, description="cron, beside the asset that starts it; backfills need one")
    inference_service: str
    steps: tuple[RolloutStep, ...] = Field(min_length=1)
    max_error_rate: float = Fraction
    max_p99_ms: float = Field(gt=0)
    min_requests: int = Field(ge=1, description="requests to the canary that a verdict needs, in each step")
    poll_seconds: float = Field(gt=0)
    metrics: Literal["envoy", "prometheus"]

    @field_validator("steps")
    @classmethod
    def _ascending(cls, value: tuple[RolloutStep, ...]) -> tuple[RolloutStep, ...]:
        shares = [step.traffic_percent for step in value]
        if shares != sorted(set(shares)) or shares[-1] != 100:
            raise ValueError(f"traffic_percent must rise from step to step and end at 100, not {shares}")
        return value


class Drift(Section):
    """When the world has moved away from what a model has seen."""

    schedule: str | None = None
    p_value: float = Field(gt=0, lt=1)
    min_drifted_fraction: float = Fraction
    sample_size: int = Field(ge=100)
    retrain: bool = Field(description="whether a drift event starts training")


class Upkeep(Section):
    """Maintenance of the lake's tables."""

    schedule: str | None = Field(default=None, description="cron; none: by hand")
    keep_snapshots_s: int = Field(
        ge=0, description="a younger snapshot stays: longer than a training takes, and any other reader"
    )
    keep_snapshots: int = Field(ge=1, description="as many of the latest snapshots stay whatever their age")
    orphan_age_s: int = Field(
        ge=86_400, description="a file that no snapshot names goes when it is older: longer than any writer takes"
    )
    target_file_bytes: int = Field(ge=1024 * 1024, description="how large data files are to be")
    min_input_files: int = Field(ge=2, description="so many small files of a partition are worth rewriting")
    max_files: int = Field(ge=1, description="a run rewrites at most so many files of a table; the next one goes on")
    driver_memory: str = "2g"
    executor_instances: int = Field(ge=0)


class Settings(BaseSettings):
    """All settings of one environment. Read them with `load_settings()`."""

    model_config = SettingsConfigDict(env_prefix="PODIUM_", env_nested_delimiter="__", frozen=True, extra="forbid")

    env: Literal["local", "dev", "staging", "prod"]
    kubernetes: Kubernetes
    ports: Ports | None = None
    endpoints: Endpoints = Endpoints()
    kafka: Kafka = Kafka()
    airflow: Airflow
    faults: Faults
    accounting: Accounting = Accounting()
    lineage: Lineage = Lineage()
    notifications: Notifications = Notifications()
    links: Links = Links()
    node_pools: dict[str, NodePool]
    images: dict[str, str]
    ingest: Ingest
    features: Features
    recommender: Recommender
    rollout: Rollout
    drift: Drift
    upkeep: Upkeep

    @model_validator(mode="after")
    def _pools_and_reach(self) -> Self:
        if self.recommender.node_pool not in self.node_pools:
            raise ValueError(
                f"recommender.node_pool: no pool {self.recommender.node_pool!r} under node_pools "
                f"(there are {', '.join(sorted(self.node_pools))})"
            )
        if self.ports is None and not all(
            getattr(self.endpoints, name) for name in Endpoints.model_fields if name != "metrics_url"
        ):
            raise ValueError("endpoints: without ports (the embedded platform) every endpoint must be given")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment variables win over the file; nothing else is read."""
        return (init_settings, env_settings, YamlConfigSettingsSource(settings_cls))

    @property
    def reach(self) -> Endpoints:
        """The endpoints, with those of the embedded platform derived from its ports."""
        return self._endpoints(self.ports, "127.0.0.1", "") if self.ports else self.endpoints

    @property
    def reach_from_pods(self) -> Endpoints:
        """The same as the jobs' pods see them. It differs where the platform is embedded and the cluster is not."""
        if self.ports is None or not self.kubernetes.host_address:
            return self.reach
        return self._endpoints(self.ports, self.kubernetes.host_address, "_pods")

    def _endpoints(self, ports: Ports, host: str, view: str) -> Endpoints:
        services = ("kafka", "s3", "postgres", "mlflow", "gateway")
        kafka, s3, postgres, mlflow, gateway = (f"{host}:{getattr(ports, name + view)}" for name in services)
        derived = {
            "kafka_bootstrap_servers": kafka,
            "s3_endpoint_url": f"http://{s3}",
            "lake_catalog_uri": f"postgresql://{postgres}/lake",
            "mlflow_tracking_uri": f"http://{mlflow}",
            "gateway_url": f"http://{gateway}",
            "metrics_url": f"http://127.0.0.1:{ports.gateway_admin}",
        }
        given = {name: value for name, value in self.endpoints.model_dump().items() if value}
        return Endpoints(**(derived | given))

    def platform_environment(self) -> dict[str, str]:
        """What the ConfigMap `podium-platform` holds: the environment of every job, without a secret."""
        reach = self.reach_from_pods
        return {
            "PODIUM_ENV": self.env,
            "KAFKA_BOOTSTRAP_SERVERS": reach.kafka_bootstrap_servers,
            "KAFKA_SECURITY_PROTOCOL": self.kafka.security_protocol,
            **({"KAFKA_SASL_MECHANISM": self.kafka.sasl_mechanism} if self.kafka.sasl_mechanism else {}),
            "S3_ENDPOINT_URL": reach.s3_endpoint_url,
            "AWS_REGION": reach.s3_region,
            "LAKE_WAREHOUSE": reach.lake_warehouse,
            "LAKE_CATALOG_URI": reach.lake_catalog_uri,
            "MLFLOW_TRACKING_URI": reach.mlflow_tracking_uri,
        }


def load_settings(environment: str | None = None, directory: Path = CONFIG_DIR) -> Settings:
    """Read and validate the settings of an environment.

    :param environment: its name; default: `PODIUM_ENV`, else `local`.
    :param directory: where the YAML files lie.
    :raises ConfigError: unknown environment, unreadable file, or invalid values; all of them are listed.
    """
    name = environment or os.environ.get("PODIUM_ENV") or "local"
    if name not in ENVIRONMENTS:
        raise ConfigError(f"PODIUM_ENV={name!r} is no environment: use one of {', '.join(ENVIRONMENTS)}")
    path = directory / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file; restore it from the repository")

    class _FromFile(Settings):
        model_config = SettingsConfigDict(yaml_file=path)

    try:
        return _FromFile.model_validate({"env": name})
    except ValidationError as error:
        raise ConfigError(_explain(path, error)) from error
    except (SettingsError, yaml.YAMLError, TypeError, OSError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def _explain(path: Path, error: ValidationError) -> str:
    """One line a mistake: the key, what is wrong with it, what was found, and where a value may come from."""
    lines = [f"{path}: {error.error_count()} mistake(s)"]
    for item in error.errors(include_url=False, include_context=False):
        keys = [str(part) for part in item["loc"]]
        variable = "PODIUM_" + "__".join(key.upper() for key in keys)
        found = "" if item["type"] in ("missing", "value_error") else f", found {item['input']!r}"
        lines.append(f"  {'.'.join(keys) or 'as a whole'}: {item['msg']}{found}")
        if keys and variable in os.environ:
            lines.append(f"    (the value comes from {variable} in the environment: correct or unset it)")
    lines.append("Correct the file (or the variable) and start again; nothing has been started.")
    return "\n".join(lines)
