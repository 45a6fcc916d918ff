"""The finished parts of a job that is under way."""

import hashlib
import json
import sys
from pathlib import Path

from ann2snn.files import remove, write_atomic
from ann2snn.reading import DamagedFile, put_aside, read_json
from ann2snn.records.job import Job
from ann2snn.records.packing import pack


class Notebook:
    """The finished parts of a job that is under way, in one file beside its record; a kill costs the part in flight.

    Parts that an earlier run left are taken over, if they are of the same environment and of the runs planned now, and
    from code as clean as today's.
    """

    def __init__(self, job: Job, root: Path | str, record: dict, grids: list[list[int]], dirty: bool | None):
        self.path = job.path(root).with_suffix(".partial.json")
        self.fingerprint = f"{fingerprint(record)} {dirty}"
        planned = {" ".join(map(str, grid)) for grid in grids}
        self.units: dict[str, dict] = {}
        if self.path.exists():
            try:
                kept = read_json(self.path)
                if kept["digest"] != _digest([kept["fingerprint"], kept["units"]]):
                    raise ValueError
            except DamagedFile as error:
                put_aside(error, self.path)
                return
            except (ValueError, TypeError, KeyError, RecursionError):
                print(f"{self.path} is damaged or of an older version; its parts are computed again.", file=sys.stderr)
                return
            if kept["fingerprint"] == self.fingerprint:
                self.units = {key: unit for key, unit in kept["units"].items() if key.partition(" T ")[2] in planned}

    def __contains__(self, key: str) -> bool:
        return key in self.units

    def write(self, key: str, results: dict) -> None:
        self.units[key] = results
        kept = {"fingerprint": self.fingerprint, "units": self.units}
        write_atomic(self.path, json.dumps(kept | {"digest": _digest([self.fingerprint, self.units])}))

    def gather(self, t: int) -> dict:
        """All chunks of both splits at one T, as the record holds them."""
        parts = {"test": [], "validation": []}
        for key, unit in self.units.items():
            if str(t) in unit:
                parts[key.split()[0]].append((int(key.split()[1]), unit[str(t)]))
        out = {}
        for split, found in parts.items():
            chunks = [chunk for _, chunk in sorted(found, key=lambda part: part[0])]
            out[split] = {name: sum(c[name] for c in chunks) for name in ("n", "correct", "undecided")}
            if split == "test":
                out[split]["predictions"] = pack([p for c in chunks for p in c["predictions"]])
                out["seconds"] = round(sum(c["seconds"] for c in chunks), 4)
                out["latency"] = chunks[0]["latency"]
                for name in ("spikes", "operations"):
                    out[name] = {layer: sum(c[name][layer] for c in chunks) for layer in chunks[0][name]}
        return out

    def close(self) -> None:
        remove(self.path)


def fingerprint(record: dict) -> str:
    """What two parts of one record must share."""
    place = record["provenance"]
    same = [place[k] for k in ("versions", "device", "cpu", "threads", "batch", "calibration_hash")]
    same += [place.get(k) for k in ("engine", "method_code")]  # which the first records do not have
    return _digest([record["id"], record["source"]["weights_hash"], same])


def _digest(value) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
