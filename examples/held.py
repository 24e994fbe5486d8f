"""A method of one's own: the straight-through estimator that is held where the last task left it.

    loss + strength / 2 sum_i (w_i - c_i)^2

with the binary weights w of the network and those c that it had after the task before.

    cl-bnn run split_mnist --strategy examples/held.toml,ste --seeds 3
"""

from typing import Any

import torch
from torch import Tensor

from cl_bnn.strategies import STEStrategy


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
        self.anchor: list[Tensor] = []  # c, none before the second task

    def _before_backward(self, **kwargs: Any) -> None:
        super()._before_backward(**kwargs)
        if self.anchor:
            pairs = zip(self.model.parameters(), self.anchor, strict=True)
            away = sum((w - c).square().sum() for w, c in pairs)
            self.loss = self.loss + self.strength / 2 * away

    @torch.no_grad()
    def _after_training_exp(self, **kwargs: Any) -> None:
        super()._after_training_exp(**kwargs)
        with self.network_weights():  # and not the latent ones
            self.anchor = [w.clone() for w in self.model.parameters()]

    def extra_state(self) -> dict[str, Any]:
        """What an interrupted run needs to continue."""
        return super().extra_state() | {"anchor": self.anchor}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `extra_state` returned."""
        super().load_extra_state(state)
        self.anchor = [c.to(self.device) for c in state.get("anchor", [])]
