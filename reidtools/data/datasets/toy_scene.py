"""Drawn cameras, for the toy dataset: a place, its light, and pictures of people taken there."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reidtools.data.datasets.toy_drawing import Colour, Figure, Person, make_person, pick

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

WIDTH, HEIGHT = 64, 128
SCALE = 3  # drawn three times larger, then shrunk: smooth edges


class Camera(NamedTuple):
    """What stays the same of a camera: its place, and how its sensor tints the light."""

    wall: Colour
    ground: Colour
    horizon: float
    scenery: str
    cast: tuple[float, float, float]
    gain: float
    blur: float


def make_camera(rng: np.random.Generator, number: int) -> Camera:
    """Camera `number`, from 0: its scenery goes round, its colour cast is drawn."""
    wall = ((158, 160, 156), (134, 120, 104), (112, 132, 112), (172, 164, 150), (110, 118, 134))
    ground = ((120, 118, 114), (146, 132, 112), (92, 98, 92), (164, 150, 140))
    return Camera(
        wall=wall[number % len(wall)],
        ground=pick(rng, ground),
        horizon=rng.uniform(0.45, 0.75),
        scenery=("tiles", "bricks", "trees", "pillars", "plain")[number % 5],
        cast=tuple(rng.uniform(0.86, 1.14, 3)),
        gain=rng.uniform(0.8, 1.15),
        blur=rng.uniform(0.0, 0.7),
    )


class Moment(NamedTuple):
    """What one frame of a tracklet has of its own: how far the person walked, in radians of a
    double step, how the detector's box lies, in its sides, and the chance of who comes between.
    """

    walked: float
    x: float
    y: float
    zoom: float
    rng: np.random.Generator


def make_moment(rng: np.random.Generator, frame: int) -> Moment:
    """Frame number `frame` of a tracklet, from 0."""
    x, y = rng.uniform(-0.06, 0.06), rng.uniform(-0.03, 0.03)
    return Moment(0.9 * frame, x, y, rng.uniform(0.95, 1.05), rng)


def shade(colour: Colour, factor: float) -> Colour:
    """A lighter (factor > 1) or darker colour."""
    return tuple(int(min(255, channel * factor)) for channel in colour)


def paint_place(draw: "ImageDraw.ImageDraw", camera: Camera, rng: np.random.Generator) -> None:
    """Wall, ground and scenery of the camera, looked at from a slightly different point."""
    w, h = WIDTH * SCALE, HEIGHT * SCALE
    floor = int(h * (camera.horizon + rng.uniform(-0.05, 0.05)))
    shift = int(rng.integers(w))
    draw.rectangle((0, 0, w, floor), fill=camera.wall)
    draw.rectangle((0, floor, w, h), fill=camera.ground)
    dark, light = shade(camera.wall, 0.8), shade(camera.wall, 1.18)
    if camera.scenery == "tiles":
        for x in range(-shift % 48 - 48, w, 48):
            draw.line((x, 0, x, floor), fill=light, width=4)
        for y in range(0, floor, 60):
            draw.line((0, y, w, y), fill=light, width=4)
    elif camera.scenery == "bricks":
        for row, y in enumerate(range(0, floor, 24)):
            draw.line((0, y, w, y), fill=dark, width=3)
            for x in range(-shift % 56 - 56 + 28 * (row % 2), w, 56):
                draw.line((x, y, x, min(y + 24, floor)), fill=dark, width=3)
    elif camera.scenery == "trees":
        for x in range(-shift % 90 - 45, w, 90):
            draw.rectangle((x - 6, floor // 2, x + 6, floor), fill=(88, 66, 46))
            draw.ellipse((x - 42, floor // 5, x + 42, floor * 3 // 4), fill=(70, 104, 62))
    elif camera.scenery == "pillars":
        for x in range(-shift % 100 - 20, w, 100):
            draw.rectangle((x, 0, x + 22, floor), fill=light)
            draw.rectangle((x + 16, 0, x + 22, floor), fill=dark)
    draw.line((0, floor, w, floor), fill=shade(camera.ground, 0.7), width=4)


def paint_obstacle(draw: "ImageDraw.ImageDraw", rng: np.random.Generator) -> None:
    """Something in front of the person: a pole, a box, or somebody else passing by."""
    w, h = WIDTH * SCALE, HEIGHT * SCALE
    kind, x = pick(rng, ("pole", "box", "passer-by")), int(rng.uniform(0.1, 0.9) * w)
    if kind == "pole":
        draw.rectangle((x - 8, 0, x + 8, h), fill=(94, 96, 100))
        draw.rectangle((x + 3, 0, x + 8, h), fill=(66, 68, 72))
    elif kind == "box":
        top = int(rng.uniform(0.62, 0.78) * h)
        draw.rectangle((x - 60, top, x + 60, h), fill=pick(rng, ((122, 98, 66), (70, 84, 74))))
        draw.rectangle((x - 60, top, x + 60, top + 8), fill=(160, 138, 100))
    else:
        edge = pick(rng, (-0.02, 1.02)) * w
        size = h * rng.uniform(0.85, 1.05)
        Figure(draw, make_person(rng), edge, h * 0.1, size, rng.uniform(-1, 1), 1, True).paint()


def develop(image: "Image.Image", camera: Camera, rng: np.random.Generator) -> "Image.Image":
    """The small picture as the camera stores it: its cast, the light of the moment, blur, noise."""
    from PIL import Image, ImageFilter

    image = image.resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    image = image.filter(ImageFilter.GaussianBlur(camera.blur + rng.uniform(0, 0.4)))
    pixels = np.asarray(image, dtype=np.float64)  # (H, W, 3)
    light = camera.gain * rng.uniform(0.75, 1.2)
    slope = 1 + rng.uniform(-0.2, 0.2) * np.linspace(-1, 1, WIDTH)[None, :, None]
    pixels = pixels * np.array(camera.cast) * light * slope + rng.normal(0, 4, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def photograph(
    person: Person | None, camera: Camera, rng: np.random.Generator, moment: Moment | None = None
) -> "Image.Image":
    """A 64x128 picture of `person` in front of `camera`; without a person, of the place alone.

    Frames of a tracklet are drawn with equal `rng`, which has place, light and pose, and each with
    its own `moment`.
    """
    from PIL import Image, ImageDraw

    w, h = WIDTH * SCALE, HEIGHT * SCALE
    image = Image.new("RGB", (w, h))
    draw = ImageDraw.Draw(image)
    paint_place(draw, camera, rng)
    if person is not None:
        size = h * 0.92 * person.height * rng.uniform(0.88, 1.06)
        centre = w * (0.5 + rng.uniform(-0.1, 0.1))
        top = (h - size) * rng.uniform(0.2, 0.8)
        stride, side, back = rng.uniform(-1, 1), pick(rng, (-1, 1)), rng.random() < 0.4
        if moment is not None:
            size, centre, top = size * moment.zoom, centre + w * moment.x, top + h * moment.y
            stride = np.sin(np.pi * stride + moment.walked)
        feet = top + 0.98 * size
        shadow = (centre - 0.2 * size, feet - 0.02 * size, centre + 0.2 * size, feet + 0.02 * size)
        draw.ellipse(shadow, fill=shade(camera.ground, 0.65))
        Figure(draw, person, centre, top, size, stride, side, back).paint()
    passing = rng if moment is None else moment.rng
    if person is None or passing.random() < 0.15:
        paint_obstacle(draw, passing)
    return develop(image, camera, rng)
