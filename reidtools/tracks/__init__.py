"""Tracks of people in videos: read, cut out, embedded, kept, and known again by other cameras."""

from reidtools.tracks.extract import extract
from reidtools.tracks.features import (
    TrackFeatures,
    read_features,
    write_features,
    write_metadata,
)
from reidtools.tracks.mot import TrackBoxes, read_tracks

__all__ = [
    "TrackBoxes",
    "TrackFeatures",
    "extract",
    "read_features",
    "read_tracks",
    "write_features",
    "write_metadata",
]
