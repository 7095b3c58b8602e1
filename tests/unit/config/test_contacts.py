"""contacts.csv: how customers are reached, every mistake with its line, and no address in any."""

from pathlib import Path

import pytest

from config.contacts import Contact, load_contacts, reached_badly

HEAD = "account,channel,address,consent,language,order\n"
ACCOUNTS = {"A1", "A2"}
CHANNELS = {"sms", "app"}


def load(folder: Path, text: str) -> tuple[tuple[Contact, ...], list[str]]:
    (folder / "contacts.csv").write_text(text, encoding="utf-8")
    contacts, problems = load_contacts(folder, folder, accounts=ACCOUNTS, channels=CHANNELS)
    return contacts, [str(problem) for problem in problems]


def test_a_site_need_not_have_any(tmp_path: Path) -> None:
    assert load_contacts(tmp_path, tmp_path, accounts=ACCOUNTS, channels=CHANNELS) == ((), [])


def test_contacts_are_read_with_their_defaults(tmp_path: Path) -> None:
    contacts, mistakes = load(tmp_path, HEAD + "A1,sms,13800001111,yes,,\nA1,app,user-1,否,en,2\n")
    assert mistakes == []
    assert contacts == (
        Contact("A1", "sms", "13800001111", True, "zh", 1),
        Contact("A1", "app", "user-1", False, "en", 2),
    )


def test_an_address_is_shown_in_no_dump(tmp_path: Path) -> None:
    (contact,), _ = load(tmp_path, HEAD + "A1,sms,13800001111,yes,,\n")
    assert "13800001111" not in repr(contact)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("A3,sms,1,yes,,", "contacts.csv:2: account: no account A3 in accounts.csv"),
        ("A1,smss,1,yes,,", "contacts.csv:2: channel: no [[notice_channel]] smss in meterd.toml"),
        ("A1,sms,1.38E+10,yes,,", "contacts.csv:2: address: a spreadsheet rounded it"),
        ("A1,sms,,yes,,", "contacts.csv:2: address: "),
        ("A1,sms,1,perhaps,,", "contacts.csv:2: consent: "),
        ("A1,sms,1,,,", "contacts.csv:2: consent: "),
        ("A1,sms,1,yes,de,", 'contacts.csv:2: language: "de" is not one of en, zh'),
        ("A1,sms,1,yes,,0", 'contacts.csv:2: order: "0" is no place in an order'),
        ("A1,sms,1,yes,,first", 'contacts.csv:2: order: "first" is no place in an order'),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, row: str, told: str) -> None:
    _, mistakes = load(tmp_path, HEAD + row + "\n")
    assert len(mistakes) == 1
    assert mistakes[0].startswith(told)


def test_the_same_way_twice_is_told_without_the_address(tmp_path: Path) -> None:
    rows = "A1,sms,13800001111,yes,,\nA2,sms,13800001111,yes,,\nA1,sms,13800001111,no,,\n"
    _, mistakes = load(tmp_path, HEAD + rows)
    assert mistakes == ["contacts.csv:4: address: stands twice for A1 and sms"]


def test_who_has_fewer_than_two_ways_with_consent_is_reached_badly(tmp_path: Path) -> None:
    rows = "A1,sms,1,yes,,\nA1,app,2,yes,,\nA2,sms,3,yes,,\nA2,app,4,no,,\n"
    contacts, _ = load(tmp_path, HEAD + rows)
    assert reached_badly(contacts, ["A1", "A2", "A3"]) == ["A2", "A3"]
