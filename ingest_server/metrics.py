"""What ingest counts. Labels are elements, calls and reasons, never ids of files or uploads."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

uploads = Counter(
    "artstore_ingest_uploads_total",
    "Upload and StartUpload calls by outcome: stored, started, refused, failed, cut.",
    ["call", "outcome"],
)
refusals = Counter(
    "artstore_ingest_element_refusals_total",
    "Elements passed over when an upload was opened.",
    ["element", "reason"],
)
forwarded_bytes = Counter(
    "artstore_ingest_forwarded_bytes_total", "Bytes of messages passed on to elements."
)
pins_skipped = Counter(
    "artstore_ingest_request_pins_skipped_total",
    "Uploads with a request_id that Redis could not be asked about.",
)
fresh_elements = Gauge(
    "artstore_ingest_fresh_elements", "Storage elements whose report is young enough."
)
