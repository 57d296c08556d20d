"""Cheap and popular checkpoints first, sources in turn, in bounded memory, and always in the same order."""

from __future__ import annotations

from collections.abc import Iterator

from tests.crawler.checkpoints import checkpoint

from filterzoo.crawl.priority import AHEAD, ASSUMED, in_turn
from filterzoo.crawl.run_limits import Allowance
from filterzoo.crawl.task import Task
from filterzoo.records import Artifact


def listing(source: str, *sizes: int | None) -> Iterator[Task]:
    for number, size in enumerate(sizes):
        artifact = Artifact(url=f"https://{source}.example/{number}", size=size)
        yield Task(checkpoint(f"{source}{number}", artifacts=(artifact,)), 0, None)


def names(tasks: Iterator[Task]) -> list[str]:
    return [task.checkpoint.id for task in tasks]


def test_the_cheapest_in_hand_comes_first_and_the_listing_decides_among_alike() -> None:
    assert names(in_turn([listing("a", 900, 10, 11, 9, 3)])) == ["a1", "a2", "a4", "a3", "a0"]
    assert names(in_turn([listing("a", None, ASSUMED // 4, ASSUMED)])) == ["a1", "a0", "a2"]


def test_sources_have_their_turn_by_bytes_and_none_waits_for_a_long_one() -> None:
    order = names(in_turn([listing("long", *[100] * 1000), listing("small", *[10] * 30), listing("one", 5000)]))
    assert order.index("one0") <= 2
    assert order.index("small29") < 40
    assert len(order) == len(set(order)) == 1031
    assert order == names(in_turn([listing("long", *[100] * 1000), listing("small", *[10] * 30), listing("one", 5000)]))


def of_hosts(*files: tuple[str, int]) -> Iterator[Task]:
    for number, (host, size) in enumerate(files):
        artifact = Artifact(url=f"https://{host}/{number}", size=size)
        yield Task(checkpoint(f"{host}{number}", artifacts=(artifact,)), 0, None)


def test_no_host_of_a_source_waits_until_another_is_through() -> None:
    """Neither one with large files, nor one that is listed after thousands of cheaper ones; also across sources."""
    files = [*[("cheap", 10)] * 3000, *[("late", 1000)] * 30]
    order = names(in_turn([of_hosts(("large", 5000), *files)]))
    assert order.index("large0") < 3
    assert order.index("late3001") < 3001 - AHEAD + 10, "as soon as it is in hand"
    first, after = order.index("late3001"), order.index("late3002")
    assert 50 < after - first < 150, "as many bytes of the other one in between: it does not catch up"
    assert len(set(order)) == 3031
    assert order == names(in_turn([of_hosts(("large", 5000), *files)]))
    both = names(in_turn([of_hosts(*[("a", 100)] * 200), of_hosts(*[("a", 100), ("b", 100)] * 100)]))
    assert sum(name.startswith("b") for name in both[:100]) >= 33


def test_an_address_that_is_none_is_a_host_of_its_own() -> None:
    assert len(names(in_turn([of_hosts(("[", 1), ("a", 1), ("[", 1))]))) == 3


def test_the_first_starts_at_once_and_memory_is_bounded() -> None:
    drawn: list[str] = []

    def counted() -> Iterator[Task]:
        for task in listing("a", *range(10 * AHEAD, 0, -1)):
            drawn.append(task.checkpoint.id)
            yield task

    tasks = in_turn([counted()])
    next(tasks)
    assert len(drawn) == 2
    for started, _task in enumerate(tasks, 2):
        assert len(drawn) - started <= AHEAD
    assert len(drawn) == 10 * AHEAD


def test_a_limit_holds_for_all_listings_together_and_draws_no_more() -> None:
    allowance, first, second = Allowance(3), iter(range(10)), iter(range(10))
    assert list(zip(allowance.within(first), allowance.within(second), strict=False)) == [(0, 0)]
    assert (next(first), next(second)) == (2, 1)
    assert list(Allowance(None).within(iter("ab"))) == ["a", "b"]
    assert list(Allowance(0).within(iter("ab"))) == []
