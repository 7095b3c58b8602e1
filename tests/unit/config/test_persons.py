"""Who is one person and who are two, where two are asked for."""

import pytest

from config.persons import BY_DAEMON, NOBODY, is_same_person, person


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("Li Wei", "li wei", True),
        ("Li Wei", " Li\u3000 Wei ", True),
        ("Li Wei", "\uff2c\uff49 Wei", True),
        ("Gro\u00df", "GROSS", True),
        ("Li Wei", "LiWei", False),
        ("Li Wei", "Li Na", False),
        ("\u674e\u4f1f", "\u674e\u4f1f", True),
    ],
)
def test_no_capital_width_or_blank_makes_another_person(
    one: str, other: str, is_same: bool
) -> None:
    assert is_same_person(one, other) is is_same_person(other, one) is is_same


def test_one_name_stands_for_all_ways_of_writing_it() -> None:
    assert person(" Li\u3000 WEI ") == "li wei"


def test_who_has_no_name_or_the_daemons_is_nobody() -> None:
    assert BY_DAEMON == "daemon"
    assert {"", BY_DAEMON} == NOBODY
