"""What of the recordings is not compared with the fake API server, and why."""

from __future__ import annotations

NO_CORE_EVENTS = "the agent uses events.k8s.io/v1 and is granted no core events"
NO_APPLY = "the agent never sends it: its failures are opaque, or it would create pods"
NO_WRITES = "made with the store's methods, not over HTTP"
NO_EVICTION = "the agent may not evict"
NO_NODE_AUTHORIZER = "the node authorizer is not modelled"
TIMING = "how long a real server takes; the answers themselves are compared elsewhere"
OTHER_ANSWER = "an ordinary answer, compared elsewhere"

# recordings and steps that are not compared, and why; "" is a whole recording
NOT_COMPARED: dict[str, dict[str, str]] = {
    "01d-list-accept": {"yaml": "clients here ask for JSON"},
    "02b-watch-binding": {"binding": NO_WRITES},
    "05c-patch-malformed": {"Content-Type json-patch": NO_APPLY},
    "07a-patch-gone-terminating": {"graceful delete": NO_WRITES, "final delete": NO_WRITES},
    "07b-patch-forbidden-unauthorized": {"kubelet user lists": NO_NODE_AUTHORIZER},
    "08a-json-patch": {"": NO_APPLY},
    "08b-server-side-apply": {"": NO_APPLY},
    "09a-event-core-v1": {"": NO_CORE_EVENTS},
    "09b-event-events-k8s-io": {"core/v1 event read": NO_CORE_EVENTS},
    "09c-event-terminating-namespace": {
        "delete namespace": NO_WRITES,
        "core/v1": NO_CORE_EVENTS,
        "new pod": NO_WRITES,
        "eviction": NO_EVICTION,
    },
    "10a-eviction": {"": NO_EVICTION},
    "11a-429-max-in-flight": {"watch": OTHER_ANSWER, "list as": OTHER_ANSWER, "readyz": OTHER_ANSWER},
    "11b-429-apf": {"list as": OTHER_ANSWER, "readyz": OTHER_ANSWER},
    "12b-apiserver-start": {"": TIMING},
    "12e-apiserver-sigterm-graceful": {
        "the open watch": OTHER_ANSWER,
        "list, first seen 0.01": OTHER_ANSWER,
        "readyz": "the agent does not ask for it",
        "watch, first seen 1.04": OTHER_ANSWER,
    },
    "12f-apiserver-slow-start": {"": TIMING},
    "13-mirror-pod": {
        "kubelet user creates": NO_WRITES,
        "status by": NO_WRITES,
        "eviction": NO_EVICTION,
        "mirror pod without": NO_WRITES,
        "kubelet deletes": NO_WRITES,
        "re-created": NO_WRITES,
    },
    "14-validating-admission-policy": {
        "TokenRequest": "tokens are known by name",
        "who am I": "tokens are known by name",
        "own node, JSON patch": NO_APPLY,
        "eviction": NO_EVICTION,
    },
    "16-etcd-down": {
        "watch opened": OTHER_ANSWER,
        "list resourceVersion=0": OTHER_ANSWER,
        "new watch": OTHER_ANSWER,
        "event": NO_CORE_EVENTS,
        "readyz": OTHER_ANSWER,
        "patch after": OTHER_ANSWER,
    },
    "17-concurrent-patches": {"": TIMING},
    "18a-slow-watcher": {"": TIMING},
    "19-token-expiry": {
        "TokenRequest": "tokens are known by name",
        "600 s": TIMING,
        "the same token, 620 s": TIMING,
        "a watch opened": OTHER_ANSWER,
    },
    "20-watch-cache-reinit": {
        "list rv=0, first seen 0.03": OTHER_ANSWER,
        "new watch, first seen 0.09": OTHER_ANSWER,
        "patch": OTHER_ANSWER,
    },
    "10b-eviction-pdb": {
        **dict.fromkeys(
            ("PDB", "disruptionsAllowed=0,", "disruptionsAllowed=0 and", "disruptionsAllowed=1"), NO_EVICTION
        ),
        **dict.fromkeys(("next one", "a Pending", "a running", "two PDBs"), NO_EVICTION),
    },
}
