"""What does not stop a migration, and may be the reason why it fails, or what somebody misses afterwards: for the event log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from livemig.conductor.checks.devices import RISKY
from livemig.conductor.checks.situation import Situation


def notes(now: Situation) -> Sequence[str]:
    """Sentences, in no order that matters."""
    return [*_devices(now), *_interfaces(now), *_models(now)]


def _devices(now: Situation) -> Iterator[str]:
    for device in now.guest.devices if now.guest else ():
        if device.kind in RISKY:
            what, then = RISKY[device.kind]
            yield f"The guest has {what} ({device.what}): {then}"


def _interfaces(now: Situation) -> Iterator[str]:
    for plug in now.guest.plugs if now.guest else ():
        if plug.kind != "network" and plug.name in now.offer.idle:
            yield f"{plug.name} is not up on {now.destination.name}: the guest may have no network there"


def _models(now: Situation) -> Iterator[str]:
    if now.cpu_models and now.cpu_models[0] != now.cpu_models[1]:
        source, destination = now.cpu_models
        yield f"The guest has the CPU of its host, {source}; the destination's is {destination}, which has as much and may not be the same"
