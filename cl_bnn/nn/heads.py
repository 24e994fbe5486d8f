"""Networks with a head for every task."""

from collections.abc import Iterable

from torch import Tensor, nn

from cl_bnn.nn.norm import PerTaskBatchNorm, by_task


class Headed(nn.Module):
    """A trunk, then one head for all tasks or head k for the samples of task k.

    Args:
        trunk: what all tasks share, from inputs (batch, ...) to the inputs of a head.
        heads: one, or one a task; all have as many outputs.
    """

    def __init__(self, trunk: nn.Module, heads: Iterable[nn.Module]) -> None:
        super().__init__()
        self.trunk, self.heads = trunk, nn.ModuleList(heads)
        self._per_task = [m for m in self.modules() if isinstance(m, PerTaskBatchNorm)]
        self._uses_labels = len(self.heads) > 1 or bool(self._per_task)

    def forward(self, x: Tensor, task: int | Tensor | None = None) -> Tensor:
        """Logits of shape (batch, out_features).

        Args:
            x: inputs of shape (batch, ...).
            task: the task label, one for the batch or one for each sample (int64, shape (batch,));
                needed only with several heads or a norm per task.

        Raises:
            ValueError: the task label is needed and missing.
        """
        if not self._uses_labels:
            return self._single(x, 0)
        if task is None:
            raise ValueError("this network needs the task label: it has a head or a norm per task")
        if isinstance(task, int):
            return self._single(x, task)
        task = task.to(x.device)  # Avalanche's A-GEM leaves it on the CPU
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
