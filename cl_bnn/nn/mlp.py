"""Multi-layer perceptrons whose weights can all be binary: no biases, no gains."""

import torch
from torch import Tensor, nn

from cl_bnn.nn.norm import Norm, PerTaskBatchNorm, by_task, norm_layer


class MLP(nn.Module):
    """FC - norm - ReLU, repeated, then FC - norm (Meng et al. 2020, arXiv:2002.10778, appendix
    B.4).

    With several heads, head k is FC - norm of its own and sees only samples of task k. No layer has
    a bias and no norm has a gain, so that every parameter is a weight matrix and may be binary.

    Args:
        in_features: length of a flattened input.
        out_features: outputs of each head.
        n_heads: 1, or one head a task.
        n_tasks: tasks of the stream, for `norm="per_task"`.
        width: units of a hidden layer.
        depth: number of hidden layers, >= 0.
        norm: `"shared"`, `"per_task"`, `"batch"` or `"layer"`, see `cl_bnn.nn.norm`.
    """

    def __init__(
        self, in_features: int, out_features: int, *, n_heads: int = 1, n_tasks: int = 1,
        width: int = 100, depth: int = 2, norm: Norm = "shared",
    ) -> None:  # fmt: skip
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for _ in range(depth):
            layers.append(nn.Linear(in_features, width, bias=False))
            layers += [norm_layer(norm, width, n_tasks), nn.ReLU()]
            in_features = width
        self.trunk = nn.Sequential(*layers)
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Linear(in_features, out_features, bias=False),
                norm_layer(norm, out_features, n_tasks),
            )
            for _ in range(n_heads)
        )
        self._per_task = [m for m in self.modules() if isinstance(m, PerTaskBatchNorm)]
        self._uses_labels = n_heads > 1 or bool(self._per_task)

    def forward(self, x: Tensor, task: int | Tensor | None = None) -> Tensor:
        """Logits of shape (batch, out_features).

        Args:
            x: inputs of shape (batch, ...).
            task: the task label, one for the batch or one for each sample (int64, shape (batch,));
                needed only with several heads or `norm="per_task"`.

        Raises:
            ValueError: the task label is needed and missing.
        """
        if not self._uses_labels:
            return self._single(x, 0)
        if task is None:
            raise ValueError("this network needs the task label: it has a head or a norm per task")
        if isinstance(task, int):
            return self._single(x, task)
        if bool((task == task[0]).all()):
            return self._single(x, int(task[0]))
        return self._mixed(x, task)

    def _single(self, x: Tensor, task: int) -> Tensor:
        for norm in self._per_task:
            norm.task = task
        head = self.heads[task if len(self.heads) > 1 else 0]
        logits: Tensor = head(self.trunk(x))
        return logits

    def _mixed(self, x: Tensor, task: Tensor) -> Tensor:
        """A batch of several tasks: norms of a task see its samples only, shared ones see them
        all.
        """
        shared = None if self._per_task else self.trunk(x)
        parts = []
        for label, rows in by_task(task):
            logits = (
                self._single(x[rows], label) if shared is None else self.heads[label](shared[rows])
            )
            parts.append((rows, logits))
        out = parts[0][1].new_empty(len(x), parts[0][1].shape[1])
        for rows, logits in parts:
            out = out.index_copy(0, rows, logits)
        return out


def mlp(
    *, in_features: int, out_features: int, n_heads: int = 1, n_tasks: int = 1,
    width: int = 100, depth: int = 2, norm: Norm = "shared",
) -> MLP:  # fmt: skip
    """An `MLP`, after checking the values a recipe may set.

    Raises:
        ValueError: `width` or `depth` out of range, or an unknown `norm`.
    """
    if width < 1:
        raise ValueError(f"width must be >= 1, got {width!r}")
    if depth < 0:
        raise ValueError(f"depth must be >= 0, got {depth!r}")
    return MLP(
        in_features,
        out_features,
        n_heads=n_heads,
        n_tasks=n_tasks,
        width=width,
        depth=depth,
        norm=norm,
    )


def binary_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The weights of linear and convolutional layers, in the order of `model.parameters()`.

    Everything else (biases, gains and shifts of norms) is real-valued. A weight that two layers
    share appears once.
    """
    layers = (nn.Linear, nn.modules.conv._ConvNd)
    weights = {id(m.weight) for m in model.modules() if isinstance(m, layers)}
    return [p for p in model.parameters() if id(p) in weights]


def real_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that are not `binary_parameters`, in the order of `model.parameters()`."""
    binary = {id(p) for p in binary_parameters(model)}
    return [p for p in model.parameters() if id(p) not in binary]


@torch.no_grad()
def init_latent(model: nn.Module) -> None:
    """Initial latent weights of STE: U(-a, a), a = sqrt(1.5 / (fan_in + fan_out)), for linear
    layers.

    As in the BayesBiNN authors' STE baseline (arXiv:2002.10778), after Courbariaux et al. 2015.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            bound = (1.5 / (layer.in_features + layer.out_features)) ** 0.5
            layer.weight.uniform_(-bound, bound)
