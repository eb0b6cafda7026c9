"""What happens in a world, at random: requests, and faults of every part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.service import HOSTS
from tests.simulation.world import APIS, CONDUCTORS, GUESTS, World

Deed = Callable[[World], object]


def _migrate(world: World) -> None:
    name, host = world.chance.choice(GUESTS), world.chance.choice((None, *HOSTS))
    world.ask(world.migrate, name, host, world.chance.choice(("2.1", "2.34", "2.104")))


def _end(how: str) -> Deed:
    return lambda world: world.ask(world.end, world.chance.choice(GUESTS), how)


def _kill(names: Sequence[str]) -> Deed:
    """It stays dead until it is hit again, or everything is healed."""

    def deed(world: World) -> None:
        name = world.one_of(names)
        if world.processes[name].alive:
            world.kill_process(name)
        else:
            world.start_process(name)

    return deed


def _for_a_while(world: World, begin: Callable[[], object], end: Callable[[], object]) -> None:
    """A fault, and its end some seconds later."""

    def pass_by() -> None:
        world.runtime.sleep(world.chance.choice((0.5, 3.0, 10.0, 30.0)) * world.chance.random() * 2)
        end()

    begin()
    world.runtime.start("fault", pass_by)


def _freeze(names: Sequence[str]) -> Deed:
    """It is suspended, maybe for longer than its leases last, and goes on as if nothing had been."""

    def deed(world: World) -> None:
        process = world.processes[world.one_of(names)]
        _for_a_while(world, lambda: setattr(process, "frozen", True), lambda: setattr(process, "frozen", False))

    return deed


def _ordeal(world: World) -> None:
    """A migration to which something happens, and something else right after."""
    name = world.chance.choice(GUESTS)
    world.ask(world.migrate, name, world.chance.choice(HOSTS), "2.34")
    for _ in range(2):
        world.runtime.sleep(world.chance.choice((0.0, 0.3, 1.0, 2.0, 4.0)) * world.chance.random() * 2)
        world.chance.choice(_ORDEALS)(world, name)


def _of_the_same(how: str) -> Callable[[World, str], object]:
    return lambda world, name: world.ask(world.end, name, how)


def _source_or_destination(switch: str) -> Callable[[World, str], object]:
    def deed(world: World, name: str) -> None:
        hosts = [copy.host for copy in world.fleet.copies(world.servers[name])]
        if hosts:
            _break(world, world.chance.choice(hosts), switch)

    return deed


_ORDEALS: tuple[Callable[[World, str], object], ...] = (
    _of_the_same("abort"),
    _of_the_same("force"),
    _of_the_same("force"),
    _source_or_destination("up"),
    _source_or_destination("hung"),
    _source_or_destination("isolated"),
    lambda world, _name: _kill(CONDUCTORS)(world),
    lambda world, _name: _freeze(CONDUCTORS)(world),
    lambda world, _name: _cut(world),
    lambda world, _name: _fail_migration(world),
    lambda world, _name: _database(world),
)


def _host(world: World) -> Any:
    return world.fleet.hosts[world.chance.choice(HOSTS)]


def _break(world: World, host: Any, switch: str) -> None:
    wrong = {"up": False, "hung": True, "isolated": True}[switch]
    _for_a_while(world, lambda: setattr(host, switch, wrong), lambda: setattr(host, switch, not wrong))


def _toggle(switch: str) -> Deed:
    return lambda world: _break(world, _host(world), switch)


def _cut(world: World) -> None:
    ends = world.chance.sample((*HOSTS, *CONDUCTORS), 2)
    _for_a_while(world, lambda: world.fleet.cut(*ends), lambda: world.fleet.heal(*ends))


def _kill_guest(world: World) -> None:
    server = world.servers[world.chance.choice(GUESTS)]
    running = world.fleet.running_on(server)
    if running:
        world.killed.add(server)
        world.fleet.hosts[running[0]].kill_guest(server)


def _fail_migration(world: World) -> None:
    host = _host(world)
    host.migration_error_phase = world.chance.choice(("prepare", "copy", "finish"))
    host.migration_error = "a fault"


def _database(world: World) -> None:
    _for_a_while(world, lambda: setattr(world.outages, "database_away", True), lambda: setattr(world.outages, "database_away", False))


def _broker(world: World) -> None:
    _for_a_while(world, lambda: setattr(world.broker, "away", True), lambda: setattr(world.broker, "away", False))


def _weather(world: World) -> None:
    world.outages.flaky, world.broker.lossy = world.chance.random() < 0.5, world.chance.random() < 0.5


# What may happen, and how often.
DEEDS: tuple[tuple[int, Deed], ...] = (
    (25, _migrate),
    (25, _ordeal),
    (4, _freeze(CONDUCTORS)),
    (1, _freeze(APIS)),
    (10, _end("abort")),
    (8, _end("force")),
    (8, _kill(CONDUCTORS)),
    (4, _kill(APIS)),
    (4, _toggle("up")),
    (3, _toggle("hung")),
    (2, _toggle("isolated")),
    (4, _cut),
    (1, _kill_guest),
    (4, _fail_migration),
    (4, _database),
    (4, _broker),
    (4, _weather),
)


def play(world: World, deeds: int = 25) -> None:
    """So many deeds, then everything is healed and has to come to its end."""
    for _ in range(deeds):
        (deed,) = world.chance.choices([deed for _, deed in DEEDS], [weight for weight, _ in DEEDS])
        deed(world)
        world.runtime.sleep(world.chance.choice((0.0, 0.05, 0.3, 1.0, 4.0, 10.0)))
        if world.trouble:
            break
    world.heal()
    world.settle()
    world.judge()
