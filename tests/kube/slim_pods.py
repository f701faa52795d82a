"""Slim pods as the reader makes them, from the few things that a test cares about."""

from __future__ import annotations

from collections.abc import Mapping

from oomtracer.pods import Pod


def slim_pod(
    uid: str,
    *,
    name: str | None = None,
    ids: Mapping[str, str] | None = None,
    config_hash: str | None = None,
    created_s: float = 1000.0,
    phase: str = "Running",
    version: int = 1,
) -> Pod:
    """A pod; ``ids`` maps container ids to names."""
    return Pod(
        uid=uid,
        namespace="shop",
        name=name or uid,
        config_hash=config_hash,
        is_mirror=config_hash is not None,
        created_s=created_s,
        phase=phase,
        is_terminating=False,
        priority=0,
        controller=None,
        owner=None,
        containers=tuple(dict.fromkeys((ids or {}).values())),
        container_ids=dict(ids or {}),
        shares_pid_namespace=False,
        annotations={},
        labels={},
        resource_version=version,
    )
