from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer.events import OomReport
from oomtracer.journal.report_json import ReportError, from_text, to_text
from tests.unit.builders import examples, level, report
from tests.unit.strategies import reports

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(reports())
@examples(200)
def test_a_report_comes_back_as_it_was(given_report):
    """Every field is kept, also those that the published schema leaves out."""
    assert from_text(to_text(given_report)) == given_report


@given(reports())
@examples(50)
def test_the_text_is_one_plain_line(given_report):
    """It is ASCII, whatever names a pod chose."""
    text = to_text(given_report)
    assert text.isascii()
    assert text.isprintable()


def test_every_field_is_there():
    """No field is left out because it has its default."""
    assert set(json.loads(to_text(report()))) == {field.name for field in fields(OomReport)}


def test_what_an_older_agent_did_not_write_is_unknown():
    """A key that is missing is the field's default, or None where the field can be that."""
    document = json.loads(to_text(replace(report(), levels=(level("/a", 1, 2),))))
    del document["levels"][0]["oom_group"], document["victim"]["cmdline"], document["group"]
    del document["trigger"], document["kernel_stack"], document["workload"]["owner"]
    read = from_text(json.dumps(document))
    assert (read.levels[0].oom_group, read.victim.cmdline, read.group) == (False, None, None)
    assert (read.trigger, read.kernel_stack, read.workload.owner) == (None, None, None)


def test_what_only_a_newer_agent_knows_is_ignored():
    """Keys that are unknown change nothing, at every depth."""
    document = json.loads(to_text(report()))
    document["mood"] = document["victim"]["mood"] = document["levels"][0]["mood"] = {"grim": True}
    assert from_text(json.dumps(document)) == report()


@pytest.mark.parametrize(
    "change",
    [
        {"id": None},
        {"boot_time_ns": "soon"},
        {"boot_time_ns": True},
        {"source": "telepathy"},
        {"victim": None},
        {"victim": []},
        {"levels": None},
        {"levels": [1]},
        {"kernel_stack": "text"},
        {"selftest": 1},
    ],
    ids=str,
)
def test_what_cannot_be_a_report_is_refused(change):
    """A value of the wrong kind is never guessed at."""
    with pytest.raises(ReportError):
        from_text(json.dumps(json.loads(to_text(report())) | change))


@pytest.mark.parametrize("name", ["id", "victim", "levels", "selftest"])
def test_what_a_report_cannot_do_without_is_demanded(name):
    """A field that is neither optional nor has a default must be there."""
    document = json.loads(to_text(report()))
    del document[name]
    with pytest.raises(ReportError, match=name):
        from_text(json.dumps(document))


@given(st.text(max_size=50) | JSON.map(json.dumps))
@examples(200)
def test_any_text_is_read_or_refused(text):
    """Nothing but ReportError comes out of it."""
    with pytest.raises(ReportError):
        from_text(text)


@given(st.sampled_from([field.name for field in fields(OomReport)]), JSON)
@examples(200)
def test_any_value_is_read_or_refused(name, value):
    """Whatever one field holds, the report is read whole or refused."""
    document = json.loads(to_text(report())) | {name: value}
    try:
        read = from_text(json.dumps(document))
    except ReportError:
        return
    assert from_text(to_text(read)) == read


def test_a_text_that_is_nested_too_deeply_is_refused():
    """Not even the parser's own limit gets out."""
    with pytest.raises(ReportError):
        from_text("[" * 100_000)
