/*
 * The codecs at a pipe, for test_oracle.py. A question is a line and a body:
 *
 *   decode SERVICE OPERATION LENGTH     body: a form              answer: its leaves
 *   encode SERVICE OPERATION LENGTH     body: leaves              answer: the XML
 *   error SERVICE CODE LENGTH           body: the message         answer: the XML
 *
 * and the answer is a line with its length, then its bytes. A leaf is a line `PATH LENGTH`, then its text: members and
 * indexes joined by dots. Blobs are bytes, an empty structure or list is a leaf `PATH{}` or `PATH[]` without text.
 */
#include "aws/codec.h"
#include "aws/query.h"
#include "base/mem.h"
#include "services/services.h"

#include <inttypes.h>

enum { MAX_BODY = 16 << 20, MAX_PATH = 1024 };

struct walk {
    const struct service *service;
    struct buf *out;
    struct buf path;
};

static void put_leaf(struct walk *walk, const char *suffix, struct str text)
{
    buf_printf(walk->out, STR_FMT "%s %zu\n", STR_ARG(buf_str(&walk->path)), suffix, text.len);
    buf_append(walk->out, text);
}

static void put_struct(struct walk *walk, const struct shape *shape, const char *p);

/* p: where the value lies; for a structure, the struct itself. */
static void put_value(struct walk *walk, const struct shape *shape, const char *p)
{
    char text[SHAPE_TEXT_SIZE];
    const struct any_list *list = (const void *)p;
    const struct shape *element;
    size_t len = walk->path.len;

    if (shape->kind == SHAPE_STRUCT) {
        put_struct(walk, shape, p);
        return;
    }
    if (shape->kind != SHAPE_LIST) {
        put_leaf(walk, "", shape->kind == SHAPE_BLOB ? *(const struct str *)p : shape_text(shape, p, text));
        return;
    }
    if (list->count == 0)
        put_leaf(walk, "[]", S(""));
    element = &walk->service->shapes[shape->element];
    for (size_t i = 0; i < list->count; i++) {
        buf_printf(&walk->path, ".%zu", i);
        put_value(walk, element, (const char *)list->items + i * element->size);
        walk->path.len = len;
    }
}

static void put_struct(struct walk *walk, const struct shape *shape, const char *p)
{
    const struct member *member = walk->service->members + shape->first;
    size_t len = walk->path.len;
    bool empty = true;

    for (size_t i = 0; i < shape->count; i++, member++) {
        const struct shape *inner = &walk->service->shapes[member->shape];
        const char *at = p + member->offset;

        if (!shape_present(inner, at))
            continue;
        empty = false;
        buf_printf(&walk->path, "%s" STR_FMT, len ? "." : "", STR_ARG(service_name(walk->service, member->name)));
        put_value(walk, inner, inner->kind == SHAPE_STRUCT ? *(const char *const *)at : at);
        walk->path.len = len;
    }
    if (empty && len)
        put_leaf(walk, "{}", S(""));
}

static int decode(const struct service *service, const struct operation *operation, struct str text,
                  struct arena *arena, struct buf *out, struct err *err)
{
    struct form form = {0};
    const struct shape *input = operation->input == NO_SHAPE ? NULL : &service->shapes[operation->input];
    void *in = input ? arena_alloc(arena, input->size) : NULL;
    struct walk walk = {service, out, BUF_INIT};
    int r = form_parse(arena, text, &form, err);

    if (r == 0)
        r = query_decode(service, operation, &form, arena, in, err);
    if (r == 0 && input)
        put_struct(&walk, input, in);
    buf_free(&walk.path);
    return r;
}

/* The list's i-th item; the list grows to it. */
static char *list_item(struct arena *arena, const struct shape *element, struct any_list *list, size_t i)
{
    if (i >= list->count) {
        char *items = arena_alloc_array(arena, element->size, i + 1);

        if (list->count)
            memcpy(items, list->items, list->count * element->size);
        list->items = items;
        list->count = i + 1;
    }
    return (char *)list->items + i * element->size;
}

static bool set_scalar(const struct shape *shape, void *p, struct str text)
{
    char z[64];
    int64_t n = 0;

    if (shape->kind == SHAPE_STRING || shape->kind == SHAPE_BLOB) {
        *(struct str *)p = text;
        return true;
    }
    if (!str_to_z(text, z, sizeof z))
        return false;
    if (shape->kind == SHAPE_DOUBLE)
        *(struct opt_double *)p = DOUBLE(strtod(z, NULL));
    else if (shape->kind == SHAPE_BOOL)
        *(struct opt_bool *)p = BOOL(str_equal(text, S("true")));
    else if (!str_to_int(text, &n))
        return false;
    else if (shape->kind == SHAPE_TIME)
        *(struct opt_time *)p = TIME(n);
    else
        *(struct opt_int *)p = INT(n);
    return true;
}

/* Sets the value at the end of `path`, and makes what stands on the way. False: there is no such path. */
static bool set_leaf(const struct service *service, struct arena *arena, const struct shape *shape, void *p,
                     struct str path, struct str text)
{
    while (path.p && path.len) {
        struct str step = str_cut(&path, '.');
        int64_t i;

        if (shape->kind == SHAPE_LIST) {
            const struct shape *element = &service->shapes[shape->element];
            if (!str_to_int(step, &i) || i < 0 || i > MAX_PATH)
                return false;
            p = list_item(arena, element, p, (size_t)i);
            shape = element;
        } else {
            const struct member *member = shape->kind == SHAPE_STRUCT ? shape_member(service, shape, step) : NULL;
            if (!member)
                return false;
            p = (char *)p + member->offset;
            shape = &service->shapes[member->shape];
            if (shape->kind != SHAPE_STRUCT)
                continue;
            if (!*(void **)p)
                *(void **)p = arena_alloc(arena, shape->size);
            p = *(void **)p;
        }
    }
    return shape->kind == SHAPE_STRUCT || shape->kind == SHAPE_LIST || set_scalar(shape, p, text);
}

static const char *encode(const struct service *service, const struct operation *operation, struct str leaves,
                          struct arena *arena, struct buf *out)
{
    const struct shape *output = operation->output == NO_SHAPE ? NULL : &service->shapes[operation->output];
    void *structure = output ? arena_alloc(arena, output->size) : NULL;

    while (leaves.len) {
        struct str line = str_cut(&leaves, '\n'), path = str_cut(&line, ' ');
        int64_t len;

        if (!str_to_int(line, &len) || len < 0 || (size_t)len > leaves.len)
            return "a leaf without its length";
        if (!output || !set_leaf(service, arena, output, structure, path, str_first(leaves, (size_t)len)))
            return arena_printf(arena, "no such path: " STR_FMT, STR_ARG(path)).p;
        leaves = str_skip(leaves, (size_t)len);
    }
    codec_begin(service, operation, S("request-1"), out);
    if (output)
        codec_content(service, output, structure, out);
    codec_end(service, operation, S("request-1"), out);
    return NULL;
}

static const struct service *find_service(struct str id)
{
    for (const struct service *const *at = services; *at; at++)
        if (str_equal(str_of((*at)->id), id))
            return *at;
    return NULL;
}

static void answer(char *const words[3], struct str body, struct buf *out)
{
    AUTO_ARENA arena = ARENA_INIT;
    const struct service *service = find_service(str_of(words[1]));
    const struct operation *operation;
    const char *wrong = NULL;
    struct err err = ERR_INIT;

    if (!service) {
        buf_append(out, S("!no such service"));
        return;
    }
    if (str_equal(str_of(words[0]), S("error"))) {
        struct aws_error error = {words[2], 400};
        codec_error(service, &error, body, S("request-1"), out);
        return;
    }
    operation = service_operation(service, str_of(words[2]));
    if (!operation)
        wrong = "no such operation";
    else if (str_equal(str_of(words[0]), S("encode")))
        wrong = encode(service, operation, body, &arena, out);
    else if (decode(service, operation, body, &arena, out, &err) < 0)
        wrong = err.text;
    if (wrong) {
        out->len = 0;
        buf_printf(out, "!%s", wrong);
    }
}

int main(void)
{
    char verb[16], service[32], name[128];
    size_t len;

    while (scanf("%15s %31s %127s %zu", verb, service, name, &len) == 4 && len <= MAX_BODY && getchar() == '\n') {
        AUTO_BUF body = BUF_INIT, out = BUF_INIT;
        char *words[] = {verb, service, name};

        buf_reserve(&body, len + 1);
        if (fread(body.p, 1, len, stdin) != len)
            return 1;
        answer(words, (struct str){body.p, len}, &out);
        printf("%zu\n", out.len);
        fwrite(out.p ? out.p : "", 1, out.len, stdout);
        fflush(stdout);
    }
    return feof(stdin) ? 0 : 1;
}
