r"""A kube-apiserver for tests: real HTTP on the loopback, answers checked against recordings of a real one.

In a coroutine:

    async with FakeApiServer() as api:
        api.add_pod(make_pod("web-0", containers=["app"], container_ids={"app": "ab" * 32}))
        ...  # a client of api.url with the token api.token
        await api.until(lambda: api.events)
        assert api.pod("demo", "web-0")["metadata"]["annotations"] == {"example.com/victim": "yes"}

Beside a subprocess, the same things from any thread:

    with ThreadedApiServer(tls=True) as api:
        api.add_pod(make_static_pod("etcd", config_hash="0123456789abcdef0123456789abcdef"))
        command = ["oomtracer", "run", "--kubeconfig", str(api.write_kubeconfig(tmp_path / "config"))]
        api.until(lambda: api.watches)              # the agent is watching

What a test can do to it (``controls.py`` and ``server.py``):

    state     add_pod update_pod change_pod terminate_pod delete_pod pods pod, events delete_event,
              terminate_namespace
    log       requests: time_s method path query headers body status, is_watch, json(); until(condition)
    rights    grant(OBSERVE, MARK, EVENTS) add_token rotate_token, enforce(pod_policy(KEY), event_policy());
              the agent's token (``AGENT_TOKEN``) has OBSERVE + MARK + EVENTS and is bound to ``node``,
              ``ADMIN_TOKEN`` may do everything
    faults    fail(ACTION, method="PATCH", path="/pods/", watch=False, times=2, skip=1) -> Fault.remove() .hits
              with ACTION one of: a status, Answer(...), overloaded(), shutting_down(), storage_initializing(),
              disruption_budget(), etcd_timeout(), request_timeout(), Hang(), Late(s), Refused(),
              Truncated(bytes), Drip(bytes, s), Stream([b"..."], end=None | End.CLEAN | End.CUT | End.RESET);
              heal() forgets them all
    watches   watches, end_watches(End.CLEAN | CUT | RESET), send_raw(b"garbage\n"), send_bookmark(),
              sends_bookmarks = False
              (FakeApiServer(second_s=0.05) makes ``timeoutSeconds=5`` end after 0.25 s; set_second)
    server    expire() (compaction: 410), restart(), rewind(versions) (etcd restore), freeze()/thaw(),
              refuse()/reopen(), drop_connections()

What it does not model answers 501, so that no test passes for the wrong reason.
"""

from .access import AGENT, EVENTS, EVERYTHING, MARK, OBSERVE, Rule, rule
from .builders import container_id_of, make_pod, make_static_pod
from .controls import ACCOUNT, ADMIN_TOKEN, AGENT_TOKEN
from .events import as_core
from .faults import (
    Answer,
    Drip,
    Fault,
    Hang,
    Late,
    Refused,
    Request,
    Stream,
    Truncated,
    disruption_budget,
    etcd_timeout,
    overloaded,
    request_timeout,
    shutting_down,
    storage_initializing,
)
from .policy import Policy, Validation, event_policy, pod_policy
from .server import FakeApiServer
from .threaded import ThreadedApiServer
from .watch import End

__all__ = [
    "ACCOUNT",
    "ADMIN_TOKEN",
    "AGENT",
    "AGENT_TOKEN",
    "EVENTS",
    "EVERYTHING",
    "MARK",
    "OBSERVE",
    "Answer",
    "Drip",
    "End",
    "FakeApiServer",
    "Fault",
    "Hang",
    "Late",
    "Policy",
    "Refused",
    "Request",
    "Rule",
    "Stream",
    "ThreadedApiServer",
    "Truncated",
    "Validation",
    "as_core",
    "container_id_of",
    "disruption_budget",
    "etcd_timeout",
    "event_policy",
    "make_pod",
    "make_static_pod",
    "overloaded",
    "pod_policy",
    "request_timeout",
    "rule",
    "shutting_down",
    "storage_initializing",
]
