"""Whether a watch tells the truth: what it has told, compared with a list."""

from __future__ import annotations

from oomtracer.kube.directory import PodDirectory
from oomtracer.kube.records import PodList
from oomtracer.pods import Pod


def make_up(listed: PodList, directory: PodDirectory) -> int:
    """Tell the directory what the watch should have told; how many changes that were.

    The watch has come at least to the version of the list. What it told since is newer than the list: of such pods
    the list says nothing. All others must be as in the list, version for version. A list with items that are no
    pods deletes nothing: any of them may have been one.
    """
    uids = {pod.uid for pod in listed.pods}
    deletions = [
        pod.uid
        for pod in directory.pods()
        if pod.uid not in uids and pod.resource_version <= listed.resource_version and not listed.skipped
    ]
    changes = [pod for pod in listed.pods if _is_news(pod, listed.resource_version, directory)]
    for uid in deletions:
        directory.remove(uid)
    for pod in changes:
        directory.put(pod)
    return len(deletions) + len(changes)


def _is_news(pod: Pod, list_version: int, directory: PodDirectory) -> bool:
    # Also of a pod that is gone: its last version is that of its deletion.
    known = directory.pod(pod.uid)
    if known is None:
        return True
    return known.resource_version <= list_version and known.resource_version != pod.resource_version
