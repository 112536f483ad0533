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
        # MKL multiplies a large matrix with a few columns in 0.6 of the time that the few rows take with its transpose.
        self._upright = head.dtype == torch.float32 and head.device.type == "cpu"
        self._parts = torch.split(head, self._vocabulary)  # [vocabulary, d] each
        self._memory = [head.new_empty(self.size * len(part)) for part in self._parts]

    def read(self, hidden: Tensor) -> None:
        """hidden: [c, d], c being at most ``size``."""
        self._count = len(hidden)
        padding = self.size - self._count if self._whole else 0
        rows = torch.nn.functional.pad(hidden.to(self._parts[0].dtype), (0, 0, 0, padding))
        pairs = zip(self._parts, self._memory, strict=True)
        self._logits = [self._product(part, rows, memory[: len(rows) * len(part)]) for part, memory in pairs]

    def at(self, ids: Tensor) -> Tensor:
        """The logits of some tokens; ids: [c, k] -> [c, k], float32."""
        found = torch.zeros(ids.shape, device=ids.device)
        for n, logits in enumerate(self._logits):
            start = n * self._vocabulary
            inside = (ids >= start) & (ids < start + len(logits))
            here = logits[:, : self._count].T.gather(1, (ids - start).clamp(0, len(logits) - 1))
            found = torch.where(inside, here.float(), found)
        return found

    def best(self) -> Tensor:
        """The likeliest token, [c]."""
        tops = [logits[:, : self._count].max(0) for logits in self._logits]
        part = torch.stack([top.values for top in tops], -1).argmax(-1)
        index = torch.stack([top.indices for top in tops], -1).gather(1, part[:, None])[:, 0]
        return index + part * self._vocabulary

    def total(self) -> Tensor:
        """``log sum exp`` over the vocabulary, [c, 1]. The logits are gone then: ``exp`` is computed once, in place."""
        sums = []
        self._tops: list[Tensor] = []
        for logits in self._logits:
            wide = logits.float()  # the logits themselves where they are wide already
            self._tops.append(wide.amax(0))
            wide.sub_(self._tops[-1]).exp_()
            sums.append(wide.sum(0).log_().add_(self._tops[-1]))
            if wide is not logits:
                logits.copy_(wide)
        return torch.stack(sums, -1).logsumexp(-1, keepdim=True)[: self._count]

    def softmax_times_head(self, total: Tensor) -> Tensor:
        """``softmax @ W``, behind :meth:`total`, which gave the argument; [c, 1] -> [c, d], float32."""
        result = torch.zeros(self._count, self._parts[0].shape[1], dtype=torch.float32, device=total.device)
        for part, chances, top in zip(self._parts, self._logits, self._tops, strict=True):
            mean = torch.mm(part.T, chances).T if self._upright else torch.mm(chances.T, part)
            result.addcmul_(mean[: self._count].float(), (top[: self._count, None] - total).exp_())
        return result

    def _product(self, part: Tensor, rows: Tensor, memory: Tensor) -> Tensor:
        """part: [vocabulary, d]; rows: [n, d] -> [vocabulary, n]."""
        if self._upright:
            return torch.mm(part, rows.T, out=memory.view(len(part), len(rows)))
        return torch.mm(rows, part.T, out=memory.view(len(rows), len(part))).T


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
            wanted, total, mass = chunk.at(ids[part]), chunk.total(), weights[part].sum(-1, keepdim=True)
            losses[part] = ((total - wanted) * weights[part]).sum(-1)
            # d loss / d h = (mass * softmax - weights at ids) W
            towards = (weights[part].unsqueeze(-1) * head[ids[part]].float()).sum(1)
            grad[part] = mass * chunk.softmax_times_head(total) - towards
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
        hits.append(chunk.best() == targets[part])
        wanted = chunk.at(targets[part, None])
        losses.append((chunk.total() - wanted)[:, 0])
    return torch.cat(losses), torch.cat(hits)
