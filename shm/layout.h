/* layout.h - how every shared-memory object of leat begins.
 *
 *   offset size field        writer   readers  order
 *        0    8 magic        daemon   all      release: MAGIC, written last and cleared first
 *        8    4 version      daemon   all      before MAGIC
 *       12    4 kind         daemon   all      "
 *       16    8 compatible   daemon   all      "  bits a reader may ignore
 *       24    8 incompatible daemon   all      "  bits a reader must know
 *       32    8 size         daemon   all      "  of the whole object in bytes
 *       40    8 topic_id     daemon   all      "  random; the same in both objects of a topic
 *       48   16 boot_id      daemon   all      "  of the kernel that holds this memory
 *       64    8 created_ns   daemon   all      "  realtime
 *       72    4 name_len     daemon   all      "
 *       76    4 reserved
 *       80  208 name         daemon   all      "  of the topic, zero-terminated
 *      288  224 reserved
 *
 * Whoever maps an object calls shm_header_check first and believes nothing else before it says 0.
 */
#ifndef SHM_LAYOUT_H
#define SHM_LAYOUT_H

#include "shm/atomic.h"
#include "shm/base.h"
#include "shm/limits.h"

#define SHM_MAGIC 0x31305441454c0a1aull /* "\x1a\nLEAT01" */
#define SHM_VERSION 1
#define SHM_INCOMPATIBLE_KNOWN 0ull

enum shm_kind { SHM_KIND_DATA = 1, SHM_KIND_CONTROL = 2 };

struct shm_header {
    atom_u64 magic;
    uint32_t version;
    uint32_t kind;
    uint64_t compatible;
    uint64_t incompatible;
    uint64_t size;
    uint64_t topic_id;
    uint8_t boot_id[16];
    uint64_t created_ns;
    uint32_t name_len;
    uint32_t reserved0;
    char name[208];
    uint8_t reserved1[224];
};

SHM_AT(struct shm_header, version, 8);
SHM_AT(struct shm_header, kind, 12);
SHM_AT(struct shm_header, compatible, 16);
SHM_AT(struct shm_header, incompatible, 24);
SHM_AT(struct shm_header, size, 32);
SHM_AT(struct shm_header, topic_id, 40);
SHM_AT(struct shm_header, boot_id, 48);
SHM_AT(struct shm_header, created_ns, 64);
SHM_AT(struct shm_header, name_len, 72);
SHM_AT(struct shm_header, name, 80);
SHM_SIZE(struct shm_header, 512);
_Static_assert(LIMIT_TOPIC_NAME < 208, "a topic name and its zero fit");

/* shm_header_check says whether `size` mapped bytes at `h` begin with a complete header of this kind:
 * 0; -EBADMSG (no magic, or a field out of range); -EPROTONOSUPPORT (a version or an incompatible
 * bit this code does not know; *ret_version then says which version it found). */
int shm_header_check(const struct shm_header *h, uint64_t size, enum shm_kind kind,
                     uint32_t *ret_version);

#endif
