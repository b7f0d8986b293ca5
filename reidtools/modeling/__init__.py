"""Pictures in, vectors out: backbones, heads, the Embedder that joins them, and their weights.

Importing this room registers every backbone, head and pooling over time.
"""

from reidtools.modeling import backbones, heads, temporal
from reidtools.modeling.embedder import Embedder, Preparation

__all__ = ["Embedder", "Preparation", "backbones", "heads", "temporal"]
