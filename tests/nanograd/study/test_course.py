"""The course: every page once, the way through it, and the drills of a station."""

from nanograd.op import OPS
from nanograd.study.course import NUMBER, STATIONS, crumbs, following, is_simple, pages
from nanograd.study.drills import DRILLS
from nanograd.study.topics import TOPICS


def test_every_page_is_on_the_way_once() -> None:
    order = pages()
    assert sorted(order) == sorted([*OPS, *TOPICS])
    assert order[: len(STATIONS)] == [station.page for station in STATIONS]
    assert order[0] == "chain_rule"


def test_the_links_of_each_page_lead_to_its_neighbours() -> None:
    order = pages()
    for before, page, after in zip(order, order[1:], order[2:], strict=False):
        assert f'href="{before}.html" rel="prev"' in crumbs(page)
        assert f'href="{after}.html" rel="next"' in crumbs(page)
        assert f'href="{after}.html"' in following(page)
    assert 'rel="prev"' not in crumbs(order[0])
    assert 'rel="next"' not in crumbs(order[-1])
    assert "href" not in following(order[-1])
    assert "Station 5 of " in crumbs("matmul")


def test_a_drill_is_practised_at_one_station_or_beside_the_course() -> None:
    practised = [drill for station in STATIONS for drill in station.drills]
    assert len(practised) == len(set(practised))
    assert {DRILLS[name].page for name in DRILLS} - {*NUMBER} <= {*OPS}
    assert [drill for station in STATIONS if station.page == "attention" for drill in station.drills][:2] == [
        "attention",
        "flash",
    ]


def test_simple_ops_have_short_pages() -> None:
    assert all(map(is_simple, ("neg", "flip", "abs")))
    assert not any(map(is_simple, ("softmax", "sum", "div", "where")))
