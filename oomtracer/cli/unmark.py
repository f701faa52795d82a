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
    if not annotation.strip() and not label.strip():
        raise UsageError(
            "which mark to remove is not known", hint="give --victim-annotation or --victim-label, or both"
        )
    if bool(node_name) is all_nodes:
        problem = (
            "exclude each other" if all_nodes else "are both missing: which pods to look at is not known"
        )
        raise UsageError(f"--all-nodes and --node-name {problem}", hint="give one of them")
    if label.strip() and "=" not in label:
        # Services and ReplicaSets find their pods by labels: a wrong key alone could take them all away.
        raise UsageError("--victim-label: a label is removed by key=value only", hint="give its value too")
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
