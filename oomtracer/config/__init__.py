"""What a command was asked to do: frozen values, checked at the edge."""

from oomtracer.config.cluster import Cluster, KeyValue, Marking, MarkOn, PodMetrics, Rate
from oomtracer.config.keys import check_key, parse_annotation, parse_label
from oomtracer.config.model import Config, KubernetesMode, LogLevel, OnUnsupported, OutputFormat
from oomtracer.config.sizes import DEFAULT_RING_SIZE_BYTES, parse_ring_size, parse_size
from oomtracer.config.times import parse_duration, parse_rate

__all__ = [
    "DEFAULT_RING_SIZE_BYTES",
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
    "check_key",
    "parse_annotation",
    "parse_duration",
    "parse_label",
    "parse_rate",
    "parse_ring_size",
    "parse_size",
]
