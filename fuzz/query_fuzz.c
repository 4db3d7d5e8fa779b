/*
 * A form for any operation of any service (the first two bytes say which): decoded, held against the model, and what
 * was decoded written again.
 */
#include "aws/codec.h"
#include "aws/query.h"
#include "operation/validate.h"
#include "services/services.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The n-th operation of all services. */
static const struct operation *pick(unsigned n, const struct service **ret_service)
{
    unsigned count = 0;

    for (const struct service *const *at = services; *at; at++)
        count += (*at)->operation_count;
    n %= count;
    for (const struct service *const *at = services; *at; at++) {
        *ret_service = *at;
        if (n < (*at)->operation_count)
            break;
        n -= (*at)->operation_count;
    }
    return &(*ret_service)->operations[n];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_ARENA arena = ARENA_INIT;
    AUTO_BUF out = BUF_INIT;
    struct err err = ERR_INIT;
    struct form form = {0};
    const struct service *service;
    const struct operation *operation;
    const struct shape *shape;
    void *in;

    if (size < 2)
        return 0;
    operation = pick(data[0] | (unsigned)data[1] << 8, &service);
    if (form_parse(&arena, (struct str){(const char *)data + 2, size - 2}, &form, &err) < 0)
        return 0;
    shape = operation->input == NO_SHAPE ? NULL : &service->shapes[operation->input];
    in = shape ? arena_alloc(&arena, shape->size) : NULL;
    if (query_decode(service, operation, &form, &arena, in, &err) < 0 || !shape)
        return 0;
    validate_input(service, shape, in, &err);
    codec_content(service, shape, in, &out);
    if (!str_is_utf8(buf_str(&out)))
        abort();
    return 0;
}
