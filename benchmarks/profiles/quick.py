"""The first two tables of `digits`, up to T = 32."""

from dataclasses import replace

from ann2snn.experiments.presets import TIME_STEPS

from .digits import TABLES as DIGITS

TABLES = tuple(replace(table, T=TIME_STEPS[:6]) for table in DIGITS[:2])
