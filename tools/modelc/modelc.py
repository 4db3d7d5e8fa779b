#!/usr/bin/env python3
"""The model compiler: AWS's models and our rows in, C out. Runs at build time, under Meson.

    modelc.py OUTDIR MODELS SERVICE...

For each service it reads MODELS/<service>.json (the API model without prose) and, where there is one,
MODELS/<service>.rows (which operations are built, which kinds of resource there are, members of our own),
and writes <service>.h (structs, handlers' prototypes, accessors) and <service>.c (tables: src/aws/shape.h and
src/operation/resource.h say what they hold). Every path in a row is resolved here; one that cannot be fails the build.
"""
import json
import os
import sys

from model import Model, ModelError
from rows import Rows
from emit_shapes import built_operations, emit_header, emit_tables
from emit_rows import emit_rows_header, emit_rows_tables
from errors import read_errors, emit_errors


def compile_service(models, out, name):
    with open(os.path.join(models, name + ".json")) as f:
        data = json.load(f)
    rows_path = os.path.join(models, name + ".rows")
    filters_path = os.path.join(models, name + "-filters.json")
    documented = json.load(open(filters_path)) if os.path.exists(filters_path) else {}
    rows = Rows(rows_path) if os.path.exists(rows_path) else Rows(None)
    model = Model(name, data, rows)
    model.check_ranges(rows, built_operations(model, rows))
    header = emit_header(model, rows) + emit_rows_header(model, rows)
    tables = emit_tables(model, rows) + emit_rows_tables(model, rows, documented)
    write(os.path.join(out, name + ".h"), header)
    write(os.path.join(out, name + ".c"), tables)


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


def main():
    out, models, *services = sys.argv[1:]
    try:
        for name in services:
            compile_service(models, out, name)
        table = read_errors(os.path.join(models, "errors"))
        header, source = emit_errors(table)
        write(os.path.join(out, "errors.h"), header)
        write(os.path.join(out, "errors.c"), source)
    except ModelError as e:
        sys.exit(f"modelc: {e}")


main()
