"""A change is rehearsed by its command."""

import json
from pathlib import Path

import pytest

from tests.database.cli.test_document_commands import Place

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]
MARCH_2 = '[[version]]\neffective_from = 2026-03-02\nprice = "0.8"\n'


@pytest.fixture
def place(database_url: str, tmp_path: Path) -> Place:
    """A1 is billed for 1 to 3 March, two kWh a day at 0.5; A2 for 1 March."""
    place = Place(tmp_path, database_url)
    place.restart()
    place.read("P1", 10, 12, 14, 16)
    place.read("P2", 10, 12)
    (tmp_path / "new.toml").write_text(MARCH_2)
    return place


def test_a_file_stands_for_a_tariff_of_the_site(place: Place) -> None:
    told = place.meterd("rehearse", "--tariff", "new.toml", "--name", "T").stdout.splitlines()
    assert told == [
        "tariff T, tried from 2026-03-02 on",
        "month\tyuan\twould be\tmore",
        "2026-03\t4.00\t5.20\t1.20",
        "all\t4.00\t5.20\t1.20",
        "2 accounts: 1 would pay more, 0 less, 1 the same",
        "of the accounts\tyuan more, at most",
        *(f"{percent} %\t0.00" for percent in (0, 5, 25, 50)),
        *(f"{percent} %\t1.20" for percent in (75, 95, 100)),
        "most affected\tyuan\twould be\tmore",
        "A1\t3.00\t4.20\t1.20",
    ]
    assert place.balance("A1") == -300


def test_as_json_there_is_a_line_for_each_account_and_one_for_all(place: Place) -> None:
    (place.folder / "new.toml").write_text(MARCH_2.replace("2026", "2099"))
    asked = ("rehearse", "--tariff", "new.toml", "--name", "T", "--from", "2026-03-01", "--json")
    done = place.meterd(*asked)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    paid = {"was_fen": 300, "would_be_fen": 480, "more_fen": 180}
    assert lines[0] == {"account": "A1", **paid, "months": {"2026-03": paid}}
    assert lines[1]["account"] == "A2"
    assert lines[2].keys() >= {"quantiles_fen", "held", "unpriced"}
    assert (lines[2]["from"], lines[2]["accounts"]) == ("2026-03-01", 2)
    assert lines[2]["most_affected"] == ["A1", "A2"]


def test_what_shows_nothing_says_what_would(place: Place) -> None:
    def refused(*options: str) -> str:
        return place.meterd("rehearse", "--tariff", "new.toml", *options).stderr

    assert "the site has no tariff new: --name TARIFF" in refused()
    (place.folder / "new.toml").write_text(MARCH_2.replace("2026", "2099"))
    assert "what is new begins on 2099-03-02" in refused("--name", "T")
    (place.folder / "new.toml").write_text(
        '[[version]]\neffective_from = 2026-01-01\nprice = "0.50"\n'
    )
    assert "all of it counts already; --from DAY" in refused("--name", "T")
    (place.folder / "new.toml").write_text(
        '[[version]]\neffective_from = 2026-01-01\nprice = "0.6"\n'
    )
    told = refused("--name", "T")
    assert "it could not be taken over so: tariff T from 2026-01-01: use is billed by it" in told


def test_limits_of_a_file_release_a_suspect_and_nothing_is_kept(place: Place) -> None:
    place.read("P1", 10, 12, 14, 16, 516)
    (place.folder / "points.csv").write_text("point,max_daily_kwh\nP1,600\n")
    asked = ("rehearse", "--limits", "points.csv")
    told = place.meterd(*asked)
    assert "A1: balance moves by -250.00 yuan" in told.stdout
    assert told.stderr == "1 days would be released, 0 withdrawn\n"
    effect, money = (json.loads(it) for it in place.meterd(*asked, "--json").stdout.splitlines())
    assert [(it["day"], it["change"]) for it in effect["readings"]] == [("2026-03-05", "published")]
    assert money == {"balances_moved_fen": {"A1": -25_000}}
    assert place.balance("A1") == -300
    (place.folder / "points.csv").write_text("point,i_max_a\nP1,100\n")
    assert place.meterd(*asked).stdout == told.stdout
    (place.folder / "points.csv").write_text("point,phases\nP1,3\n")
    unknown = place.meterd(*asked)
    assert unknown.returncode == 78
    assert "points.csv:2: max_daily_kwh: is empty, and so are i_max_a," in unknown.stderr
    (place.folder / "points.csv").write_text("point,max_daily_kwh\nP9,600\nP1,-\n")
    wrong = place.meterd(*asked)
    assert wrong.returncode == 78
    assert "points.csv:3: max_daily_kwh" in wrong.stderr
    (place.folder / "points.csv").write_text("point,max_daily_kwh\nP9,600\n")
    assert "there is no point P9" in place.meterd(*asked).stderr


def test_policies_are_compared_by_who_could_have_been_cut(place: Place) -> None:
    (place.folder / "new.toml").write_text('[control]\nmin_debt_yuan = "1.00"\n')
    told = place.meterd("rehearse", "--policy", "new.toml")
    assert told.stdout == "point\taccount\tcould be cut\twould be able to be cut\n"
    assert "0 points could have been cut, 0 by new.toml" in told.stderr
    (place.folder / "new.toml").write_text("[control]\nmin_debt = 1\n")
    assert place.meterd("rehearse", "--policy", "new.toml").returncode == 78


def test_one_thing_is_rehearsed_at_a_time(place: Place) -> None:
    assert "name one of --tariff" in place.meterd("rehearse").stderr
    both = ("--tariff", "new.toml", "--policy", "new.toml")
    assert "name one of --tariff" in place.meterd("rehearse", *both).stderr
    asked = ("--policy", "new.toml", "--name", "T")
    assert "--name and --from go with" in place.meterd("rehearse", *asked).stderr
