"""Logs of the database tests: one plain line per event. A coloured traceback costs more than the
test it belongs to."""

from collections.abc import Iterator

import pytest
import structlog

from daemon import metrics


@pytest.fixture(scope="package", autouse=True)
def _plain_logs() -> Iterator[None]:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["level", "event"], bool_as_flag=False),
        ]
    )
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def _many_are_settled_at_once(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where settling many accounts at once fails, each by itself may hide why: that is an error,
    but for a test with the marker `one_by_one`."""
    before = one_by_one()
    yield
    if request.node.get_closest_marker("one_by_one") is None:
        assert one_by_one() == before, "accounts were settled one by one; the log says why"


def one_by_one() -> float:
    """How many accounts were."""
    (metric,) = metrics.SETTLED_ONE_BY_ONE.collect()
    return metric.samples[0].value
