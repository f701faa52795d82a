from __future__ import annotations

import asyncio

import pytest

from oomtracer.errors import OomTracerError, UsageError
from oomtracer.kube.credentials import AGAIN_S, Credential, Credentials
from oomtracer.kube.token_file import TOKEN_FILE_S, token_file

from .raw_server import run


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now_s


class Source:
    """Hands out credentials one after the other; an exception among them is raised."""

    def __init__(self, *given: Credential | OomTracerError) -> None:
        self._given = list(given)
        self.asked = 0

    async def __call__(self) -> Credential:
        """Hand out the next; the last one for ever."""
        self.asked += 1
        await asyncio.sleep(0)
        one = self._given[min(self.asked, len(self._given)) - 1]
        if isinstance(one, OomTracerError):
            raise one
        return one


def named(name: str, good_for_s: float = float("inf")) -> Credential:
    """Make a credential with this token."""
    return Credential(authorization=name, good_for_s=good_for_s)


FAILURE = OomTracerError("the plugin failed", hint="Run it.")


def test_a_credential_is_used_until_its_time_is_up():
    """It is obtained once for all requests, and again when it says so."""

    async def scene() -> None:
        clock, source = Clock(), Source(named("a", 60), named("b", 60))
        credentials = Credentials(source, clock=clock)
        both = await asyncio.gather(credentials.current(), credentials.current())
        assert [one.authorization for one in both] == ["a", "a"]
        clock.now_s += 59.9
        assert (await credentials.current()).authorization == "a"
        clock.now_s += 0.1
        assert (await credentials.current()).authorization == "b"
        assert source.asked == 2

    run(scene())


def test_who_waits_for_an_attempt_shares_its_failure():
    """Of many requests that wait for a plugin that hangs, not each runs it anew; a later one does."""

    async def scene() -> None:
        clock = Clock()

        async def hang() -> Credential:
            runs.append(clock.now_s)
            await asyncio.sleep(0)
            clock.now_s += 30.0
            if len(runs) > 1:
                return named("a")
            raise FAILURE

        runs: list[float] = []
        credentials = Credentials(hang, clock=clock)
        failures = await asyncio.gather(*[credentials.current() for _ in range(5)], return_exceptions=True)
        assert [str(failure) for failure in failures] == ["the plugin failed"] * 5
        assert len(runs) == 1
        clock.now_s += 1.0
        assert (await credentials.current()).authorization == "a"

    run(scene())


def test_what_expires_at_once_is_not_obtained_for_each_request():
    """A clock that is wrong does not make the plugin run all the time."""

    async def scene() -> None:
        clock, source = Clock(), Source(named("a", -100))
        credentials = Credentials(source, clock=clock)
        for _ in range(10):
            await credentials.current()
        assert source.asked == 1
        clock.now_s += AGAIN_S
        await credentials.current()
        assert source.asked == 2

    run(scene())


def test_a_refused_credential_is_replaced_at_once():
    """After a 401 there is another one, for all who were refused, obtained once."""

    async def scene() -> None:
        source = Source(named("a"), named("b"))
        credentials = Credentials(source, clock=Clock())
        refused = await credentials.current()
        others = await asyncio.gather(*[credentials.instead_of(refused) for _ in range(5)])
        assert {one.authorization for one in others if one} == {"b"}
        assert source.asked == 2
        assert (await credentials.current()).authorization == "b"

    run(scene())


def test_the_same_again_is_no_replacement():
    """If the source has nothing new, a 401 is an answer like any other."""

    async def scene() -> None:
        credentials = Credentials(Source(named("a")), clock=Clock())
        assert await credentials.instead_of(await credentials.current()) is None

    run(scene())


def test_refusals_do_not_run_a_plugin_all_the_time():
    """Between two replacements because of a 401 there is a pause; the first is at once."""

    async def scene() -> None:
        clock, source = Clock(), Source(*[named(str(number)) for number in range(10)])
        credentials = Credentials(source, pause_s=AGAIN_S, clock=clock)
        credential = await credentials.current()
        second = await credentials.instead_of(credential)
        assert second is not None
        for _ in range(10):
            assert await credentials.instead_of(second) is None
        assert source.asked == 2
        clock.now_s += AGAIN_S
        assert await credentials.instead_of(second) is not None

    run(scene())


def test_a_failing_source_leaves_the_old_credential_and_says_so_once(caplog):
    """What cannot be renewed is used on, tried again later, and told once until it works again."""

    async def scene() -> None:
        clock = Clock()
        source = Source(named("a", 60), FAILURE, FAILURE, named("b", 60), FAILURE)
        credentials = Credentials(source, clock=clock)
        used = []
        for _ in range(5):
            used.append((await credentials.current()).authorization)
            clock.now_s += 60
        assert used == ["a", "a", "a", "b", "b"]

    run(scene())
    told = "cannot renew the credentials for the API server: the plugin failed"
    assert [record.message for record in caplog.records] == [told, told]


def test_the_first_failure_is_raised():
    """Without any credential there is nothing to go on with."""

    async def scene() -> None:
        with pytest.raises(OomTracerError, match="the plugin failed"):
            await Credentials(Source(FAILURE), clock=Clock()).current()

    run(scene())


def test_who_is_cancelled_holds_up_nobody():
    """A request that is cancelled while it obtains a credential leaves that to the next."""

    async def scene() -> None:
        source = Source(named("a"))
        credentials = Credentials(source, clock=Clock())
        first = asyncio.create_task(credentials.current())
        second = asyncio.create_task(credentials.current())
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).authorization == "a"
        assert source.asked == 2

    run(scene())


def test_a_token_file_is_read_again_each_minute(tmp_path):
    """A rotated token is in use at most a minute later."""
    path = tmp_path / "token"
    path.write_text("old\n")

    async def scene() -> None:
        clock = Clock()
        credentials = Credentials(token_file(path), clock=clock)
        assert (await credentials.current()).authorization == "Bearer old"
        path.write_text("new")
        clock.now_s += TOKEN_FILE_S - 1
        assert (await credentials.current()).authorization == "Bearer old"
        clock.now_s += 1
        assert (await credentials.current()).authorization == "Bearer new"

    assert TOKEN_FILE_S <= 60
    run(scene())


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "is empty"), (" \n", "is empty"), ("a b", "holds something else"), ("\xe4", "holds")],
)
def test_a_token_file_without_a_token(tmp_path, content, said):
    """What is no token is refused, with the file's name and without its content."""
    path = tmp_path / "token"
    path.write_text(content)
    with pytest.raises(UsageError, match=f"the token file {path} {said}"):
        run(token_file(path)())


def test_secrets_are_in_no_representation():
    """A credential in a log or a traceback shows nothing."""
    assert "secret" not in repr(Credential(authorization="Bearer secret"))
