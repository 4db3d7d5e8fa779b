/* Who calls: a header, then behind a line end a query string. */
#include "aws/sigv4.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile char last;

/* Every byte of a part must be one that may be read. */
static void touch(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        last = s.p[i];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_ARENA arena = ARENA_INIT;
    struct err err = ERR_INIT;
    struct form form = {0};
    struct sigv4_scope scope;
    struct str query = {(const char *)data, size}, header = str_cut(&query, '\n');

    if (query.len && form_parse(&arena, query, &form, &err) < 0)
        return 0;
    if (sigv4_scope(header.len ? header : (struct str){0}, &form, &scope, &err) < 0)
        return 0;
    if (!scope.access_key.len || !scope.region.len || !scope.service.len)
        abort();
    touch(scope.access_key);
    touch(scope.date);
    touch(scope.region);
    touch(scope.service);
    return 0;
}
