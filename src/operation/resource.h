/*
 * Resources as rows. What is the same for every kind (ids and their errors, Describe with ids, filters and
 * pages, tags, "in use") is data in models/<service>.rows, compiled to the tables below.
 *
 * Accessors of a kind, as generated (here for a VPC):
 *   int vpc_get(tx, id, &const_vpc, err)     raises the row's Malformed or NotFound
 *   int vpc_edit(tx, id, &vpc, err)          a copy to change; lands at commit
 *   struct ec2_vpc *vpc_create(tx, id)       a zeroed record with its id
 *   void vpc_remove(tx, id)
 *   const struct ec2_vpc *vpc_next(tx, &position)                in order of creation; position starts at 0
 *   size_t vpc_find(tx, EC2_VPC_BY_CIDR_BLOCK, value, &array)    array of const pointers
 */
#pragma once

#include "aws/error.h"
#include "aws/shape.h"
#include "store/store.h"

struct call;

enum { NO_KIND = 0xffff };

struct resource_filter {
    const char *name; /* "vpc-id" */
    const path_step *path;
};

struct resource_reference {
    uint16_t index;  /* of the referring kind */
    uint16_t target; /* kind */
};

struct resource {
    const char *name, *prefix;
    const struct service *service;
    const struct aws_error *malformed, *not_found;
    const char *not_found_text; /* with %s for the id */
    const char *tagged_as;      /* its type in TagSpecifications; NULL: not tagged */
    int (*derive)(struct call *call, const void *record, void *view,
                  struct err *err); /* members that another record owns */
    /* Appends the versions of the records that a view draws on beside its own, from versions[count]; how many then, 0
     * when they do not fit. NULL: encodings are not kept (kept.h). */
    size_t (*kept_while)(struct call *call, const void *record, uint64_t *versions, size_t count, size_t max);
    uint16_t encoded; /* offset in a view of the str that holds its kept encoding */
    /* Records that are computed, not stored (catalogues, status): the next one at *position, which it moves on; false
     * at the end. */
    bool (*source)(struct call *call, uint64_t *position, void *view);
    bool (*source_by_id)(struct call *call, struct str id, void *view); /* NULL: an id is found by passing over all */
    const struct resource_filter *filters;                              /* sorted by name */
    const struct resource_reference *refers;
    uint16_t filter_count, refer_count;
    uint16_t record; /* shape */
    uint16_t id_offset;
    uint16_t page;      /* how many a page has when the caller does not say; 0: all */
    uint16_t hidden_of; /* a kind: an id that this one does not show, but that one has, is passed over; NO_KIND: none */
    bool ids_exclude_pages;
    uint16_t tags; /* offset of its tag list; NO_MEMBER: none */
    uint16_t arn;  /* offset of its ARN, which is made when it is shown; NO_MEMBER: none */
    /* Describe: offsets in its request and answer; NO_MEMBER: it has none */
    uint16_t ids, request_filters, max_results, next_token, list, answer_next_token;
};

/* Does the id have the row's form: prefix and 8 or 17 hex digits? A row without a prefix takes any. */
bool resource_id_well_formed(const struct resource *resource, struct str id);
int resource_malformed(const struct resource *resource, struct str id, struct err *err);
int resource_not_found(const struct resource *resource, const struct str *ids, size_t count, struct err *err);

int resource_get(struct tx *tx, const struct resource *resource, uint16_t kind, struct str id, const void **ret,
                 struct err *err);
int resource_edit(struct tx *tx, const struct resource *resource, uint16_t kind, struct str id, void **ret,
                  struct err *err);

/* The whole of a Describe operation, by its row. in and out: the operation's request and answer. */
int resource_describe(struct call *call, uint16_t kind, const void *in, void *out, struct err *err);

/* For a Describe with a shape of its own around the records: the same ids, filters and pages; the views inline in *ret.
 */
int resource_select(struct call *call, uint16_t kind, const void *in, struct any_list *ret, struct str *ret_next,
                    struct err *err);

/* A record as Describe shows it: a shallow copy of `record` into `view`, derived members filled. */
int resource_view(struct call *call, uint16_t kind, const void *record, void *view, struct err *err);

struct str resource_id(uint16_t kind, const void *record); /* of a record or a view */

/* Its Amazon Resource Name: of the call's region and account, "<the row's name>/<id>". */
struct str resource_arn(struct call *call, uint16_t kind, const void *record);

/* Ids of records (of any kind that refers to this one) that use it: what "in use" and DependencyViolation rest on. */
struct str resource_user(struct tx *tx, uint16_t kind, struct str id); /* the first; absent: unused */

#define RESOURCE_ACCESSORS(name, KIND, record_type)                                                                   \
    static inline int name##_get(struct tx *tx, struct str id, const record_type **ret, struct err *err)              \
    {                                                                                                                 \
        return resource_get(tx, &ec2_resources[KIND], KIND, id, (const void **)ret, err);                             \
    }                                                                                                                 \
    static inline int name##_edit(struct tx *tx, struct str id, record_type **ret, struct err *err)                   \
    {                                                                                                                 \
        return resource_edit(tx, &ec2_resources[KIND], KIND, id, (void **)ret, err);                                  \
    }                                                                                                                 \
    static inline record_type *name##_create(struct tx *tx, struct str id)                                            \
    {                                                                                                                 \
        return tx_create(tx, KIND, id);                                                                               \
    }                                                                                                                 \
    static inline void name##_remove(struct tx *tx, struct str id)                                                    \
    {                                                                                                                 \
        tx_remove(tx, KIND, id);                                                                                      \
    }                                                                                                                 \
    static inline const record_type *name##_peek(struct tx *tx, struct str id)                                        \
    {                                                                                                                 \
        return tx_get(tx, KIND, id);                                                                                  \
    }                                                                                                                 \
    static inline const record_type *name##_next(struct tx *tx, uint64_t *position)                                   \
    {                                                                                                                 \
        return tx_next(tx, KIND, position);                                                                           \
    }                                                                                                                 \
    static inline size_t name##_find(struct tx *tx, unsigned index, struct str value, const record_type *const **ret) \
    {                                                                                                                 \
        return tx_find(tx, KIND, index, value, (const void *const **)ret);                                            \
    }
