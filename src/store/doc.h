/*
 * Documents: a record's struct as bytes, by its descriptor.
 *
 *   struct   { key value } 0        key: the name's number << 3 | how the value is written (enum doc_wire)
 *   INT      zigzag, base 128       integers, longs, times
 *   DOUBLE   8 bytes, little-endian
 *   BOOL     a byte
 *   BYTES    length, bytes          strings, blobs
 *   LIST     count, and if there are any: how items are written (a byte), the items
 *
 * Members are found by name, so a later model may add, move and drop them. A member whose name the model
 * lacks, or that it writes in another way, is foreign: a record keeps its document then, and encoding takes
 * the foreign members over: those of a structure while it is there, those of a list's item while the list
 * has an item with the same first text. What the model knows always wins.
 */
#pragma once

#include "base/buf.h"
#include "store/names.h"

enum { DOC_MAX_DEPTH = 100, DOC_MAX_SIZE = 1 << 28 };

/* `foreign`: the document that the record had, if it held foreign members. True when the new one does. */
bool doc_encode(struct names *names, const struct service *service, const struct shape *shape, const void *data,
                struct str foreign, struct buf *out);

/*
 * Decoding is in two steps: doc_measure checks all of the document and says how many bytes its struct takes
 * with all that hangs on it (false: damaged); doc_decode fills that many zeroed bytes, aligned to 8.
 */
bool doc_measure(struct names *names, const struct service *service, const struct shape *shape, struct str doc,
                 size_t *ret_size, bool *ret_foreign);
void doc_decode(struct names *names, const struct service *service, const struct shape *shape, struct str doc,
                void *to);
