"""Brings Airflow's metadata database to the current schema and the pools to the settings. Idempotent.

Run it before Airflow's processes start: `python -m include.airflow.database`.
"""

from airflow.models.pool import Pool
from airflow.utils import db
from airflow.utils.session import create_session

from include.config import Settings, load_settings


def migrate() -> None:
    """Create the schema, or upgrade it to that of the installed Airflow."""
    db.upgradedb()


def create_pools(settings: Settings) -> None:
    """One Airflow pool for each node pool with GPUs; its slots are its GPUs, deferred tasks count."""
    with create_session() as session:
        for name, pool in settings.node_pools.items():
            if pool.total_gpus:
                Pool.create_or_update_pool(
                    name=name,
                    slots=pool.total_gpus,
                    description=f"GPUs of the node pool {name} ({pool.gpu_product})",
                    include_deferred=True,
                    session=session,
                )


def main() -> None:
    """Migrate, then create the pools."""
    migrate()
    create_pools(load_settings())


if __name__ == "__main__":
    main()
