"""What became of every node of a network."""

from dataclasses import dataclass

from ann2snn.errors import UserError


@dataclass(frozen=True)
class NodeReport:
    """What became of one node: its place, operation and role; where it cannot be converted, the reason and the mend."""

    name: str
    operation: str
    role: str  # spiking | weights | linear | folded | affine | stateful pool | dropped | not convertible
    note: str = ""


class NotConvertible(UserError):
    """The network holds nodes that have no spiking form; `report` lists every node."""

    def __init__(self, report: list[NodeReport]):
        bad = [row for row in report if row.role == "not convertible"]
        more = f" ({len(bad) - 1} more: see `ann2snn inspect`)" if len(bad) > 1 else ""
        super().__init__(f"{bad[0].name}: {bad[0].operation} cannot be converted: {bad[0].note}{more}.")
        self.report = report
