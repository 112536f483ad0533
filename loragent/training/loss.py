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


def _logits(hidden: Tensor, head: Tensor) -> Tensor:
    """fp32 logits [c, v]; hidden: [c, d].

    Always multiplied as a whole chunk: oneDNN keeps a packed copy of the head for every number of rows it meets.
    """
    return (_whole_chunk(hidden).to(head.dtype) @ head.T)[: len(hidden)].float()


def _back(grad_logits: Tensor, head: Tensor) -> Tensor:
    """[c, v] -> [c, d]."""
    return (_whole_chunk(grad_logits).to(head.dtype) @ head)[: len(grad_logits)]


def _whole_chunk(rows: Tensor) -> Tensor:
    return torch.nn.functional.pad(rows, (0, 0, 0, CHUNK - len(rows)))


def _softmax_(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax over the last axis, in place, and ``log sum exp``; logits: [c, v] -> [c, v], [c, 1]."""
    peak = logits.amax(-1, keepdim=True)
    mass = logits.sub_(peak).exp_().sum(-1, keepdim=True)
    return logits.div_(mass), mass.log() + peak


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
        """``sum_n sum_k weights_nk * -log softmax(h_n W^T)[ids_nk]``.

        Args:
            hidden: [n, d]; head: [v, d]; ids and weights: [n, k].
        """
        grad = torch.empty_like(hidden)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for start in range(0, hidden.shape[0], CHUNK):
            part = slice(start, start + CHUNK)
            logits = _logits(hidden[part], head)  # [c, v]
            picked = logits.gather(1, ids[part])  # [c, k]
            probabilities, log_z = _softmax_(logits)
            total += ((log_z - picked) * weights[part]).sum()
            # d loss / d logits = mass * softmax - weights at ids
            mass = weights[part].sum(-1, keepdim=True)
            grad[part] = _back(probabilities.mul_(mass).scatter_add_(1, ids[part], -weights[part]), head)
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
    losses, hits = [], []
    for start in range(0, hidden.shape[0], CHUNK):
        part = slice(start, start + CHUNK)
        logits = _logits(hidden[part], head)  # [c, v]
        losses.append(torch.nn.functional.cross_entropy(logits, targets[part], reduction="none"))
        hits.append(logits.argmax(-1) == targets[part])
    return torch.cat(losses), torch.cat(hits)
