"""Draws the pictures of the demo: eight kinds, three of each. Run once; they are in the repository.

python -m examples.demo.make_pictures
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFilter

FOLDER = Path(__file__).parent / "pictures"
SIZE = (1440, 960)
COARSE = (480, 320)
"""Smooth pictures are computed small and enlarged."""

Color = tuple[int, int, int]


def palette(rng: random.Random) -> Callable[[float], Color]:
    """A cyclic colour scale: 0 to 1 goes round once."""
    phases = [rng.random() for _ in range(3)]

    def color(t: float) -> Color:
        red, green, blue = (int(127.5 + 127.5 * math.sin(math.tau * (t + p))) for p in phases)
        return red, green, blue

    return color


def field(value: Callable[[float, float], float], rng: random.Random) -> Image.Image:
    """A picture of a function over the plane, -1.5..1.5 by -1..1."""
    width, height = COARSE
    color = palette(rng)
    image = Image.new("RGB", COARSE)
    image.putdata(
        [
            color(value(3 * x / width - 1.5, 2 * y / height - 1))
            for y in range(height)
            for x in range(width)
        ]
    )
    return image.resize(SIZE, Image.Resampling.BICUBIC)


def escape(z: complex, c: complex, limit: int = 120) -> float:
    """How soon ``z * z + c`` leaves, smoothed; 0 when it stays."""
    for n in range(limit):
        z = z * z + c
        if abs(z) > 8:
            return (n + 1 - math.log2(math.log(abs(z)))) / 40
    return 0.0


def mandelbrot(rng: random.Random) -> Image.Image:
    """A corner of the Mandelbrot set."""
    corners = [(-0.743, 0.131, 0.02), (-0.16, 1.035, 0.05), (-1.25, 0.02, 0.06)]
    x0, y0, zoom = corners[rng.randrange(3)]
    return field(lambda x, y: escape(0j, complex(x0 + x * zoom, y0 + y * zoom)), rng)


def julia(rng: random.Random) -> Image.Image:
    """A Julia set."""
    c = 0.7885 * complex(math.cos(a := rng.uniform(2.2, 4.0)), math.sin(a))
    return field(lambda x, y: escape(complex(x, y), c), rng)


def plasma(rng: random.Random) -> Image.Image:
    """Sines upon sines."""
    waves = [(rng.uniform(-5, 5), rng.uniform(-5, 5), rng.random()) for _ in range(6)]

    def value(x: float, y: float) -> float:
        bent = x + 0.3 * math.sin(4 * y)
        return sum(math.sin(a * bent + b * y + math.tau * p) for a, b, p in waves) / 5

    return field(value, rng)


def ripples(rng: random.Random) -> Image.Image:
    """Drops in a pond."""
    drops = [(rng.uniform(-1.5, 1.5), rng.uniform(-1, 1)) for _ in range(4)]

    def value(x: float, y: float) -> float:
        distances = [math.hypot(x - a, y - b) for a, b in drops]
        return sum(math.sin(28 * d) / (1 + 2 * d) for d in distances) / 4

    return field(value, rng)


def mountains(rng: random.Random) -> Image.Image:
    """Ranges behind ranges, at some hour of the day."""
    low, high = palette(rng)(rng.random()), palette(rng)(rng.random())
    sky = Image.linear_gradient("L").resize(SIZE)
    image = Image.composite(Image.new("RGB", SIZE, low), Image.new("RGB", SIZE, high), sky)
    draw = ImageDraw.Draw(image)
    width, height = SIZE
    x, y, r = rng.randrange(200, 1240), rng.randrange(120, 320), rng.randrange(40, 90)
    draw.ellipse((x - r, y - r, x + r, y + r), fill=(255, 244, 214))
    for layer in range(6):
        waves = [(rng.uniform(0.5, 9), rng.random(), rng.uniform(5, 60)) for _ in range(7)]
        base = height * (0.42 + 0.1 * layer)
        ridge = [
            (px, base + sum(a * math.sin(f * px / 180 + math.tau * p) / f for f, p, a in waves))
            for px in range(0, width + 8, 8)
        ]
        shade = tuple(int(part * (0.75 - 0.12 * layer)) for part in low)
        draw.polygon([*ridge, (width, height), (0, height)], fill=shade)
    return image


def night(rng: random.Random) -> Image.Image:
    """Stars in front of a nebula."""
    noise = Image.new("L", (12, 8))
    noise.putdata([rng.randrange(256) for _ in range(12 * 8)])
    clouds = noise.resize(SIZE, Image.Resampling.BICUBIC)
    glow = Image.new("RGB", SIZE, palette(rng)(rng.random()))
    image = ImageChops.multiply(glow, Image.merge("RGB", (clouds,) * 3))
    image = ImageChops.multiply(image, image)
    stars = Image.new("RGB", SIZE)
    draw = ImageDraw.Draw(stars)
    for _ in range(900):
        x, y, r = rng.randrange(SIZE[0]), rng.randrange(SIZE[1]), rng.choice((0, 0, 0, 1, 2))
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(255, 255, rng.randrange(190, 256)))
    return ImageChops.add(image, ImageChops.add(stars, stars.filter(ImageFilter.GaussianBlur(4))))


def sunflower(rng: random.Random) -> Image.Image:
    """Seeds at the golden angle."""
    color = palette(rng)
    image = Image.new("RGB", SIZE, (18, 18, 28))
    draw = ImageDraw.Draw(image)
    turn = math.pi * (3 - math.sqrt(5)) + rng.choice((0.0, 0.002, -0.0015))
    for n in range(1500):
        radius = 12 * math.sqrt(n)
        x, y = 720 + radius * math.cos(n * turn), 480 + radius * math.sin(n * turn)
        r = 2 + radius / 70
        draw.ellipse((x - r, y - r, x + r, y + r), fill=color(n / 1500))
    return image


def tiles(rng: random.Random) -> Image.Image:
    """Quarter circles, turned at random."""
    color = palette(rng)
    image = Image.new("RGB", SIZE, color(0.0))
    draw = ImageDraw.Draw(image)
    side = 60
    for x in range(0, SIZE[0], side):
        for y in range(0, SIZE[1], side):
            ink = color(0.3 + 0.3 * math.hypot(x - 720, y - 480) / 800)
            corners = [(x, y), (x + side, y + side)]
            if rng.random() < 0.5:
                corners = [(x + side, y), (x, y + side)]
            for cx, cy in corners:
                box = (cx - side / 2, cy - side / 2, cx + side / 2, cy + side / 2)
                start = {(x, y): 0, (x + side, y): 90, (x + side, y + side): 180}.get((cx, cy), 270)
                draw.arc(box, start, start + 90, fill=ink, width=14)
    return image


KINDS = (mandelbrot, julia, plasma, ripples, mountains, night, sunflower, tiles)


def main() -> None:
    """Draw them all."""
    FOLDER.mkdir(exist_ok=True)
    for number, kind in enumerate(KINDS):
        for variant in range(3):
            rng = random.Random(100 * number + variant)
            image = kind(rng)
            if kind in {sunflower, tiles}:
                flat = image.quantize(64)
                flat.save(FOLDER / f"{kind.__name__}-{variant + 1}.png", optimize=True)
            else:
                path = FOLDER / f"{kind.__name__}-{variant + 1}.jpg"
                image.save(path, quality=80, optimize=True)


if __name__ == "__main__":
    main()
