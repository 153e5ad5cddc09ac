"""How many zones lie over one another: what stands there is held against each of them, and each may tell of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import shapely

from geo.geojson import Feature
from models.problems import Problem

MOST_OVER_A_POINT = 128
"""A street has its own zone, its school's, its district's and a few more; each object there makes a condition of each,
and a raise of each is some 0.3 ms."""
AT_ONCE = 64  # points looked up together: where all of a hundred thousand zones overlap, that is some 50 MB


def too_deep(features: Sequence[Feature], shapes: Sequence[shapely.Geometry]) -> Iterator[Problem]:
    """The first zone whose middle lies in too many. Zones that overlap at their edges alone are not looked for."""
    if len(shapes) <= MOST_OVER_A_POINT:
        return
    boxes, middles = shapely.STRtree(shapes), shapely.point_on_surface(np.asarray(shapes))
    for first in range(0, len(shapes), AT_ONCE):
        which, others = boxes.query(middles[first : first + AT_ONCE])
        crowded = np.flatnonzero(np.bincount(which, minlength=1) > MOST_OVER_A_POINT)
        for one in crowded.tolist():
            point, feature = middles[first + one], features[first + one]
            over = sum(shapely.contains_xy(shapes[other], point.x, point.y) for other in others[which == one])
            if over > MOST_OVER_A_POINT:
                message = f"the zone is one of {over} that lie over one another: at most {MOST_OVER_A_POINT} may"
                hint = "take away what is there twice, or make one zone of those that mean the same"
                yield feature.problem("Z023", message, hint, at="coordinates")
                return
