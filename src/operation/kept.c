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
    struct str text;  /* in this block, behind the key */
    size_t size;
    char key[];
};

/* The versions of all that the view is made of: the record's own first. 0: too many to keep. */
static size_t sources(struct call *call, uint16_t kind, const void *record, uint64_t versions[KEPT_MAX_SOURCES])
{
    versions[0] = record_version(record);
    return ec2_resources[kind].kept_while(call, record, versions, 1, KEPT_MAX_SOURCES);
}

/* No two records have the same: an id may be in several worlds, and nothing says that those of all kinds differ. */
static struct str key_of(struct call *call, uint16_t kind, const void *record)
{
    const struct world *world = tx_world(call->tx);
    struct buf *key = &call->engine->kept.key;

    key->len = 0;
    buf_append(key, (struct str){(const char *)&kind, sizeof kind});
    buf_append(key, world_account(world));
    buf_byte(key, '\0');
    buf_append(key, world_region(world));
    buf_byte(key, '\0');
    buf_append(key, resource_id(kind, record));
    return buf_str(key);
}

struct str kept_find(struct call *call, uint16_t kind, const void *record)
{
    struct kept *kept = map_get(&call->engine->kept.by_key, key_of(call, kind, record));
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
    struct str key = key_of(call, kind, record);
    AUTO_BUF text = BUF_INIT;
    struct kept *kept;
    size_t size;

    codec_content(row->service, &row->service->shapes[row->record], view, &text);
    size = sizeof *kept + key.len + text.len;
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
    memcpy(kept->key, key.p, key.len);
    memcpy(kept->key + key.len, text.p, text.len);
    kept->text = (struct str){kept->key + key.len, text.len};
    texts->bytes += size;
    drop(texts, map_put(&texts->by_key, (struct str){kept->key, key.len}, kept));
    return kept->text;
}

void kept_free(struct kept_texts *texts)
{
    for (struct map_slot *at = NULL; (at = map_next(&texts->by_key, at));)
        drop(texts, at->value);
    map_free(&texts->by_key);
    buf_free(&texts->key);
}

/* Full: everything goes, and what is asked for comes back. Only between requests, since answers point at the texts. */
void kept_trim(struct kept_texts *texts)
{
    if (texts->bytes >= KEPT_LIMIT * 7 / 8)
        kept_free(texts);
}
