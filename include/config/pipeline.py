"""Settings of the pipeline's stages, from ingest to upkeep."""

import datetime as dt
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, StringConstraints, field_validator, model_validator

from include.config.section import Fraction, Section


class IngestTopic(Section):
    """Events of one topic, to tables of their own; the DAG `ingest_<name>`."""

    topic: str = Field(description="its name in Kafka")
    partitions: int = Field(ge=1, description="of the topic, where the demonstration makes it")
    contract: str = Field(pattern=r"^[a-z_]+\.v[1-9][0-9]*$", description="a file of include/contracts")
    value_format: Literal["json", "registry_json", "registry_avro"] = Field(
        default="json",
        description="of the messages' values: plain JSON, or JSON or Avro behind the id of a schema in schema_registry",
    )
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
    asset_partitions: Literal["day", "hour"] | None = Field(
        default=None,
        description="announce each day or hour that is closed as a partition of the asset <table>.partitions",
    )
    start_date: dt.date
    end_date: dt.date | None = None
    max_active_runs: int = Field(ge=1)
    allowed_lateness_s: int = Field(ge=0)
    max_bad_fraction: float = Fraction
    max_stray_fraction: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="of an interval's rows may have a message time outside it (ten rows always may): more refuse it",
    )
    max_ahead_s: int = Field(
        default=3600,
        ge=0,
        description="a record stamped further ahead of now moves no boundary: message.timestamp.after.max.ms",
    )
    processes: int = Field(
        default=2, ge=1, le=16, description="that share an interval of many records; its pod asks for a CPU for each"
    )


class Ingest(Section):
    """Events from Kafka to the lake."""

    timezone: str = Field(description="time zone of the shops, in which the boundaries of all schedules lie")
    reference_schedule: str | None = Field(
        default=None, description="cron: when products and households are written anew; none: by hand"
    )
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
    executor_instances: int = Field(ge=1)
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
    alpha: float = Field(
        default=0.01, gt=0, le=0.1, description="chance that a canary which is no worse is taken back, in all steps"
    )
    max_error_rate: float = Field(
        gt=0, lt=1, description="share of 5xx, and of 4xx, that is admitted whatever the champion's is at the time"
    )
    max_p99_ms: float = Field(gt=0, description="99 of 100 requests may take so long, or as many as the champion's")
    min_requests: int = Field(
        ge=1, description="requests to the canary that a step needs to be passed; it is taken back without"
    )
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
    executor_instances: int = Field(ge=1)
    core_request: str | None = Field(
        default=None, description="CPU request of driver and executors, where it is less than one core"
    )
