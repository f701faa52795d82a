"""From a raw record to every sink: decode, attribute, hand out. One direction, no I/O of its own."""

from oomtracer.pipeline.attribute import Attributor
from oomtracer.pipeline.intake import Intake
from oomtracer.pipeline.naming import Naming, Ways
from oomtracer.pipeline.pipeline import Pipeline

__all__ = ["Attributor", "Intake", "Naming", "Pipeline", "Ways"]
