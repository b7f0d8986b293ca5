"""Drawn people, for the toy dataset: what they look like, and how a figure is drawn."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from PIL import ImageDraw

# Few colours on purpose: many people share a shirt, so the colour alone does not tell them apart.
SKINS = ((244, 208, 180), (224, 172, 132), (172, 116, 80), (108, 70, 48))
HAIRS = ((28, 24, 24), (84, 54, 32), (190, 146, 78), (150, 150, 150))
SHIRTS = (
    (196, 48, 48),
    (52, 92, 176),
    (232, 232, 226),
    (44, 46, 52),
    (60, 138, 84),
    (226, 180, 60),
)
LEGS = ((40, 52, 92), (34, 34, 38), (150, 130, 98), (112, 112, 118), (122, 48, 62))
BAGS = ((120, 76, 40), (30, 30, 34), (206, 110, 40), (96, 60, 130))
PATTERNS = ("plain", "plain", "hoops", "stripes", "halves", "dots", "sash", "badge")
HAIR_CUTS = ("short", "long", "bald", "cap", "bun")
CLOTHES = ("trousers", "trousers", "shorts", "skirt", "coat")
LUGGAGE = ("none", "none", "backpack", "shoulder", "handbag")

Colour = tuple[int, int, int]


class Person(NamedTuple):
    """What stays the same of a person from picture to picture."""

    skin: Colour
    hair: Colour
    cut: str
    shirt: Colour
    second: Colour
    pattern: str
    sleeves: float
    legs: Colour
    clothes: str
    shoes: Colour
    luggage: str
    bag: Colour
    width: float
    height: float


def pick(rng: np.random.Generator, choices):
    """One of the `choices`, drawn with `rng`."""
    return choices[int(rng.integers(len(choices)))]


def make_person(rng: np.random.Generator) -> Person:
    """A person with clothes drawn at random."""
    shirt = pick(rng, SHIRTS)
    return Person(
        skin=pick(rng, SKINS),
        hair=pick(rng, HAIRS),
        cut=pick(rng, HAIR_CUTS),
        shirt=shirt,
        second=pick(rng, [colour for colour in SHIRTS if colour != shirt]),
        pattern=pick(rng, PATTERNS),
        sleeves=pick(rng, (0.45, 1.0)),
        legs=pick(rng, LEGS),
        clothes=pick(rng, CLOTHES),
        shoes=pick(rng, ((30, 30, 30), (230, 230, 230), (140, 60, 40))),
        luggage=pick(rng, LUGGAGE),
        bag=pick(rng, BAGS),
        width=rng.uniform(0.82, 1.2),
        height=rng.uniform(0.9, 1.0),
    )


class Figure:
    """A person in one pose, drawn in coordinates of the body: x 0 is its axis, y 0 crown, 1 soles.

    `stride` opens the legs and swings the arms (-1 … 1), `side` is where the bag hangs (-1 or 1),
    `back` turns the face away.
    """

    def __init__(self, draw: "ImageDraw.ImageDraw", person: Person, centre: float, top: float,
                 size: float, stride: float, side: int, back: bool):  # fmt: skip
        self.draw, self.person = draw, person
        self.centre, self.top, self.size = centre, top, size
        self.stride, self.side, self.back = stride, side, back

    def at(self, x: float, y: float) -> tuple[float, float]:
        """A point of the body on the picture."""
        return self.centre + x * self.size * self.person.width, self.top + y * self.size

    def polygon(self, colour: Colour, *points: tuple[float, float]) -> None:
        """A filled shape."""
        self.draw.polygon([self.at(*point) for point in points], fill=colour)

    def limb(self, colour: Colour, thick: float, *points: tuple[float, float]) -> None:
        """A line with round joints, `thick` in body heights."""
        radius = thick * self.size * self.person.width / 2
        places = [self.at(*point) for point in points]
        self.draw.line(places, fill=colour, width=max(1, round(2 * radius)))
        for x, y in places:
            self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)

    def oval(self, colour: Colour, x: float, y: float, rx: float, ry: float) -> None:
        """An ellipse round (x, y)."""
        self.draw.ellipse((*self.at(x - rx, y - ry), *self.at(x + rx, y + ry)), fill=colour)

    def paint(self) -> None:
        """Draw the whole person, from the far arm to the bag."""
        if self.person.luggage == "backpack" and not self.back:
            self.oval(self.person.bag, 0, 0.29, 0.15, 0.13)
        self.arm(-1)
        self.lower_body()
        self.torso()
        self.arm(1)
        self.head()
        self.luggage()

    def lower_body(self) -> None:
        """Legs in trousers or shorts, or bare below a skirt; and shoes."""
        person, open_ = self.person, 0.03 + 0.07 * abs(self.stride)
        for leg in (-1, 1):
            lift = 0.02 * max(0.0, leg * self.stride)
            hip, foot = (0.045 * leg, 0.5), (0.045 * leg + open_ * leg * 0.7, 0.95 - lift)
            knee = ((hip[0] + foot[0]) / 2 + 0.012, 0.72)
            bare = person.clothes in ("shorts", "skirt")
            self.limb(person.skin if bare else person.legs, 0.075, hip, knee, foot)
            if person.clothes == "shorts":
                self.limb(person.legs, 0.1, hip, (knee[0], 0.68))
            self.oval(person.shoes, foot[0] + 0.012 * self.side, 0.97 - lift, 0.05, 0.024)
        if person.clothes == "skirt":
            flare = 0.13 + open_ * 0.4
            self.polygon(person.legs, (-0.09, 0.46), (0.09, 0.46), (flare, 0.7), (-flare, 0.7))

    def torso(self) -> None:
        """Shirt or coat with its pattern, and the neck."""
        person = self.person
        hem = 0.68 if person.clothes == "coat" else 0.53
        low = 0.125 if person.clothes == "coat" else 0.1
        self.limb(person.skin, 0.06, (0, 0.13), (0, 0.18))
        outline = ((-0.07, 0.165), (0.07, 0.165), (0.125, 0.2), (low, hem), (-low, hem))
        self.polygon(person.shirt, *outline, (-0.125, 0.2))
        if person.pattern == "hoops":
            for y in np.arange(0.23, hem - 0.03, 0.085):
                self.polygon(
                    person.second, (-0.112, y), (0.112, y), (0.11, y + 0.04), (-0.11, y + 0.04)
                )
        elif person.pattern == "stripes":
            for x in (-0.075, 0.0, 0.075):
                self.polygon(person.second, (x - 0.016, 0.19), (x + 0.016, 0.19),
                             (x + 0.016, hem), (x - 0.016, hem))  # fmt: skip
        elif person.pattern == "halves":
            self.polygon(person.second, (-0.112, 0.35), (0.112, 0.35), (low, hem), (-low, hem))
        elif person.pattern == "dots":
            for row, y in enumerate(np.arange(0.22, hem - 0.02, 0.065)):
                for x in (-0.075, -0.01, 0.055):
                    self.oval(person.second, x + 0.03 * (row % 2), y, 0.018, 0.018)
        elif person.pattern == "sash":
            self.polygon(person.second, (-0.12, 0.2), (-0.06, 0.17), (low, hem - 0.07), (low, hem))
        elif person.pattern == "badge" and not self.back:
            self.oval(person.second, 0, 0.29, 0.05, 0.04)
        if person.clothes == "coat":
            self.polygon(person.legs, (-low, 0.47), (low, 0.47), (low, 0.495), (-low, 0.495))

    def arm(self, side: int) -> None:
        """One arm, swung against the legs; the sleeve ends at the elbow or the wrist."""
        swing = 0.05 * self.stride * side
        shoulder, elbow = (0.12 * side, 0.21), (0.155 * side + swing / 2, 0.36)
        hand = (0.145 * side + swing, 0.5)
        self.limb(self.person.skin, 0.05, shoulder, elbow, hand)
        if self.person.sleeves == 1.0:
            wrist = (0.147 * side + swing * 0.9, 0.475)
            self.limb(self.person.shirt, 0.06, shoulder, elbow, wrist)
        else:
            self.limb(self.person.shirt, 0.062, shoulder, (0.145 * side, 0.31))

    def head(self) -> None:
        """Head with hair or cap; seen from behind, there is no face."""
        person = self.person
        if person.cut == "long":
            self.oval(person.hair, 0, 0.115, 0.082, 0.105)
        self.oval(person.skin, 0, 0.085, 0.062, 0.075)
        if person.cut == "bun":
            self.oval(person.hair, 0, 0.0, 0.035, 0.028)
        if person.cut in ("short", "long", "bun"):
            reach = 0.075 if self.back else 0.035
            self.oval(person.hair, 0, 0.01 + reach / 1.2, 0.066, reach + 0.012)
            if not self.back:
                self.oval(person.skin, 0, 0.1, 0.05, 0.055)
        if person.cut == "cap":
            self.oval(person.bag, 0, 0.045, 0.068, 0.05)
            self.polygon(
                person.bag, (0, 0.05), (0.1 * self.side, 0.06), (0.1 * self.side, 0.075), (0, 0.075)
            )
        if not self.back:
            for eye in (-0.022, 0.022):
                self.oval((40, 34, 34), eye + 0.008 * self.side, 0.09, 0.008, 0.006)

    def luggage(self) -> None:
        """The bag, where it is worn."""
        person, side = self.person, self.side
        if person.luggage == "backpack" and self.back:
            self.oval(person.bag, 0, 0.31, 0.1, 0.12)
        elif person.luggage == "backpack":
            for strap in (-0.07, 0.07):
                self.limb(person.bag, 0.022, (strap, 0.18), (strap * 1.1, 0.34))
        elif person.luggage == "shoulder":
            self.limb(person.bag, 0.02, (-0.08 * side, 0.18), (0.13 * side, 0.46))
            self.oval(person.bag, 0.14 * side, 0.5, 0.06, 0.05)
        elif person.luggage == "handbag":
            x = 0.16 * side
            self.limb(person.bag, 0.015, (x - 0.03, 0.56), (x, 0.5), (x + 0.03, 0.56))
            self.polygon(
                person.bag, (x - 0.05, 0.55), (x + 0.05, 0.55), (x + 0.06, 0.65), (x - 0.06, 0.65)
            )
