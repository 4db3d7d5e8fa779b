/* ImportKeyPair's public keys: whatever is read is read again, from its own line, as the same key. */
#include "services/ec2/key_format.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_ARENA arena = ARENA_INIT;
    struct public_key key, again;

    if (!key_read_public(&arena, (struct str){(const char *)data, size}, &key))
        return 0;
    if (!key_read_public(&arena, key_line(&arena, &key, S("name")), &again) || !str_equal(key.blob, again.blob) ||
        !str_equal(key.fingerprint, again.fingerprint))
        abort();
    return 0;
}
