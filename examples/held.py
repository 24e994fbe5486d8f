"""A method of one's own: the straight-through estimator that is held where the last task left it.

    loss + strength / 2 sum_i (w_i - c_i)^2

with the binary weights w of the network and those c that it had after the task before. What a batch
does not reach, such as the head of another task, is left alone.

    cl-bnn run split_mnist --strategy examples/held.toml,ste --seeds 3
"""

from typing import Any

import torch
from torch import Tensor

from cl_bnn.strategies import STEStrategy
from cl_bnn.strategies.anchored import reached


class HeldSTE(STEStrategy):
    """See above. Settings of `STEStrategy` are settings of this one as well.

    Args:
        strength: >= 0.
    """

    def __init__(self, *, strength: float = 1e-4, **more: Any) -> None:
        if strength < 0:
            raise ValueError(f"strength must be >= 0, got {strength!r}")
        super().__init__(**more)
        self.strength = strength
        self.anchor: dict[str, Tensor] = {}  # c by the name of the parameter

    def _before_backward(self, **kwargs: Any) -> None:
        super()._before_backward(**kwargs)
        for name, w in reached(self):
            if name in self.anchor:
                away = (w - self.anchor[name]).square().sum()
                self.loss = self.loss + self.strength / 2 * away

    def _after_training_exp(self, **kwargs: Any) -> None:
        super()._after_training_exp(**kwargs)
        with torch.no_grad(), self.network_weights():  # and not the latent ones
            for name, w in self.model.named_parameters():
                if self.optimizer.state.get(w):  # it has learned
                    self.anchor[name] = w.clone()

    def extra_state(self) -> dict[str, Any]:
        """What an interrupted run needs to continue."""
        return super().extra_state() | {"anchor": self.anchor}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `extra_state` returned."""
        super().load_extra_state(state)
        self.anchor = {n: c.to(self.device) for n, c in state.get("anchor", {}).items()}
