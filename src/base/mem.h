/*
 * Memory. Allocation aborts when memory is out: caps on input, at the protocol, keep a client from
 * causing that. AUTO_FREE frees at the end of the scope.
 */
#pragma once

#include <stddef.h>

void *mem_alloc(size_t size); /* zeroed; free() */
void *mem_resize(void *p, size_t size);
void *mem_copy(const void *p, size_t size);
char *mem_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Makes room for one more item: doubles *capacity when `count` has reached it. */
#define mem_grow(items, count, capacity) mem_grow_items((void **)&(items), sizeof *(items), (count), (capacity))
void mem_grow_items(void **items, size_t size, size_t count, size_t *capacity);

void mem_auto_free(void *pointer_to_pointer);
#define AUTO_FREE __attribute__((cleanup(mem_auto_free)))

#define ARRAY_LEN(a) (sizeof(a) / sizeof *(a))
