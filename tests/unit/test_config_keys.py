from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer.config import KeyValue, Rate, parse_annotation, parse_duration, parse_label, parse_rate
from oomtracer.errors import UsageError

from .builders import examples

LABEL = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("oom-tracer.alpha.kubernetes.io/evict-me=yes", "oom-tracer.alpha.kubernetes.io/evict-me", "yes"),
        ("oomtracer/victim=true", "oomtracer/victim", "true"),
        ("plain=", "plain", ""),
        (" spaced/key = value with spaces ", "spaced/key", "value with spaces"),
        ("a/b=c=d", "a/b", "c=d"),
        ("Upper.Example.com/Key_1.x=y", "Upper.Example.com/Key_1.x", "y"),
        ("k=é✓", "k", "é✓"),
    ],
)
def test_annotations(text, key, value):
    """An annotation is a qualified key and any text."""
    assert parse_annotation(text, flag="--x") == KeyValue(key, value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "key",
        "=value",
        "/name=x",
        "prefix/=x",
        "a/b/c=x",
        "bad key!=x",
        "-a=x",
        "a-=x",
        "n" * 64 + "=x",
        "p" * 254 + "/n=x",
        "pre_fix/n=x",
        "pre..fix/n=x",
        "example.com/n=" + "v" * 1025,
        "descheduler.alpha.kubernetes.io/evict=true",
        "descheduler.alpha.kubernetes.io/prefer-no-eviction=true",
        "kubernetes.io/config.mirror=x",
        "oomtracer/fence-probe=x",
        "k=\ud800",
    ],
)
def test_what_is_no_annotation(text):
    """What the API server refuses, and what must not be a mark, is told with the flag and an example."""
    with pytest.raises(UsageError) as error:
        parse_annotation(text, flag="--victim-annotation")
    assert error.value.message.startswith("--victim-annotation: ")
    assert "--victim-annotation=" in error.value.hint


@pytest.mark.parametrize("text", ["Upper/k=v", "k=a b", "k=-a", "k=" + "v" * 64, "k=é"])
def test_labels_are_stricter(text):
    """A label's prefix is in lower case and its value short; an annotation may have both."""
    assert parse_annotation(text, flag="--x")
    with pytest.raises(UsageError):
        parse_label(text, flag="--victim-label")


@examples(300)
@given(st.text(max_size=80), st.text(max_size=80))
def test_a_label_that_passes_is_one_by_kubernetes_own_pattern(key, value):
    """Whatever passes fits the pattern that the API server's own message prints."""
    try:
        label = parse_label(f"{key}={value}", flag="--x")
    except UsageError:
        return
    assert LABEL.fullmatch(label.value)
    assert LABEL.fullmatch(label.key.rpartition("/")[2])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90s", 90), ("15m", 900), ("1h30m", 5400), ("2d", 172800), ("250ms", 0.25), ("1.5h", 5400)],
)
def test_durations(text, seconds):
    """Durations are written as in Go, with days besides."""
    assert parse_duration(text, flag="--x") == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "15", "m", "-5m", "1w", "15 m", "1m1", "٣m", "1e3s", "367d", "nan", "inf"]
)
def test_what_is_no_duration(text):
    """A number without a unit says nothing."""
    with pytest.raises(UsageError, match="--mark-max-age"):
        parse_duration(text, flag="--mark-max-age")


def complaint(parse, text: str) -> str | None:
    """Tell what a parser says against a text."""
    try:
        parse(text, flag="--some-flag")
    except UsageError as error:
        return error.message
    return None


@examples(200)
@given(st.text(max_size=20))
def test_any_text_is_a_duration_or_a_usage_error(text):
    """Nothing else comes out."""
    for parse in (parse_duration, parse_rate):
        assert "--some-flag" in (complaint(parse, text) or "--some-flag")


@pytest.mark.parametrize(
    ("text", "rate"), [("1/10m", Rate(1, 600.0)), ("3 / 1h", Rate(3, 3600.0)), ("12/1.5h", Rate(12, 5400.0))]
)
def test_rates(text, rate):
    """A rate is a number and the time in which it may be spent."""
    assert parse_rate(text, flag="--x") == rate


@pytest.mark.parametrize(
    "text", ["", "1", "0/10m", "1/0", "1/0s", "-1/10m", "1.5/10m", "1/10", "x/10m", "1/1/1m"]
)
def test_what_is_no_rate(text):
    """Neither nothing in a time nor anything in no time is a rate."""
    with pytest.raises(UsageError, match="--mark-budget"):
        parse_rate(text, flag="--mark-budget")
