"""A small sweep, and what of a record does not depend on the clock."""

from ann2snn.experiments.sweep import Sweep

TABLE = Sweep(
    "t", "digits", ("digits_plain",), ("threshold_relu:1",), (0,), (("optimal", {}), ("opi", {})), T=(1, 2, 4)
)


def numbers(record):
    """A record without what the clock says."""
    T = {t: {k: v for k, v in at.items() if not k.endswith("seconds")} for t, at in record["T"].items()}
    return {k: record[k] for k in ("id", "job", "labels", "ann", "network", "source", "data")} | {"T": T}
