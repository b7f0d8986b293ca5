"""Embedders as files that run without reidtools: ONNX, TorchScript and torch.export."""

from reidtools.export.embedder import Exported, Quantised, export_embedder
from reidtools.export.formats import FORMATS

__all__ = ["FORMATS", "Exported", "Quantised", "export_embedder"]
