/*
 * What the allocator keeps. Big blocks come from the heap and are used again (a mapping an answer costs more than
 * making the answer); what has lain unused for a few seconds goes back to the host, wherever in the heap it lies.
 */
#pragma once

#include <uv.h>

struct memory {
    uv_timer_t timer;
    size_t unused; /* bytes, when some were last given back */
};

void memory_set(void);                                    /* before anything else is allocated */
void memory_open(struct memory *memory, uv_loop_t *loop); /* does not keep the loop going */
void memory_close(struct memory *memory);
