"""A pod as the directory keeps it: its record, and the containers that it had before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from oomtracer.kube.fields import EMPTY
from oomtracer.pods import Pod, PodIdentity

MAX_PAST_IDS: Final = 64
# The front part of an id is believed from this length on, as everywhere people cut them (docker ps).
_MIN_FRONT: Final = 12


class Entry:
    """One pod. ``gone_s`` is when it was deleted, None while it lives; ``serial`` grows with each new pod.

    ``past_ids`` are the containers that its status has told of and does so no more, oldest first: a kill may be
    told after the second restart since.
    """

    __slots__ = ("gone_s", "past_ids", "pod", "serial")

    def __init__(self, pod: Pod, serial: int) -> None:
        self.pod = pod
        self.serial = serial
        self.gone_s: float | None = None
        self.past_ids: Mapping[str, str] = EMPTY

    @property
    def rank(self) -> tuple[bool, float, int]:
        """What to sort by: live ones first, the oldest first of all; then gone ones, the latest gone first.

        The oldest, since whoever pretends to be a pod that is there comes later than it.
        """
        if self.gone_s is None:
            return (False, self.pod.created_s, self.serial)
        return (True, -self.gone_s, self.serial)

    def renew(self, pod: Pod) -> None:
        """Take a newer state of the pod."""
        lost = [each for each in self.pod.container_ids.items() if each[0] not in pod.container_ids]
        if lost:
            self.past_ids = dict([*self.past_ids.items(), *lost][-MAX_PAST_IDS:])
        self.pod = pod

    def container(self, container_id: str) -> str | None:
        """The name of the container with this id or the only one whose id starts like this."""
        matches = self.matches(container_id)
        return self._name(matches[0]) if len(matches) == 1 else None

    def matches(self, container_id: str) -> list[str]:
        """The ids that are this one, or that start like it."""
        if self._name(container_id) is not None:
            return [container_id]
        if len(container_id) < _MIN_FRONT:
            return []
        found = [each for each in self.pod.container_ids if each.startswith(container_id)]
        # Few pods have a past; an id that is shown again is in both.
        past = self.past_ids and [each for each in self.past_ids if each.startswith(container_id)]
        return [*{*found, *past}] if past else found

    def _name(self, full_id: str) -> str | None:
        return self.pod.container_ids.get(full_id) or self.past_ids.get(full_id)


def find_container(entries: Iterable[Entry], container_id: str) -> str | None:
    """The container's name in the first of the entries that knows it."""
    return next(filter(None, (entry.container(container_id) for entry in entries)), None)


def identity_of(entries: Iterable[Entry], container_id: str) -> PodIdentity | None:
    """The only container with this id or this front part of one, live pods before gone ones."""
    matching = [(entry, ids) for entry in entries if (ids := entry.matches(container_id))]
    full_ids = {each for _, ids in matching for each in ids}
    living = [entry for entry, _ in matching if entry.gone_s is None]
    if len(full_ids) != 1 or len(living) > 1:
        return None
    entry = min([entry for entry, _ in matching], key=lambda entry: entry.rank)
    return PodIdentity(pod=entry.pod, container=entry.container(*full_ids))
