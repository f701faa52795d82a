"""Judges requests as ValidatingAdmissionPolicies do, with a real CEL interpreter.

Simpler than the API server in one respect: variables are evaluated whether they are used or not, so that an error in
one denies more often here, never less.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cel

from tests.deploy.render import Object, Rendered

# What Kubernetes adds to CEL, as far as our policies use it (the strings library of cel-go).
_FUNCTIONS = {
    "split": lambda text, separator: text.split(separator),
    "substring": lambda text, start, end: text[start:end],
    "trim": lambda text: text.strip(),
}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What an admission plugin is told of a request; ``name`` is the account's."""

    group: str
    resource: str
    operation: str
    new: Object | None
    old: Object | None
    name: str = "system:serviceaccount:oomtracer:oomtracer"
    token_node: str | None = "node-a"
    subresource: str = ""
    params: Object | None = field(default=None)
    """The ConfigMap that the cluster has under the name in ``paramRef``."""

    def cel(self) -> Object:
        """The variable ``request``."""
        user: Object = {"username": self.name, "groups": ["system:serviceaccounts"]}
        if self.token_node is not None:
            user["extra"] = {"authentication.kubernetes.io/node-name": [self.token_node]}
        request: Object = {"operation": self.operation, "userInfo": user}
        return request | ({"subResource": self.subresource} if self.subresource else {})


def judge(objects: Rendered, request: Request) -> str | None:
    """Why the policies among the objects deny the request; None: they let it pass."""
    for binding in objects.of("ValidatingAdmissionPolicyBinding"):
        assert binding["spec"]["validationActions"] == ["Deny"]
        policy = objects.one("ValidatingAdmissionPolicy", binding["spec"]["policyName"])["spec"]
        if _matches(policy, request) and (reason := _judge(policy, binding["spec"], request)):
            return reason
    return None


def _matches(policy: Object, request: Request) -> bool:
    resource = f"{request.resource}/*" if request.subresource else request.resource
    return any(
        request.group in rule["apiGroups"]
        and resource in rule["resources"]
        and request.operation in rule["operations"]
        for rule in policy["matchConstraints"]["resourceRules"]
    )


def _judge(policy: Object, binding: Object, request: Request) -> str | None:
    assert policy["failurePolicy"] == "Fail"
    values: Object = {"request": request.cel(), "object": request.new, "oldObject": request.old}
    try:
        if not all(_evaluate(each["expression"], values) for each in policy["matchConditions"]):
            return None
        if "paramKind" in policy:
            assert binding["paramRef"]["parameterNotFoundAction"] == "Deny"
            if request.params is None:
                return "no params found"
            values["params"] = request.params
        values["variables"] = {}
        for each in policy["variables"]:
            values["variables"][each["name"]] = _evaluate(each["expression"], values)
        for each in policy["validations"]:
            if _evaluate(each["expression"], values) is not True:
                return str(each["message"])
    except (ValueError, TypeError, KeyError, RuntimeError, IndexError) as error:
        return f"error: {error}"
    return None


def _evaluate(expression: str, values: Object) -> Any:
    context = cel.Context()
    for name, function in _FUNCTIONS.items():
        context.add_function(name, function)
    for name, value in values.items():
        context.add_variable(name, value)
    return cel.evaluate(expression, context)
