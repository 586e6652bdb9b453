"""Real S3, Postgres and MLflow with a made-up shop in the lake, for the suites of models.

Each suite imports the fixtures into its conftest: they run in that image's environment.
"""

import datetime as dt
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from include.jobs.lake.catalog import ensure_table, open_catalog
from include.jobs.lake.connections import Connections
from include.jobs.lake.tables import FEATURES_INTERACTIONS, PRODUCTS, TRANSACTIONS
from include.jobs.ranking.interactions import COLUMNS, Interactions
from include.jobs.ranking.source import next_month
from tests.jobs.contracted import SALES
from tests.jobs.published import publish_view
from tests.jobs.shoppers import TIMEZONE, Shop
from tests.services import ROOT, Services, free_ports, stack

CUTOFFS = tuple(dt.date(2017, month, 1) for month in (3, 4, 5, 6))
"""March and April are learned, May is for validation, June is judged."""

RESULT_MARK = "PODIUM_RESULT "


@dataclass(frozen=True)
class Platform:
    """The running services, and the environment that a pod would get."""

    environment: dict[str, str]
    shop: Shop

    @property
    def connections(self) -> Connections:
        return Connections.from_environment(self.environment)

    def run(
        self, *arguments: str, check: bool = True, before: tuple[str, ...] = (), **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a job of this image: `run("include.jobs.drift", "check", …)`."""
        done = subprocess.run(
            [*before, sys.executable, "-m", *arguments],
            cwd=ROOT,
            env={**os.environ, **self.environment, **environment, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done


def result_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The result that a job printed last."""
    found: dict[str, Any] = json.loads(done.stdout.rpartition(RESULT_MARK)[2])
    return found


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """S3, Postgres and MLflow, freshly made, with six months of a made-up shop."""
    home = tmp_path_factory.mktemp("platform")
    ports = free_ports()
    settings = {f"PODIUM_PORTS__{name.upper()}": str(port) for name, port in ports.items()} | {"PODIUM_HOME": str(home)}
    try:
        started = stack(settings, "up", "--only", "s3", "postgres", "gateway", "mlflow")
        if started.returncode:
            pytest.fail(f"the services do not start:\n{started.stdout}")
        services = Services(ports, home, json.loads((home / "credentials.json").read_text()))
        environment = {
            **services.platform_environment,
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{ports['mlflow']}",
            "PODIUM_CREDENTIALS_DIR": str(services.write_credentials(home / "mounted")),
        }
        found = Platform(environment, Shop.open(months=7))
        fill(found)
        yield found
    finally:
        stopped = stack(settings, "down")
    assert stopped.returncode == 0, stopped.stdout


def fill(platform: Platform) -> None:
    """Write the shop into the lake: its lines, its products, its features at `CUTOFFS`."""
    catalog = open_catalog(platform.connections)
    shop, count = platform.shop, len(platform.shop.household)
    noons = [dt.datetime.combine(day, dt.time(12, 30), tzinfo=TIMEZONE).astimezone(dt.UTC) for day in shop.day.tolist()]
    months = [dt.datetime(day.year, day.month, 1, tzinfo=TIMEZONE).astimezone(dt.UTC) for day in shop.day.tolist()]
    draw = np.random.default_rng(0)
    numbers: dict[str, Any] = {
        "kafka_partition": np.zeros(count, np.int32),
        "kafka_offset": np.arange(count),
        "schema_version": np.ones(count, np.int32),
        "household_id": shop.household,
        "store_id": shop.household % 5,
        "basket_id": shop.basket,
        "product_id": shop.product,
        "quantity": draw.integers(1, 4, count),
        "sales_value": draw.gamma(2.0, 2.0, count),
        "retail_disc": np.where(draw.random(count) < 0.4, 0.5, 0.0),
        "coupon_disc": np.zeros(count),
        "coupon_match_disc": np.zeros(count),
        "interval_start": months,
        "event_time": noons,
        "transaction_timestamp": noons,
        "event_id": [f"{number:08d}" for number in range(count)],
    }
    schema = SALES.arrow_schema
    rows = pa.table([pa.array(numbers[name], schema.field(name).type) for name in schema.names], schema=schema)
    ensure_table(catalog, SALES).append(rows)
    products = [
        {"product_id": int(product), "department": f"department {product % 4}", "brand": "National"}
        for product in np.unique(shop.product)
    ]
    ensure_table(catalog, PRODUCTS).append(pa.Table.from_pylist(products, schema=PRODUCTS.arrow_schema))
    tables = [features(shop.interactions(cutoff, next_month(cutoff))) for cutoff in CUTOFFS]
    catalog.create_namespace_if_not_exists("features")
    catalog.create_table(FEATURES_INTERACTIONS, schema=tables[0].schema).append(pa.concat_tables(tables))
    publish_view(catalog, FEATURES_INTERACTIONS, TRANSACTIONS)


def features(rows: Interactions) -> pa.Table:
    """Rows as the table holds them; a gap that is not known is null there."""
    gap = rows.columns["mean_gap_days"]
    columns = {name: pa.array(rows.columns[name]) for name in COLUMNS}
    columns["mean_gap_days"] = pa.array(gap, mask=np.isnan(gap))
    return pa.table(
        {
            "cutoff": pa.array([rows.cutoff] * len(rows), pa.date32()),
            "household_id": rows.household_id,
            "product_id": rows.product_id,
            **columns,
            "label": pa.array(np.asarray(rows.label), pa.float64()).cast(pa.int32()),
        }
    )
