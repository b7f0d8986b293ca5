"""JPEG files decoded and resized on the device: nvJPEG, by way of torchvision."""

import struct
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from reidtools.ops.resize import Resize
from reidtools.ops.transfer import sent

DECODERS = {"cpu": False, "cuda": True}
ORIENTATION = 0x0112  # the EXIF tag that says how a camera was held
APP1, APP14, SCAN = 0xE1, 0xEE, 0xDA  # JPEG markers: EXIF, Adobe, the beginning of the pixels
FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive


def check_decoder() -> None:
    """Raise an ImportError that tells what to install where torchvision decodes no JPEG."""
    try:
        from torchvision.io import decode_jpeg  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"DATALOADER.DECODER cuda decodes with torchvision ({error}); install the torchvision "
            "that belongs to your torch, or choose cpu."
        ) from error


def read_on(
    device: torch.device,
    paths: Sequence[str],
    size: tuple[int, int],
    resize: Resize,
    fill: Callable[[str, np.ndarray], None],
) -> Tensor:
    """The pictures at `paths`, uint8 (N, H, W, 3) on `device`, RGB; on the CPU files are only read.

    They are resized by torch with antialiasing: by Pillow's ``bilinear`` or ``bicubic`` to a grey
    level, and where `resize` says ``area``, bilinear, which shrinks a little softer than areas do.
    nvJPEG's own rounding comes on top. What `is_plain` does not know, or cannot be decoded here, is
    left to ``fill(path, out)`` on the CPU, which says what is wrong with it.
    """
    out = torch.empty(len(paths), *size, 3, dtype=torch.uint8, device=device)
    by_size, left = defaultdict(list), []
    for i, picture in enumerate(_decoded(device, [_plain_bytes(path) for path in paths])):
        if picture is None:
            left.append(i)
        else:
            by_size[picture.shape].append((i, picture))
    mode = (resize.way or "BILINEAR").lower()
    for shape, group in by_size.items():
        pictures = torch.stack([picture for _, picture in group])
        if shape[-2:] != size:
            pictures = interpolate(pictures.float(), size, mode=mode, antialias=True)
            pictures = pictures.round_().clamp_(0, 255).byte()
        out[sent(torch.tensor([i for i, _ in group]), device)] = pictures.movedim(1, -1)
    if left:
        rest = np.empty((len(left), *size, 3), np.uint8)
        for i, place in zip(left, rest, strict=True):
            fill(paths[i], place)
        out[sent(torch.tensor(left), device)] = sent(torch.from_numpy(rest), device)
    return out


def _decoded(device: torch.device, files: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The pictures (3, h, w) in `files`; None where there is none, or none that can be decoded."""
    from torchvision.io import ImageReadMode, decode_jpeg

    found: list[Tensor | None] = [None] * len(files)
    wanted = [i for i, file in enumerate(files) if file is not None]
    if not wanted:
        return found
    try:
        pictures = decode_jpeg([files[i] for i in wanted], ImageReadMode.RGB, device)
    except RuntimeError:  # one of them is broken, and nothing tells which
        if len(wanted) == 1:
            return found
        pictures = [_decoded(device, [files[i]])[0] for i in wanted]
    for i, picture in zip(wanted, pictures, strict=True):
        found[i] = picture
    return found


def _plain_bytes(path: str) -> Tensor | None:
    """The bytes of the file at `path` if they are a plain JPEG."""
    try:
        data = bytearray(Path(path).read_bytes())
    except OSError:
        return None
    return torch.frombuffer(data, dtype=torch.uint8) if is_plain(data) else None


def is_plain(data: bytes | bytearray) -> bool:
    """Whether all decoders see the same in a file: a JPEG in YCbCr that is shown as it is stored.

    Grey, CMYK and RGB ones are not, nor those that EXIF says to turn, as OpenCV does.
    """
    place = 2
    if data[:2] != b"\xff\xd8":
        return False
    while place + 11 <= len(data) and data[place] == 0xFF:
        kind, end = data[place + 1], place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        content = data[place + 4 : end]
        if kind in FRAMES:  # depth 1, height 2, width 2, then how many channels, the first's name
            return len(content) > 6 and content[5] == 3 and content[6] != ord("R")
        if kind == APP1 and content.startswith(b"Exif\0\0") and _is_turned(bytes(content)):
            return False
        if kind == APP14 and content.startswith(b"Adobe") and content[-1] == 0:  # not YCbCr
            return False
        if kind == SCAN:
            return False
        place = end
    return False


def _is_turned(exif: bytes) -> bool:
    from PIL import Image

    known = Image.Exif()
    try:
        known.load(exif)
        return known.get(ORIENTATION, 1) != 1
    except (SyntaxError, ValueError, OSError, struct.error):  # what Pillow says of broken EXIF
        return True
