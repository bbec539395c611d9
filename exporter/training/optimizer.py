"""AdamW (Loshchilov & Hutter, 2019, https://arxiv.org/abs/1711.05101) with clipping, and its learning rates.

Reasons for an implementation here: named moments of each weight, which a checkpoint stores, and learning rates by
layer, which tf_keras does not have. The update is TensorFlow's fused operation.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8


class AdamW(tf.Module):
    """The optimizer of some variables.

    Args:
        values: weights by canonical name.
        weight_decay: weight decay of kernels and tables; biases and normalisation have none.
        clip: largest norm of all gradients together.
        factors: factors of the learning rate by name.
    """

    def __init__(
        self, values: Mapping[str, tf.Variable], weight_decay: float, clip: float, factors: Mapping[str, float]
    ) -> None:
        super().__init__(name="adamw")
        self.values = dict(values)
        self._clip = clip
        self._factors = {name: factors[name] for name in values}
        self._decay = {name: weight_decay if value.shape.rank > 1 else 0.0 for name, value in values.items()}
        self.moments = {
            f"{which}/{name}": tf.Variable(np.zeros(value.shape, np.float32), trainable=False)
            for which in ("first", "second")
            for name, value in values.items()
        }

    def apply(self, gradients: Sequence[tf.Tensor], rate: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """One step.

        Args:
            gradients: in the order of ``values``.
            rate: float32, the learning rate.
            step: int32, from 0.

        Returns:
            The norm of all gradients, before clipping.
        """
        dense = [tf.convert_to_tensor(gradient) for gradient in gradients]
        dense, norm = tf.clip_by_global_norm(dense, self._clip)
        power = tf.cast(step + 1, tf.float32)
        for (name, value), gradient in zip(self.values.items(), dense, strict=True):
            own = rate * self._factors[name]
            if self._decay[name]:
                value.assign_sub(own * self._decay[name] * value)
            tf.raw_ops.ResourceApplyAdam(
                var=value.handle,
                m=self.moments[f"first/{name}"].handle,
                v=self.moments[f"second/{name}"].handle,
                beta1_power=tf.pow(_BETA_1, power),
                beta2_power=tf.pow(_BETA_2, power),
                lr=own,
                beta1=_BETA_1,
                beta2=_BETA_2,
                epsilon=_EPSILON,
                grad=gradient,
            )
        return norm


def factors(names: Sequence[str], layers: int, decay: float) -> dict[str, float]:
    """Factors of the learning rate: 1 for the head, ``decay`` for the last layer, ``decay ** (layers + 1)`` for the
    embeddings (layer-wise learning rates: Howard & Ruder, 2018, https://arxiv.org/abs/1801.06146)."""
    found = {}
    for name in names:
        layer = re.match(r"layer_(\d+)/", name)
        below = layers - int(layer[1]) if layer else 0 if name.startswith(("head/", "pooler/")) else layers + 1
        found[name] = decay**below
    return found


def rate_at(step: int, steps: int, peak: float, warmup: float) -> float:
    """The learning rate of a step (from 0): it rises in the first part of the steps, and then falls to 0."""
    rising = int(steps * warmup)
    if step < rising:
        return peak * (step + 1) / rising
    return peak * (steps - step) / max(1, steps - rising)
