"""The loss of a batch, as a sum over its examples, so that parts of a batch add up."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from train_script.config import TrainConfig


class Loss:
    """Cross-entropy with class weights and label smoothing; with R-Drop over two passes.

    `class_counts_C` are the training split's, for `class_weights: balanced`.
    """

    def __init__(self, config: TrainConfig, class_counts_C: Tensor, device: torch.device) -> None:
        self.config = config
        self.weights_C: Tensor | None = None
        if config.class_weights == "balanced":
            weights_C = class_counts_C.sum() / (len(class_counts_C) * class_counts_C)
            # A label without examples pulls at none, where label smoothing would have all lean to it.
            self.weights_C = weights_C.masked_fill(class_counts_C == 0, 0.0).to(device)

    @property
    def passes(self) -> int:
        """How often each example is in a batch: R-Drop compares two passes."""
        return 2 if self.config.rdrop else 1

    def weight_of(self, labels_B: Tensor) -> float:
        """What the sum over these examples is to be divided by."""
        if self.weights_C is None:
            return float(len(labels_B))
        return float(self.weights_C.cpu()[labels_B].sum())

    def of(self, logits: Tensor, labels_B: Tensor, share: float = 1.0) -> Tensor:
        """The sum over examples; logits are (passes × B, C).

        `share` is what one example's part of the whole is, if all weighed alike; R-Drop's term, which
        knows no class weights, is added with it.
        """
        logits = logits.float()
        loss = cross_entropy(
            logits, labels_B.repeat(self.passes), weight=self.weights_C, reduction="sum",
            label_smoothing=self.config.label_smoothing,
        )  # fmt: skip
        if not self.config.rdrop:
            return loss
        one, two = log_softmax(logits, dim=1).chunk(2)
        apart = kl_div(one, two, reduction="sum", log_target=True)
        apart = apart + kl_div(two, one, reduction="sum", log_target=True)
        return loss / 2 + share * self.config.rdrop * apart / 2
