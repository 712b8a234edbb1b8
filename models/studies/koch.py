"""Two concentric Koch snowflakes in a square, and the signed distance to them.

The square is [-200, 200]², and 1 long to the networks: places and distances here are in sides of
the square, shifted to [0, 1]².  The ring between the snowflakes is positive.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree

SIDE = 400.0
ORDER = 4
SIZES = (0.87, 0.45)
"""Side of each snowflake's first triangle, as a share of the square's."""
NEAREST = 16
"""Segments that are looked at for each point first."""
Places = Float[np.ndarray, "_ 2"]


@dataclass(frozen=True)
class Snowflakes:
    """Segments of both curves, from `starts` to `ends`; all of a curve are equally long."""

    starts: Places
    ends: Places

    def signed_distance(self, points: Places) -> Float[np.ndarray, " points"]:
        """Distance to the nearest point of a curve: positive between the two, exact to rounding."""
        distance = self.nearest(points)[0]
        signed: np.ndarray = np.where(self.between(points), distance, -distance)
        return signed

    def nearest(self, points: Places) -> tuple[Float[np.ndarray, " points"], Places]:
        """Distance to the nearest point of a curve, and that point."""
        return nearest_on_segments(points, self.starts, self.ends, looked_at=NEAREST)

    def between(self, points: Places) -> Bool[np.ndarray, " points"]:
        """Whether a ray to the right crosses the curves an odd number of times."""
        odd = np.zeros(len(points), dtype=bool)
        for start, end in zip(self.starts, self.ends, strict=True):
            if start[1] == end[1]:
                continue
            height = points[:, 1]
            crossed = (start[1] <= height) != (end[1] <= height)
            where = np.flatnonzero(crossed)
            share = (height[where] - start[1]) / (end[1] - start[1])
            odd[where] ^= start[0] + share * (end[0] - start[0]) > points[where, 0]
        return odd


def snowflakes(order: int = ORDER) -> Snowflakes:
    """Both curves."""
    curves = [koch_curve(size, order) for size in SIZES]
    starts = np.concatenate([curve[:-1] for curve in curves])
    ends = np.concatenate([curve[1:] for curve in curves])
    return Snowflakes(starts, ends)


def koch_curve(size: float, order: int) -> Places:
    """Corners of a closed Koch snowflake around (½, ½); the last is the first.

    Args:
        size: side of the triangle that it starts from.
        order: how often each segment is replaced by four.

    Source: von Koch, "Sur une courbe continue sans tangente", Arkiv för Matematik 1, 1904.
    """
    turns = np.pi / 2 - np.arange(4) * 2 * np.pi / 3
    corners = size / np.sqrt(3) * np.exp(1j * turns)
    tooth = np.exp(1j * np.pi / 3)
    for _ in range(order):
        third = np.diff(corners) / 3
        first = corners[:-1]
        broken = (first, first + third, first + third + third * tooth, first + 2 * third)
        corners = np.append(np.stack(broken, axis=1).ravel(), corners[-1])
    return np.stack((corners.real, corners.imag), axis=1) + 0.5


def nearest_on_segments(
    points: Places, starts: Places, ends: Places, *, looked_at: int
) -> tuple[Float[np.ndarray, " points"], Places]:
    """The nearest point of some segments to each point.

    Args:
        points: from where is looked.
        starts: of the segments.
        ends: of the segments.
        looked_at: segments with the nearest middles that are looked at for a point first; more
            where another may be nearer: its middle is nearer than what was found and half of the
            longest segment.
    """
    tree, longest = cKDTree((starts + ends) / 2), np.linalg.norm(ends - starts, axis=1).max()
    count = min(looked_at, len(starts))
    far, found = tree.query(points, k=np.arange(1, count + 1))
    best, places = np.full(len(points), np.inf), np.zeros_like(points)
    for column in range(count):
        start, way = starts[found[:, column]], (ends - starts)[found[:, column]]
        share = ((points - start) * way).sum(axis=1) / (way * way).sum(axis=1)
        place = start + np.clip(share, 0, 1)[:, None] * way
        distance = np.linalg.norm(points - place, axis=1)
        nearer = distance < best
        best, places[nearer] = np.where(nearer, distance, best), place[nearer]
    unsure = np.flatnonzero((far[:, -1] - longest / 2 < best) & (count < len(starts)))
    if len(unsure):
        best[unsure], places[unsure] = nearest_on_segments(
            points[unsure], starts, ends, looked_at=4 * looked_at
        )
    return best, places
