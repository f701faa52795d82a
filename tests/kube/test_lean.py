from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from oomtracer.kube.lean import without_system_certificates

from .raw_server import RawServer, answer, chunked, kubeconfig, run

ORDINARY = "import kubernetes_asyncio, kubernetes_asyncio.client.models"
# Requests of every kind, with the answers as the rest of the agent sees them.
SCENE = """
import asyncio, json, sys
from oomtracer.config import Cluster
from oomtracer.kube.api import ApiUnreachableError, MERGE_PATCH
from oomtracer.kube.connection import connect

async def scene():
    seen = []
    api = await connect(Cluster(kubeconfig=sys.argv[1]))
    query = {"fieldSelector": "spec.nodeName=a", "resourceVersion": "0"}
    calls = [
        ("GET", "/api/v1/pods", {"query": query}),
        ("PATCH", "/api/v1/namespaces/a/pods/b", {"body": b'{"a":1}', "content_type": MERGE_PATCH}),
        ("POST", "/apis/events.k8s.io/v1/namespaces/a/events", {"body": b"{}"}),
        ("GET", "/cut", {}),
    ]
    for method, path, more in calls:
        try:
            response = await api.request(method, path, **more)
            seen.append([response.status, dict(response.headers), response.body.decode()])
        except ApiUnreachableError as error:
            seen.append(str(error).partition(": ")[2])
    async with api.stream("/api/v1/pods", query={"watch": "1"}, read_timeout_s=5) as stream:
        chunks = [chunk async for chunk in stream.chunks()]
        seen.append([stream.status, dict(stream.headers), b"".join(chunks).decode()])
    await api.close()
    return seen

seen = asyncio.run(scene())
names = [name for name in sys.modules if name.startswith("kubernetes_asyncio")]
models = sum(name.startswith("kubernetes_asyncio.client.models") for name in names)
print(json.dumps({"seen": seen, "models": models, "ours": len(names), "all": len(sys.modules)}))
"""
SCRIPT = [
    answer(200, b'{"kind":"PodList"}', Content_Type="application/json"),
    answer(409, b'{"kind":"Status"}', Content_Type="application/json", Retry_After="1"),
    answer(201, b"{}"),
    chunked(b"half", end=b"", then="close"),
    chunked(b"line\n", b"line\n"),
]


def python(code: str, *arguments: str, path: Path | None = None) -> str:
    """Run it in a fresh interpreter, with warnings as errors; what it printed."""
    environment = {"PYTHONPATH": f"{path}:{Path.cwd()}"} if path else {"PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass(frozen=True)
class Seen:
    """What one process sent and what it made of the answers; which modules it had."""

    sent: list[tuple[int, str, bytes]]
    told: dict


def conversation(before: str, tmp_path: Path) -> Seen:
    """Play the scene in a process that ran ``before`` first."""

    async def scene() -> Seen:
        async with RawServer(SCRIPT) as server:
            config = kubeconfig(tmp_path / "config", server.url)
            told = await asyncio.to_thread(python, f"{before}\n{SCENE}", str(config))
        sent = [
            (one.connection, one.head.replace(str(server.port), "PORT"), one.body) for one in server.requests
        ]
        return Seen(sent, json.loads(told))

    return run(scene())


def test_both_ways_to_import_say_the_same(tmp_path):
    """With and without the models, the same requests are sent byte for byte, and the answers are the same."""
    lean, ordinary = conversation("", tmp_path), conversation(ORDINARY, tmp_path)
    assert len(lean.sent) == 5
    assert lean.sent == ordinary.sent
    assert lean.told["seen"] == ordinary.told["seen"]
    assert lean.told["seen"][3] == "answer cut off"
    assert (lean.told["models"], ordinary.told["models"] > 500) == (0, True)
    assert lean.told["ours"] < 20
    assert lean.told["all"] < ordinary.told["all"] - 700


LEAN = "import sys; from oomtracer.kube.lean import kubernetes_client; parts = kubernetes_client();"


def test_the_yaml_parser_is_for_kubeconfigs():
    """A pod needs none, and has none."""
    code = LEAN + "print('yaml' in sys.modules); parts.kubeconfig(); print('yaml' in sys.modules)"
    assert python(code).split() == ["False", "True"]


@pytest.mark.parametrize(
    "use",
    [
        "import kubernetes_asyncio; kubernetes_asyncio.client.CoreV1Api; kubernetes_asyncio.watch.Watch",
        "from kubernetes_asyncio import client, config, watch; client.V1Pod(); config.load_kube_config",
        "from kubernetes_asyncio import *; client.V1Pod(); dynamic; utils",
        "from kubernetes_asyncio.client import ApiClient as A; import kubernetes_asyncio.stream as s; assert issubclass(s.WsApiClient, A)",
        "import kubernetes_asyncio as k; assert k.client.ApiClient is k.client.api_client.ApiClient",
        "import kubernetes_asyncio as k; assert k.__version__; assert k.__file__.endswith('__init__.py')",
        "import kubernetes_asyncio.client.models as m; m.V1Pod()",
        "import importlib, kubernetes_asyncio as k; importlib.reload(k.client); k.client.V1Pod()",
    ],
)
def test_others_see_no_difference(use):
    """After the lean import, whatever else the package offers is there for who asks for it."""
    code = f"{LEAN}\nparts.kubeconfig()\n{use}\nfrom kubernetes_asyncio.client import Configuration\n"
    assert python(f"{code}assert Configuration is parts.configuration; print('fine')") == "fine\n"


def test_what_is_not_there_is_an_attribute_error():
    """A wrong name is the usual error, and asking for a special name runs nothing."""
    code = LEAN + (
        "import kubernetes_asyncio as k\n"
        "assert not hasattr(k.client, '__wrapped__') and 'kubernetes_asyncio.client.models' not in sys.modules\n"
        "assert not hasattr(k.client, 'Nonsense') and 'kubernetes_asyncio.client.models' in sys.modules\n"
    )
    python(code)


def test_an_api_client_can_be_made_all_the_same():
    """The class that needs all models is imported when somebody makes one."""
    code = (
        LEAN
        + """
import asyncio
parts.kubeconfig()
from kubernetes_asyncio.config import kube_config
assert 'kubernetes_asyncio.client.models' not in sys.modules
async def scene():
    api = await kube_config.new_client_from_config_dict({
        'current-context': 'x', 'contexts': [{'name': 'x', 'context': {'cluster': 'c'}}],
        'clusters': [{'name': 'c', 'cluster': {'server': 'http://127.0.0.1:1'}}]})
    await api.close()
    return api
api = asyncio.run(scene())
from kubernetes_asyncio.client.api_client import ApiClient
assert type(api) is ApiClient
"""
    )
    python(code)


def test_after_an_ordinary_import_nothing_is_changed():
    """Where the package is loaded already, its own modules are used as they are."""
    code = f"""
        {ORDINARY}
        import sys
        before = dict(sys.modules)
        from oomtracer.kube.lean import kubernetes_client
        client = kubernetes_client()
        assert client.configuration is kubernetes_asyncio.client.Configuration
        assert client.kubeconfig() is kubernetes_asyncio.config.kube_config.KubeConfigLoader
        assert all(sys.modules[name] is module for name, module in before.items())
        assert not hasattr(kubernetes_asyncio.client, "__getattr__")
    """
    python(code)


PARTS = {
    "client/configuration.py": "class Configuration: pass",
    "client/rest.py": "class RESTClientObject: pass",
    "client/exceptions.py": "",
    "config/config_exception.py": "class ConfigException(Exception): pass",
    "config/incluster_config.py": "from kubernetes_asyncio.client import Configuration\nclass InClusterConfigLoader: pass",
    "config/kube_config.py": "from kubernetes_asyncio.client import ApiClient\nclass KubeConfigLoader: pass",
}
INIT = "from .configuration import Configuration\nclass ApiClient: pass\nran = True"


def package(tmp_path: Path, changes: dict[str, str | None] | None = None) -> Path:
    """Write a package that looks like kubernetes_asyncio, but for changed files; None leaves one out."""
    files = {
        "__init__.py": "",
        "client/__init__.py": INIT,
        "config/__init__.py": "",
        **PARTS,
        **(changes or {}),
    }
    for name, text in files.items():
        if text is not None:
            file = tmp_path / "kubernetes_asyncio" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    return tmp_path


SHOW = LEAN + "print('ran' in vars(sys.modules['kubernetes_asyncio.client']), parts.configuration.__module__)"


def test_the_expected_layout_is_used_without_its_init(tmp_path):
    """The stand-in for the package shows that a test of other layouts means something."""
    assert python(SHOW, path=package(tmp_path)) == "False kubernetes_asyncio.client.configuration\n"


def test_another_layout_is_imported_in_the_ordinary_way(tmp_path):
    """Modules that need more of the package than expected get all of it."""
    changes = {
        "client/api.py": "class Other: pass",
        "client/__init__.py": f"{INIT}\nfrom .api import Other",
        "config/incluster_config.py": "from kubernetes_asyncio.client import Other\nclass InClusterConfigLoader: pass",
    }
    assert python(SHOW, path=package(tmp_path, changes)) == "True kubernetes_asyncio.client.configuration\n"


def test_a_part_that_works_only_after_the_packages_init(tmp_path):
    """What fails without the ``__init__`` is forgotten and imported again with it, so that nothing is there twice."""
    early = (
        "import sys\n"
        "if 'ran' not in vars(sys.modules['kubernetes_asyncio.client']): raise ImportError('too early')\n"
        "class RESTClientObject: pass"
    )
    changes = {"client/rest.py": early, "__init__.py": "import kubernetes_asyncio.client"}
    code = f"{SHOW}\nassert sys.modules['kubernetes_asyncio.client'].Configuration is parts.configuration"
    assert python(code, path=package(tmp_path, changes)) == "True kubernetes_asyncio.client.configuration\n"


@pytest.mark.parametrize("missing", ["client/configuration.py", "config/incluster_config.py"])
def test_a_version_without_a_part_is_an_import_error(tmp_path, missing):
    """A version that lacks what is used is an error, and leaves no unrun package behind."""
    code = """
        import sys
        from oomtracer.kube.lean import kubernetes_client
        try:
            kubernetes_client()
        except ImportError as error:
            print("refused")
        left = [module for name, module in sys.modules.items() if name.startswith("kubernetes_asyncio")]
        assert not any("__getattr__" in vars(module) for module in left)
    """
    made = package(tmp_path, {missing: None, "client/__init__.py": "ran = True"})
    assert python(code, path=made) == "refused\n"


def test_without_the_package_it_is_an_import_error(tmp_path):
    """Where it is not installed, that is what is said, and nothing is left behind."""
    code = """
        import sys
        sys.path = [entry for entry in sys.path if "site-packages" not in entry]
        from oomtracer.kube.lean import kubernetes_client
        try:
            kubernetes_client()
        except ModuleNotFoundError as error:
            print(error.name, "kubernetes_asyncio" in sys.modules)
    """
    assert python(code) == "kubernetes_asyncio False\n"


def test_the_environment_is_as_before_after_an_import_without_certificates(monkeypatch):
    """What was set is set again, what was not is not, also after a failed import."""
    monkeypatch.setenv("SSL_CERT_FILE", "/some/ca.pem")
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    inside = {}

    def import_something() -> None:
        with without_system_certificates():
            inside.update({name: os.environ[name] for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")})
            raise ImportError

    with pytest.raises(ImportError):
        import_something()
    assert set(inside.values()) == {os.devnull}
    assert os.environ["SSL_CERT_FILE"] == "/some/ca.pem"
    assert "SSL_CERT_DIR" not in os.environ
