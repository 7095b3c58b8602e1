"""By which policy an account is cut: one person says so, two where it lets be cut who was not."""

from __future__ import annotations

from typing import Any, Literal

import structlog
from psycopg import AsyncConnection

from config.persons import is_same_person
from daemon.control.authority import Authority
from daemon.control.policies import widened
from protocols.errors import MeterdError
from storage import account_policies as stored
from storage.account_policies import Chosen
from storage.documents import Said

log = structlog.get_logger("control")
State = Literal["counts", "waits"]


class PolicyRefused(MeterdError):
    """A policy that an account cannot have so. Who typed it acts."""


async def choose_policy(
    connection: AsyncConnection[Any],
    authority: Authority,
    account: str,
    name: str | None,
    said: Said,
) -> tuple[State, list[str]]:
    """Give an account a policy, None: the site's again; returns what it is wider in.

    PolicyRefused: it is not known, or the account has it."""
    if name is not None and name not in authority.profiles:
        raise PolicyRefused(f"no policy {name}; there are {', '.join(sorted(authority.profiles))}")
    async with connection.transaction():
        chosen = await _locked(connection, account)
        if chosen.profile == name and not chosen.waits:
            raise PolicyRefused(f"account {account} has the policy {_named(name)} already")
        wider = widened(authority.policy_for(chosen.profile), authority.policy_for(name))
        await stored.add_policy(
            connection, chosen, name, said.actor, said.reason, waits=bool(wider)
        )
    log.info("policy of account", account=account, policy=_named(name), waits=bool(wider))
    return ("waits" if wider else "counts"), wider


async def agree_to_policy(connection: AsyncConnection[Any], account: str, actor: str) -> str | None:
    """The second person agrees; returns the policy. PolicyRefused: none waits, or it is theirs."""
    async with connection.transaction():
        chosen = await _locked(connection, account)
        if not chosen.waits:
            raise PolicyRefused(f"no policy of account {account} waits for a second person")
        assert chosen.actor is not None
        assert chosen.reason is not None
        if is_same_person(chosen.actor, actor):
            raise PolicyRefused(
                f"{chosen.actor} asked for the policy {_named(chosen.newest)}; another person has "
                "to agree"
            )
        await stored.add_policy(
            connection, chosen, chosen.newest, chosen.actor, chosen.reason, second=actor
        )
    log.info("policy of account", account=account, policy=_named(chosen.newest), second=actor)
    return chosen.newest


async def _locked(connection: AsyncConnection[Any], account: str) -> Chosen:
    chosen = await stored.newest_policies(connection, account)
    if chosen is None:
        raise PolicyRefused(f"no account {account}")
    return chosen


def _named(name: str | None) -> str:
    return name or "of the site"
