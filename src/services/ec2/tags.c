/*
 * CreateTags, DeleteTags and DescribeTags, over every tagged kind: an id's prefix names its kind, and the kind's row
 * says where its records keep their tags. A record that fails fails the call, and so the transaction: nothing is
 * tagged.
 */
#include "services/ec2/local.h"

enum { MAX_RESOURCES = 1000, MAX_PAGE = 1000 };

static bool is_tagged(uint16_t kind)
{
    return ec2_resources[kind].tags != NO_MEMBER && !ec2_resources[kind].source;
}

static struct ec2_tag_list *tags_of(uint16_t kind, const void *record)
{
    return (struct ec2_tag_list *)((char *)record + ec2_resources[kind].tags);
}

/* Prefix of an id: all to its last dash. */
static struct str prefix_of(struct str id)
{
    size_t n = id.len;

    while (n && id.p[n - 1] != '-')
        n--;
    return str_first(id, n);
}

/* The kind whose ids begin as this one does, tagged before others; NO_KIND: none. */
static uint16_t kind_of(struct str id)
{
    struct str prefix = prefix_of(id);
    uint16_t computed = NO_KIND;

    for (uint16_t kind = 0; prefix.len && kind < EC2_KINDS; kind++) {
        if (!str_equal(prefix, str_of(ec2_resources[kind].prefix)))
            continue;
        if (is_tagged(kind))
            return kind;
        computed = kind;
    }
    return computed;
}

/* The record that `id` names and its kind. Raises InvalidID, or the kind's NotFound. */
static int find_tagged(struct call *call, struct str id, uint16_t *ret_kind, const void **ret, struct err *err)
{
    uint16_t kind = kind_of(id);

    if (kind == NO_KIND || !resource_id_well_formed(&ec2_resources[kind], id))
        return err_aws(err, &EC2_INVALID_ID, "The ID '" STR_FMT "' is not valid", STR_ARG(str_first(id, 255)));
    *ret_kind = kind;
    *ret = is_tagged(kind) ? tx_get(call->tx, kind, id) : NULL;
    return *ret ? 0 : resource_not_found(&ec2_resources[kind], &id, 1, err);
}

static int check_count(size_t count, struct err *err)
{
    if (count <= MAX_RESOURCES)
        return 0;
    return err_aws(err, &AWS_INVALID_PARAMETER_VALUE,
                   "The maximum number of resources specified on a single call is %d", MAX_RESOURCES);
}

static int tag_one(struct call *call, struct str id, const struct ec2_tag_list *tags, struct err *err)
{
    struct ec2_tag_list merged;
    const void *record;
    uint16_t kind = NO_KIND;
    int r = find_tagged(call, id, &kind, &record, err);

    if (r == 0)
        r = tags_merge(call, tags_of(kind, record), tags, &merged, err);
    if (r == 0)
        *tags_of(kind, tx_edit(call->tx, kind, id)) = merged;
    return r;
}

int ec2_create_tags(struct call *call, const struct ec2_create_tags_request *in, void *out, struct err *err)
{
    int r = check_count(in->resources.count, err);

    if (r == 0)
        r = tags_check(&in->tags, err);
    for (size_t i = 0; i < in->resources.count && r == 0; i++)
        r = tag_one(call, in->resources.items[i], &in->tags, err);
    return r;
}

/* Does the request delete this tag? A value that is given must be the tag's; without one, any is. */
static bool is_deleted(const struct ec2_tag_list *wanted, const struct ec2_tag *tag)
{
    if (!wanted->count)
        return !str_starts(tag->key, S("aws:")); /* all that the user made */
    for (size_t i = 0; i < wanted->count; i++)
        if (str_equal(wanted->items[i].key, tag->key) &&
            (!wanted->items[i].value.p || str_equal(wanted->items[i].value, tag->value)))
            return true;
    return false;
}

static int untag_one(struct call *call, struct str id, const struct ec2_tag_list *wanted, struct err *err)
{
    struct ec2_tag_list kept, *tags;
    const void *record;
    uint16_t kind = NO_KIND;
    int r = find_tagged(call, id, &kind, &record, err);

    if (r < 0)
        return r;
    tags = tags_of(kind, record);
    kept = (struct ec2_tag_list){arena_array(call->arena, struct ec2_tag, tags->count), 0};
    for (size_t i = 0; i < tags->count; i++)
        if (!is_deleted(wanted, &tags->items[i]))
            kept.items[kept.count++] = tags->items[i];
    if (kept.count != tags->count)
        *tags_of(kind, tx_edit(call->tx, kind, id)) = kept;
    return 0;
}

int ec2_delete_tags(struct call *call, const struct ec2_delete_tags_request *in, void *out, struct err *err)
{
    int r = check_count(in->resources.count, err);

    if (r == 0)
        r = tags_check(&in->tags, err);
    for (size_t i = 0; i < in->resources.count && r == 0; i++)
        r = untag_one(call, in->resources.items[i], &in->tags, err);
    return r;
}

/*
 * Where DescribeTags stands, as the position that its pages carry: a slot (a kind; with ids asked for, the place of an
 * id), the creation number of a record, and how many of its tags have been given.
 */
struct place {
    uint64_t slot, record, given;
};
enum { GIVEN_BITS = 6, RECORD_BITS = 48 }; /* a record has 50 tags at most */

static struct place place_of(uint64_t position)
{
    return (struct place){position >> (RECORD_BITS + GIVEN_BITS),
                          position >> GIVEN_BITS & ((UINT64_C(1) << RECORD_BITS) - 1),
                          position & ((1 << GIVEN_BITS) - 1)};
}

static uint64_t position_of(struct place place)
{
    return place.slot << (RECORD_BITS + GIVEN_BITS) | place.record << GIVEN_BITS | place.given;
}

static bool names_ids(const struct ec2_filter *filter)
{
    if (!filter->name.p || !str_equal(filter->name, S("resource-id")))
        return false;
    for (size_t i = 0; i < filter->values.count; i++)
        for (size_t k = 0; k < filter->values.items[i].len; k++)
            if (strchr("*?\\", filter->values.items[i].p[k]))
                return false;
    return true;
}

/* The ids that the request asks for, if it does so without wildcards: then no other record need be seen. */
static const struct ec2_filter *ids_asked_for(const struct ec2_describe_tags_request *in)
{
    for (size_t i = 0; i < in->filters.count; i++)
        if (names_ids(&in->filters.items[i]))
            return &in->filters.items[i];
    return NULL;
}

/* The record at `slot` of the ids; one that stands twice is found at its first place only. */
static const void *record_by_id(struct call *call, const struct ec2_filter *ids, uint64_t slot, uint16_t *ret_kind)
{
    struct str id = ids->values.items[slot];

    for (uint64_t i = 0; i < slot; i++)
        if (str_equal(ids->values.items[i], id))
            return NULL;
    *ret_kind = kind_of(id);
    return *ret_kind != NO_KIND && is_tagged(*ret_kind) ? tx_get(call->tx, *ret_kind, id) : NULL;
}

/* The record whose tags come next, at *place, which is moved to it; NULL: no more in this slot. */
static const void *record_at(struct call *call, const struct ec2_filter *ids, struct place *place, uint16_t *ret_kind)
{
    uint64_t number = place->given ? place->record - 1 : place->record;
    const void *record;

    if (ids)
        return record_by_id(call, ids, place->slot, ret_kind);
    *ret_kind = (uint16_t)place->slot;
    record = is_tagged(*ret_kind) ? tx_next(call->tx, *ret_kind, &number) : NULL;
    while (record && number == place->record && place->given >= tags_of(*ret_kind, record)->count) {
        place->given = 0;
        record = tx_next(call->tx, *ret_kind, &number);
    }
    if (record && number != place->record) /* another one, also when that of the page's end is gone */
        *place = (struct place){place->slot, number, 0};
    return record;
}

static void show_tag(uint16_t kind, const void *record, struct ec2_tag *tag, struct ec2_tag_description *view)
{
    view->resource_id = resource_id(kind, record);
    view->resource_type = str_of(ec2_resources[kind].tagged_as);
    view->key = tag->key;
    view->value = tag->value;
    view->tags = (struct ec2_tag_list){tag, 1}; /* what the filter tag:KEY looks at */
}

bool tag_source(struct call *call, uint64_t *position, struct ec2_tag_description *view)
{
    const struct ec2_filter *ids = ids_asked_for(call->in);
    struct place place = place_of(*position);
    uint64_t slots = ids ? ids->values.count : EC2_KINDS;

    while (place.slot < slots) {
        uint16_t kind;
        const void *record = record_at(call, ids, &place, &kind);

        if (record && place.given < tags_of(kind, record)->count) {
            show_tag(kind, record, &tags_of(kind, record)->items[place.given++], view);
            *position = position_of(place);
            return true;
        }
        if (!record || ids)
            place = (struct place){place.slot + 1, 0, 0};
        else
            place.given = 1; /* it has none: on to what was created after it */
    }
    return false;
}

int ec2_describe_tags(struct call *call, const struct ec2_describe_tags_request *in,
                      struct ec2_describe_tags_result *out, struct err *err)
{
    struct ec2_describe_tags_request page = *in;

    if (in->max_results.set && in->max_results.value > MAX_PAGE)
        page.max_results.value = MAX_PAGE;
    return resource_select(call, EC2_TAG, &page, (struct any_list *)&out->tags, &out->next_token, err);
}
