"""From a path and a method to what is asked for, and to the function that answers it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable

from .access import Access, Attempt, authorize
from .events import create_event, get_event, patch_event
from .exchange import Call, Reply, check_accept, not_modelled, shown
from .faults import TEXT, Request
from .lists import list_pods
from .patch import patch_pod
from .policy import Policy
from .state import Store
from .statuses import RefusedError, not_found

PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/v1)(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<resource>pods|events)(?:/(?P<name>[^/]+)(?:/(?P<subresource>[^/]+))?)?"
)
PUBLIC = ("/readyz", "/livez", "/healthz")
VERSION = {"major": "1", "minor": "36", "gitVersion": "v1.36.2", "platform": "linux/amd64"}
VERBS = {"POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}


def call_of(access: Access, request: Request) -> Call:
    """The request with its sender and what it attempts, which is authorized.

    Raises:
        RefusedError: 401, 403, 404 (no such path).
    """
    user = access.user_of(request.headers)
    attempt = _attempt(request)
    call = Call(request.method, request.path, request.query, request.headers, request.body, user, attempt)
    if attempt.resource:
        authorize(user, attempt)
    return call


async def answer(
    store: Store, policies: Iterable[Policy], call: Call, wait: Callable[[], Awaitable[None]]
) -> Reply:
    """The answer to anything but a watch.

    Raises:
        RefusedError: Whatever is wrong with the request; 501 for what this server does not model.
    """
    what = call.attempt
    if (what.verb, what.group, what.resource) == ("list", "", "pods"):
        return await list_pods(store, call, wait)
    handler = HANDLERS.get((what.verb, what.group, what.resource))
    if handler is None:
        raise not_modelled(f"{what.verb} of {what.resource}")
    return handler(store, policies, call)


def _attempt(request: Request) -> Attempt:
    if request.path in (*PUBLIC, "/version"):
        return Attempt("get", "", "", "")
    found = PATH.fullmatch(request.path)
    if not found:
        raise RefusedError(404, "the server could not find the requested resource", "NotFound", details={})
    name = found["name"] or ""
    verb = VERBS.get(request.method) or ("watch" if request.is_watch else "get" if name else "list")
    resource = "/".join(filter(None, (found["resource"], found["subresource"])))
    return Attempt(verb, resource, found["group"] or "", found["namespace"] or "", name)


def _public(_store: Store, _policies: Iterable[Policy], call: Call) -> Reply:
    if call.path == "/version":
        return Reply(200, VERSION)
    return Reply(200, b"ok", {"Content-Type": TEXT, "X-Content-Type-Options": "nosniff"})


def _get_pod(store: Store, _policies: Iterable[Policy], call: Call) -> Reply:
    check_accept(call)
    pod = store.pods.get((call.attempt.namespace, call.attempt.name))
    if pod is None:
        raise not_found("pods", call.attempt.name)
    return Reply(200, shown(call, pod))


def _get_event(store: Store, _policies: Iterable[Policy], call: Call) -> Reply:
    return get_event(store, call)


Handler = Callable[[Store, Iterable[Policy], Call], Reply]
HANDLERS: dict[tuple[str, str, str], Handler] = {
    ("get", "", ""): _public,
    ("get", "", "pods"): _get_pod,
    ("patch", "", "pods"): patch_pod,
    ("create", "events.k8s.io", "events"): create_event,
    ("patch", "events.k8s.io", "events"): patch_event,
    ("get", "events.k8s.io", "events"): _get_event,
    ("get", "", "events"): _get_event,
}
