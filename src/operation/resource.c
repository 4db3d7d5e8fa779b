#include "operation/resource.h"

#include "aws/arn.h"
#include "base/buf.h"
#include "ec2.h"
#include "operation/call.h"

#include <stdio.h>

static bool is_hex(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f')))
            return false;
    return true;
}

bool resource_id_well_formed(const struct resource *resource, struct str id)
{
    struct str prefix = str_of(resource->prefix), digits = str_skip(id, prefix.len);

    if (prefix.len == 0)
        return id.len > 0;
    return str_starts(id, prefix) && (digits.len == 8 || digits.len == 17) && is_hex(digits);
}

int resource_malformed(const struct resource *resource, struct str id, struct err *err)
{
    id = str_first(id, 255);
    if (str_starts(id, str_of(resource->prefix)))
        return err_aws(err, resource->malformed, "Invalid id: \"" STR_FMT "\"", STR_ARG(id));
    return err_aws(err, resource->malformed, "Invalid id: \"" STR_FMT "\" (expecting \"%s...\")", STR_ARG(id),
                   resource->prefix);
}

/* "The vpc ID '%s' does not exist", and for several "The vpc IDs 'a, b' do not exist". */
int resource_not_found(const struct resource *resource, const struct str *ids, size_t count, struct err *err)
{
    struct str text = str_of(resource->not_found_text), before, after = text;
    AUTO_BUF out = BUF_INIT;

    before = str_cut(&after, '%');
    if (count > 1 && (str_ends(before, S(" ID '")) || str_ends(before, S(" id '["))))
        buf_printf(&out, STR_FMT "s" STR_FMT,
                   STR_ARG(str_first(before, before.len - (before.p[before.len - 1] == '[' ? 3 : 2))),
                   STR_ARG(str_skip(before, before.len - (before.p[before.len - 1] == '[' ? 3 : 2))));
    else
        buf_append(&out, before);
    for (size_t i = 0; i < count && out.len < 700; i++)
        buf_printf(&out, "%s" STR_FMT, i ? ", " : "", STR_ARG(str_first(ids[i], 255)));
    after = str_skip(after, 1);
    if (count > 1 && str_equal(after, S("' does not exist")))
        after = S("' do not exist");
    buf_append(&out, after);
    return err_aws(err, resource->not_found, STR_FMT, STR_ARG(buf_str(&out)));
}

static int missing(const struct resource *resource, struct str id, struct err *err)
{
    if (!resource_id_well_formed(resource, id))
        return resource_malformed(resource, id, err);
    return resource_not_found(resource, &id, 1, err);
}

int resource_get(struct tx *tx, const struct resource *resource, uint16_t kind, struct str id, const void **ret,
                 struct err *err)
{
    const void *record = id.len ? tx_get(tx, kind, id) : NULL;

    if (!record)
        return missing(resource, id, err);
    *ret = record;
    return 0;
}

int resource_edit(struct tx *tx, const struct resource *resource, uint16_t kind, struct str id, void **ret,
                  struct err *err)
{
    void *record = id.len ? tx_edit(tx, kind, id) : NULL;

    if (!record)
        return missing(resource, id, err);
    *ret = record;
    return 0;
}

struct str resource_id(uint16_t kind, const void *record)
{
    return *(const struct str *)((const char *)record + ec2_resources[kind].id_offset);
}

struct str resource_arn(struct call *call, uint16_t kind, const void *record)
{
    const struct resource *resource = &ec2_resources[kind];

    return arn_make(call->arena, call->region, resource->service->id, call->region, call->account,
                    call_printf(call, "%s/" STR_FMT, resource->name, STR_ARG(resource_id(kind, record))));
}

int resource_view(struct call *call, uint16_t kind, const void *record, void *view, struct err *err)
{
    const struct resource *resource = &ec2_resources[kind];

    memcpy(view, record, resource->service->shapes[resource->record].size);
    if (resource->arn != NO_MEMBER)
        *(struct str *)((char *)view + resource->arn) = resource_arn(call, kind, record);
    return resource->derive ? resource->derive(call, record, view, err) : 0;
}

struct str resource_user(struct tx *tx, uint16_t kind, struct str id)
{
    for (uint16_t referring = 0; referring < EC2_KINDS; referring++) {
        const struct resource *resource = &ec2_resources[referring];
        for (size_t i = 0; i < resource->refer_count; i++) {
            const void *const *found;
            if (resource->refers[i].target == kind && tx_find(tx, referring, resource->refers[i].index, id, &found))
                return resource_id(referring, found[0]);
        }
    }
    return (struct str){0};
}
