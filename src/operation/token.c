#include "operation/token.h"

#include "aws/codec.h"
#include "base/time.h"
#include "ec2.h"
#include "errors.h"

enum { KEEP_COUNT = 1000, BIG = 64 * 1024, KEEP_BYTES = 64 * 1024 * 1024 }; /* of a world */

static const int64_t keep_ms = 24 * 3600 * 1000;

static const struct member *token_member(const struct call *call)
{
    if (call->operation->client_token == NO_MEMBER)
        return NULL;
    return &call->service->members[call->service->shapes[call->operation->input].first + call->operation->client_token];
}

/* "RunInstances/TOKEN": tokens of different operations do not meet. Absent when the caller gave none. */
static struct str token_id(struct call *call)
{
    const struct member *member = token_member(call);
    struct str token;

    if (!member)
        return (struct str){0};
    token = *(const struct str *)((const char *)call->in + member->offset);
    if (!token.len)
        return (struct str){0};
    return call_printf(call, STR_FMT "/" STR_FMT, STR_ARG(service_name(call->service, call->operation->name)),
                       STR_ARG(token));
}

static int64_t parameters_hash(struct call *call)
{
    AUTO_BUF text = BUF_INIT;

    codec_content(call->service, &call->service->shapes[call->operation->input], call->in, &text);
    return (int64_t)(str_hash(buf_str(&text)) >> 1);
}

int token_replay(struct call *call, struct err *err)
{
    struct str id = token_id(call);
    const struct ec2_haar_client_token *kept;

    if (!id.p)
        return 0;
    if (id.len > 255)
        return err_aws(err, &AWS_INVALID_PARAMETER_VALUE, "The client token exceeds its maximum length.");
    kept = client_token_peek(call->tx, id);
    if (!kept || kept->created.ms + keep_ms < time_now_ms())
        return 0;
    if (kept->parameters.value != parameters_hash(call))
        return err_aws(
            err, &AWS_IDEMPOTENT_PARAMETER_MISMATCH,
            "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).");
    call->token_body = arena_str(call->arena, kept->content);
    return TOKEN_REPLAYED;
}

static void drop_oldest(struct call *call)
{
    uint64_t position = 0;
    const struct ec2_haar_client_token *oldest;

    if (tx_count(call->tx, EC2_CLIENT_TOKEN) < KEEP_COUNT)
        return;
    oldest = client_token_next(call->tx, &position);
    if (oldest)
        client_token_remove(call->tx, oldest->token_id);
}

/* Big answers are few: only they make it worth adding up, so that tokens never hold more than twice KEEP_BYTES. */
static void drop_bytes(struct call *call, size_t coming)
{
    const struct ec2_haar_client_token *token;
    size_t total = coming;

    if (coming <= BIG)
        return;
    for (uint64_t position = 0; (token = client_token_next(call->tx, &position));)
        total += token->content.len;
    for (uint64_t position = 0; total > KEEP_BYTES && (token = client_token_next(call->tx, &position));) {
        total -= token->content.len;
        client_token_remove(call->tx, token->token_id);
    }
}

int token_keep(struct call *call, struct err *err)
{
    struct str id = token_id(call);
    struct ec2_haar_client_token *token;
    struct buf content = BUF_INIT;

    if (!id.p)
        return 0;
    if (call->operation->output != NO_SHAPE)
        codec_content(call->service, &call->service->shapes[call->operation->output], call->out, &content);
    client_token_remove(call->tx, id);
    drop_oldest(call);
    drop_bytes(call, content.len);
    token = client_token_create(call->tx, id);
    token->created = TIME(time_now_ms());
    token->parameters = INT(parameters_hash(call));
    token->content = arena_str(call->arena, buf_str(&content));
    call->token_body = token->content;
    buf_free(&content);
    return 0;
}
