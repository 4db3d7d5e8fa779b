"""Reads <service>.rows. A line that begins at the margin opens a block; indented lines belong to it; # begins a comment."""
import shlex


class Kind:
    def __init__(self, name):
        self.name = name
        self.record = self.id_prefix = self.id_member = None
        self.malformed = self.not_found = self.not_found_text = None
        self.describe = None        # {"operation", "ids", "list"}
        self.derived = None         # a C function's name
        self.refers = []            # [(path, kind)]
        self.indexes = []           # [path]
        self.filters = {}           # {name: path}
        self.unfiltered = []        # documented names that answer nothing yet
        self.tags = None            # path of the tags
        self.tagged_as = None
        self.arn = None             # the member that has its ARN, which is made when it is shown
        self.source = None          # a C function's name: records that are computed, not stored
        self.by_id = None           # a C function's name: one computed record, without a pass over all
        self.kept = None            # a C function's name: encodings of its views are kept while what it names is the same
        self.page = 0               # how many a page has when the caller does not say; 0: all
        self.hidden_of = None       # a kind: an id that this one does not show, but that one has, is passed over
        self.exclusive = False      # ids and MaxResults exclude each other


class Rows:
    def __init__(self, path):
        self.private, self.always, self.operations, self.kinds = {}, {}, {}, []
        self.tagged = []
        self.ranges = {}            # {(shape, member): (least, most)}; None: open; the pair None: its handler checks it
        self.unchecked = []         # shapes whose enum is not held against input: handlers know more, and other errors
        if path:
            with open(path) as f:
                self.read(f)

    def read(self, lines):
        block = None
        for number, raw in enumerate(lines, 1):
            words = shlex.split(raw, comments=True)
            if not words:
                continue
            try:
                if not raw[0].isspace():
                    block = self.open(words)
                else:
                    block(words)
            except (IndexError, KeyError, ValueError, TypeError) as e:
                raise SystemExit(f"modelc: rows line {number}: {raw.strip()}: {e}")

    def open(self, words):
        if words[0] == "private":
            members = self.private.setdefault(words[1], [])
            return lambda w: members.append((w[0], w[1]))
        if words[0] == "always":
            names = self.always.setdefault(words[1], [])
            names.extend(words[2:])
            return lambda w: names.extend(w)
        if words[0] == "unchecked":
            self.unchecked += words[1:]
            return None
        if words[0] == "range":
            return lambda w: self.range_line(words[1], w)
        if words[0] == "operation":
            self.operations[words[1]] = words[2]
            return None
        if words[0] == "kind":
            kind = Kind(words[1])
            self.kinds.append(kind)
            return lambda w: self.kind_line(kind, w)
        raise ValueError(f"unknown block {words[0]}")

    def range_line(self, shape, w):
        if (shape, w[0]) in self.ranges:
            raise ValueError("twice")
        if w[1:] == ["handler"]:
            self.ranges[shape, w[0]] = None
            return
        least, most = w[1:]
        self.ranges[shape, w[0]] = (int(least), None if most == "-" else int(most))

    @staticmethod
    def kind_line(kind, w):
        if w[0] == "record":
            kind.record = w[1]
        elif w[0] == "id":
            kind.id_prefix, kind.id_member = w[1], w[2]
        elif w[0] == "malformed":
            kind.malformed = w[1]
        elif w[0] == "not-found":
            kind.not_found, kind.not_found_text = w[1], w[2]
        elif w[0] == "describe":
            kind.describe = {"operation": w[1], **dict(zip(w[2::2], w[3::2]))}
        elif w[0] == "arn":
            kind.arn = w[1]
        elif w[0] == "derived":
            kind.derived = w[1]
        elif w[0] == "kept-while":
            kind.kept = w[1]
        elif w[0] == "source":
            kind.source = w[1]
            kind.by_id = w[3] if len(w) > 3 else None  # source NAME by-id FUNCTION
        elif w[0] == "page":
            kind.page = int(w[1])
        elif w[0] == "hidden-of":
            kind.hidden_of = w[1]
        elif w[0] == "ids-exclude-pages":
            kind.exclusive = True
        elif w[0] == "refers-to":
            kind.refers.append((w[1], w[2]))
        elif w[0] == "index":
            kind.indexes.append(w[1])
        elif w[0] == "filter":
            if w[2] != "=":
                raise ValueError("filter NAME = PATH")
            kind.filters[w[1]] = w[3]
        elif w[0] == "unfiltered":
            kind.unfiltered.extend(w[1:])
        elif w[0] == "tagged-as":
            kind.tagged_as = w[1]
            kind.tags = w[2] if len(w) > 2 else "Tags"
        else:
            raise ValueError(f"unknown column {w[0]}")
