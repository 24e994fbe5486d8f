"""All tasks at once: what can be learned where nothing can be forgotten."""

from collections.abc import Iterable
from typing import Any

from avalanche.benchmarks.utils.utils import concat_datasets

from cl_bnn.strategies.bayesbinn import BayesBiNNStrategy
from cl_bnn.strategies.loading import Batches, task_view
from cl_bnn.strategies.mixin import Mixin
from cl_bnn.strategies.real import AdamStrategy
from cl_bnn.strategies.ste import STEStrategy


class AllAtOnce(Mixin):
    """The union of all experiences handed to one call of `train` is learned, without a stream.

    To be put before the class of a strategy, whose keywords it takes: the same network as that of
    the continual learner, so that what is lost to forgetting can be read off.
    """

    def phases(self, experiences: Any) -> list[list[Any]]:
        """One phase with every experience."""
        return [list(experiences)]

    def train(self, experiences: Any, eval_streams: Any = None, **kwargs: Any) -> Any:
        """Train on all `experiences` together; their task labels stay with their samples."""
        self._joined = list(experiences) if isinstance(experiences, Iterable) else [experiences]
        if eval_streams is None:
            eval_streams = [self._joined]
        return super().train(self._joined[0], eval_streams, **kwargs)

    def train_dataset_adaptation(self, **kwargs: Any) -> None:
        """The concatenation of all experiences."""
        self.adapted_dataset = concat_datasets([e.dataset for e in self._joined]).train()

    def model_adaptation(self, model: Any = None) -> Any:
        """Let the model grow for every experience that is trained on."""
        current: Any = self.experience
        for experience in self._joined if self.is_training else [current]:
            self.experience = experience
            model = super().model_adaptation(model)
        self.experience = current
        return model

    def make_train_dataloader(
        self, shuffle: bool = True, drop_last: bool = False, **kwargs: Any
    ) -> None:
        """Mixed batches from memory if the data allow it, else Avalanche's loader."""
        views = [(task_view(e.dataset), e) for e in self._joined]
        if drop_last or any(view is None for view, _ in views):
            super().make_train_dataloader(shuffle=shuffle, drop_last=drop_last, **kwargs)
            return
        tasks = [(view, int(e.task_label)) for view, e in views if view is not None]
        self.dataloader = Batches(tasks, self.train_mb_size, shuffle=shuffle, device=self.device)


class JointStrategy(AllAtOnce, BayesBiNNStrategy):
    """BayesBiNN (arXiv:2002.10778) on all tasks at once; N is the number of samples of all tasks.

    Arguments and errors are those of `BayesBiNNStrategy`.
    """


class JointSTEStrategy(AllAtOnce, STEStrategy):
    """The straight-through estimator on all tasks at once; see `STEStrategy`."""


class JointAdamStrategy(AllAtOnce, AdamStrategy):
    """Full precision on all tasks at once; see `AdamStrategy`."""
