"""kubernetes_asyncio without its generated models, which cost 36 MiB and 900 modules and are not used here.

Its packages import everything in their ``__init__``. They are registered by their import spec instead, unrun:
the one name that the client's own modules take from them is resolved on first use, any other name runs the real
``__init__`` after all. Whoever else imports kubernetes_asyncio in this process sees no difference.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kubernetes_asyncio.client.configuration import Configuration
    from kubernetes_asyncio.client.rest import RESTClientObject
    from kubernetes_asyncio.config.config_exception import ConfigException
    from kubernetes_asyncio.config.incluster_config import InClusterConfigLoader
    from kubernetes_asyncio.config.kube_config import KubeConfigLoader

_ROOT = "kubernetes_asyncio"
_CLIENT = f"{_ROOT}.client"
_PACKAGES = (_ROOT, _CLIENT, f"{_ROOT}.config")
_SHORT_WAYS = {(_CLIENT, "Configuration"): "client.configuration"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """The parts of kubernetes_asyncio that are used here; the last is imported when it is called for."""

    configuration: type[Configuration]
    rest: type[RESTClientObject]
    error: type[ConfigException]
    in_cluster: type[InClusterConfigLoader]
    kubeconfig: Callable[[], type[KubeConfigLoader]]


def kubernetes_client() -> Client:
    """Import what is used of kubernetes_asyncio and, if its layout is the expected one, no more.

    Raises ImportError or AttributeError: not installed, or a version without these parts.
    """
    if _ROOT in sys.modules:
        return _client()
    try:
        _register()
        return _client()
    except (ImportError, AttributeError):
        _forget()
    importlib.import_module(_ROOT)
    return _client()


@contextmanager
def without_system_certificates() -> Iterator[None]:
    """Let aiohttp be imported without the 140 CA certificates for its own default, which is never used here."""
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR")
    before = {name: os.environ[name] for name in names if name in os.environ}
    os.environ.update(dict.fromkeys(names, os.devnull))
    try:
        yield
    finally:
        for name in names:
            del os.environ[name]
        os.environ.update(before)


def _client() -> Client:
    return Client(
        configuration=_configuration(),
        rest=_part("client.rest", "RESTClientObject"),
        error=_part("config.config_exception", "ConfigException"),
        in_cluster=_part("config.incluster_config", "InClusterConfigLoader"),
        kubeconfig=_kubeconfig,
    )


def _part(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"{_ROOT}.{module}"), name)


def _configuration() -> type[Configuration]:
    with _later("urllib3"):
        configuration: type[Configuration] = _part("client.configuration", "Configuration")
    return configuration


@contextmanager
def _later(name: str) -> Iterator[None]:
    """Let modules be imported that want another one for what nobody calls here; it is imported on first use."""
    package = sys.modules.get(_CLIENT)
    if name in sys.modules or package is None or not _is_unrun(package):
        yield
        return
    stand_in = ModuleType(name)
    vars(stand_in)["__getattr__"] = lambda attribute: getattr(importlib.import_module(name), attribute)
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        del sys.modules[name]


def _kubeconfig() -> type[KubeConfigLoader]:
    with _api_client_later(sys.modules[_CLIENT]):
        loader: type[KubeConfigLoader] = _part("config.kube_config", "KubeConfigLoader")
    return loader


@contextmanager
def _api_client_later(package: ModuleType) -> Iterator[None]:
    """Let a module that only mentions ApiClient, the user of all models, be imported without it."""
    if not _is_unrun(package) or f"{_ROOT}.config.kube_config" in sys.modules:
        yield
        return
    vars(package)["ApiClient"] = _ApiClientLater
    try:
        yield
    finally:
        del vars(package)["ApiClient"]


class _ApiClientLater:
    """Makes the real one when called."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return _part("client.api_client", "ApiClient")(*args, **kwargs)


def _register() -> None:
    """Put the packages into ``sys.modules`` as the import system would, but unrun."""
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None or spec.submodule_search_locations is None:
            raise ImportError(f"{name} is not a package", name=name)
        package = importlib.util.module_from_spec(spec)
        vars(package)["__getattr__"] = partial(_resolve, package)
        sys.modules[name] = package
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, package)


def _resolve(package: ModuleType, name: str) -> Any:
    """The package's ``__getattr__``."""
    if name.startswith("__") and name not in ("__all__", "__version__"):
        raise AttributeError(f"module {package.__name__!r} has no attribute {name!r}", name=name, obj=package)
    short_way = _SHORT_WAYS.get((package.__name__, name))
    if short_way is not None:
        return _part(short_way, name)
    _run(package)
    return getattr(package, name)


def _run(package: ModuleType) -> None:
    """Run the real ``__init__`` after all."""
    resolve = vars(package).pop("__getattr__")
    try:
        package.__spec__.loader.exec_module(package)  # type: ignore[union-attr]
    except BaseException:
        vars(package)["__getattr__"] = resolve
        raise


def _is_unrun(package: ModuleType) -> bool:
    return "__getattr__" in vars(package)


def _forget() -> None:
    for name in [name for name in sys.modules if name == _ROOT or name.startswith(f"{_ROOT}.")]:
        del sys.modules[name]
