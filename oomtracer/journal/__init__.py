"""What outlasts the agent: raw records, reports and what is still owed to somebody, in one SQLite file."""

from oomtracer.journal.journal import Journal
from oomtracer.journal.records import RawRecord
from oomtracer.journal.reports import Delivery, PendingReport, ReportRow
from oomtracer.journal.retention import Retention

__all__ = ["Delivery", "Journal", "PendingReport", "RawRecord", "ReportRow", "Retention"]
