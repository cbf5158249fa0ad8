"""Which columns of a result the review page shows, and the statements that read and write what reviewers say."""

from __future__ import annotations

from satae.gis.columns import LAYERS

Columns = dict[str, type]

NEEDED = ("fid", "geom", "anomaly_id", "rank", "scene", "score", "review_status", "review_note")
UNSHOWN = (
    "feedback",
    "signature",
    "review_status",
    "review_label",
    "review_note",
    "review_by",
    "review_time",
)
MEASURED: Columns = {"fid": int} | {n: c.python for n, c in LAYERS["anomalies"].items() if n not in UNSHOWN}
TOLD: Columns = {
    name: LAYERS["scenes"][name].python
    for name in (
        "scene",
        "path",
        "crs",
        "gsd_m",
        "bands",
        "threshold",
        "rule",
        "domain",
        "domain_note",
        "model_sha256",
        "kind",
    )
}
DAYS: Columns = dict.fromkeys(("first_date", "confirmed_date", "peak_date", "last_date"), str)
OF_CHANGES: Columns = {**DAYS, "top_band": str, "direction": str, "magnitude": str, "persistence": float}
COURSE: Columns = {
    "date": str, "band": str, "seen": float, "expected": float, "spread": float, "share": float, "history": int,
    "panel": int, "role": str,
}  # fmt: skip
READ = (
    "SELECT fid, coalesce(review_status, 'unreviewed'), coalesce(review_label, ''), coalesce(review_note, ''),"
    " coalesce(review_by, ''), coalesce(review_time, '') FROM {layer}"
)
WRITE = (
    "UPDATE {layer} SET review_status = ?, review_label = ?, review_note = ?, review_by = ?, review_time = ?"
    " WHERE fid = ?"
)
LATER = ("review_label", "review_by", "review_time")  # columns that older results lack
TOUCH = (
    "UPDATE gpkg_contents SET last_change = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
    " WHERE table_name = '{layer}'"
)
