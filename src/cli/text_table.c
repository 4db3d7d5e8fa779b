#include "cli/text_table.h"

#include "base/mem.h"

#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { GAP = 2, FLEXIBLE_MIN = 6 };

void text_table_add(struct text_table *table, struct str cell)
{
    bool utf8 = str_is_utf8(cell);

    for (size_t i = 0; i < cell.len; i++) {
        unsigned char c = (unsigned char)cell.p[i];
        bool c1 = c == 0xc2 && i + 1 < cell.len && (unsigned char)cell.p[i + 1] < 0xa0; /* U+0080 to U+009F */

        if (c < 0x20 || c == 0x7f || (c >= 0x80 && !utf8) || c1)
            buf_printf(&table->cells, "\\x%02x", c1 ? (unsigned char)cell.p[++i] : c);
        else
            buf_byte(&table->cells, (char)c);
    }
    mem_grow(table->ends, table->count, &table->capacity);
    table->ends[table->count++] = table->cells.len;
}

static struct str cell_at(const struct text_table *table, size_t i)
{
    size_t start = i ? table->ends[i - 1] : 0;

    return (struct str){table->cells.p + start, table->ends[i] - start};
}

/* Characters, counting each code point as one. */
static size_t cell_width(struct str cell)
{
    size_t width = 0;

    for (size_t i = 0; i < cell.len; i++)
        width += ((unsigned char)cell.p[i] & 0xc0) != 0x80;
    return width;
}

static struct str cut_to(struct str cell, size_t width)
{
    size_t i = 0;

    for (; i < cell.len; i++) {
        if (((unsigned char)cell.p[i] & 0xc0) != 0x80 && width-- == 0)
            break;
    }
    return str_first(cell, i);
}

static void measure(const struct text_table *table, size_t width, size_t widths[TABLE_COLUMNS])
{
    size_t sum = (table->columns - 1) * GAP, *flexible = &widths[table->flexible];

    memset(widths, 0, TABLE_COLUMNS * sizeof *widths);
    for (size_t i = 0; i < table->count; i++) {
        size_t w = cell_width(cell_at(table, i));

        if (w > widths[i % table->columns])
            widths[i % table->columns] = w;
    }
    for (size_t c = 0; c < table->columns; c++)
        sum += widths[c];
    if (width && sum > width && *flexible > FLEXIBLE_MIN)
        *flexible = sum - width < *flexible - FLEXIBLE_MIN ? *flexible - (sum - width) : FLEXIBLE_MIN;
}

static void print_cell(struct str cell, size_t width, bool last, struct buf *out)
{
    size_t has = cell_width(cell);

    if (has > width) {
        buf_append(out, cut_to(cell, width - 1));
        buf_append(out, S("…"));
        has = width;
    } else {
        buf_append(out, cell);
    }
    if (!last)
        buf_printf(out, "%*s", (int)(width - has + GAP), "");
}

void text_table_print(const struct text_table *table, size_t width, struct buf *out)
{
    size_t widths[TABLE_COLUMNS];

    measure(table, width, widths);
    for (size_t i = 0; i < table->count; i++) {
        size_t column = i % table->columns;
        bool last = column + 1 == table->columns;

        print_cell(cell_at(table, i), widths[column], last, out);
        if (last)
            buf_byte(out, '\n');
    }
}

void text_table_free(struct text_table *table)
{
    buf_free(&table->cells);
    free(table->ends);
}

size_t terminal_width(int fd)
{
    struct winsize size;

    return isatty(fd) && ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}
