#include "aws/form.h"

#include "errors.h"

#include <string.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes in place at `out`, which has room for s. */
static bool decode(struct str s, char *out, struct str *ret)
{
    char *at = out;

    for (size_t i = 0; i < s.len; i++) {
        char c = s.p[i];

        if (c == '+') {
            c = ' ';
        } else if (c == '%') {
            int high = i + 1 < s.len ? hex_digit(s.p[i + 1]) : -1, low = i + 2 < s.len ? hex_digit(s.p[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = (char)(high << 4 | low);
            i += 2;
        }
        *at++ = c;
    }
    *ret = (struct str){out, (size_t)(at - out)};
    return true;
}

static void add(struct arena *arena, struct form *form, struct form_pair pair)
{
    if (form->count == form->capacity) {
        size_t capacity = form->capacity ? form->capacity * 2 : 16;
        struct form_pair *pairs = arena_array(arena, struct form_pair, capacity);
        if (form->count)
            memcpy(pairs, form->pairs, form->count * sizeof *pairs);
        form->pairs = pairs;
        form->capacity = capacity;
    }
    form->pairs[form->count++] = pair;
}

int form_parse(struct arena *arena, struct str text, struct form *form, struct err *err)
{
    char *room = arena_alloc(arena, text.len + 1);

    while (text.len) {
        struct str value = str_cut(&text, '&'), name = str_cut(&value, '=');
        struct form_pair pair = {S(""), S("")};

        if (name.len == 0 && value.len == 0)
            continue;
        if (form->count == FORM_MAX_PAIRS)
            return err_aws(err, &AWS_MALFORMED_QUERY_STRING, "The query string contains too many parameters.");
        if (!decode(name, room, &pair.name) || !decode(value, room + name.len, &pair.value))
            return err_aws(err, &AWS_MALFORMED_QUERY_STRING, "The query string contains a syntax error.");
        if (!str_is_utf8(pair.name) || !str_is_utf8(pair.value))
            return err_aws(err, &AWS_MALFORMED_QUERY_STRING,
                           "The query string contains a value that is not valid UTF-8.");
        room += name.len + value.len;
        add(arena, form, pair);
    }
    return 0;
}

struct str form_get(const struct form *form, struct str name)
{
    for (size_t i = 0; i < form->count; i++)
        if (str_equal(form->pairs[i].name, name))
            return form->pairs[i].value;
    return (struct str){0};
}
