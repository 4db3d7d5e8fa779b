#include "operation/filter.h"

#include "ec2.h"
#include "errors.h"

enum { MAX_VALUES = 200 };

enum filter_kind { FILTER_PATH, FILTER_TAG, FILTER_TAG_KEY, FILTER_TAG_VALUE };

struct filter_test {
    enum filter_kind kind;
    const path_step *path;
    struct str tag; /* FILTER_TAG: the key */
    const struct str *values;
    size_t count;
};

static const struct resource_filter *find(const struct resource *resource, struct str name)
{
    for (size_t i = 0; i < resource->filter_count; i++)
        if (str_equal(str_of(resource->filters[i].name), name))
            return &resource->filters[i];
    return NULL;
}

static int compile_one(const struct resource *resource, const struct ec2_filter *filter, struct filter_test *test,
                       struct err *err)
{
    struct str name = filter->name;
    const struct resource_filter *row;

    *test = (struct filter_test){.values = filter->values.items, .count = filter->values.count};
    if (!name.p)
        return err_aws(err, &AWS_INVALID_PARAMETER_VALUE, "The filter 'null' is invalid");
    if (resource->tags != NO_MEMBER && str_starts(name, S("tag:"))) {
        test->kind = FILTER_TAG;
        test->tag = str_skip(name, 4);
        return 0;
    }
    if (resource->tags != NO_MEMBER && (str_equal(name, S("tag-key")) || str_equal(name, S("tag-value")))) {
        test->kind = str_equal(name, S("tag-key")) ? FILTER_TAG_KEY : FILTER_TAG_VALUE;
        return 0;
    }
    row = find(resource, name);
    if (!row)
        return err_aws(err, &AWS_INVALID_PARAMETER_VALUE, "The filter '" STR_FMT "' is invalid",
                       STR_ARG(str_first(name, 255)));
    test->kind = FILTER_PATH;
    test->path = row->path;
    return 0;
}

int filter_compile(struct arena *arena, const struct resource *resource, const struct ec2_filter_list *filters,
                   struct filter_set *ret, struct err *err)
{
    size_t values = 0;

    ret->resource = resource;
    ret->count = filters->count;
    ret->tests = arena_array(arena, struct filter_test, filters->count);
    for (size_t i = 0; i < filters->count; i++) {
        int r = compile_one(resource, &filters->items[i], &ret->tests[i], err);
        if (r < 0)
            return r;
        values += filters->items[i].values.count;
        if (values > MAX_VALUES)
            return err_aws(err, &EC2_FILTER_LIMIT_EXCEEDED,
                           "The maximum number of filter values specified on a single call is %d", MAX_VALUES);
    }
    return 0;
}

static bool value_matches(const struct filter_test *test, struct str text)
{
    for (size_t i = 0; i < test->count; i++)
        if (str_matches(text, test->values[i]))
            return true;
    return false;
}

static bool shape_value_matches(void *cookie, const struct shape *shape, const void *value)
{
    char text[SHAPE_TEXT_SIZE];

    return value_matches(cookie, shape_text(shape, value, text));
}

static bool tags_match(const struct filter_test *test, const struct ec2_tag_list *tags)
{
    for (size_t i = 0; i < tags->count; i++) {
        const struct ec2_tag *tag = &tags->items[i];
        if (test->kind == FILTER_TAG ? str_equal(tag->key, test->tag) && value_matches(test, tag->value)
                                     : value_matches(test, test->kind == FILTER_TAG_KEY ? tag->key : tag->value))
            return true;
    }
    return false;
}

bool filter_matches(const struct filter_set *set, const void *record)
{
    for (size_t i = 0; i < set->count; i++) {
        struct filter_test *test = &set->tests[i];
        bool matches = test->kind == FILTER_PATH
                           ? shape_walk(set->resource->service, record, test->path, shape_value_matches, test)
                           : tags_match(test,
                                        (const struct ec2_tag_list *)((const char *)record + set->resource->tags));
        if (!matches)
            return false;
    }
    return true;
}
