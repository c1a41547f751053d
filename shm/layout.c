#include "shm/layout.h"

#include <errno.h>

int
shm_header_check(const struct shm_header *h, uint64_t size, enum shm_kind kind,
                 uint32_t *ret_version)
{
    uint32_t version, name_len;

    if (size < sizeof *h || atom_load_acquire(&h->magic) != SHM_MAGIC) /* acquire: MAGIC */
        return -EBADMSG;
    version = h->version;
    if (version != SHM_VERSION || (h->incompatible & ~SHM_INCOMPATIBLE_KNOWN)) {
        *ret_version = version;
        return -EPROTONOSUPPORT;
    }
    name_len = h->name_len;
    if (h->kind != (uint32_t)kind || h->size != size || !name_len || name_len > LIMIT_TOPIC_NAME ||
        h->name[name_len] != '\0')
        return -EBADMSG;
    return 0;
}
