"""What objects must look like: Kubernetes' own schemas, and small ones for kinds that Kubernetes does not know."""

from __future__ import annotations

from functools import cache
from typing import Any

import jsonschema
import kubernetes_validate

from tests.deploy.render import Object

# The oldest release in which everything works (bound tokens name the node), and the newest that is known.
VERSIONS = ("1.32", kubernetes_validate.latest_version())


def validate(thing: Object, version: str) -> None:
    """Raise ValidationError for a wrong or unknown field."""
    custom = _custom().get((thing["apiVersion"], thing["kind"]))
    if custom:
        jsonschema.validate(thing, custom)
    else:
        kubernetes_validate.validate(thing, version, strict=True)


def is_custom(thing: Object) -> bool:
    """Whether it is of a kind that an API server knows only by a CustomResourceDefinition, or not at all."""
    return (thing["apiVersion"], thing["kind"]) in _custom()


def _record(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    """An object with these fields and no others."""
    return {
        "type": "object",
        "properties": required | optional,
        "required": list(required),
        "additionalProperties": False,
    }


def _list(of: Any) -> dict[str, Any]:
    return {"type": "array", "items": of, "minItems": 1}


def _map(of: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": of}


_TEXT = {"type": "string", "minLength": 1}
_COUNT = {"type": "integer", "minimum": 1}
_SELECTOR = _record({"matchLabels": _map(_TEXT)})


@cache
def _custom() -> dict[tuple[str, str], Any]:
    """Of the Prometheus operator's API and the descheduler's v1alpha2, the fields that are in use here."""

    def kind(api_version: str, name: str, **fields: Any) -> tuple[tuple[str, str], Any]:
        told = {"apiVersion": {"const": api_version}, "kind": {"const": name}}
        return (api_version, name), _record(told | fields)

    metadata = _record({"name": _TEXT, "namespace": _TEXT, "labels": _map(_TEXT)})
    return dict(
        (
            kind("monitoring.coreos.com/v1", "PodMonitor", metadata=metadata, spec=_pod_monitor()),
            kind("monitoring.coreos.com/v1", "PrometheusRule", metadata=metadata, spec=_rules()),
            kind("descheduler/v1alpha2", "DeschedulerPolicy", **_descheduler()),
        )
    )


def _pod_monitor() -> Any:
    relabeling = _record({"sourceLabels": _list(_TEXT), "targetLabel": _TEXT})
    endpoint = _record(
        {
            "port": _TEXT,
            "path": _TEXT,
            "honorLabels": {"type": "boolean"},
            "relabelings": _list(relabeling),
        }
    )
    return _record({"selector": _SELECTOR, "podMetricsEndpoints": _list(endpoint)})


def _rules() -> Any:
    duration = {"type": "string", "pattern": "^[0-9]+[smhd]$"}
    rule = _record(
        {"alert": _TEXT, "expr": _TEXT, "labels": _map(_TEXT), "annotations": _map(_TEXT)},
        **{"for": duration},
    )
    return _record({"groups": _list(_record({"name": _TEXT, "rules": _list(rule)}))})


def _descheduler() -> dict[str, Any]:
    arguments = {
        "DefaultEvictor": _record({}, nodeFit={"type": "boolean"}),
        "PodLifeTime": _record(
            {"maxPodLifeTimeSeconds": _COUNT, "labelSelector": _SELECTOR},
            namespaces=_record({}, include=_list(_TEXT), exclude=_list(_TEXT)),
        ),
        "RemoveAnnotated": _record({"annotationKey": _TEXT}),
    }
    configured = [_record({"name": {"const": name}, "args": args}) for name, args in arguments.items()]
    profile = _record(
        {
            "name": _TEXT,
            "pluginConfig": _list({"oneOf": configured}),
            "plugins": _record({"deschedule": _record({"enabled": _list({"enum": list(arguments)})})}),
        }
    )
    return {
        "maxNoOfPodsToEvictPerNode": _COUNT,
        "maxNoOfPodsToEvictPerNamespace": _COUNT,
        "maxNoOfPodsToEvictTotal": _COUNT,
        "profiles": _list(profile),
    }
