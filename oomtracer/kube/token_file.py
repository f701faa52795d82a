"""A bearer token in a file that somebody else rewrites: kubelet's projected token, a kubeconfig's ``tokenFile``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from oomtracer.errors import UsageError
from oomtracer.kube.credentials import Credential, bearer
from oomtracer.printable import printable

TOKEN_FILE_S = 60.0
"""The file is read again after this time; a rotated token's predecessor lives far longer."""

_LONGEST_TOKEN_BYTES = 1 << 20
_NOTHING = Credential()


def token_file(path: Path, held: Credential = _NOTHING) -> Callable[[], Awaitable[Credential]]:
    """Return what obtains the file's token, beside the client certificate that may be held.

    That raises UsageError: the file is missing, empty, or holds no token.
    """

    async def obtain() -> Credential:
        token = bearer(_read(path), f"the token file {printable(str(path))}")
        return replace(held, authorization=token, good_for_s=TOKEN_FILE_S)

    return obtain


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST_TOKEN_BYTES).decode("ascii", "replace")
    except OSError as error:
        raise UsageError(
            f"cannot read the token file {printable(str(path))}: {error.strerror}",
            hint="Check that it exists and may be read by this user.",
        ) from None
