"""From flags to what `oomtracer unmark` is to remove."""

from __future__ import annotations

from collections.abc import Callable

from oomtracer.cli.cluster import check_namespace
from oomtracer.config import KeyValue, parse_annotation, parse_label
from oomtracer.errors import UsageError
from oomtracer.unmark import UnmarkRequest, Wanted


def to_unmark(
    *, annotation: str, label: str, node_name: str, all_nodes: bool, namespace: str, dry_run: bool
) -> UnmarkRequest:
    """What `oomtracer unmark` is to remove, checked. Raises UsageError."""
    if all_nodes and node_name:
        raise UsageError("--all-nodes and --node-name exclude each other", hint="give one of them")
    if namespace:
        check_namespace(namespace, flag="--namespace")
    return UnmarkRequest(
        annotation=_wanted(annotation, "--victim-annotation", parse_annotation),
        label=_wanted(label, "--victim-label", parse_label),
        node_name=None if all_nodes else node_name,
        namespace=namespace or None,
        dry_run=dry_run,
    )


def _wanted(text: str, flag: str, parse: Callable[..., KeyValue]) -> Wanted | None:
    if not text.strip():
        return None
    has_value = "=" in text
    mark = parse(text if has_value else f"{text}=", flag=flag)
    return Wanted(mark.key, mark.value if has_value else None)
