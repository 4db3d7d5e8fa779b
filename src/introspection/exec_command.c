#include "introspection/exec_command.h"

#include "base/arena.h"
#include "workload/exec.h"

#include <jansson.h>

enum { SIZE_MAX_CELLS = 10000 };

static int read_words(struct arena *arena, const json_t *list, struct workload_exec *out, struct err *err)
{
    size_t count = json_array_size(list), bytes = 0;
    struct str *words;

    if (!count || count > EXEC_WORDS_MAX)
        return err_plain(err, "command takes a list of 1 to %d strings", EXEC_WORDS_MAX);
    words = arena_array(arena, struct str, count);
    for (size_t i = 0; i < count; i++) {
        const json_t *word = json_array_get(list, i);

        if (!json_is_string(word) || strlen(json_string_value(word)) != json_string_length(word))
            return err_plain(err, "command takes strings, without NUL");
        words[i] = arena_str(arena, (struct str){json_string_value(word), json_string_length(word)});
        bytes += words[i].len + 1;
    }
    if (!words[0].len || bytes > EXEC_COMMAND_MAX - 16)
        return err_plain(err, "command is empty, or longer than %d bytes", EXEC_COMMAND_MAX - 16);
    out->command = words;
    out->count = count;
    return 0;
}

static int read_cells(const json_t *json, const char *name, unsigned fallback, unsigned *ret, struct err *err)
{
    const json_t *value = json_object_get(json, name);

    *ret = fallback;
    if (!value)
        return 0;
    if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > SIZE_MAX_CELLS)
        return err_plain(err, "%s takes a number up to %d", name, SIZE_MAX_CELLS);
    *ret = (unsigned)json_integer_value(value);
    return 0;
}

static int read_all(struct arena *arena, const json_t *json, struct workload_exec *out, struct err *err)
{
    int r = read_words(arena, json_object_get(json, "command"), out, err);

    out->tty = json_is_true(json_object_get(json, "tty"));
    if (r == 0)
        r = read_cells(json, "rows", 24, &out->rows, err);
    if (r == 0)
        r = read_cells(json, "columns", 80, &out->columns, err);
    return r;
}

int exec_command_parse(struct arena *arena, struct str body, struct workload_exec *ret, struct err *err)
{
    json_t *json = json_loadb(body.p ? body.p : "", body.len, JSON_REJECT_DUPLICATES, NULL);
    int r;

    *ret = (struct workload_exec){0};
    r = json_is_object(json) ? read_all(arena, json, ret, err) : err_plain(err, "the body is no JSON object");
    json_decref(json);
    return r;
}
