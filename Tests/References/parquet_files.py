"""Writes the Parquet files that the tests of PromptSets read, with what pyarrow reads from them.

    python Tests/References/parquet_files.py Tests/PromptSetsTests/parquet

Made with pyarrow 26.0.1. Every file `name.parquet` is a variant of a table whose rows stand once in `table.jsonl.gz`;
the first word of the file's name says which table. What JSON has no form for is written as the reader should write it:
dates and times as ISO 8601 texts without trailing zeros, decimals as numbers, NaN as null.
"""

import datetime
import decimal
import gzip
import json
import math
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
for old in list(folder.glob("*.parquet")) + list(folder.glob("*.jsonl*")):
    old.unlink()


def plain(value, kind):
    """The value as JSON has it; `kind` is its Arrow type."""
    if value is None:
        return None
    if pa.types.is_map(kind):
        return {key: plain(item, kind.item_type) for key, item in value}
    if pa.types.is_struct(kind):
        return {field.name: plain(value[field.name], field.type) for field in kind}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [plain(item, kind.value_type) for item in value]
    if pa.types.is_floating(kind):
        return None if math.isnan(value) else value
    if isinstance(value, decimal.Decimal):
        return int(value) if kind.scale == 0 else float(value)
    if pa.types.is_timestamp(kind):
        whole = value.value if hasattr(value, "value") else None
        unit = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}[kind.unit]
        assert whole is not None
        seconds, rest = divmod(whole, unit)
        text = (datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)).isoformat()
        return text + fraction(rest, unit) + ("Z" if kind.tz else "")
    if pa.types.is_time(kind):
        return value.replace(microsecond=0).isoformat() + fraction(value.microsecond, 1_000_000)
    if pa.types.is_date(kind):
        return value.isoformat()
    return value


def fraction(rest, unit):
    return ("." + str(rest).rjust(len(str(unit)) - 1, "0")).rstrip("0") if rest else ""


def rows(table):
    columns = {}
    for field in table.schema:
        column = table.column(field.name)
        if pa.types.is_timestamp(field.type):  # as integers: Python's times have no nanoseconds
            values = [Stamp(v) if v is not None else None for v in column.cast(pa.int64()).to_pylist()]
        else:
            values = column.to_pylist()
        columns[field.name] = [plain(value, field.type) for value in values]
    return [{name: columns[name][row] for name in columns} for row in range(len(table))]


class Stamp:
    def __init__(self, value):
        self.value = value


def expected(name, table):
    lines = [json.dumps(row, ensure_ascii=False) for row in rows(table)]
    text = ("\n".join(lines) + "\n").encode()
    (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(text, mtime=0))


def write(name, table, **options):
    pq.write_table(table, folder / f"{name}.parquet", store_schema=name == "verl-snappy", **options)


# verl's GSM8K layout: examples/data_preprocess/gsm8k.py writes these columns.
texts = ["Anna has {} apples and eats 2.", "¿Cuántos son {} más 1?", "{} 个苹果加一个?", "How many legs have {} cats? 🐈"]
verl = pa.Table.from_pylist(
    [
        {
            "data_source": "openai/gsm8k",
            "prompt": [{"content": texts[row % 4].format(row) + " Let's think step by step.", "role": "user"}],
            "ability": "math",
            "reward_model": {"ground_truth": str(row * 3), "style": "rule"},
            "extra_info": {
                "answer": f"It is {row} × 3.\n#### {row * 3}", "index": row, "question": texts[row % 4].format(row),
                "split": "train",
            },
        }
        for row in range(24)
    ]
)
expected("verl", verl)
for codec in ["none", "snappy", "gzip", "zstd", "lz4"]:
    write(f"verl-{codec}", verl, compression=codec)
write("verl-v2-snappy", verl, compression="snappy", data_page_version="2.0")
write("verl-v2-gzip-plain", verl, compression="gzip", data_page_version="2.0", use_dictionary=False)
write("verl-v2-zstd-groups", verl, compression="zstd", data_page_version="2.0", row_group_size=7)
write("verl-brotli", verl, compression="brotli")

# Nesting: null, empty and full at every level.
message = pa.struct([("role", pa.string()), ("content", pa.string()), ("name", pa.string())])
nested_type = pa.schema(
    [
        ("prompt", pa.list_(message)),
        ("tags", pa.list_(pa.list_(pa.string()))),
        ("info", pa.struct([("deep", pa.struct([("numbers", pa.list_(pa.int64())), ("note", pa.string())])), ("k", pa.int32())])),
        ("scores", pa.map_(pa.string(), pa.float64())),
        pa.field("weight", pa.float64(), nullable=False),
    ]
)
nested_rows = []
for row in range(40):
    nested_rows.append(
        {
            "prompt": [
                {"role": "system" if turn == 0 else "user", "content": f"turn {turn} of {row} é", "name": None if turn else "n"}
                for turn in range(1 + row % 3)
            ],
            "tags": [None, [], [[]], [None, ["a", None, ""]], [["b"] * (row % 5), ["c"]]][row % 5],
            "info": [
                None,
                {"deep": None, "k": row},
                {"deep": {"numbers": None, "note": "x"}, "k": None},
                {"deep": {"numbers": [], "note": None}, "k": -row},
                {"deep": {"numbers": list(range(row)), "note": "line\nbreak \"quoted\" \\ \u2028"}, "k": 1},
            ][row % 5],
            "scores": [None, [], [("a", 0.5)], [("a", None), ("ß", -1e300)]][row % 4],
            "weight": row / 7,
        }
    )
nested = pa.Table.from_pylist(nested_rows, schema=nested_type)
expected("nested", nested)
write("nested-snappy", nested, compression="snappy")
write("nested-v2-none-pages", nested, compression="none", data_page_version="2.0", data_page_size=64, write_batch_size=3)
write("nested-v1-none-pages", nested, compression="none", data_page_size=64, write_batch_size=3, use_dictionary=False)
write("nested-groups", nested, compression="gzip", row_group_size=11, data_page_size=64, write_batch_size=2)
write("nested-checksums", nested, compression="snappy", write_page_checksum=True)
write("nested-legacy", nested, compression="none", use_compliant_nested_type=False)

# Types.
count = 150
types = pa.table(
    {
        "prompt": pa.array([f"prompt {row // 3}" for row in range(count)]),
        "flag": pa.array([None if row % 11 == 0 else row % 3 == 0 for row in range(count)]),
        "i8": pa.array([row % 256 - 128 for row in range(count)], pa.int8()),
        "u16": pa.array([row * 200 for row in range(count)], pa.uint16()),
        "i32": pa.array([None if row % 7 == 0 else (-1) ** row * row * 7_000_000 for row in range(count)], pa.int32()),
        "u32": pa.array([4_294_967_295 - row for row in range(count)], pa.uint32()),
        "i64": pa.array([(-1) ** row * row * 30_000_000_000_000 for row in range(count)], pa.int64()),
        "u64": pa.array([row * 30_000_000_000_000 for row in range(count)], pa.uint64()),
        "f32": pa.array([None if row % 13 == 0 else row / 3 for row in range(count)], pa.float32()),
        "f64": pa.array([math.nan if row % 17 == 0 else (-1) ** row * 1.1**row for row in range(count)], pa.float64()),
        "constant": pa.array(["always the same"] * count),
        "nothing": pa.array([None] * count, pa.null()),
        "empty": pa.array([None] * count, pa.string()),
        "decimal9": pa.array([decimal.Decimal(row - 75) / 100 for row in range(count)], pa.decimal128(9, 2)),
        "decimal30": pa.array([decimal.Decimal((row - 75) * 10**20) / 10**5 for row in range(count)], pa.decimal128(30, 5)),
        "date": pa.array([datetime.date(1968, 2, 20) + datetime.timedelta(days=97 * row) for row in range(count)]),
        "time": pa.array([datetime.time(row % 24, row % 60, 1, row * 1_000) for row in range(count)], pa.time64("us")),
        "milliseconds": pa.array([(row - 75) * 98_765_432_101 for row in range(count)], pa.timestamp("ms")),
        "microseconds": pa.array([(row - 75) * 98_765_432_101_111 for row in range(count)], pa.timestamp("us", tz="UTC")),
        "nanoseconds": pa.array([(row - 75) * 9_876_543_210_111_111 for row in range(count)], pa.timestamp("ns")),
        "words": pa.array([f"{'anti' * (row % 3)}dis{row}" for row in range(count)], pa.large_string()),
    }
)
expected("types", types)
write("types-dictionary", types, compression="snappy")
write("types-plain", types, compression="gzip", use_dictionary=False, data_page_size=500)
delta = {
    "i8": "DELTA_BINARY_PACKED", "u16": "DELTA_BINARY_PACKED", "i32": "DELTA_BINARY_PACKED", "i64": "DELTA_BINARY_PACKED",
    "u32": "DELTA_BINARY_PACKED", "u64": "DELTA_BINARY_PACKED", "date": "DELTA_BINARY_PACKED",
    "microseconds": "DELTA_BINARY_PACKED", "flag": "RLE",
    "prompt": "DELTA_BYTE_ARRAY", "words": "DELTA_BYTE_ARRAY", "constant": "DELTA_LENGTH_BYTE_ARRAY",
    "empty": "DELTA_LENGTH_BYTE_ARRAY", "f32": "BYTE_STREAM_SPLIT", "f64": "BYTE_STREAM_SPLIT",
    "decimal30": "BYTE_STREAM_SPLIT",
}
write("types-delta", types, compression="zstd", use_dictionary=False, column_encoding=delta)
write("types-delta-v2", types, compression="snappy", use_dictionary=False, column_encoding=delta, data_page_version="2.0", row_group_size=128)
write("types-int96", types.select(["prompt", "milliseconds"]), compression="none", use_deprecated_int96_timestamps=True)
write("types-fallback", types.select(["prompt", "words"]), compression="none", dictionary_pagesize_limit=200, write_batch_size=16)

# Whole numbers that no double holds, in one file as they are and in one packed by their differences.
wide = pa.table(
    {
        "prompt": pa.array(["a", "b", "c", "d"]),
        "i64": pa.array([2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)], pa.int64()),
        "u64": pa.array([2**64 - 1, 2**53 + 1, 2**63 + 1, 0], pa.uint64()),
        "decimal38": pa.array([decimal.Decimal(10**37 + 1)] * 4, pa.decimal128(38, 0)),
    }
)
expected("wide", wide)
write("wide-plain", wide, compression="none")
packed = {"i64": "DELTA_BINARY_PACKED", "u64": "DELTA_BINARY_PACKED"}
write("wide-delta", wide, compression="none", use_dictionary=False, column_encoding=packed)

for name, column in {
    "bad-binary": pa.array([b"\xff\xfe", b"ok"]), "bad-float16": pa.array([1, 2], pa.float16()),
    "bad-fixed": pa.array([b"ab", b"cd"], pa.binary(2)), "bad-infinite": pa.array([1.0, math.inf]),
    "bad-map": pa.array([[(1, "a")], []], pa.map_(pa.int32(), pa.string())),
}.items():
    pq.write_table(pa.table({"prompt": ["a", "b"], "other": column}), folder / f"{name}.parquet", store_schema=False)

# Some kilobytes that claim fifty million rows, and a row whose list claims as many.
nothing = pa.nulls(50_000_000, pa.string())
long = pa.ListArray.from_arrays(pa.array([0, 50_000_000], pa.int32()), nothing)
for name, column in {"bomb-rows": nothing, "bomb-list": long}.items():
    pq.write_table(
        pa.table({"prompt": column}), folder / f"{name}.parquet", store_schema=False, compression="zstd",
        row_group_size=50_000_000, write_batch_size=50_000_000, write_statistics=False, data_page_size=1 << 30, max_rows_per_page=50_000_000)

total = sum(path.stat().st_size for path in folder.iterdir())
print(f"{len(list(folder.iterdir()))} files, {total} bytes")
