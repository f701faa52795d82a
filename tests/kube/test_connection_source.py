from __future__ import annotations

import subprocess
import sys

import pytest

from oomtracer.kube.source import IN_CLUSTER, configuration_source, paths_of

IN_A_POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}


@pytest.fixture
def home(tmp_path):
    """Make a home with a kubeconfig, two more files, and a service account."""
    for name in ("home/.kube/config", "one", "two", "account/token"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return tmp_path


def source(home, kubeconfig=None, **environ) -> str | None:
    """Ask in this environment, names relative to the folder."""
    environment = {key: value.replace("@", f"{home}/") for key, value in environ.items()}
    found = configuration_source(kubeconfig, environ=environment, service_account=home / "account")
    return found.replace(f"{home}/", "@") if found else found


def test_the_file_that_was_asked_for_comes_first(home):
    """--kubeconfig beats everything, even if the file does not exist: that is an error to be told."""
    assert source(home, "/no/such", KUBECONFIG="@one", HOME="@home", **IN_A_POD) == "/no/such"


def test_the_environments_list_comes_second(home):
    """$KUBECONFIG beats the home's file; one existing file of the list is enough."""
    assert source(home, KUBECONFIG="@one", HOME="@home", **IN_A_POD) == "@one"
    assert source(home, KUBECONFIG="@none:@two", HOME="@home") == "@none:@two"


def test_the_homes_file_comes_third(home):
    """~/.kube/config is for an environment without $KUBECONFIG; an empty one is none."""
    assert source(home, HOME="@home", **IN_A_POD) == "@home/.kube/config"
    assert source(home, KUBECONFIG="", HOME="@home") == "@home/.kube/config"
    assert source(home, KUBECONFIG="@none", HOME="@home") is None


def test_the_pods_account_comes_last(home):
    """In a pod without any file, the service account is used."""
    assert source(home, **IN_A_POD) == IN_CLUSTER
    assert source(home, KUBECONFIG="@none", HOME="@nowhere", **IN_A_POD) == IN_CLUSTER


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"HOME": "@nowhere"},
        {"KUBERNETES_SERVICE_HOST": "10.0.0.1"},
        {"KUBERNETES_SERVICE_HOST": "", "KUBERNETES_SERVICE_PORT": "443"},
    ],
)
def test_a_plain_host_has_no_cluster(home, environ):
    """Without any of them there is none."""
    assert source(home, **environ) is None


def test_a_pod_without_a_token_has_no_cluster(home):
    """A pod whose account's token is not mounted cannot ask anything."""
    (home / "account/token").unlink()
    assert source(home, **IN_A_POD) is None


def test_a_dangling_link_is_a_file_that_is_wrong(home):
    """A link to a file that is gone is no reason to go on without a cluster."""
    (home / "link").symlink_to(home / "none")
    assert source(home, KUBECONFIG="@link") == "@link"


def test_lists_have_colons():
    """Empty parts of a list are left out."""
    assert [str(path) for path in paths_of(":/a::b:")] == ["/a", "b"]


def test_to_ask_imports_nothing_to_speak_of():
    """The command line may ask on a host without a cluster, at no cost in memory."""
    code = (
        "import sys; from oomtracer.kube.source import configuration_source; configuration_source(None);"
        "print(*[name for name in ('aiohttp', 'kubernetes_asyncio', 'asyncio', 'yaml', 'ssl') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
