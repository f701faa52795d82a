"""The pods of this node by every name that a cgroup may have for them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

from oomtracer.kube.entries import Entry, find_container, identity_of
from oomtracer.pods import Pod, PodIdentity

logger = logging.getLogger("oomtracer.kube")

REMEMBER_S: Final = 600.0
MAX_GONE: Final = 500


@dataclass(frozen=True, slots=True)
class Differences:
    """The uids by which a list differs from what was known."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.added) + len(self.changed) + len(self.removed)


class PodDirectory:
    """Live pods, and for ten minutes those that were deleted: a kill may be told after the end of its pod.

    ``version`` grows with each change or touch, after which the callables of ``on_change`` are called; they are cheap.
    ``is_synced`` from the first list on; ``synced_at_s`` is when the latest list came, by the clock.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, remember_s: float = REMEMBER_S
    ) -> None:
        self.is_synced = False
        self.synced_at_s: float | None = None
        self.version = 0
        self.on_change: list[Callable[[], None]] = []
        self._clock = clock
        self._remember_s = remember_s
        self._serial = 0
        self._live: dict[str, Entry] = {}
        self._gone: dict[str, Entry] = {}  # the longest gone first
        self._uids_by_hash: dict[str, set[str]] = {}  # of live and gone ones
        self._uid_by_name: dict[tuple[str, str], str] = {}  # of live ones

    def replace(self, pods: Iterable[Pod]) -> Differences:
        """Take a list for the truth; a live pod that is missing in it counts as deleted."""
        listed = {pod.uid: pod for pod in pods}
        removed = tuple([uid for uid in self._live if uid not in listed])
        for uid in removed:
            self._remove(uid)
        added = {uid for uid in listed if uid not in self._live}
        put = [uid for uid, pod in listed.items() if self._put(pod)]
        changed = tuple([uid for uid in put if uid not in added])
        differences = Differences(tuple(added), changed, removed)
        is_first = not self.is_synced
        self.is_synced = True
        self.synced_at_s = self._clock()
        if differences or is_first:
            self._changed()
        return differences

    def put(self, pod: Pod) -> None:
        """Add a pod, or know it better."""
        if self._put(pod):
            self._changed()

    def remove(self, uid: str, *, last_state: Pod | None = None) -> None:
        """Note that a pod was deleted; its last state may name containers that nobody has heard of."""
        if last_state is not None:
            self._put(last_state)
        if self._remove(uid):
            self._changed()

    def touch(self) -> None:
        """Tell the followers, though no pod has changed: how current the pods are has.

        A report waits longer for its name while the API server is away.
        """
        self._changed()

    def find(self, pod_uid: str | None, container_id: str | None) -> PodIdentity | None:
        """Whose a cgroup is: by the pod's uid as the cgroup says it, without a uid by the container's id.

        The uid may be a static pod's config hash, the id the front part of one. What is ambiguous is not found.
        """
        self._forget()
        if pod_uid is not None:
            return self._find_by_uid(pod_uid, container_id)
        # Only a cgroup whose name was cut says no uid: too rare for an index.
        entries = chain(self._live.values(), self._gone.values())
        return identity_of(entries, container_id) if container_id else None

    def pod(self, uid: str) -> Pod | None:
        """The pod with this uid of the API, live or remembered."""
        self._forget()
        entry = self._live.get(uid) or self._gone.get(uid)
        return entry.pod if entry else None

    def is_gone(self, uid: str) -> bool:
        """Whether this pod is remembered as deleted."""
        self._forget()
        return uid in self._gone

    def pods(self) -> Iterator[Pod]:
        """The live pods; none may come or go while they are walked through."""
        return (entry.pod for entry in self._live.values())

    def __len__(self) -> int:
        return len(self._live)

    def _find_by_uid(self, pod_uid: str, container_id: str | None) -> PodIdentity | None:
        entry = self._live.get(pod_uid) or self._gone.get(pod_uid)
        # A manifest may set a static pod's uid itself: its hash then looks like any other uid.
        entries = [entry] if entry else self._mirrors(pod_uid)
        if not entries:
            return None
        container = find_container(entries, container_id) if container_id else None
        return PodIdentity(pod=entries[0].pod, container=container)

    def _mirrors(self, config_hash: str) -> list[Entry]:
        """The objects for one static pod, the oldest live one first.

        The kubelet makes the object anew, under another uid, while the containers go on. The new one has the name of
        the old one, which therefore lives no more; of several live ones, all but the first pretend.
        """
        uids = self._uids_by_hash.get(config_hash, ())
        entries = [self._live.get(uid) or self._gone[uid] for uid in uids]
        return sorted(entries, key=lambda entry: entry.rank)

    def _put(self, pod: Pod) -> bool:
        """Put it in; whether that changed anything."""
        entry = self._live.get(pod.uid)
        if entry and entry.pod == pod:
            entry.pod = pod  # its version may be newer
            return False
        entry = entry or self._gone.pop(pod.uid, None) or self._new_entry(pod)
        self._unindex(entry)
        entry.renew(pod)
        entry.gone_s = None
        # Its predecessor of the same name cannot live any more, whatever became of the news of that.
        self._remove(self._uid_by_name.get((pod.namespace, pod.name), ""))
        self._live[pod.uid] = entry
        self._uid_by_name[pod.namespace, pod.name] = pod.uid
        if pod.config_hash:
            self._uids_by_hash.setdefault(pod.config_hash, set()).add(pod.uid)
        return True

    def _new_entry(self, pod: Pod) -> Entry:
        self._serial += 1
        return Entry(pod, self._serial)

    def _remove(self, uid: str) -> bool:
        """Move it to those that are gone; whether it was live."""
        entry = self._live.pop(uid, None)
        if entry is None:
            return False
        self._forget_name(entry.pod)
        entry.gone_s = self._clock()
        self._gone[uid] = entry
        self._forget()
        return True

    def _forget(self) -> None:
        """Drop who is gone for too long, and the longest gone of too many."""
        before_s = self._clock() - self._remember_s
        while self._gone:
            uid, entry = next(iter(self._gone.items()))
            if len(self._gone) <= MAX_GONE and (entry.gone_s or 0.0) > before_s:
                return
            del self._gone[uid]
            self._unindex(entry)

    def _unindex(self, entry: Entry) -> None:
        self._forget_name(entry.pod)
        config_hash = entry.pod.config_hash
        uids = self._uids_by_hash.get(config_hash, set()) if config_hash else set()
        uids.discard(entry.pod.uid)
        if config_hash and not uids:
            self._uids_by_hash.pop(config_hash, None)

    def _forget_name(self, pod: Pod) -> None:
        if self._uid_by_name.get((pod.namespace, pod.name)) == pod.uid:
            del self._uid_by_name[pod.namespace, pod.name]

    def _changed(self) -> None:
        self.version += 1
        for callback in self.on_change:
            try:
                callback()
            except Exception:  # a defect of theirs may not end the watch
                logger.exception("a follower of the pods failed")
