/* Batches: what a row of the log holds, one operation after the other. Names travel in a batch of their own: they must
 * be known before any document is read, so they go into their table at once. */
#pragma once

#include "base/buf.h"

enum op_kind {
    OP_NAME = 1,  /* number, text */
    OP_WORLD,     /* number, account (text), region (id) */
    OP_WORLD_END, /* number */
    OP_PUT,       /* number (of creation), world, kind (a name), id, doc */
    OP_REMOVE,    /* number, world, kind, id */
};

struct op {
    enum op_kind kind;
    uint64_t number, world, name;
    struct str text, id, doc; /* views */
};

void batch_add(struct buf *batch, const struct op *op);
/* The next one: 1, with *at behind it; 0: the end; -1: damaged. */
int batch_next(struct str *at, struct op *ret);
