"""models/errors: a line an error code (`ec2 InvalidVpcID.NotFound 400`) → struct aws_error EC2_INVALID_VPC_ID_NOT_FOUND."""
import re

from model import ModelError


def constant(prefix, code):
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", code))
    return (prefix + "_" + re.sub(r"[^A-Za-z0-9]+", "_", words)).upper().replace("IPV_4", "IPV4").replace("IPV_6", "IPV6")


def read_errors(path):
    table = {}
    for raw in open(path):
        words = raw.split("#")[0].split()
        if not words:
            continue
        prefix, code, status = words
        name = constant(prefix, code)
        if name in table:
            raise ModelError(f"errors: {code} twice")
        table[name] = (code, int(status))
    return table


def emit_errors(table):
    header = ["/* Written by tools/modelc from models/errors. */", "#pragma once", '#include "aws/error.h"', ""]
    source = ["/* Written by tools/modelc from models/errors. */", '#include "errors.h"', ""]
    for name, (code, status) in table.items():
        header.append(f"extern const struct aws_error {name};")
        source.append(f'const struct aws_error {name} = {{"{code}", {status}}};')
    return "\n".join(header) + "\n", "\n".join(source) + "\n"
