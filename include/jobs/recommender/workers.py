"""The group of workers: Horovod, TensorFlow's threads and determinism.

Import this before anything that imports TensorFlow: both libraries read their settings when they start.
"""

import os
from typing import Any

# Horovod looks for work every 5 ms by default, as long as a step of this network takes. At 0.1 ms it keeps a core busy
# with looking, which ranks that share a machine pay for.
os.environ.setdefault("HOROVOD_CYCLE_TIME", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import horovod.tensorflow as hvd
import numpy as np
import tensorflow as tf


class Workers:
    """This process among the `size` workers of a training; `rank` 0 writes and reports."""

    def __init__(self, seed: int) -> None:
        """Join the group (alone when not started by horovodrun) and make TensorFlow deterministic."""
        hvd.init()
        self.rank: int = hvd.rank()
        self.size: int = hvd.size()
        devices = tf.config.list_physical_devices("GPU")
        if devices:
            tf.config.set_visible_devices(devices[hvd.local_rank()], "GPU")
        # A second inter-op thread overlaps the all-reduce with computation; more only compete with the other ranks.
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(2)
        tf.keras.utils.set_random_seed(seed)
        tf.config.experimental.enable_op_determinism()

    @property
    def first(self) -> bool:
        """Whether this one writes and reports."""
        return self.rank == 0

    def average(self, gradients: list[Any]) -> list[Any]:
        """Average gradients over the workers, as one group so that the order of sums never changes."""
        return list(hvd.grouped_allreduce(gradients, op=hvd.Average)) if self.size > 1 else gradients

    def add_up(self, values: np.ndarray) -> np.ndarray:
        """The sum over the workers, in double precision."""
        total: np.ndarray = hvd.allreduce(tf.constant(values, tf.float64), op=hvd.Sum).numpy()
        return total

    def share(self, value: Any) -> Any:
        """The first worker's value, in all of them."""
        return hvd.broadcast_object(value, root_rank=0)

    def close(self) -> None:
        """Leave the group; the others do not take it for a failure."""
        hvd.shutdown()
