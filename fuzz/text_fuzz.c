/* Small parsers of text: what they read they write the same. The first line is a pattern for the second. */
#include "aws/base64.h"
#include "base/time.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void times(struct str text)
{
    char iso[TIME_ISO_SIZE];
    int64_t ms, again;

    if (time_parse(text, &ms) && time_parse(time_iso(ms, iso), &again) && again != ms)
        abort();
}

static void numbers(struct arena *arena, struct str text)
{
    int64_t n, again;

    if (str_to_int(text, &n) && !(str_to_int(arena_printf(arena, "%lld", (long long)n), &again) && again == n))
        abort();
}

static void blobs(struct arena *arena, struct str text)
{
    struct str bytes, again;

    if (base64_decode(arena, text, &bytes) &&
        !(base64_decode(arena, base64_encode(arena, bytes), &again) && str_equal(bytes, again)))
        abort();
    if (!base64_decode(arena, base64_encode(arena, text), &again) || !str_equal(text, again))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_ARENA arena = ARENA_INIT;
    struct str text = {(const char *)data, size}, pattern;

    times(text);
    numbers(&arena, text);
    blobs(&arena, text);
    str_is_utf8(text);
    pattern = str_cut(&text, '\n');
    if (pattern.len < 256)
        str_matches(text, pattern);
    if (str_equal(pattern, S("*")) && !str_matches(text, pattern))
        abort();
    return 0;
}
