"""The commands: each takes its flags, imports what it needs and calls it."""

from __future__ import annotations

import os
import sys

import typer

from oomtracer.cli import flags
from oomtracer.cli.streams import reader_may_leave, tell
from oomtracer.cli.version import VersionFlag, print_version
from oomtracer.config import (
    DEFAULT_PIN_PATH,
    DEFAULT_STATE_DIR,
    Backfill,
    Config,
    KubernetesMode,
    LogLevel,
    MarkOn,
    OnUnsupported,
    OutputFormat,
    PodMetrics,
    parse_directory,
    parse_pin_path,
    parse_ring_size,
)
from oomtracer.config.cluster import DEFAULT_OPT_OUT_ANNOTATION, DEFAULT_PROTECTED_NAMESPACES
from oomtracer.errors import OomTracerError, UnsupportedError, UsageError
from oomtracer.logs import log_to_stderr

cli = typer.Typer(
    name="oomtracer",
    help="Tells, for every out-of-memory kill of the Linux kernel, who was killed, whose limit was hit and why.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
_PROTECTED = sorted(DEFAULT_PROTECTED_NAMESPACES)
_NO_HOOKS: list[str] = []


@cli.callback()
def program(*, version: VersionFlag = False) -> None:
    """Take what is not a command's."""


@cli.command(short_help="Report each OOM kill on this host until SIGTERM, SIGINT or SIGHUP.")
def run(  # noqa: PLR0913 - one parameter for each flag
    *,
    output: flags.Output = OutputFormat.AUTO,
    node_name: flags.NodeName = "",
    metrics_bind_address: flags.MetricsBindAddress = "",
    ring_size: flags.RingSize = "1MiB",
    disable_hook: flags.DisableHook = _NO_HOOKS,
    on_unsupported: flags.Unsupported = OnUnsupported.EXIT,
    pin_path: flags.PinPath = "",
    state_dir: flags.StateDir = "",
    state_max_size: flags.StateMaxSize = "64MiB",
    state_max_age: flags.StateMaxAge = "720h",
    backfill: flags.BackfillFlag = Backfill.AUTO,
    log_level: flags.Level = LogLevel.INFO,
    kubernetes: flags.Kubernetes = KubernetesMode.AUTO,
    kubeconfig: flags.Kubeconfig = "",
    context: flags.Context = "",
    victim_annotation: flags.VictimAnnotation = "",
    victim_label: flags.VictimLabel = "",
    mark_on: flags.MarkOnFlag = MarkOn.NODE,
    mark_jobs: flags.MarkJobs = False,
    protect_namespace: flags.ProtectNamespace = _PROTECTED,
    opt_out_annotation: flags.OptOutAnnotation = DEFAULT_OPT_OUT_ANNOTATION,
    mark_max_age: flags.MarkMaxAge = "15m",
    mark_min_pod_age: flags.MarkMinPodAge = "10m",
    mark_budget: flags.MarkBudget = "1/10m",
    mark_cooldown: flags.MarkCooldown = "30m",
    require_admission_policy: flags.RequireAdmissionPolicy = False,
    events: flags.Events = True,
    pod_metrics: flags.PodMetricsFlag = PodMetrics.ALL,
    qps: flags.Qps = 5.0,
    burst: flags.Burst = 10,
    start_jitter: flags.StartJitter = "10s",
    pod_name: flags.PodName = "",
    pod_namespace: flags.PodNamespace = "",
) -> None:
    """Report each OOM kill on this host until SIGTERM, SIGINT or SIGHUP; in a cluster name, tell and mark pods."""
    log_to_stderr(log_level.value)
    _require_linux()
    from oomtracer import app
    from oomtracer.cli.cluster import ClusterFlags, MarkingFlags, cluster_of
    from oomtracer.cli.state import state_of
    from oomtracer.tracer import hook_names

    cluster = cluster_of(
        ClusterFlags(
            kubernetes=kubernetes,
            node_name=node_name,
            kubeconfig=kubeconfig,
            context=context,
            events=events,
            pod_metrics=pod_metrics,
            qps=qps,
            burst=burst,
            start_jitter=start_jitter,
            pod_name=pod_name,
            pod_namespace=pod_namespace,
        ),
        MarkingFlags(
            victim_annotation=victim_annotation,
            victim_label=victim_label,
            mark_on=mark_on,
            mark_jobs=mark_jobs,
            protect_namespace=protect_namespace,
            opt_out_annotation=opt_out_annotation,
            mark_max_age=mark_max_age,
            mark_min_pod_age=mark_min_pod_age,
            mark_budget=mark_budget,
            mark_cooldown=mark_cooldown,
            require_admission_policy=require_admission_policy,
        ),
    )
    state = state_of(state_dir, max_size=state_max_size, max_age=state_max_age)
    app.run(
        Config(
            output=output,
            node_name=_checked_name(node_name or _default_name(in_cluster=cluster is not None)),
            ring_size_bytes=parse_ring_size(ring_size),
            metrics_bind_address=metrics_bind_address or None,
            on_unsupported=on_unsupported,
            disabled_hooks=hook_names(disable_hook),
            cluster=cluster,
            pin_path=parse_pin_path(pin_path),
            state=state,
            backfill=backfill is Backfill.ON or (backfill is Backfill.AUTO and state is not None),
        )
    )


@cli.command(short_help="Show what this machine supports and what is missing.")
def check(
    *,
    output: flags.ResultOutput = OutputFormat.AUTO,
    ring_size: flags.RingSize = "1MiB",
    disable_hook: flags.DisableHook = _NO_HOOKS,
    pin_path: flags.PinPath = "",
    state_dir: flags.StateDir = "",
    log_level: flags.Level = LogLevel.WARNING,
) -> None:
    """Show what this machine supports and what is missing; exit with 3 where it cannot trace."""
    log_to_stderr(log_level.value)
    _require_linux()
    from oomtracer import check as checks
    from oomtracer.tracer import hook_names

    result = checks.check(
        ring_size_bytes=parse_ring_size(ring_size),
        disabled_hooks=hook_names(disable_hook),
        pin_path=parse_pin_path(pin_path),
        state_directory=parse_directory(state_dir, flag="--state-dir"),
    )
    tell(checks.as_json(result) if output is OutputFormat.JSON else checks.as_text(result))
    if not result.can_trace:
        raise typer.Exit(UnsupportedError.exit_code)


@cli.command(short_help="Make one contained OOM kill and demand the right report of it.")
def selftest(
    *,
    output: flags.ResultOutput = OutputFormat.AUTO,
    disable_hook: flags.DisableHook = _NO_HOOKS,
    log_level: flags.Level = LogLevel.WARNING,
) -> None:
    """Make one small, contained, real OOM kill and demand the right report of it."""
    log_to_stderr(log_level.value)
    _require_linux()
    from oomtracer import selftest as test
    from oomtracer.tracer import hook_names

    result = test.selftest(disabled_hooks=hook_names(disable_hook))
    tell(test.as_json(result) if output is OutputFormat.JSON else test.as_text(result))


@cli.command(short_help="Show the kills that the journal of `run --state-dir` holds.")
def history(  # noqa: PLR0913 - one parameter for each flag
    *,
    state_dir: flags.HistoryStateDir = DEFAULT_STATE_DIR,
    since: flags.Since = "",
    until: flags.Until = "",
    pod: flags.Pod = "",
    unit: flags.Unit = "",
    scope: flags.ScopeFlag = None,
    limit: flags.Limit = None,
    output: flags.HistoryOutput = flags.TableFormat.AUTO,
    log_level: flags.Level = LogLevel.WARNING,
) -> None:
    """Show the kills that the journal of `run --state-dir` holds, the oldest first, while the agent runs or not."""
    log_to_stderr(log_level.value)
    from oomtracer import history as command

    directory = parse_directory(state_dir or DEFAULT_STATE_DIR, flag="--state-dir")
    assert directory
    wanted = command.to_wanted(since=since, until=until, pod=pod, unit=unit, scope=scope, limit=limit)
    is_auto = output is flags.TableFormat.AUTO
    as_json = output is flags.TableFormat.JSON or (is_auto and not sys.stdout.isatty())
    with reader_may_leave():
        command.history(directory, wanted, tell, as_json=as_json)


@cli.command(short_help="Remove the marks that `run` has put on pods.")
def unmark(  # noqa: PLR0913 - one parameter for each flag
    *,
    victim_annotation: flags.UnmarkAnnotation = "",
    victim_label: flags.UnmarkLabel = "",
    node_name: flags.NodeName = "",
    all_nodes: flags.AllNodes = False,
    namespace: flags.Namespace = "",
    dry_run: flags.DryRun = False,
    kubeconfig: flags.Kubeconfig = "",
    context: flags.Context = "",
    output: flags.ResultOutput = OutputFormat.AUTO,
    log_level: flags.Level = LogLevel.WARNING,
) -> None:
    """Remove the marks that `run` has put on pods, of one node or of the whole cluster."""
    log_to_stderr(log_level.value)
    from oomtracer import unmark as command
    from oomtracer.cli.unmark import to_unmark

    request = to_unmark(
        annotation=victim_annotation,
        label=victim_label,
        node_name=node_name,
        all_nodes=all_nodes,
        namespace=namespace,
        dry_run=dry_run,
    )
    as_json = output is OutputFormat.JSON
    result = command.run(
        request, kubeconfig=kubeconfig or None, context=context or None, out=_ignore if as_json else _line
    )
    tell(command.as_json(result) if as_json else command.as_text(result))
    if not result.is_complete:
        raise typer.Exit(OomTracerError.exit_code)


@cli.command(short_help="Remove from the kernel what `run --pin-path` has left there.")
def unpin(
    *,
    pin_path: flags.UnpinPath = DEFAULT_PIN_PATH,
    output: flags.ResultOutput = OutputFormat.AUTO,
    log_level: flags.Level = LogLevel.WARNING,
) -> None:
    """Remove from the kernel what `run --pin-path` has left there; kills are recorded no more, unread ones are lost."""
    log_to_stderr(log_level.value)
    _require_linux()
    from oomtracer import unpin as command

    directory = parse_pin_path(pin_path or DEFAULT_PIN_PATH)
    assert directory
    result = command.unpin(directory)
    tell(command.as_json(result) if output is OutputFormat.JSON else command.as_text(result))


@cli.command()
def version() -> None:
    """Print the version."""
    print_version()


def _line(text: str) -> None:
    tell(f"{text}\n")


def _ignore(_text: str) -> None:
    """The result has it all."""


def _default_name(*, in_cluster: bool) -> str:
    # The kubelet registers its node under the host name in lower case.
    name = os.uname().nodename
    return name.lower() if in_cluster else name


def _checked_name(node_name: str) -> str:
    try:
        node_name.encode()
    except UnicodeEncodeError:
        raise UsageError("--node-name is not UTF-8", hint="give the node's name in plain letters") from None
    return node_name


def _require_linux() -> None:
    if sys.platform != "linux":
        raise UnsupportedError(
            f"oomtracer runs on Linux, not on {sys.platform}", hint="use a Linux host or guest"
        )
