"""A URL of a database is looked at before anybody could quote its password."""

import pytest
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from config.database_url import CHOICES, NUMBERS, TEXTS, mistake_in


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://meterd:s%40%25cret@db.example.org:5432/meterd?sslmode=require",
        "postgres://meterd@[::1]:5432/meterd",
        "postgresql://a:1,b:2/meterd",
        "postgresql:///meterd?host=/run/postgresql",
        "postgresql://",
        "postgresql://h/d?connect_timeout=5&sslmode=verify-full&ssl=true&application_name=a%20b",
        "postgresql://a,b/d?hostaddr=10.0.0.1,&port=5432&target_session_attrs=read-write",
        "host=/tmp user=meterd password='a b\\'c' dbname = x",
        "dbname=x",
    ],
)
def test_what_a_server_can_be_looked_for_with_is_none(url: str) -> None:
    assert mistake_in(url) == ""
    conninfo_to_dict(url)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://u:p%w@h/d", "a % that no two"),
        ("postgresql://u:p@w@h/d", "more than one @"),
        ("postgresql://u:p/w@h/d", "more than one @"),
        ("postgresql://u:p@h:x/d", "a port that is no number"),
        ("postgresql://u:p@h:123456/d", "a port that is no number"),
        ("mysql://u:p@h/d", "is neither"),
        ("nonsense", "is neither"),
        ("host=a password='b", "is neither"),
        ("a=" * 10_000, ""),
        ("postgresql://u:p@h:99999/d", "a port that is not 1 to 65535"),
        ("postgresql://u:p@h:0/d", "a port that is not 1 to 65535"),
        ("postgresql://u:p w@h/d", "a blank"),
        ("postgresql://u:p\0w@h/d", "cannot be printed"),
        ("postgresql://u:p@h/d\npostgresql://u:p@h/e", "a blank"),
        ("postgresql://u:1?p@w/d", "an option that PostgreSQL does not know"),
        ("postgresql://u@h/d?passwrd=p@w", "an option that PostgreSQL does not know"),
        ("postgresql://u@h/d?connect_timeout=p@w", "a connect_timeout that is no whole number"),
        ("postgresql://u@h/d?sslmode=p@w", "a sslmode that is none of disable, allow"),
        ("postgresql://u@h/d?hostaddr=p@w", "a hostaddr that is no IP address"),
        ("host=h port=p@w", "a port that is no number"),
        ("host=h keepalives_idle='p@w'", "a keepalives_idle that is no whole number"),
        ("host=h pasword=p@w", "an option that PostgreSQL does not know"),
        ("", "is neither"),
    ],
)
def test_a_mistake_is_told_without_a_part_of_it(url: str, told: str) -> None:
    assert told in mistake_in(url)
    assert "p@w" not in mistake_in(url)


def test_every_option_is_known_that_the_library_knows() -> None:
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    assert known - {"replication"} == (NUMBERS | CHOICES.keys() | TEXTS) - {"ssl"}
