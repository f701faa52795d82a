from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomtracer.errors import OomTracerError
from oomtracer.kube.api import Response
from oomtracer.kube.paging import PAGE_ITEMS, TRIES, list_pages
from tests.unit.builders import examples

from .recordings import recorded
from .scripted_api import DOWN, OVERLOAD, UNREACHABLE, ScriptedApi, status
from .virtual_time import now, run_virtual

PATH = "/api/v1/pods"


def page(*items: int, token: str = "") -> Response:
    """Build one page of a list."""
    document = {"kind": "PodList", "metadata": {"continue": token}, "items": [{"n": item} for item in items]}
    return Response(200, {}, json.dumps(document).encode())


def expired(token: str = "") -> Response:
    """Build the answer to a token that is too old, with another one or without."""
    document = {"kind": "Status", "metadata": {"continue": token}, "code": 410, "reason": "Expired"}
    return Response(410, {}, json.dumps(document).encode())


def read(answers, **query):
    """List with these answers in turn; returns the items, the requests' tokens and the time it took."""
    rest = list(answers)
    api = ScriptedApi(lambda _: rest.pop(0) if len(rest) > 1 else rest[0])

    async def main():
        started_s = now()
        items = [item["n"] async for each in list_pages(api, PATH, query=query) for item in each]
        return items, [request.query.get("continue") for request in api.requests], now() - started_s

    return *run_virtual(main()), api


def test_a_list_is_read_page_by_page():
    """Each request asks for 500 items and hands back the token of the page before."""
    items, tokens, _, api = read([page(1, 2, token="a"), page(3, token="b"), page(4)], fieldSelector="x=y")
    assert items == [1, 2, 3, 4]
    assert tokens == [None, "a", "b"]
    for request in api.requests:
        assert (request.method, request.path) == ("GET", PATH)
        assert request.query["limit"] == str(PAGE_ITEMS)
        assert request.query["fieldSelector"] == "x=y"


def test_an_expired_token_is_replaced_by_the_one_that_the_server_offers():
    """The rest of the list is read as it is now."""
    items, tokens, *_ = read([page(1, token="a"), expired("b"), page(2)])
    assert (items, tokens) == ([1, 2], [None, "a", "b"])


def test_without_an_offer_the_list_starts_anew():
    """What was read already comes again."""
    items, tokens, *_ = read([page(1, token="a"), expired(), page(1, token="c"), page(2)])
    assert (items, tokens) == ([1, 1, 2], [None, "a", None, "c"])


def test_the_recorded_410_offers_a_token():
    """A real server's answer to a token older than its compaction."""
    step = recorded("04", "list with a continue token older than the compaction")
    offered = step.json["metadata"]["continue"]
    items, tokens, *_ = read([page(1, token="a"), Response(410, {}, step.body.encode()), page(2)])
    assert offered
    assert (items, tokens) == ([1, 2], [None, "a", offered])


def test_a_list_that_always_expires_is_given_up():
    """It ends with an error after some restarts."""
    with pytest.raises(OomTracerError, match="expires"):
        read([page(1, token="a"), *[expired("b")] * (TRIES + 1)])


@pytest.mark.parametrize("trouble", [UNREACHABLE, DOWN, OVERLOAD, status(500)], ids=repr)
def test_trouble_that_passes_is_waited_out(trouble):
    """A few failures in a row cost some seconds, not the list."""
    items, _, seconds, _ = read([page(1, token="a"), trouble, trouble, trouble, page(2)])
    assert items == [1, 2]
    assert 0.3 < seconds < 30


def test_trouble_that_stays_is_an_error_that_says_what_it_is():
    """After six tries."""
    api = ScriptedApi(lambda _: UNREACHABLE)

    async def main():
        async for _ in list_pages(api, PATH, query={}):
            pass

    with pytest.raises(OomTracerError, match="connection refused") as caught:
        run_virtual(main())
    assert len(api.requests) == TRIES
    assert caught.value.hint


@pytest.mark.parametrize(
    ("code", "hint"), [(403, 'the verb "list" on pods'), (401, "credentials"), (400, "")]
)
def test_a_refusal_is_not_tried_again(code, hint):
    """What is missing is named."""
    api = ScriptedApi(lambda _: status(code, "Forbidden", "no"))

    async def main():
        async for _ in list_pages(api, PATH, query={}):
            pass

    with pytest.raises(OomTracerError) as caught:
        run_virtual(main())
    assert len(api.requests) == 1
    assert hint in caught.value.hint


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["items", "metadata", "continue", "kind"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(code=st.sampled_from([200, 410]), body=st.binary(max_size=20) | JSON.map(json.dumps).map(str.encode))
@examples(200)
def test_any_body_is_pages_or_an_error(code, body):
    """Items are objects, and nothing but OomTracerError comes out."""
    rest = [Response(code, {}, body)]
    api = ScriptedApi(lambda _: rest.pop() if rest else page(), delay_s=0)

    async def main():
        try:
            return [item async for each in list_pages(api, PATH, query={}) for item in each]
        except OomTracerError:
            return None

    items = asyncio.run(main())
    assert items is None or all(isinstance(item, dict) for item in items)
