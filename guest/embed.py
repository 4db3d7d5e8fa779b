#!/usr/bin/env python3
"""Writes files as a C header: embed.py OUTPUT NAME=FILE …"""
import sys

out, *pairs = sys.argv[1:]
with open(out, "w", encoding="ascii") as f:
    f.write("/* Made by guest/embed.py. */\n#pragma once\n\n")
    for pair in pairs:
        name, path = pair.split("=", 1)
        data = open(path, "rb").read()
        f.write(f"static const unsigned char {name}[{len(data)}] __attribute__((aligned(8))) = {{\n")
        for at in range(0, len(data), 32):
            f.write(",".join(map(str, data[at:at + 32])) + ",\n")
        f.write("};\n")
