"""Heads: maps (B, C, h, w) or vectors (B, C) -> (features, embeddings), both (B, dim).

Features go to metric losses; embeddings go to classifiers and to retrieval.
"""

from reidtools.modeling.heads import bnneck, clip_necks, linear, mgn, part_necks

__all__ = ["bnneck", "clip_necks", "linear", "mgn", "part_necks"]
