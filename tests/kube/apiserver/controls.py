"""What a test can do to the fake API server, but for its sockets: state, rights, faults."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .access import AGENT, EVERYTHING, Access, Rule, User
from .faults import Action, Answer, Fault, Faults, Request
from .policy import Policy
from .state import Json, Store
from .watch import End, Watch

ADMIN_TOKEN = "admin-token"
AGENT_TOKEN = "agent-token"
ACCOUNT = "system:serviceaccount:oomtracer:oomtracer"


class Controls:
    """The part of FakeApiServer that needs neither loop nor sockets."""

    def __init__(self, *, node: str, clock: Callable[[], float]) -> None:
        self.store = Store(clock=clock)
        self.access = Access(
            {ADMIN_TOKEN: User("admin", EVERYTHING), AGENT_TOKEN: User(ACCOUNT, AGENT, node)}
        )
        self.token = AGENT_TOKEN
        self.policies: list[Policy] = []
        self.requests: list[Request] = []
        self.watches: list[Watch] = []
        self.sends_bookmarks = True
        self._faults = Faults()

    # ------------------------------------------------------------------------------------------ state

    @property
    def pods(self) -> list[Json]:
        """Copies of all pods, in the order of a list."""
        return [copy.deepcopy(self.store.pods[key]) for key in sorted(self.store.pods)]

    @property
    def events(self) -> list[Json]:
        """Copies of all Events, in the order in which they were made."""
        return copy.deepcopy(list(self.store.events.values()))

    def pod(self, namespace: str, name: str) -> Json:
        """A copy of one pod. Raises KeyError."""
        return copy.deepcopy(self.store.pods[namespace, name])

    def add_pod(self, pod: Mapping[str, Any]) -> Json:
        """Create a pod, as from ``make_pod``; returns a copy of what is stored."""
        return copy.deepcopy(self.store.add(pod))

    def update_pod(self, pod: Mapping[str, Any]) -> Json:
        """Store another state of a pod that exists."""
        return copy.deepcopy(self.store.replace(pod))

    def change_pod(self, namespace: str, name: str, change: Callable[[Json], Any]) -> Json:
        """Let ``change`` alter a copy of the pod in place, and store that."""
        return copy.deepcopy(self.store.edit(namespace, name, change))

    def terminate_pod(self, namespace: str, name: str, *, grace: int = 30) -> None:
        """Begin a graceful deletion: MODIFIED with deletionTimestamp; the pod stays."""
        self.store.terminate(namespace, name, grace)

    def delete_pod(self, namespace: str, name: str, *, grace: int = 30) -> None:
        """Delete to the end: MODIFIED (if ``grace`` and not terminating yet), MODIFIED with grace 0, DELETED."""
        if grace and "deletionTimestamp" not in self.store.pods[namespace, name]["metadata"]:
            self.store.terminate(namespace, name, grace)
        self.store.terminate(namespace, name, 0)
        self.store.remove(namespace, name)

    def delete_event(self, namespace: str, name: str) -> None:
        """An Event reaches the end of its time to live."""
        del self.store.events[namespace, name]

    def terminate_namespace(self, namespace: str) -> None:
        """Nothing new can be made in it from now on."""
        self.store.namespaces.add(namespace)
        self.store.terminating_namespaces.add(namespace)

    # ------------------------------------------------------------------------------ rights and tokens

    def grant(self, *rules: Iterable[Rule], token: str | None = None) -> None:
        """What the agent may do from now on: ``api.grant(OBSERVE)``, ``api.grant(OBSERVE, MARK)``."""
        self.access.replace_rules(token or self.token, [rule for group in rules for rule in group])

    def add_token(
        self, token: str, user: str = ACCOUNT, *, rules: Iterable[Rule] = AGENT, node: str = ""
    ) -> None:
        """Make another token known."""
        self.access.users[token] = User(user, tuple(rules), node)

    def rotate_token(self, token: str) -> None:
        """The agent's token is ``token`` from now on; the old one gets 401."""
        self.access.users[token] = self.access.users.pop(self.token)
        self.token = token

    def enforce(self, *policies: Policy) -> None:
        """These admission policies, and no others, are in force: ``api.enforce(pod_policy(KEY))``."""
        self.policies[:] = policies

    # ----------------------------------------------------------------------------------------- faults

    def fail(
        self,
        action: Action | int,
        *,
        method: str | None = None,
        path: str = "",
        watch: bool | None = None,
        when: Callable[[Request], bool] = lambda request: True,
        times: int | None = None,
        skip: int = 0,
    ) -> Fault:
        """Let requests that match meet ``action`` (a number is a bare status), until ``times`` or ``remove()``.

        ``path`` is a part of the path. Of several faults that match, the newest wins.
        """

        def matches(request: Request) -> bool:
            return (
                method in (None, request.method)
                and path in request.path
                and watch in (None, request.is_watch)
                and when(request)
            )

        fault = Fault(Answer(action) if isinstance(action, int) else action, matches, times, skip)
        self._faults.script.append(fault)
        return fault

    def heal(self) -> None:
        """Forget all faults."""
        self._faults.script.clear()

    def end_watches(self, end: End = End.CLEAN) -> None:
        """End all open watches, without an ERROR."""
        for watch in self.watches:
            watch.finish(end)

    def send_raw(self, raw: bytes) -> None:
        """Write these bytes into all open watches."""
        for watch in self.watches:
            watch.send(raw)

    def send_bookmark(self) -> None:
        """Send a bookmark to all open watches now, whether they asked for it or not."""
        for watch in self.watches:
            watch.bookmark()

    def expire(self) -> None:
        """Compaction after a change elsewhere: every version seen so far is too old to watch from."""
        self.store.next_version()
        self.store.forget_history()

    def restart(self, end: End | None = End.CUT) -> None:
        """The server restarts: the same, and open watches end; with None they go on delivering."""
        self.expire()
        if end is not None:
            self.end_watches(end)

    def rewind(self, versions: int) -> None:
        """The store is restored from a backup: resourceVersions go back, watches of before see nothing for a while."""
        self.store.rewind(versions)
