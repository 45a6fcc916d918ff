"""The report on what became of every node of a network."""

from dataclasses import dataclass

from ann2snn.errors import UserError


@dataclass(frozen=True)
class NodeReport:
    """What became of one node.

    Attributes:
        name: Path of the module, or of the module around the node and the operation.
        operation: Name of the operation.
        role: spiking, weights, linear, folded, affine, stateful pool, dropped or not convertible.
        note: Details; for a node that is not convertible, the reason and a fix.
    """

    name: str
    operation: str
    role: str
    note: str = ""


class NotConvertible(UserError):
    """The network has nodes without a spiking form; the attribute `report` lists all nodes."""

    def __init__(self, report: list[NodeReport]):
        bad = [row for row in report if row.role == "not convertible"]
        more = f" ({len(bad) - 1} more: see `ann2snn inspect`)" if len(bad) > 1 else ""
        super().__init__(f"{bad[0].name}: {bad[0].operation} cannot be converted: {bad[0].note}{more}.")
        self.report = report
