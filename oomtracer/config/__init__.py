"""What a command was asked to do: frozen values, checked at the edge."""

from oomtracer.config.cluster import Cluster, KeyValue, Marking, MarkOn, PodMetrics, Rate
from oomtracer.config.keys import check_key, parse_annotation, parse_label
from oomtracer.config.model import (
    Backfill,
    Config,
    KubernetesMode,
    LogLevel,
    OnUnsupported,
    OutputFormat,
    State,
)
from oomtracer.config.paths import DEFAULT_PIN_PATH, DEFAULT_STATE_DIR, parse_directory, parse_pin_path
from oomtracer.config.sizes import (
    DEFAULT_RING_SIZE_BYTES,
    DEFAULT_STATE_MAX_BYTES,
    parse_ring_size,
    parse_size,
    parse_state_size,
)
from oomtracer.config.times import DEFAULT_STATE_MAX_AGE_S, parse_duration, parse_rate

__all__ = [
    "DEFAULT_PIN_PATH",
    "DEFAULT_RING_SIZE_BYTES",
    "DEFAULT_STATE_DIR",
    "DEFAULT_STATE_MAX_AGE_S",
    "DEFAULT_STATE_MAX_BYTES",
    "Backfill",
    "Cluster",
    "Config",
    "KeyValue",
    "KubernetesMode",
    "LogLevel",
    "MarkOn",
    "Marking",
    "OnUnsupported",
    "OutputFormat",
    "PodMetrics",
    "Rate",
    "State",
    "check_key",
    "parse_annotation",
    "parse_directory",
    "parse_duration",
    "parse_label",
    "parse_pin_path",
    "parse_rate",
    "parse_ring_size",
    "parse_size",
    "parse_state_size",
]
