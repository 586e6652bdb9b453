"""Settings of what the work runs on: addresses, Kafka, the cluster and its node pools."""

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from include.config.section import Section

Port = Field(ge=1024, le=65535)


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
    s3_admin: int = Port
    s3_admin_grpc: int = Port
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

    @field_validator("*")
    @classmethod
    def _no_credentials(cls, value: str) -> str:
        if "@" in urlsplit(value).netloc:
            raise ValueError(
                "it holds credentials, which would stand in a ConfigMap, logs and links: give it without them, and who "
                "asks for them theirs (MLflow: mlflow_username and mlflow_password, or mlflow_token, in the Secret "
                "podium-credentials, and airflow.mlflow_connection_id)",
            )
        return value


class Kafka(Section):
    """How clients get into Kafka. Who they are lies in files of the Secret `podium-credentials`, never here.

    `kafka_username` and `kafka_password` for SASL; `kafka_ca.pem`, the authority that signed the brokers' certificates
    (without it those of the system are trusted); `kafka_client.crt` and `kafka_client.key` where brokers ask for a
    certificate of the client.
    """

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_SSL", "SASL_PLAINTEXT"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    connection_id: str = Field(default="kafka_default", description="Airflow's own connection, for announced batches")

    @model_validator(mode="after")
    def _mechanism(self) -> Self:
        if self.security_protocol.startswith("SASL_") != (self.sasl_mechanism is not None):
            raise ValueError(
                "sasl_mechanism belongs to security_protocol SASL_SSL or SASL_PLAINTEXT: give both, or neither"
            )
        if self.security_protocol == "SASL_PLAINTEXT" and self.sasl_mechanism == "PLAIN":
            raise ValueError(
                "security_protocol SASL_PLAINTEXT goes with SCRAM-SHA-256 or SCRAM-SHA-512: by PLAIN the password "
                "would go over a connection without TLS"
            )
        return self


class SchemaRegistry(Section):
    """Where the schemas of topics are whose values name one. Who asks for them lies in files of the same Secret.

    `schema_registry_username` and `schema_registry_password` for basic authentication, over https alone;
    `schema_registry_ca.pem`, the authority that signed its certificate (without it the public ones are trusted).
    """

    url: str | None = Field(default=None, description="of a registry that speaks Confluent's API; none: there is none")

    @field_validator("url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "http://none")
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
            raise ValueError(
                "give an address like https://registry.example.com:8081 or https://…/apis/ccompat/v7, without "
                "credentials: these are the keys schema_registry_username and schema_registry_password of the Secret "
                "podium-credentials"
            )
        return value


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
