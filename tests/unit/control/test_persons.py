"""Who is one person and who are two, where two are asked for."""

import pytest

from daemon.control.persons import is_same_person


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
