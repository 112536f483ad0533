"""Losses at the output head, computed only where there is a loss and never as one big logit matrix.

The head is frozen, so the gradient with respect to the hidden states is all that training needs; it is
computed chunk by chunk in the forward pass (as in Liger's fused linear cross-entropy, Hsu et al. 2024,
arXiv 2410.10989), which bounds memory for logits at what a device has :func:`room` for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..model import breathe
from .room import room


class _Logits:
    """Logits of one chunk of positions at a time, in the same memory.

    Args:
        positions: of all chunks.
    """

    def __init__(self, head: Tensor, positions: int) -> None:
        space = room(head.device)
        self._vocabulary = space.vocabulary
        self.size = min(space.positions, max(64, space.logits // (head.shape[0] * head.itemsize) // 64 * 64))
        self._whole = head.dtype != torch.float32  # oneDNN keeps memory for every number of rows it meets
        if not self._whole:
            self.size = min(self.size, positions)
        self._parts = torch.split(head, self._vocabulary)  # [vocabulary, d] each
        self._logits = [head.new_empty(self.size, len(part)) for part in self._parts]

    def read(self, hidden: Tensor) -> None:
        """hidden: [c, d], c being at most ``size``."""
        self._count = len(hidden)
        self._rows = self.size if self._whole else self._count
        rows = torch.nn.functional.pad(hidden.to(self._parts[0].dtype), (0, 0, 0, self._rows - self._count))
        for part, logits in zip(self._parts, self._logits, strict=True):
            torch.mm(rows, part.T, out=logits[: self._rows])

    def total(self) -> Tensor:
        """``log sum exp`` over the vocabulary, [c, 1]."""
        parts = [logits[: self._count].float().logsumexp(-1) for logits in self._logits]
        return torch.stack(parts, -1).logsumexp(-1, keepdim=True)

    def at(self, ids: Tensor) -> Tensor:
        """The logits of some tokens; ids: [c, k] -> [c, k], float32."""
        found = torch.zeros(ids.shape, device=ids.device)
        for n, logits in enumerate(self._logits):
            start = n * self._vocabulary
            inside = (ids >= start) & (ids < start + logits.shape[1])
            here = logits[: self._count].gather(1, (ids - start).clamp(0, logits.shape[1] - 1))
            found = torch.where(inside, here.float(), found)
        return found

    def best(self) -> Tensor:
        """The likeliest token, [c]."""
        tops = [logits[: self._count].max(-1) for logits in self._logits]
        part = torch.stack([top.values for top in tops], -1).argmax(-1)
        index = torch.stack([top.indices for top in tops], -1).gather(1, part[:, None])[:, 0]
        return index + part * self._vocabulary

    def softmax_times_head(self, total: Tensor, mass: Tensor) -> Tensor:
        """``mass * softmax @ W``; total, mass: [c, 1] -> [c, d], float32."""
        rows = (0, 0, 0, self._rows - self._count)
        total, mass = torch.nn.functional.pad(total, rows), torch.nn.functional.pad(mass, rows)
        result = torch.zeros(self._rows, self._parts[0].shape[1], dtype=torch.float32, device=total.device)
        for part, logits in zip(self._parts, self._logits, strict=True):
            chances = logits[: self._rows].float().sub_(total).exp_().mul_(mass)
            result += chances.to(part.dtype) @ part
        return result[: self._count]


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
        """``sum_k weights_nk * -log softmax(h_n W^T)[ids_nk]``, [n].

        Args:
            hidden: [n, d]; head: [v, d]; ids and weights: [n, k].
        """
        grad = torch.empty_like(hidden)
        losses = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        chunk = _Logits(head, len(hidden))
        for start in range(0, hidden.shape[0], chunk.size):
            part = slice(start, start + chunk.size)
            breathe()
            chunk.read(hidden[part])
            total, mass = chunk.total(), weights[part].sum(-1, keepdim=True)
            losses[part] = ((total - chunk.at(ids[part])) * weights[part]).sum(-1)
            # d loss / d h = (mass * softmax - weights at ids) W
            towards = (weights[part].unsqueeze(-1) * head[ids[part]].float()).sum(1)
            grad[part] = chunk.softmax_times_head(total, mass) - towards
        ctx.save_for_backward(grad)
        return losses

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (grad,) = ctx.saved_tensors
        return grad * grads[0][:, None], None, None, None


def head_distillation(hidden: Tensor, ids: Tensor, probabilities: Tensor, *, head: Tensor) -> Tensor:
    """Cross-entropy against a teacher's top-k distribution, [n], in nats (Hinton et al. 2015); against a certain
    token it is that token's negative log-likelihood.

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
    losses, hits, chunk = [], [], _Logits(head, len(hidden))
    for start in range(0, hidden.shape[0], chunk.size):
        part = slice(start, start + chunk.size)
        chunk.read(hidden[part])
        losses.append((chunk.total() - chunk.at(targets[part, None]))[:, 0])
        hits.append(chunk.best() == targets[part])
    return torch.cat(losses), torch.cat(hits)
