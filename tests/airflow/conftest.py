import os

import pytest

from tests.airflow_home import isolate

isolate()


@pytest.fixture(autouse=True)
def no_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings are those of the files."""
    for name in [name for name in os.environ if name.startswith("PODIUM_") and "__" in name]:
        monkeypatch.delenv(name)
