"""The network, its loss, one step of training, and its export."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from include.jobs.ranking.features import FEATURES, Matrix
from include.jobs.ranking.model import Layer, Ranker

#: At the end of the cosine the learning rate is this part of what it was at the start.
_FINAL_RATE = 0.005
_PREDICT_ROWS = 65_536


class Network:
    """Dense layers with ReLU over standardised inputs, one score out, trained by Adam."""

    def __init__(self, layers: tuple[int, ...], learning_rate: float, total_steps: int) -> None:
        self.model = tf.keras.Sequential(
            [
                tf.keras.layers.Input((len(FEATURES),)),
                *(tf.keras.layers.Dense(width, activation="relu") for width in layers),
                tf.keras.layers.Dense(1),
            ]
        )
        # The rate follows the optimiser's own step count, so a resumed training goes on where it was.
        schedule = tf.keras.optimizers.schedules.CosineDecay(learning_rate, total_steps, alpha=_FINAL_RATE)
        self.optimizer = tf.keras.optimizers.Adam(schedule, jit_compile=False)
        self.optimizer.build(self.model.trainable_variables)
        self._forward = tf.function(lambda inputs: self.model(inputs, training=False)[:, 0], reduce_retracing=True)

    def state(self) -> list[np.ndarray]:
        """Weights, then the optimiser's variables."""
        return [variable.numpy() for variable in self._variables()]

    def restore(self, state: list[np.ndarray]) -> None:
        """Set what `state` gave."""
        for variable, value in zip(self._variables(), state, strict=True):
            variable.assign(value)

    def scores(self, standardised: Matrix) -> np.ndarray:
        """(N,) scores of standardised inputs (N, F)."""
        parts = [
            self._forward(tf.constant(standardised[low : low + _PREDICT_ROWS])).numpy()
            for low in range(0, len(standardised), _PREDICT_ROWS)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def ranker(self, mean: Matrix, scale: Matrix) -> Ranker:
        """The same network in NumPy, with the standardisation that it was trained under."""
        layers = [layer for layer in self.model.layers if isinstance(layer, tf.keras.layers.Dense)]
        return Ranker(
            features=FEATURES,
            mean=mean,
            scale=scale,
            layers=tuple(Layer(layer.kernel.numpy(), layer.bias.numpy()) for layer in layers),
        )

    def training_step(self, average: Callable[[list[Any]], list[Any]]) -> Callable[[Any, Any, Any], Any]:
        """A compiled step: (inputs, bought, household) -> loss. `average` averages gradients over the workers."""
        signature = [
            tf.TensorSpec((None, len(FEATURES)), tf.float32),
            tf.TensorSpec((None,), tf.float32),
            tf.TensorSpec((None,), tf.int32),
        ]

        @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]  # TensorFlow has no types
        def step(inputs: Any, bought: Any, household: Any) -> Any:
            with tf.GradientTape() as tape:
                loss = listwise_loss(self.model(inputs, training=True)[:, 0], bought, household)
            gradients = average(tape.gradient(loss, self.model.trainable_variables))
            self.optimizer.apply_gradients(zip(gradients, self.model.trainable_variables, strict=True))
            return loss

        compiled: Callable[[Any, Any, Any], Any] = step
        return compiled

    def _variables(self) -> list[Any]:
        return [*self.model.variables, *self.optimizer.variables]


def listwise_loss(scores: Any, bought: Any, household: Any) -> Any:
    """Mean over households of the cross-entropy between the softmax of their scores and what they bought.

    (ListNet's top-one loss, Cao et al., 2007.) A household weighs 1 / min(20, its purchases) a purchase, which is
    how recall@20 counts. Against a loss by row, this learns the order within a household and nothing else.
    """
    highest = tf.stop_gradient(tf.math.segment_max(scores, household))
    shifted = scores - tf.gather(highest, household)
    total = tf.math.log(tf.math.segment_sum(tf.exp(shifted), household))
    log_share = shifted - tf.gather(total, household)
    weight = 1.0 / tf.clip_by_value(tf.math.segment_sum(bought, household), 1.0, 20.0)
    return -tf.reduce_mean(weight * tf.math.segment_sum(bought * log_share, household))
