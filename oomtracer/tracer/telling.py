"""What the log says of hooks, once all is loaded."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from oomtracer.tracer.hooks import CONTEXT, Hook

if TYPE_CHECKING:
    from collections.abc import Iterable

    from oomtracer.libbpf import LoadError
    from oomtracer.tracer.choice import GroupChoice

logger = logging.getLogger("oomtracer.tracer")


def tell_refused(refused: Iterable[tuple[Hook, LoadError]]) -> None:
    """Reports that say less are worth a warning."""
    for hook, error in refused:
        level = logging.INFO if hook.group == CONTEXT else logging.WARNING
        logger.log(level, "%s is refused: %s", hook.name, error.message)


def tell_hooks(choices: Iterable[GroupChoice]) -> None:
    """Those in use, and why others are not."""
    for choice in choices:
        if choice.hook:
            logger.info("attached %s: %s", choice.hook.name, choice.hook.adds)
            if choice.hook.weakness:
                logger.warning("%s: %s", choice.hook.name, choice.hook.weakness)
        if choice.hook is not choice.candidates[0].hook:
            logger.info("not usable in the %s group: %s", choice.group, choice.reason)
