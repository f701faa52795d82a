"""Whether the agent's own pod is where it should be: among those of the node that it was told it runs on."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from oomtracer.kube.records import PodList
from oomtracer.printable import printable

logger = logging.getLogger("oomtracer.kube")


@dataclass(frozen=True, slots=True)
class OwnPod:
    """The agent's own pod as namespace and name (None: it is in none, or not told), and the node's name."""

    pod: tuple[str, str] | None
    node_name: str

    def look_for(self, listed: PodList) -> None:
        """Warn if the list lacks it: with a wrong node name no kill would ever find its pod."""
        if self.pod is None or any((each.namespace, each.name) == self.pod for each in listed.pods):
            return
        logger.warning(
            "the agent's own pod %s is not among the pods of node %s: is --node-name right?",
            printable("/".join(self.pod)),
            printable(self.node_name),
        )
