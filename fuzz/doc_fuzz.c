/* The decoder of documents: whatever it accepts is encoded and read again to the same bytes. */
#include "base/mem.h"
#include "store/doc.h"
#include "store/test_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct names names;

/* A struct from a document: NULL when it is refused. */
static void *decode(const struct store_kind *kind, struct str doc, bool *ret_foreign)
{
    const struct shape *shape = &kind->service->shapes[kind->shape];
    size_t size;
    void *block;

    if (!doc_measure(&names, kind->service, shape, doc, &size, ret_foreign))
        return NULL;
    block = mem_alloc(size);
    doc_decode(&names, kind->service, shape, doc, block);
    return block;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct store_kind *kind = &model_kinds()[THING];
    const struct shape *shape = &kind->service->shapes[kind->shape];
    struct str doc = {(const char *)data, size};
    AUTO_BUF first = BUF_INIT, second = BUF_INIT;
    void *block, *again;
    bool foreign;

    block = decode(kind, doc, &foreign);
    if (!block)
        return 0;
    foreign = doc_encode(&names, kind->service, shape, block, foreign ? doc : (struct str){0}, &first);
    again = decode(kind, buf_str(&first), &foreign);
    if (!again)
        abort();
    doc_encode(&names, kind->service, shape, again, foreign ? buf_str(&first) : (struct str){0}, &second);
    if (!str_equal(buf_str(&first), buf_str(&second)))
        abort();
    free(block);
    free(again);
    return 0;
}
