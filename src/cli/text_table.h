/* Rows of text in columns, for a terminal: control bytes and bytes that are no UTF-8 escaped, cut to its width. */
#pragma once

#include "base/buf.h"

enum { TABLE_COLUMNS = 8 };

struct text_table {
    size_t columns;
    size_t flexible; /* the column that gives way when a row is too long */
    struct buf cells;
    size_t *ends, count, capacity; /* each cell's end in cells */
};

void text_table_add(struct text_table *table,
                    struct str cell); /* row by row, left to right; the first row is the head */
/* width 0: as wide as it gets. */
void text_table_print(const struct text_table *table, size_t width, struct buf *out);
void text_table_free(struct text_table *table);

size_t terminal_width(int fd); /* 0: no terminal */
