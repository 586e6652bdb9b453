"""The assets that link the DAGs: what one announces starts the next.

An event's `extra` says what it stands for.

The schemes begin with `x-`, which Airflow leaves to its users: for any other it asks all providers, and so imports half
of them, boto3 among them, in every task.
"""

from airflow.sdk import Asset, AssetAlias


def events_of(table: str) -> Asset:
    """Accepted events of a topic; an event of the asset stands for an ingested interval, or for a whole backfill.

    :param table: where they go, `<namespace>.<name>`.
    """
    return Asset(name=table, uri=f"x-lake://{table.replace('.', '/')}", group="lake")


def partitions_of(table: str) -> Asset:
    """Days or hours of a topic that an ingest has closed, an event of the asset for each.

    Its own asset, since Airflow starts no DAG without partitions by an event that has a partition key.

    :param table: where the accepted events go, `<namespace>.<name>`.
    """
    return Asset(name=f"{table}.partitions", uri=f"x-lake://{table.replace('.', '/')}/partitions", group="lake")


# Accepted sales events.
SALES = events_of("sales.transactions")

# User, item, interaction and demand features, all of the same Spark application.
FEATURES = Asset(name="features", uri="x-lake://features", group="lake")

# A registered model version that nobody has judged yet.
CANDIDATE = Asset(name="recommender.candidate", uri="x-model://recommender/candidate", group="model")

# The model version that serves.
CHAMPION = Asset(name="recommender.champion", uri="x-model://recommender/champion", group="model")

# The world has moved away from what the champion has seen. Emitted through an alias, since most checks find none.
DRIFT = Asset(name="recommender.drift", uri="x-model://recommender/drift", group="model")
DRIFT_FOUND = AssetAlias("recommender.drift.found", group="model")
