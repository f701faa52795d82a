"""Who a token is, and what that user may do (RBAC), with the server's words for what it may not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from .statuses import RefusedError, details_of, qualified, unauthorized

ALL = "*"


@dataclass(frozen=True, slots=True)
class Rule:
    """Verbs on a resource (``pods``, ``pods/status``, ``events``) of an API group, in every namespace."""

    verbs: frozenset[str]
    resource: str
    group: str = ""

    def allows(self, verb: str, resource: str, group: str) -> bool:
        """Whether this rule grants it."""
        return (
            (ALL in self.verbs or verb in self.verbs)
            and self.resource in (ALL, resource)
            and self.group in (ALL, group)
        )


def rule(verbs: str, resource: str, group: str = "") -> Rule:
    """``rule("list watch", "pods")``."""
    return Rule(frozenset(verbs.split()), resource, group)


EVERYTHING = (rule(ALL, ALL, ALL),)
OBSERVE = (rule("list watch", "pods"),)
MARK = (rule("patch", "pods"),)
EVENTS = (rule("create patch", "events", "events.k8s.io"),)
AGENT = (*OBSERVE, *MARK, *EVENTS)


@dataclass(frozen=True, slots=True)
class User:
    """Somebody. ``node`` is what a bound token says of the node its pod runs on."""

    name: str
    rules: tuple[Rule, ...] = ()
    node: str = ""

    def may(self, verb: str, resource: str, group: str) -> bool:
        """Whether one of the rules grants it."""
        return any(one.allows(verb, resource, group) for one in self.rules)


ANONYMOUS = User("system:anonymous")


@dataclass(slots=True)
class Access:
    """The known tokens."""

    users: dict[str, User] = field(default_factory=dict)

    def user_of(self, headers: Mapping[str, str]) -> User:
        """The user of a request, impersonated if it says so and may.

        Raises:
            RefusedError: 401, an unknown token.
        """
        authorization = headers.get("authorization", "")
        if not authorization:
            return ANONYMOUS
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or token not in self.users:
            raise unauthorized()
        user = self.users[token]
        name = headers.get("impersonate-user")
        if name and user.may("impersonate", "users", ""):
            known = [one for one in self.users.values() if one.name == name]
            return known[0] if known else User(name)
        return user

    def replace_rules(self, token: str, rules: Iterable[Rule]) -> None:
        """What the token's user may do from now on."""
        self.users[token] = replace(self.users[token], rules=tuple(rules))


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a request would do: ``verb`` as RBAC calls it, ``resource`` with its subresource."""

    verb: str
    resource: str
    group: str
    namespace: str
    name: str = ""


def authorize(user: User, attempt: Attempt) -> None:
    """Raises RefusedError: 403, in the words of the RBAC authorizer."""
    if user.may(attempt.verb, attempt.resource, attempt.group):
        return
    what = qualified(attempt.resource.partition("/")[0], attempt.group)
    if attempt.name:
        what += f' "{attempt.name}"'
    where = f'in the namespace "{attempt.namespace}"' if attempt.namespace else "at the cluster scope"
    raise RefusedError(
        403,
        f'{what} is forbidden: User "{user.name}" cannot {attempt.verb} resource "{attempt.resource}" '
        f'in API group "{attempt.group}" {where}',
        "Forbidden",
        details=details_of(attempt.name, attempt.group, attempt.resource.partition("/")[0]),
        headers={"X-Content-Type-Options": "nosniff"},
    )
