"""Structs and descriptor tables."""
from model import C_TYPES, ModelError, snake

INT64_MIN, INT64_MAX = "INT64_MIN", "INT64_MAX"


class Pool:
    """Names, each once: a byte of length, the bytes, NUL. A reference is the offset of the length."""

    def __init__(self):
        self.at, self.size, self.parts = {}, 0, []
        self.ref("")

    def ref(self, text):
        data = text.encode()
        if len(data) > 255:
            raise ModelError(f"a name longer than 255 bytes: {text}")
        if text not in self.at:
            self.at[text] = self.size
            self.parts.append(data)
            self.size += len(data) + 2
        return self.at[text]

    def emit(self):
        lines = []
        for data in self.parts:
            text = data.decode().replace("\\", "\\\\").replace('"', '\\"')
            lines.append(f'    "\\{len(data):03o}" "{text}" "\\0"')
        return "\n".join(lines)


def field_type(model, member):
    shape = model.shapes[member.shape_name]
    if shape.kind == "STRUCT":
        return model.struct(shape) + " *"
    return model.struct(shape) + " "


def emit_header(model, rows):
    s = model.service
    out = [f"/* Written by tools/modelc: the shapes of {s}. */", "#pragma once", '#include "aws/shape.h"', "",
           f"extern const struct service {s}_service;", ""]
    structs = [sh for sh in model.shapes.values() if sh.kind == "STRUCT"]
    lists = [sh for sh in model.shapes.values() if sh.kind == "LIST"]
    out += [f"{model.struct(sh)};" for sh in structs]
    out += [f"{model.struct(sh)};" for sh in lists]
    for sh in lists:
        out.append(f"{model.struct(sh)} {{ {model.struct(model.shapes[sh.element_name])} *items; size_t count; }};")
    for sh in structs:
        out.append(f"{model.struct(sh)} {{")
        out += [f"    {field_type(model, m)}{m.field};" for m in sh.members] or ["    char nothing;"]
        out.append("};")
    for name in rows.operations:
        op = model.operations.get(name)
        if not op:
            raise ModelError(f"operation {name}: the model has none")
        out.append(prototype(model, name, op) + ";")
    return "\n".join(out) + "\n"


def prototype(model, name, op):
    output = model.struct(model.shape(op["output"]["shape"])) if "output" in op else "void"
    request = f"const {model.struct(model.shape(op['input']['shape']))}" if "input" in op else "const void"
    return f"int {model.service}_{snake(name)}(struct call *call, {request} *in, {output} *out, struct err *err)"


def range_of(shape):
    return (shape.data.get("min"), shape.data.get("max")) if shape.is_ranged() else None


def integer(value, otherwise):
    return otherwise if value is None else str(int(value))


def emit_tables(model, rows):
    s, pool = model.service, Pool()
    ranges, shapes, members, enums = [(None, None)], [], [], []
    for sh in model.shapes.values():
        first, count, element, item, flags = 0, 0, 0, 0, "0"
        limit = 0
        if range_of(sh):
            if range_of(sh) not in ranges:
                ranges.append(range_of(sh))
            limit = ranges.index(range_of(sh))
        if sh.kind == "STRUCT":
            first, count = sh.first, len(sh.members)
            if any(k.kept and k.record == sh.name for k in rows.kinds):
                if sh.members[-1].name != "Encoded":
                    raise ModelError(f"{sh.name} is kept: its last private member must be Encoded")
                flags = "SHAPE_KEPT"
            members += emit_members(model, sh, pool)
        elif sh.kind == "LIST":
            element, item = model.shapes[sh.element_name].index, pool.ref(sh.item)
            flags = "SHAPE_FLATTENED" if sh.flattened else "0"
        elif sh.enum:
            first, count = len(enums), len(sh.enum)
            enums += [pool.ref(v) for v in sh.enum]
        shapes.append(f"    {{.name = {pool.ref(sh.name)}, .kind = SHAPE_{sh.kind}, .flags = {flags}, .size = sizeof({model.struct(sh)}), "
                      f".count = {count}, .element = {element}, .first = {first}, .item = {item}, .range = {limit}}},")
    operations = emit_operations(model, rows, pool)
    handlers = emit_handlers(model, rows)
    xmlns = model.metadata.get("xmlNamespace", "")
    if not xmlns.endswith("/"):
        xmlns += "/"
    out = [f"/* Written by tools/modelc: {s} as tables. */", f'#include "{s}.h"', '#include "operation/resource.h"', '#include "errors.h"', "",
           f"static const char pool[] =\n{pool.emit()};", "",
           "static const struct shape shapes[] = {", *shapes, "};",
           "static const struct member members[] = {", *members, "};",
           "static const name_ref enums[] = {", "    " + ", ".join(map(str, enums or [0])), "};",
           "static const struct range ranges[] = {",
           *(f"    {{{integer(a, INT64_MIN)}, {integer(b, INT64_MAX)}}}," for a, b in ranges), "};",
           "static const struct operation operations[] = {", *operations, "};", *handlers,
           f"const struct service {s}_service = {{",
           f'    .id = "{s}", .version = "{model.metadata["apiVersion"]}", .xmlns = "{xmlns}",',
           f"    .protocol = PROTOCOL_{model.protocol.upper()}, .pool = pool, .shapes = shapes, .members = members, .enums = enums,",
           "    .ranges = ranges, .operations = operations, .handlers = handlers,",
           f"    .shape_count = {len(model.shapes)}, .operation_count = {len(model.operations)}, .member_count = {len(members)}}};", ""]
    return "\n".join(out) + "\n"


def emit_members(model, sh, pool):
    order = sorted(range(len(sh.members)), key=lambda i: sh.members[i].inn.encode())
    lines = []
    for i, m in enumerate(sh.members):
        flags = [f for f, on in (("MEMBER_REQUIRED", m.required), ("MEMBER_TOKEN", m.token), ("MEMBER_SENSITIVE", m.sensitive),
                                 ("MEMBER_ALWAYS", m.always), ("MEMBER_PRIVATE", m.private)) if on]
        lines.append(f"    {{{pool.ref(m.name)}, {pool.ref(m.inn)}, {pool.ref(m.out)}, {model.shapes[m.shape_name].index}, "
                     f"offsetof({model.struct(sh)}, {m.field}), {' | '.join(flags) or 0}, {order[i]}}},")
    return lines


def position(shape, *names):
    for i, m in enumerate(shape.members):
        if m.name in names:
            return str(i)
    return "NO_MEMBER"


def built_operations(model, rows):
    """Operation names with a handler, in the order of their numbers (from 1): own handlers, then the rows' Describes."""
    described = [k.describe["operation"] for k in rows.kinds if k.describe and "list" in k.describe]
    return list(rows.operations) + [d for d in described if d not in rows.operations]


def emit_operations(model, rows, pool):
    numbers = {name: i for i, name in enumerate(built_operations(model, rows), 1)}
    lines = []
    for name, op in model.operations.items():
        request = model.shape(op["input"]["shape"]) if "input" in op else None
        output = str(model.shape(op["output"]["shape"]).index) if "output" in op else "NO_SHAPE"
        result = op.get("output", {}).get("resultWrapper", "")
        token = "NO_MEMBER"
        if request:
            token = next((str(i) for i, m in enumerate(request.members) if m.token), position(request, "ClientToken"))
        lines.append(f"    {{{pool.ref(name)}, {request.index if request else 'NO_SHAPE'}, {output}, {pool.ref(result)}, "
                     f"{position(request, 'DryRun') if request else 'NO_MEMBER'}, {token}, "
                     f"{position(request, 'TagSpecifications') if request else 'NO_MEMBER'}, {numbers.get(name, 0)}}},")
    return lines


def emit_handlers(model, rows):
    s, lines, names = model.service, [], ["NULL"]
    described = {k.describe["operation"]: i for i, k in enumerate(rows.kinds) if k.describe}
    for name in built_operations(model, rows):
        call = f"{s}_{snake(name)}(call, in, out, err)"
        if name not in rows.operations:
            call = f"resource_describe(call, {described[name]}, in, out, err)"
        lines.append(f"static int call_{snake(name)}(struct call *call, const void *in, void *out, struct err *err)\n"
                     f"{{\n    return {call};\n}}")
        names.append(f"call_{snake(name)}")
    return lines + ["static operation_handler *const handlers[] = {" + ", ".join(names) + "};"]
