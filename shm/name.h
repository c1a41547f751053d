/* name.h - names of topics, subscriptions and shared-memory objects. Pure functions. */
#ifndef SHM_NAME_H
#define SHM_NAME_H

#include "shm/layout.h"

/* Room for "/PREFIX.TOPIC.control" and its zero. */
#define SHM_NAME_ROOM (LIMIT_SHM_PREFIX + LIMIT_TOPIC_NAME + 16)

/* shm_name_check says what is wrong with a topic's name: NULL when it is good, else a sentence
 * ("longer than 200 bytes", ...). Good: 1 to LIMIT_TOPIC_NAME bytes of A-Z a-z 0-9 . _ -, no dot at
 * either end, no two dots together, no dash first. */
const char *shm_name_check(const char *name);

/* shm_sub_name_check does the same for the name of a subscription (1 to LIMIT_SUB_NAME bytes). */
const char *shm_sub_name_check(const char *name);

/* shm_name_matches says whether a topic's name matches a rule's pattern: '*' stands for any run of characters,
 * '?' for one. Linear in time. */
bool shm_name_matches(const char *pattern, const char *name);

/* shm_name_object writes the name of a topic's object. `prefix` and `topic` have been checked. */
void shm_name_object(const char *prefix, const char *topic, enum shm_kind kind,
                     char ret[SHM_NAME_ROOM]);

/* shm_name_prefix derives a bus's prefix from the absolute path of its socket ("leat-" and 16
 * hexadecimal digits of a 64-bit FNV-1a hash), so that buses never meet in /dev/shm. */
void shm_name_prefix(const char *socket_path, char ret[LIMIT_SHM_PREFIX]);

/* shm_name_is_derived says whether a prefix is one that some socket's path could give. */
bool shm_name_is_derived(const char *prefix);

#endif
