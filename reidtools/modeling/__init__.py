"""Pictures in, vectors out: backbones, heads, the Embedder that joins them, and their weights.

Importing this room registers every backbone and head.
"""

from reidtools.modeling import backbones, heads
from reidtools.modeling.embedder import Embedder

__all__ = ["Embedder", "backbones", "heads"]
