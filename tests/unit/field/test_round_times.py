"""How long lines need for their meters."""

from datetime import timedelta
from pathlib import Path

from config.load import load_site
from daemon.field.round_times import listener_round, site_rounds

EXAMPLE = Path(__file__).parents[3] / "config" / "example" / "meterd.toml"


def test_a_round_is_its_characters_on_the_wire_and_the_delays_of_the_meters() -> None:
    site = load_site(EXAMPLE)
    for line in site_rounds(site).all:
        (settings,) = [it for it in site.settings.line if it.name == line.line]
        for days, time in ((1, line.daily), (site.settings.collection.backfill_days, line.first)):
            # 105 characters of 11 bits and two answers for a freeze, 87 and two for the clock
            wire_s = line.meters * (105 * days + 87) * 11 / settings.baud
            # A network takes no time for them.
            wire_s *= settings.tcp is None
            delays_s = line.meters * (2 * days + 2) * 0.1
            assert abs(time - timedelta(seconds=wire_s + delays_s)) < timedelta(milliseconds=1)


def test_terminals_of_a_listener_work_at_the_same_time() -> None:
    site = load_site(EXAMPLE)
    fast, slow = site_rounds(site).all[:2]
    (listener,) = [{"name": "gprs", "listen": ("0.0.0.0", 9000)}]
    shown = type("Listener", (), listener)
    both = listener_round(shown, [fast, slow])  # type: ignore[arg-type]
    assert (both.line, both.channel) == ("gprs", "2 terminals at 0.0.0.0:9000")
    assert both.meters == fast.meters + slow.meters
    assert both.daily == max(fast.daily, slow.daily)
    assert both.first == max(fast.first, slow.first)
