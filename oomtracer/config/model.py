"""The flags of ``oomtracer run`` and their values: one frozen value, checked at the edge."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from oomtracer.config.cluster import Cluster
from oomtracer.config.sizes import DEFAULT_RING_SIZE_BYTES, DEFAULT_STATE_MAX_BYTES
from oomtracer.config.times import DEFAULT_STATE_MAX_AGE_S


class OutputFormat(StrEnum):
    """How reports are written to standard output; ``auto`` is text on a terminal, else JSON."""

    AUTO = "auto"
    TEXT = "text"
    JSON = "json"


class OnUnsupported(StrEnum):
    """What to do where this kernel or these privileges cannot do it."""

    EXIT = "exit"
    IDLE = "idle"


class KubernetesMode(StrEnum):
    """Whether to talk to a cluster; ``auto`` does where this looks like a node of one."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class LogLevel(StrEnum):
    """The least severe message that is logged to standard error."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Backfill(StrEnum):
    """Whether kills that only the kernel's log knows are told; ``auto`` does where there is a journal."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where the journal is, and how much it may keep."""

    directory: Path
    max_bytes: int = DEFAULT_STATE_MAX_BYTES
    max_age_s: float = DEFAULT_STATE_MAX_AGE_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The flags of ``oomtracer run``, checked.

    ``metrics_bind_address`` and ``pin_path`` are None where they are off, ``cluster`` and ``state`` where there is none.
    """

    output: OutputFormat = OutputFormat.AUTO
    node_name: str
    ring_size_bytes: int = DEFAULT_RING_SIZE_BYTES
    metrics_bind_address: str | None = None
    on_unsupported: OnUnsupported = OnUnsupported.EXIT
    disabled_hooks: frozenset[str] = frozenset()
    cluster: Cluster | None = None
    pin_path: Path | None = None
    state: State | None = None
    backfill: bool = False
