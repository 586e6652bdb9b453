"""A saved model to serve: three households, one of them with fewer products than a list holds."""

import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from include.jobs.ranking.model import Candidates, RankerModel, own_frequency


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    candidates = Candidates(
        household_id=np.array([3, 7, 9], np.int64),
        offsets=np.array([0, 3, 4, 34], np.int64),
        product_id=np.array([100, 101, 102, 200, *range(300, 330)], np.int64),
        inputs=np.log1p(np.array([[1], [9], [9], [2], *([n] for n in range(1, 31))], np.float32)),
        popular_product_id=np.array([200, 500, 101, *range(600, 700)], np.int64),
        popular_purchases=np.linspace(300, 1, 103),
    )
    facts = {"feature_view": "4711"}
    RankerModel("own_frequency", own_frequency(), dt.date(2017, 12, 1), candidates, facts).save(folder)
    return folder
