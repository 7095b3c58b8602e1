"""Where lines and ports of a site are: no two of them at one place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from config.problems import Problem
from config.settings import BrokerSection, Site
from config.settings_file import SettingsFile
from config.toml_lines import Path as Place

ANY_HOST = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared, never listened to
HERE = frozenset({"127.0.0.1", "localhost", "::1"})


def shared_places(file: SettingsFile, settings: Site) -> Iterator[Problem]:
    """A bus, far end or port of our own that two sections have; the second one is told."""
    yield from _shared_buses(file, settings)
    yield from _shared_ports(file, settings)
    yield from _shared_clients(file, settings)


def _shared_clients(file: SettingsFile, settings: Site) -> Iterator[Problem]:
    """A broker keeps one of two clients with one name and throws the other out, in turns."""
    taken: dict[object, str] = {}
    sections: list[tuple[Place, str, BrokerSection]] = [
        (("line", index, "mqtt", "client_id"), f"line.{line.name}.mqtt", line.mqtt)
        for index, line in enumerate(settings.line)
        if line.mqtt is not None and line.enabled
    ]
    sections += [
        (("gateway", index, "broker", "client_id"), f"gateway.{gateway.name}.broker", broker)
        for index, gateway in enumerate(settings.gateway)
        if (broker := gateway.broker) and gateway.enabled
    ]
    for place, where, broker in sections:
        if broker.client_id is None:
            continue
        client = (_host(broker.host), broker.port, broker.client_id)
        if client in taken:
            message = (
                f"{broker.client_id} is that of {taken[client]} already: a broker keeps one client "
                "of a name; leave it out"
            )
            yield file.problem(place, f"{where}.client_id", message)
        taken.setdefault(client, where)


def _shared_buses(file: SettingsFile, settings: Site) -> Iterator[Problem]:
    """One bus has one talker: two lines on it would take each other's answers."""
    taken: dict[object, str] = {}
    for index, line in enumerate(settings.line):
        place: object
        if not line.enabled:
            continue
        if line.serial is not None:
            key = "serial"
            # by-id, by-path and the plain name are links to one device.
            place = Path(line.serial).resolve()
            shown = line.serial
        elif line.tcp is not None:
            key = "tcp"
            place = (_host(line.tcp[0]), line.tcp[1])
            shown = f"{line.tcp[0]}:{line.tcp[1]}"
        elif line.mqtt is not None:
            key = "mqtt"
            place = (_host(line.mqtt.host), line.mqtt.port, line.mqtt.down)
            shown = f"{line.mqtt.host} {line.mqtt.down}"
        else:
            continue
        if place in taken:
            message = (
                f"{shown} is line {taken[place]} already: one bus has one talker; put its meters "
                "on one line"
            )
            yield file.problem(("line", index, key), f"line.{line.name}.{key}", message)
        taken.setdefault(place, line.name)


def _shared_ports(file: SettingsFile, settings: Site) -> Iterator[Problem]:
    """Ports that we open, and lines that would call ourselves."""
    opened: list[tuple[str, tuple[str, int]]] = []
    sections: list[tuple[Place, str, tuple[str, int]]] = [
        (("listener", index, "listen"), f"listener.{listener.name}.listen", listener.listen)
        for index, listener in enumerate(settings.listener)
        if listener.enabled
    ]
    sections.append((("http", "listen"), "http.listen", settings.http.listen))
    for place, where, endpoint in sections:
        for other, taken in opened:
            if _overlap(endpoint, taken):
                message = f"port {endpoint[1]} is that of {other} already"
                yield file.problem(place, where, message)
        opened.append((where, endpoint))
    for index, line in enumerate(settings.line):
        for other, taken in opened:
            if line.tcp is not None and _calls(line.tcp, taken):
                message = f"is the port that {other} opens: the line would call this program itself"
                yield file.problem(("line", index, "tcp"), f"line.{line.name}.tcp", message)


def _overlap(one: tuple[str, int], other: tuple[str, int]) -> bool:
    """True if both cannot be listened to. Port 0 is any that is free."""
    if one[1] != other[1] or not one[1]:
        return False
    hosts = {_host(one[0]), _host(other[0])}
    return len(hosts) == 1 or bool(hosts & ANY_HOST)


def _calls(far_end: tuple[str, int], opened: tuple[str, int]) -> bool:
    if far_end[1] != opened[1]:
        return False
    is_own = opened[0] in ANY_HOST and _host(far_end[0]) == "localhost"
    return is_own or _host(far_end[0]) == _host(opened[0])


def _host(name: str) -> str:
    return "localhost" if name.lower() in HERE else name.lower().rstrip(".")
