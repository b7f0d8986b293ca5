"""What training may minimise: one loss a file, tensors in, a number out."""

from reidtools.losses.captions import CaptionLoss
from reidtools.losses.center import CenterLoss
from reidtools.losses.centroid_triplet import CentroidTripletLoss
from reidtools.losses.circle import CircleLoss
from reidtools.losses.cosface import CosFaceLoss
from reidtools.losses.cross_entropy import CrossEntropyLoss
from reidtools.losses.distillation import DistillationLoss
from reidtools.losses.focal import FocalLoss
from reidtools.losses.octuplet import OctupletLoss
from reidtools.losses.prompts import PromptLoss
from reidtools.losses.triplet import TripletLoss

__all__ = [
    "CaptionLoss",
    "CenterLoss",
    "CentroidTripletLoss",
    "CircleLoss",
    "CosFaceLoss",
    "CrossEntropyLoss",
    "DistillationLoss",
    "FocalLoss",
    "OctupletLoss",
    "PromptLoss",
    "TripletLoss",
]
