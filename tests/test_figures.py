from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.report.figures import colour_scale, dash_scale, shape_scale
from harness.report.figures.quality_cost import _domain, _lifted


@pytest.mark.parametrize("place", [0, 5])
def test_no_two_of_32_contestants_look_alike(place: int) -> None:
    names = [f"m{i}" for i in range(32)]
    one = cast("Any", SimpleNamespace(contestants=names, start=names[place]))
    colours, shapes, dashes = colour_scale(one), shape_scale(names), dash_scale(names, one.start)
    for other in (shapes, dashes):
        assert colours.domain == other.domain == names
        looks = list(zip(colours.range, map(str, other.range), strict=True))
        assert len(set(looks)) == len(names)


def test_names_on_a_front_do_not_lie_upon_each_other_nor_beyond_the_axis() -> None:
    def at(name: str, cost: float, value: float) -> dict[str, Any]:
        return {"contestant": name, "cost": cost, "value": value, "low": value - 0.1, "high": value + 0.1}

    front = [at("a_long_name_of_one", 100.0, 0.0), at("near", 101.0, 0.01), at("far", 190.0, 0.02)]
    domain = _domain([row["cost"] for row in front], [row["contestant"] for row in front])
    assert domain[0] < 100.0 < 190.0 < domain[1]
    assert _lifted(front, domain, 200) == {"near"}
    assert _lifted([front[0], at("near", 101.0, 5.0)], domain, 200) == set()
