# SPDX-License-Identifier: Apache-2.0
"""Takes values out of a Parquet file (null), as pandas writes what is missing: python make_nulls.py RECORDINGS OUT

Both files are episode 1 of tworoom/lerobot_v21, of 7 rows. numbers.parquet: next.reward of row 3, the whole action of
row 4, the second number of the goal of row 5. needed.parquet: the whole state of row 2, next.done of row 6.
"""
import sys

import pyarrow as pa
import pyarrow.parquet as pq

recordings, out = sys.argv[1:]
source = pq.read_table(f"{recordings}/tworoom/lerobot_v21/data/chunk-000/episode_000001.parquet")


def without(file, changes):
    table = source
    for column, change in changes.items():
        values = table.column(column).to_pylist()
        change(values)
        field = table.schema.field(column)
        table = table.set_column(table.schema.get_field_index(column), field, pa.array(values, field.type))
    pq.write_table(table, f"{out}/{file}")


def missing(row, number=None):
    def change(values):
        if number is None:
            values[row] = None
        else:
            values[row][number] = None
    return change


without("numbers.parquet", {"next.reward": missing(3), "action": missing(4), "observation.goal": missing(5, 1)})
without("needed.parquet", {"observation.state": missing(2), "next.done": missing(6)})
