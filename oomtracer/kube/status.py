"""What an answer of the API server says: a JSON Status, a line of text, or anything a proxy made up."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from oomtracer.kube.api import Response
from oomtracer.printable import printable

MESSAGE_CHARACTERS = 300
"""A message is cut to this: that of a 422 may echo the whole pod."""

_LONGEST_S = 1e9
_CAUSES = 16
# More causes than this say nothing new.
_DENIED = re.compile(
    r"""(?:[^"]* "[^"]*" is forbidden: )?(?:ValidatingAdmissionPolicy '|admission webhook "[^"]*" denied)"""
)
# Anchored at the start: further on, a message may quote what the pod's owner wrote.


# Without a word's boundary in front: in JSON that nobody decoded, an "n" may stand there, of "\n".
_CREDENTIALS = re.compile(r"(bearer|basic)\s+[^\s\"',;]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Cause:
    """One of the details of a Status; what is absent is empty."""

    reason: str
    field: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """An answer's status line, reason and details. All texts are printable and short.

    The properties know the cases that the callers treat in different ways, as a kube-apiserver 1.36 tells them.
    """

    code: int
    """The HTTP status."""
    reason: str = ""
    """``Forbidden``, ``Conflict``, ...; empty if the body is no Status."""
    message: str = ""
    causes: tuple[Cause, ...] = ()
    retry_after_s: float | None = None
    is_admission_denial: bool = False
    """Whether a ValidatingAdmissionPolicy or a webhook refused it, not RBAC: 403, but also 422 or 400."""

    @property
    def is_uid_mismatch(self) -> bool:
        """Whether the object of that name is another one than the patch was meant for."""
        return self.code == 422 and any(cause.field == "metadata.uid" for cause in self.causes)

    @property
    def is_namespace_terminating(self) -> bool:
        """Whether nothing can be created in that namespace any more."""
        return self.code == 403 and any(cause.reason == "NamespaceTerminating" for cause in self.causes)


def status_of(response: Response) -> Status:
    """What the answer says; never raises, whatever the body holds."""
    retry_after_s = retry_after_of(response.headers)
    document = _document(response.body)
    if document is None:
        text = response.body[: 4 * MESSAGE_CHARACTERS].decode(errors="replace")
        return Status(code=response.status, message=_short(text.strip()), retry_after_s=retry_after_s)
    details = _object(document.get("details"))
    if retry_after_s is None:
        retry_after_s = _seconds(details.get("retryAfterSeconds"))
    message = _text(document.get("message"))
    return Status(
        code=response.status,
        reason=_short(_text(document.get("reason"))),
        message=_short(message),
        causes=_causes(details.get("causes")),
        retry_after_s=retry_after_s,
        is_admission_denial=400 <= response.status < 500 and _DENIED.match(message) is not None,
    )


def retry_after_of(headers: Mapping[str, str], *, now_s: float | None = None) -> float | None:
    """The header Retry-After in seconds from now, None without one that can be read.

    It holds seconds or an HTTP date (RFC 9110, 10.2.3); ``now_s`` is the Unix time.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), _LONGEST_S)
    try:
        date = parsedate_to_datetime(value)
        unix_s = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (
        ValueError,
        OverflowError,
        TypeError,
        IndexError,
    ):  # the parser was made for mail, and checks little
        return None
    return max(0.0, unix_s - (time.time() if now_s is None else now_s))


def _document(body: bytes) -> Mapping[str, object] | None:
    """The body as a Status object, None for anything else.

    A request that takes the server too long is answered with a Status without kind, sent as text/plain.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and _is_status(document) else None


def _is_status(document: Mapping[str, object]) -> bool:
    kind = document.get("kind")
    return kind == "Status" or (kind is None and isinstance(document.get("status"), str))


def _causes(value: object) -> tuple[Cause, ...]:
    causes = [_object(cause) for cause in value[:_CAUSES]] if isinstance(value, list) else []
    return tuple([_cause(cause) for cause in causes])


def _cause(cause: Mapping[str, object]) -> Cause:
    reason, field, message = (_short(_text(cause.get(key))) for key in ("reason", "field", "message"))
    return Cause(reason, field, message)


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _seconds(value: object) -> float | None:
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        return None
    return float(min(value, int(_LONGEST_S)))


def _short(text: str) -> str:
    # Whoever is in between may echo the request, and with it our credentials.
    masked = _CREDENTIALS.sub(r"\1 ***", text[: 4 * MESSAGE_CHARACTERS])
    fit = printable(masked[: MESSAGE_CHARACTERS + 1])
    return fit if len(fit) <= MESSAGE_CHARACTERS else f"{fit[:MESSAGE_CHARACTERS]}..."
