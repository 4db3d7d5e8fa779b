#include "cli/memory.h"

#include <malloc.h>

enum { LOOK_EVERY_MS = 5000, KEPT = 8 << 20 };

void memory_set(void)
{
    mallopt(M_MMAP_THRESHOLD, 64 << 20);
    mallopt(M_TRIM_THRESHOLD, 32 << 20);
}

/* What was given back still counts as unused: a server at rest has the same number at each look. */
static void on_look(uv_timer_t *timer)
{
    struct memory *memory = timer->data;
    size_t unused = mallinfo2().fordblks;

    if (unused > KEPT && unused != memory->unused) {
        malloc_trim(0);
        memory->unused = mallinfo2().fordblks;
    }
}

void memory_open(struct memory *memory, uv_loop_t *loop)
{
    uv_timer_init(loop, &memory->timer);
    memory->timer.data = memory;
    uv_timer_start(&memory->timer, on_look, LOOK_EVERY_MS, LOOK_EVERY_MS);
    uv_unref((uv_handle_t *)&memory->timer);
}

void memory_close(struct memory *memory)
{
    uv_close((uv_handle_t *)&memory->timer, NULL);
}
