#include "aws/arn.h"
#include "operation/call.h"
#include "sts.h"

/* Whoever calls is the account's root: haar takes any credentials. No permission is needed, as with AWS. */
int sts_get_caller_identity(struct call *call, const struct sts_get_caller_identity_request *in,
                            struct sts_get_caller_identity_response *out, struct err *err)
{
    out->account = call->account;
    out->user_id = call->account;
    out->arn = arn_make(call->arena, call->region, "iam", S(""), call->account, S("root"));
    return 0;
}
