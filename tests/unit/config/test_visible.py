"""Text from outside is shown, never obeyed."""

import pytest

from config.visible import visible, visible_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain 七号楼", "plain 七号楼"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("\x9b2J\x7f", r"\x9b2J\x7f"),
        ("a\u202eb\u2028c", r"a\u202eb\u2028c"),
        ("half \udc80", r"half \udc80"),
    ],
)
def test_a_character_that_a_terminal_obeys_is_shown_as_its_escape(text: str, shown: str) -> None:
    assert visible(text) == visible_lines(text) == shown


def test_lines_stay_lines_where_there_may_be_several() -> None:
    assert visible_lines("a\tb\nc\rd") == "a\tb\nc\\rd"
    assert visible("a\tb\nc") == r"a\tb\nc"
