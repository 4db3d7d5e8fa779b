#include "operation/tags.h"

#include "ec2.h"
#include "errors.h"

#include <string.h>

enum { MAX_TAGS = 50, MAX_KEY = 128, MAX_VALUE = 256 };

/* Characters, not bytes: continuation bytes do not count. */
static size_t characters(struct str s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++)
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

static int check_tag(const struct ec2_tag *tag, struct err *err)
{
    if (!tag->key.p || tag->key.len == 0)
        return err_aws(err, &AWS_INVALID_PARAMETER_VALUE, "Tag key cannot be null or empty");
    if (str_starts(tag->key, S("aws:")))
        return err_aws(err, &AWS_INVALID_PARAMETER_VALUE,
                       "Tag keys starting with 'aws:' are reserved for internal use");
    if (characters(tag->key) > MAX_KEY)
        return err_aws(err, &AWS_INVALID_PARAMETER_VALUE, "Tag key exceeds the maximum length of %d characters",
                       MAX_KEY);
    if (characters(tag->value) > MAX_VALUE)
        return err_aws(err, &AWS_INVALID_PARAMETER_VALUE, "Tag value exceeds the maximum length of %d characters",
                       MAX_VALUE);
    return 0;
}

int tags_check(const struct ec2_tag_list *tags, struct err *err)
{
    for (size_t i = 0; i < tags->count; i++) {
        int r = check_tag(&tags->items[i], err);
        if (r < 0)
            return r;
        for (size_t k = 0; k < i && i < 2 * MAX_TAGS; k++)
            if (str_equal(tags->items[i].key, tags->items[k].key))
                return err_aws(err, &AWS_INVALID_PARAMETER_VALUE, "Duplicate tag key '" STR_FMT "' specified.",
                               STR_ARG(tags->items[i].key));
    }
    if (tags->count > MAX_TAGS)
        return err_aws(err, &EC2_TAG_LIMIT_EXCEEDED,
                       "You have reached the maximum number of tags allowed for this resource (%d).", MAX_TAGS);
    return 0;
}

static struct ec2_tag *find(struct ec2_tag_list *tags, struct str key)
{
    for (size_t i = 0; i < tags->count; i++)
        if (str_equal(tags->items[i].key, key))
            return &tags->items[i];
    return NULL;
}

int tags_merge(struct call *call, const struct ec2_tag_list *tags, const struct ec2_tag_list *more,
               struct ec2_tag_list *ret, struct err *err)
{
    struct ec2_tag_list merged = {arena_array(call->arena, struct ec2_tag, tags->count + more->count), tags->count};

    if (tags->count)
        memcpy(merged.items, tags->items, tags->count * sizeof *merged.items);
    for (size_t i = 0; i < more->count; i++) {
        struct ec2_tag *tag = find(&merged, more->items[i].key);
        if (!tag)
            tag = &merged.items[merged.count++];
        tag->key = more->items[i].key;
        tag->value = more->items[i].value.p ? more->items[i].value : S("");
    }
    if (merged.count > MAX_TAGS)
        return err_aws(err, &EC2_TAG_LIMIT_EXCEEDED,
                       "You have reached the maximum number of tags allowed for this resource (%d).", MAX_TAGS);
    *ret = merged;
    return 0;
}

static bool among(struct str type, const char *wanted, const char *const *also)
{
    if (str_equal(type, str_of(wanted)))
        return true;
    for (; also && *also; also++)
        if (str_equal(type, str_of(*also)))
            return true;
    return false;
}

int tags_specified(struct call *call, const struct ec2_tag_specification_list *specifications, const char *type,
                   const char *const *also, struct ec2_tag_list *ret, struct err *err)
{
    *ret = (struct ec2_tag_list){0};
    for (size_t i = 0; i < specifications->count; i++) {
        const struct ec2_tag_specification *specification = &specifications->items[i];
        int r;

        if (!specification->resource_type.p)
            return err_aws(err, &AWS_MISSING_PARAMETER, "Tag specification resource type must have a value");
        if (!among(specification->resource_type, type, also))
            return err_aws(err, &AWS_INVALID_PARAMETER_VALUE,
                           "'" STR_FMT "' is not a valid taggable resource type for this operation.",
                           STR_ARG(specification->resource_type));
        if (specification->tags.count == 0)
            return err_aws(err, &AWS_INVALID_PARAMETER_VALUE, "Tag specification must have at least one tag");
        r = tags_check(&specification->tags, err);
        if (r < 0)
            return r;
        if (!str_equal(specification->resource_type, str_of(type)))
            continue;
        if (ret->count)
            return err_aws(err, &AWS_INVALID_PARAMETER_VALUE, "Duplicate tag specification resource type '%s'", type);
        r = tags_merge(call, ret, &specification->tags, ret, err);
        if (r < 0)
            return r;
    }
    return 0;
}
