"""A service's model in memory: shapes numbered, members with their wire names, names of C things."""
import re

SCALARS = {"string": "STRING", "character": "STRING", "blob": "BLOB", "integer": "INT", "long": "LONG", "float": "DOUBLE",
           "double": "DOUBLE", "boolean": "BOOL", "timestamp": "TIME"}
NUMBERS = ("INT", "LONG", "DOUBLE")
C_TYPES = {"STRING": "struct str", "BLOB": "struct str", "INT": "struct opt_int", "LONG": "struct opt_int",
           "DOUBLE": "struct opt_double", "BOOL": "struct opt_bool", "TIME": "struct opt_time"}
KEYWORDS = {"default", "return", "register", "continue", "break", "auto", "static", "const", "void", "int", "long", "short", "char",
            "double", "float", "for", "if", "else", "switch", "case", "do", "while", "enum", "struct", "union", "signed",
            "unsigned", "volatile", "extern", "goto", "inline", "restrict", "sizeof", "typedef"}


class ModelError(Exception):
    pass


def snake(name):
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name))
    name = re.sub(r"[^A-Za-z0-9]", "_", name).lower()
    return name + "_" if name in KEYWORDS else name


def kebab(name):
    return snake(name).strip("_").replace("_", "-")


class Member:
    def __init__(self, name, ref, protocol, required, private=False):
        self.name, self.shape_name, self.private = name, ref["shape"], private
        self.required = required
        self.token = bool(ref.get("idempotencyToken"))
        self.sensitive = False
        self.always = False
        location = ref.get("locationName")
        self.out = location or name
        self.field = snake(name)
        if protocol == "ec2":  # botocore's EC2Serializer: queryName, else locationName or the name, its first letter raised
            self.inn = ref.get("queryName") or (location or name)[0].upper() + (location or name)[1:]
        else:
            self.inn = location or name


class Shape:
    def __init__(self, name, data, protocol):
        self.name, self.type, self.data = name, data["type"], data
        self.kind = SCALARS.get(self.type) or {"structure": "STRUCT", "list": "LIST"}.get(self.type)
        if self.kind is None:
            raise ModelError(f"shape {name}: type {self.type} is not known yet")
        required = set(data.get("required", ()))
        self.members = [Member(n, r, protocol, n in required) for n, r in data.get("members", {}).items()]
        self.enum = sorted(data.get("enum", ()), key=lambda v: v.encode())
        if self.kind == "LIST":
            self.element_name = data["member"]["shape"]
            self.flattened = bool(data.get("flattened"))
            self.item = data["member"].get("locationName") or ("member" if protocol == "query" else "item")
        self.index = None

    def is_ranged(self):
        return "min" in self.data or "max" in self.data

    def member(self, name):
        for m in self.members:
            if m.name == name:
                return m
        return None


class Model:
    def __init__(self, service, data, rows):
        self.service = service
        self.metadata = data["metadata"]
        self.protocol = self.metadata["protocol"]
        self.operations = dict(sorted(data["operations"].items(), key=lambda kv: kv[0].encode()))
        self.shapes = {n: Shape(n, s, self.protocol) for n, s in data["shapes"].items()}
        for name in rows.unchecked:
            self.shapes[name].enum = []
        self.add_private(rows)
        self.mark_always(rows)
        self.add_ranges(rows)
        for i, shape in enumerate(self.shapes.values()):
            shape.index = i
        n = 0
        for shape in self.shapes.values():
            shape.first = n
            for m in shape.members:
                m.index = n
                n += 1
                m.sensitive = bool(self.shapes[m.shape_name].data.get("sensitive"))
            if len({m.field for m in shape.members}) != len(shape.members):
                raise ModelError(f"shape {shape.name}: two members with one C name")
        if n >= 0xffff:
            raise ModelError("more members than a path step can name")

    def add_private(self, rows):
        plain = {"String": "string", "Integer": "integer", "Long": "long", "Boolean": "boolean", "DateTime": "timestamp"}
        for name, members in rows.private.items():
            if name not in self.shapes:
                self.shapes[name] = Shape(name, {"type": "structure", "members": {}}, self.protocol)
            for member, shape in members:
                if shape.startswith("List:"):
                    element = shape[5:]
                    shape = "Haar" + element + "List"
                    self.shapes.setdefault(shape, Shape(shape, {"type": "list", "member": {"shape": element}}, self.protocol))
                elif shape not in self.shapes and shape in plain:
                    self.shapes[shape] = Shape(shape, {"type": plain[shape]}, self.protocol)
                elif shape not in self.shapes and shape not in rows.private:
                    raise ModelError(f"private {name}.{member}: no shape {shape}")
                if self.shapes[name].member(member):
                    raise ModelError(f"private {name}.{member}: AWS's shape has such a member")
                self.shapes[name].members.append(Member(member, {"shape": shape}, self.protocol, False, private=True))

    def mark_always(self, rows):
        for name, members in rows.always.items():
            shape = self.shape(name)
            for member in members:
                m = shape.member(member)
                if not m:
                    raise ModelError(f"always {name}: no member {member}")
                m.always = True

    def add_ranges(self, rows):
        """A number's range, where the model tells none, is its member's: the member gets a shape of its own."""
        for (name, member), limits in rows.ranges.items():
            m = self.shape(name).member(member)
            if not m:
                raise ModelError(f"range {name}: no member {member}")
            shape = self.shapes[m.shape_name]
            if shape.kind not in NUMBERS or shape.is_ranged():
                raise ModelError(f"range {name}.{member}: {'the model has one' if shape.is_ranged() else 'it is no number'}")
            if limits is None:
                continue
            m.shape_name = f"{shape.name}:{limits[0]}:{'' if limits[1] is None else limits[1]}"
            data = {"type": shape.type, "min": limits[0]} | ({} if limits[1] is None else {"max": limits[1]})
            self.shapes.setdefault(m.shape_name, Shape(m.shape_name, data, self.protocol))

    def check_ranges(self, rows, operations):
        """Every number that a built operation takes is held to a range before its handler sees it, or the rows name the
        handler that does so itself."""
        bare, reached = set(), set()

        def walk(shape):
            while shape.kind == "LIST":
                shape = self.shapes[shape.element_name]
            if shape.name in reached:
                return
            reached.add(shape.name)
            for m in shape.members:
                inner = self.shapes[m.shape_name]
                walk(inner)
                while inner.kind == "LIST":
                    inner = self.shapes[inner.element_name]
                if inner.kind in NUMBERS and not m.private and not inner.is_ranged() and (shape.name, m.name) not in rows.ranges:
                    bare.add(f"{shape.name} {m.name}")

        for name in operations:
            if "input" in self.operations[name]:
                walk(self.shape(self.operations[name]["input"]["shape"]))
        stale = {f"{name} {member}" for name, member in rows.ranges if name not in reached}
        if bare or stale:
            raise ModelError("; ".join(["numbers without a range (add it to a `range` block): " + ", ".join(sorted(bare))] * bool(bare)
                                       + ["ranges of what no built operation takes: " + ", ".join(sorted(stale))] * bool(stale)))

    def shape(self, name):
        if name not in self.shapes:
            raise ModelError(f"no shape {name}")
        return self.shapes[name]

    def struct(self, shape):
        """The C type of a value of the shape, as a list's item."""
        if shape.kind in ("STRUCT", "LIST"):
            return f"struct {self.service}_{snake(shape.name)}"
        return C_TYPES[shape.kind]

    def path(self, root, text):
        """Member path ("Placement.AvailabilityZone") from a structure: the members' indexes; lists are entered on the way."""
        shape, steps = self.shape(root), []
        for part in text.split("."):
            while shape.kind == "LIST":
                shape = self.shapes[shape.element_name]
            m = shape.member(part) if shape.kind == "STRUCT" else None
            if not m:
                raise ModelError(f"path {text} of {root}: {shape.name} has no member {part}")
            steps.append(m.index)
            shape = self.shapes[m.shape_name]
        return steps

    def filter_path(self, root, name):
        """AWS's filter names are member paths in kebab case, by the member's own or its wire name. None when it is not one."""
        def options(shape, parts):
            while shape.kind == "LIST":
                shape = self.shapes[shape.element_name]
            if not parts:
                return [] if shape.kind != "STRUCT" else None
            if shape.kind != "STRUCT":
                return None
            for m in shape.members:
                names = {kebab(m.name), kebab(m.out), kebab(m.name).rstrip("s"), kebab(m.out).removesuffix("-set")}
                if parts[0] in names:
                    rest = options(self.shapes[m.shape_name], parts[1:])
                    if rest is not None:
                        return [m.index] + rest
            return None
        return options(self.shape(root), name.split("."))
