"""k-reciprocal re-ranking: seconds and memory beyond the product of all pictures with all.

Sides that take turns in one run:

- product: ``torch.mm`` of chunks of query + gallery with all of them into one reused buffer;
- rerank: `reidtools.evaluation.reranking`, from features to mAP;
- dense (`--dense`): the same formula written plainly with NumPy as toolboxes have it: whole
  matrices of distances, places and weights of N x N, a loop over rows. It needs some 30 bytes for
  each of N x N pairs, so take a small size; its distances are compared with ours first.

    python benchmarks/reranking.py                    # Market-1501's size
    python benchmarks/reranking.py --size msmt17 --rounds 1
    python benchmarks/reranking.py --dense --queries 500 --gallery 3000
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.ranking import Side, compare, features, options_parser, product, size_of
from reidtools.engine.environment import describe
from reidtools.evaluation import Vectors, rank
from reidtools.evaluation.reranking import reciprocal, rerank

K1, K2, LAMBDA = 20, 6, 0.3
OPTIONS = {"k1": K1, "k2": K2, "lambda_": LAMBDA, "variant": "original"}


def dense(query: Vectors, gallery: Vectors) -> np.ndarray:
    """Re-ranked distances (Q, G) by the text of Zhong et al., with nothing left out."""
    everyone = torch.cat([query.vectors, gallery.vectors])
    squares = everyone.square().sum(1)
    distances = squares[:, None] + squares
    distances = distances.addmm_(everyone, everyone.T, alpha=-2).clamp_(min=0).cpu().numpy()
    distances /= distances.max(axis=1, keepdims=True)
    order = np.argsort(distances, axis=1)

    def mutual(row: int, k: int) -> np.ndarray:
        near = order[row, : k + 1]
        return near[(order[near, : k + 1] == row).any(axis=1)]

    weights = np.zeros_like(distances)
    half = round(K1 / 2)
    for row in range(len(order)):
        own = mutual(row, K1)
        members = [own]
        for other in own:
            more = mutual(other, half)
            if len(np.intersect1d(more, own)) > 2 / 3 * len(more):
                members.append(more)
        expanded = np.unique(np.concatenate(members))
        near = np.exp(-distances[row, expanded])
        weights[row, expanded] = near / near.sum()
    weights = np.stack([weights[near].mean(axis=0) for near in order[:, :K2]])

    split = len(query)
    own_lists = np.ascontiguousarray(weights[split:].T)  # (N, G): who in the gallery has whom
    having = [np.flatnonzero(line) for line in own_lists]
    final = LAMBDA * distances[:split, split:]
    for row in range(split):
        shared = np.zeros(len(gallery), weights.dtype)
        for column in np.flatnonzero(weights[row]):
            people = having[column]
            shared[people] += np.minimum(weights[row, column], own_lists[column, people])
        final[row] += (1 - LAMBDA) * (1 - shared / (2 - shared))
    return final


def sides_of(memory_mb: int, with_dense: bool) -> dict[str, Side]:
    """The sides by name; all on Euclidean distances of unit vectors."""

    def product_of_all(query: Vectors, gallery: Vectors) -> float:
        everyone = Vectors(
            torch.cat([query.vectors, gallery.vectors]),
            torch.cat([query.pids, gallery.pids]),
            torch.cat([query.camids, gallery.camids]),
        )
        return product(everyone, everyone, memory_mb)

    def ours(query: Vectors, gallery: Vectors) -> float:
        chosen = {"metric": "euclidean", "memory_mb": memory_mb, **OPTIONS}
        return rerank(query, gallery, **chosen).mAP

    def plain(query: Vectors, gallery: Vectors) -> float:
        whole = slice(0, len(query)), torch.from_numpy(dense(query, gallery))
        return rank(query, gallery, lambda *_: iter([whole])).mAP

    sides: dict[str, Side] = {"product": product_of_all, "rerank": ours}
    return sides | ({"dense": plain} if with_dense else {})


def largest_difference(query: Vectors, gallery: Vectors, memory_mb: int) -> float:
    """Between our distances and the dense ones."""
    expected, most = torch.from_numpy(dense(query, gallery)), 0.0
    ours = reciprocal(query.vectors, gallery.vectors, "euclidean", memory_mb, **OPTIONS)
    for rows, part in ours:
        most = max(most, (part.cpu() - expected[rows]).abs().max().item())
    return most


def main() -> None:
    parser = options_parser(__doc__)
    parser.add_argument("--dense", action="store_true", help="also the dense way: small sizes only")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if not args.side:
        print(describe())
        print(f"k1 {K1}, k2 {K2}, lambda {LAMBDA}")
    if args.dense and not args.side:
        sides = features(*size_of(args), args.device)
        most = largest_difference(*sides, args.memory_mb)
        verdict = "as it should be" if most < 1e-5 else "NOT WITHIN 1e-5"
        print(f"Our distances and the dense ones are at most {most:.1e} apart, {verdict}.")
    extra = ["--dense"] if args.dense else []
    compare(__file__, sides_of(args.memory_mb, args.dense), size_of(args), args, extra)


if __name__ == "__main__":
    main()
