/*
 * Encodings that are kept. What Describe shows of a big record is encoded once, and sent again as it is while neither
 * the record nor those that its view draws on have changed: a list of a thousand instances is then a thousand copies. A
 * kind takes part by its row's `kept-while`, a function that says what the view was made of.
 */
#pragma once

#include "base/buf.h"
#include "base/map.h"

struct call;

enum { KEPT_MAX_SOURCES = 24, KEPT_LIMIT = 64 * 1024 * 1024 };

/* The engine's. Zeroed: none yet. */
struct kept_texts {
    struct map by_key; /* kind, account, region and id */
    struct buf key;    /* of the record that is looked up */
    size_t bytes;
};

/* The kept encoding of the record's view; absent if there is none that is still right. */
struct str kept_find(struct call *call, uint16_t kind, const void *record);
/* Encodes and keeps the view. The text is good until control returns to the loop. Absent: too much to keep. */
struct str kept_add(struct call *call, uint16_t kind, const void *record, const void *view);
/* Before a request: makes room when there is little left. */
void kept_trim(struct kept_texts *texts);
void kept_free(struct kept_texts *texts);
