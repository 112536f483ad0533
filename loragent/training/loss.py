"""Losses at the output head, computed only where there is a loss and never as one big logit matrix.

The head is frozen, so the gradient with respect to the hidden states is all that training needs; it is
computed chunk by chunk in the forward pass (as in Liger's fused linear cross-entropy, Hsu et al. 2024,
arXiv 2410.10989), which bounds memory at ``CHUNK x vocabulary``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK = 128  # positions; 128 x 49,152 logits in fp32 are 25 MB
VOCABULARY = 8192  # tokens that are multiplied at a time


class _Logits:
    """Logits of one chunk of positions at a time, in the same memory.

    Always multiplied as a whole chunk and a part of the vocabulary: oneDNN packs a copy of the matrix that it
    multiplies with, and keeps the memory for every number of rows it meets.

    Attributes:
        wide: [CHUNK, v], float32; the caller may overwrite it.
    """

    def __init__(self, head: Tensor) -> None:
        self.wide = torch.empty(CHUNK, head.shape[0], dtype=torch.float32, device=head.device)
        # By parts of the vocabulary: the head, [VOCABULARY, d], and the columns of wide that are its logits.
        parts, columns = torch.split(head, VOCABULARY), torch.split(self.wide, VOCABULARY, dim=1)
        self._parts = list(zip(parts, columns, strict=True))

    def of(self, hidden: Tensor) -> Tensor:
        """[c, d] -> [c, v], a view of ``wide``."""
        rows = torch.nn.functional.pad(hidden, (0, 0, 0, CHUNK - len(hidden)))
        for part, logits in self._parts:
            logits.copy_(rows.to(part.dtype) @ part.T)
        return self.wide[: len(hidden)]

    def back(self, count: int) -> Tensor:
        """The first rows of what ``wide`` holds now, times the head: [count, d], float32."""
        total = torch.zeros(CHUNK, self._parts[0][0].shape[1], dtype=torch.float32, device=self.wide.device)
        for part, gradient in self._parts:
            total += gradient.to(part.dtype) @ part
        return total[:count]


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
        """``sum_n sum_k weights_nk * -log softmax(h_n W^T)[ids_nk]``.

        Args:
            hidden: [n, d]; head: [v, d]; ids and weights: [n, k].
        """
        grad = torch.empty_like(hidden)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        chunk = _Logits(head)
        for start in range(0, hidden.shape[0], CHUNK):
            part = slice(start, start + CHUNK)
            logits = chunk.of(hidden[part])  # [c, v]
            picked = logits.gather(1, ids[part])  # [c, k]
            peak = logits.amax(-1, keepdim=True)
            sum_exp = logits.sub_(peak).exp_().sum(-1, keepdim=True)
            total += ((sum_exp.log() + peak - picked) * weights[part]).sum()
            # d loss / d logits = mass * softmax - weights at ids
            mass = weights[part].sum(-1, keepdim=True)
            logits.mul_(mass / sum_exp).scatter_add_(1, ids[part], -weights[part])
            grad[part] = chunk.back(len(logits))
        ctx.save_for_backward(grad)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (grad,) = ctx.saved_tensors
        return grad * grads[0], None, None, None


def head_loss(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood of the targets, summed, in nats; hidden: [n, d], head: [v, d], targets: [n]."""
    ones = torch.ones(len(targets), 1, device=hidden.device)
    return head_distillation(hidden, head, targets[:, None], ones)


def head_distillation(hidden: Tensor, head: Tensor, ids: Tensor, probabilities: Tensor) -> Tensor:
    """Cross-entropy against a teacher's top-k distribution, summed, in nats (Hinton et al. 2015).

    Args:
        hidden: [n, d]; head: [v, d]; ids and probabilities: [n, k].
    """
    return _HeadLoss.apply(hidden, head, ids, probabilities)  # type: ignore[no-untyped-call, no-any-return]


@torch.no_grad()
def head_score(hidden: Tensor, head: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Per position: negative log-likelihood in nats, and whether the target is the likeliest token.

    Args:
        hidden: [n, d]; head: [v, d]; targets: [n].
    """
    losses, hits, chunk = [], [], _Logits(head)
    for start in range(0, hidden.shape[0], CHUNK):
        part = slice(start, start + CHUNK)
        logits = chunk.of(hidden[part])  # [c, v]
        losses.append(torch.nn.functional.cross_entropy(logits, targets[part], reduction="none"))
        hits.append(logits.argmax(-1) == targets[part])
    return torch.cat(losses), torch.cat(hits)
