"""A URL of a database is looked at before anybody could quote its password."""

import pytest
from psycopg.conninfo import conninfo_to_dict

from config.database_url import mistake_in


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://meterd:s%40%25cret@db.example.org:5432/meterd?sslmode=require",
        "postgres://meterd@[::1]:5432/meterd",
        "postgresql://a:1,b:2/meterd",
        "postgresql:///meterd?host=/run/postgresql",
        "postgresql://",
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
        ("", "is neither"),
    ],
)
def test_a_mistake_is_told_without_a_part_of_it(url: str, told: str) -> None:
    assert told in mistake_in(url)
    assert "p@w" not in mistake_in(url)
