"""The nearest rows of a bank that may be larger than memory: read once, block by block, with a running top k.

Neither a copy of the bank nor the matrix of all similarities ever exists. Of rows with equal similarity the
one that comes first in the bank is nearer, whatever the blocks are.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.shelf import Array

BLOCK_BYTES = 1 << 27  # of a block of the bank in fp32
QUERIES = 1024  # at a time, at most


def nearest(
    bank: Array | Tensor, queries: Tensor, k: int, tile: int, block_bytes: int = BLOCK_BYTES
) -> tuple[Tensor, Tensor]:
    """Cosines fp32 and rows int64, (M, k) each, of the k rows of bank (N, D) most similar to queries (M, D),
    descending; of equal cosines the first row comes first.

    bank: an array on disk, or a tensor; computed on the device of the queries, `tile` of them at a time. Rows
    of zeros have cosine 0. Memory: block_bytes four times, M (D + 3 k) and 2 tile block_bytes / D values.
    Raises ValueError where k is not in 1..N.
    """
    if not 1 <= k <= len(bank):
        raise ValueError(f"nearest: k must be 1 to {len(bank)}, the rows of the bank, got {k}")
    unit, step = F.normalize(queries.float()), max(k, block_bytes // (4 * bank.shape[1]))
    value = queries.new_empty(len(queries), 0, dtype=torch.float32)
    index = queries.new_empty(len(queries), 0, dtype=torch.int64)
    for first in range(0, len(bank), step):
        block = F.normalize(_block(bank, first, first + step, queries.device))
        parts = zip(unit.split(tile), value.split(tile), index.split(tile), strict=True)
        found = [_joined(part @ block.T, best, rows, first, k) for part, best, rows in parts]
        value, index = (torch.cat(columns) for columns in zip(*found, strict=True))
    return value, index


def tile(rows: int, columns: int, chunk_bytes: int) -> int:
    """How many of `rows` queries go at a time, so that `columns` values of each stay within chunk_bytes."""
    return max(1, min(rows, QUERIES, chunk_bytes // (4 * columns)))


def _block(bank: Array | Tensor, first: int, last: int, device: torch.device) -> Tensor:
    rows = bank[first:last]
    block = rows if isinstance(rows, Tensor) else torch.from_numpy(np.array(rows))
    return block.to(device).float()


def _joined(s: Tensor, value: Tensor, index: Tensor, first: int, k: int) -> tuple[Tensor, Tensor]:
    """The k best of what was found before and of similarities s (q, B) with the rows from `first` on."""
    new, column = first_best(s, min(k, s.shape[1]))
    value, index = torch.cat([value, new], 1), torch.cat([index, column + first], 1)
    value, order = value.sort(dim=1, descending=True, stable=True)  # what was found before has lower rows
    return value[:, :k].contiguous(), index.gather(1, order[:, :k])


def first_best(s: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest values of each row, descending, and their columns; of equal values the first columns.

    topk alone leaves open which of equal values it takes, and their order.
    """
    value, column = s.topk(min(k + 1, s.shape[1]), dim=1)
    tied = (value[:, k - 1 : k] == value[:, k:]).any(1).nonzero().flatten()  # at the cut more than fit
    column = column[:, :k].contiguous()
    if len(tied):
        column[tied] = _first_at_cut(s[tied], value[tied, k - 1 : k], k)
    column = column.sort(dim=1).values
    value, order = s.gather(1, column).sort(dim=1, descending=True, stable=True)
    return value, column.gather(1, order)


def _first_at_cut(s: Tensor, cut: Tensor, k: int) -> Tensor:
    """Columns (t, k) of all values above the cut, and of the first ones equal to it."""
    above, equal = s > cut, s == cut
    taken = above | (equal & (equal.cumsum(1) <= k - above.sum(1, keepdim=True)))
    return taken.nonzero()[:, 1].view(len(s), k)
