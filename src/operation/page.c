#include "operation/page.h"

#include "aws/base64.h"
#include "errors.h"

int page_start(struct call *call, struct str token, uint64_t *ret_position, struct err *err)
{
    struct str name = service_name(call->service, call->operation->name), text;
    int64_t position;

    *ret_position = 0;
    if (!token.p)
        return 0;
    if (token.len > 512 || !base64_decode(call->arena, token, &text) || !str_starts(text, name) ||
        !str_to_int(str_skip(text, name.len), &position) || position < 0)
        return err_aws(err, &EC2_INVALID_PAGINATION_TOKEN,
                       "The specified pagination token is not valid or is expired.");
    *ret_position = (uint64_t)position;
    return 0;
}

struct str page_token(struct call *call, uint64_t position)
{
    struct str name = service_name(call->service, call->operation->name);

    return base64_encode(call->arena, call_printf(call, STR_FMT "%llu", STR_ARG(name), (unsigned long long)position));
}
