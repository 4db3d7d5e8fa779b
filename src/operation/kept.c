#include "operation/kept.h"

#include "aws/codec.h"
#include "base/mem.h"
#include "ec2.h"
#include "operation/call.h"
#include "operation/resource.h"

#include <stdlib.h>

struct kept {
    uint64_t versions[KEPT_MAX_SOURCES];
    size_t count;
    uint64_t checked; /* the store's last commit when they were last compared */
    struct str text;  /* in this block, behind the id */
    size_t size;
    char id[];
};

/* The versions of all that the view is made of: the record's own first. 0: too many to keep. */
static size_t sources(struct call *call, uint16_t kind, const void *record, uint64_t versions[KEPT_MAX_SOURCES])
{
    versions[0] = record_version(record);
    return ec2_resources[kind].kept_while(call, record, versions, 1, KEPT_MAX_SOURCES);
}

static struct str id_of(uint16_t kind, const void *record)
{
    return *(const struct str *)((const char *)record + ec2_resources[kind].id_offset);
}

struct str kept_find(struct call *call, uint16_t kind, const void *record)
{
    struct kept *kept = map_get(&call->engine->kept.by_id, id_of(kind, record));
    uint64_t versions[KEPT_MAX_SOURCES], last = store_last(call->engine->store);

    if (!kept || kept->versions[0] != record_version(record))
        return (struct str){0};
    if (kept->checked == last) /* nothing at all has changed since */
        return kept->text;
    if (sources(call, kind, record, versions) != kept->count ||
        memcmp(versions, kept->versions, kept->count * sizeof *versions) != 0)
        return (struct str){0};
    kept->checked = last;
    return kept->text;
}

static void drop(struct kept_texts *texts, struct kept *kept)
{
    if (!kept)
        return;
    texts->bytes -= kept->size;
    free(kept);
}

struct str kept_add(struct call *call, uint16_t kind, const void *record, const void *view)
{
    struct kept_texts *texts = &call->engine->kept;
    const struct resource *row = &ec2_resources[kind];
    struct str id = id_of(kind, record);
    AUTO_BUF text = BUF_INIT;
    struct kept *kept;
    size_t size;

    codec_content(row->service, &row->service->shapes[row->record], view, &text);
    size = sizeof *kept + id.len + text.len;
    if (texts->bytes + size > KEPT_LIMIT)
        return (struct str){0};
    kept = mem_resize(NULL, size);
    kept->count = sources(call, kind, record, kept->versions);
    if (kept->count == 0) {
        free(kept);
        return (struct str){0};
    }
    kept->size = size;
    kept->checked = store_last(call->engine->store);
    memcpy(kept->id, id.p, id.len);
    memcpy(kept->id + id.len, text.p, text.len);
    kept->text = (struct str){kept->id + id.len, text.len};
    texts->bytes += size;
    drop(texts, map_put(&texts->by_id, (struct str){kept->id, id.len}, kept));
    return kept->text;
}

void kept_free(struct kept_texts *texts)
{
    for (struct map_slot *at = NULL; (at = map_next(&texts->by_id, at));)
        drop(texts, at->value);
    map_free(&texts->by_id);
}

/* Full: everything goes, and what is asked for comes back. Only between requests, since answers point at the texts. */
void kept_trim(struct kept_texts *texts)
{
    if (texts->bytes >= KEPT_LIMIT * 7 / 8)
        kept_free(texts);
}
