"""Kinds of resource: accessors for the header, the table of rows for the source."""
from errors import constant
from model import ModelError, snake

PLAIN = {"tag", "tag-key", "tag-value"}  # the generic Describe knows these, and tag:KEY


def kind_indexes(kind):
    """Every path under which records of the kind are found: declared ones, then what it refers to."""
    paths = list(kind.indexes)
    for path, _ in kind.refers:
        if path not in paths:
            paths.append(path)
    return paths


def emit_rows_header(model, rows):
    if not rows.kinds:
        return ""
    s = model.service
    out = ["", "/* Kinds of resource, and their accessors: src/operation/resource.h says what they return and raise. */",
           '#include "operation/resource.h"', f"enum {s}_kind {{"]
    out += [f"    {s.upper()}_{snake(k.name).upper()}," for k in rows.kinds]
    out += [f"    {s.upper()}_KINDS,", "};", f"extern const struct resource {s}_resources[{s.upper()}_KINDS];",
            f"extern const struct store_kind {s}_store_kinds[{s.upper()}_KINDS];", ""]
    for k in rows.kinds:
        name, upper = snake(k.name), f"{s.upper()}_{snake(k.name).upper()}"
        record = model.struct(model.shape(k.record))
        if k.derived:
            out.append(f"int {k.derived}(struct call *call, const {record} *record, {record} *view, struct err *err);")
        if k.kept:
            out.append(f"size_t {k.kept}(struct call *call, const {record} *record, uint64_t *versions, size_t count, size_t max);")
        if k.source:
            out.append(f"bool {k.source}(struct call *call, uint64_t *position, {record} *view);")
        if k.by_id:
            out.append(f"bool {k.by_id}(struct call *call, struct str id, {record} *view);")
        for i, path in enumerate(kind_indexes(k)):
            out.append(f"enum {{ {upper}_BY_{snake(path.replace('.', '_')).upper()} = {i} }};")
        if not k.source:  # what is computed has no records to get
            out.append(f"RESOURCE_ACCESSORS({name}, {upper}, {record})")
    return "\n".join(out) + "\n"


def emit_rows_tables(model, rows, documented):
    if not rows.kinds:
        return ""
    s, out, resources, kinds = model.service, [], [], []
    for k in rows.kinds:
        name = snake(k.name)
        indexes = kind_indexes(k)
        for i, path in enumerate(indexes):
            out.append(steps(f"{name}_index_{i}", model.path(k.record, path)))
        filters = resolve_filters(model, k, documented)
        lines = []
        for i, (f, path) in enumerate(sorted(filters.items())):
            out.append(steps(f"{name}_filter_{i}", path))
            lines.append(f'    {{"{f}", {name}_filter_{i}}},')
        if lines:
            out += [f"static const struct resource_filter {name}_filters[] = {{", *lines, "};"]
        refers = [f"    {{{indexes.index(path)}, {s.upper()}_{snake(target).upper()}}}," for path, target in k.refers]
        if refers:
            out += [f"static const struct resource_reference {name}_refers[] = {{", *refers, "};"]
        kinds.append(store_kind(model, k, indexes))
        resources.append(resource(model, k, len(lines), len(refers)))
        if k.derived:
            out.append(f"static int derive_{name}(struct call *call, const void *record, void *view, struct err *err)\n"
                       f"{{\n    return {k.derived}(call, record, view, err);\n}}")
        if k.kept:
            out.append(f"static size_t kept_{name}(struct call *call, const void *record, uint64_t *versions, size_t count, size_t max)\n"
                       f"{{\n    return {k.kept}(call, record, versions, count, max);\n}}")
        if k.by_id:
            out.append(f"static bool by_id_{name}(struct call *call, struct str id, void *view)\n"
                       f"{{\n    return {k.by_id}(call, id, view);\n}}")
        if k.source:
            out.append(f"static bool source_{name}(struct call *call, uint64_t *position, void *view)\n"
                       f"{{\n    return {k.source}(call, position, view);\n}}")
    return "\n".join(out + [f"const struct store_kind {s}_store_kinds[] = {{", *kinds, "};",
                            f"const struct resource {s}_resources[] = {{", *resources, "};"]) + "\n"


def steps(name, path):
    return f"static const path_step {name}[] = {{{', '.join(map(str, path))}, NO_MEMBER}};"


def resolve_filters(model, kind, documented):
    if not kind.describe:
        return {}
    result, unresolved = {}, []
    names = set(documented.get(kind.describe["operation"], ())) | set(kind.filters)
    for name in names:
        if name.startswith("tag:") or name in PLAIN or name in kind.unfiltered:
            continue
        if name in kind.filters:
            result[name] = model.path(kind.record, kind.filters[name])
            continue
        path = model.filter_path(kind.record, name)
        if path is None:
            unresolved.append(name)
        else:
            result[name] = path
    if unresolved:
        raise ModelError(f"kind {kind.name}: no member's path, say `filter NAME = PATH`: {' '.join(sorted(unresolved))}")
    return result


def store_kind(model, k, indexes):
    name, record = snake(k.name), model.shape(k.record)
    m = record.member(k.id_member)
    if not m:
        raise ModelError(f"kind {k.name}: no member {k.id_member}")
    paths = ", ".join(f"{name}_index_{i}" for i in range(len(indexes)))
    return (f'    {{"{k.name}", &{model.service}_service, {record.index}, offsetof({model.struct(record)}, {m.field}), '
            f"{len(indexes)}, {{{paths}}}}},")


def offset(model, shape, name):
    if not name:
        return "NO_MEMBER"
    m = shape.member(name)
    if not m:
        raise ModelError(f"{shape.name} has no member {name}")
    return f"offsetof({model.struct(shape)}, {m.field})"


def resource(model, k, filters, refers):
    s, name, record = model.service, snake(k.name), model.shape(k.record)
    fields = [f'.name = "{k.name}"', f'.prefix = "{k.id_prefix}"', f".service = &{s}_service", f".record = {record.index}",
              f".malformed = &{constant(s, k.malformed)}", f".not_found = &{constant(s, k.not_found)}",
              f'.not_found_text = "{k.not_found_text}"',
              f".id_offset = {offset(model, record, k.id_member)}", f".tags = {offset(model, record, k.tags)}", f".arn = {offset(model, record, k.arn)}"]
    if k.tagged_as:
        fields.append(f'.tagged_as = "{k.tagged_as}"')
    if k.derived:
        fields.append(f".derive = derive_{name}")
    if k.kept:
        fields.append(f".kept_while = kept_{name}, .encoded = {offset(model, record, 'Encoded')}")
    if k.source:
        fields.append(f".source = source_{name}")
    if k.by_id:
        fields.append(f".source_by_id = by_id_{name}")
    if k.page:
        fields.append(f".page = {k.page}")
    fields.append(f".hidden_of = {s.upper()}_{snake(k.hidden_of).upper()}" if k.hidden_of else ".hidden_of = NO_KIND")
    if k.exclusive:
        fields.append(".ids_exclude_pages = true")
    if filters:
        fields.append(f".filters = {name}_filters, .filter_count = {filters}")
    if refers:
        fields.append(f".refers = {name}_refers, .refer_count = {refers}")
    if k.describe:
        op = model.operations[k.describe["operation"]]
        request, answer = model.shape(op["input"]["shape"]), model.shape(op["output"]["shape"])
        def has(shape, member):
            return member if shape.member(member) else None
        fields.append(f".ids = {offset(model, request, k.describe.get('ids'))}, .request_filters = {offset(model, request, has(request, 'Filters'))}, "
                      f".max_results = {offset(model, request, has(request, 'MaxResults'))}, "
                      f".next_token = {offset(model, request, has(request, 'NextToken'))}, "
                      f".list = {offset(model, answer, k.describe.get('list'))}, "
                      f".answer_next_token = {offset(model, answer, has(answer, 'NextToken'))}")
    return "    {" + ", ".join(fields) + "},"
