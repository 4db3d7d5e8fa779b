#include "store/batch.h"

#include "store/wire.h"

void batch_add(struct buf *batch, const struct op *op)
{
    buf_byte(batch, (char)op->kind);
    put_number(batch, op->number);
    switch (op->kind) {
    case OP_NAME:
        put_bytes(batch, op->text);
        break;
    case OP_WORLD:
        put_bytes(batch, op->text);
        put_bytes(batch, op->id);
        break;
    case OP_WORLD_END:
        break;
    case OP_PUT:
    case OP_REMOVE:
        put_number(batch, op->world);
        put_number(batch, op->name);
        put_bytes(batch, op->id);
        if (op->kind == OP_PUT)
            put_bytes(batch, op->doc);
        break;
    }
}

static bool take_record(struct str *at, struct op *op)
{
    return take_number(at, &op->world) && take_number(at, &op->name) && take_bytes(at, &op->id);
}

static bool take_op(struct str *at, struct op *op)
{
    switch (op->kind) {
    case OP_NAME:
        return take_bytes(at, &op->text);
    case OP_WORLD:
        return take_bytes(at, &op->text) && take_bytes(at, &op->id);
    case OP_WORLD_END:
        return true;
    case OP_PUT:
        return take_record(at, op) && take_bytes(at, &op->doc);
    case OP_REMOVE:
        return take_record(at, op);
    }
    return false;
}

int batch_next(struct str *at, struct op *ret)
{
    if (at->len == 0)
        return 0;
    *ret = (struct op){.kind = (enum op_kind)(unsigned char)*at->p};
    *at = str_skip(*at, 1);
    return take_number(at, &ret->number) && take_op(at, ret) ? 1 : -1;
}
