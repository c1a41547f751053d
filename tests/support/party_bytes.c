#include <string.h>

#include "tests/support/party_impl.h"

uint64_t
party_mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9ull;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

static uint64_t
check_of(uint32_t life, uint64_t number, uint32_t len)
{
    return party_mix(number ^ (uint64_t)life << 40 ^ (uint64_t)len << 20 ^ 0x9e3779b97f4a7c15ull);
}

static uint64_t
next_word(uint64_t word)
{
    return word * 6364136223846793005ull + 1442695040888963407ull;
}

void
party_fill(unsigned char *at, uint32_t life, uint64_t number, uint32_t len)
{
    struct party_head h = {.life = life, .len = len, .number = number};
    uint64_t word = h.check = check_of(life, number, len);

    memcpy(at, &h, sizeof h);
    for (uint32_t i = sizeof h; i < len; i += 8) {
        word = next_word(word);
        memcpy(at + i, &word, len - i < 8 ? len - i : 8);
    }
}

bool
party_is_whole(const unsigned char *at, size_t len, struct party_head *ret)
{
    uint64_t word;

    if (len < sizeof *ret)
        return false;
    memcpy(ret, at, sizeof *ret);
    if (ret->len != len || ret->check != check_of(ret->life, ret->number, ret->len) ||
        ret->life >= PARTY_LIVES)
        return false;
    word = ret->check;
    for (size_t i = sizeof *ret; i < len; i += 8) {
        word = next_word(word);
        if (memcmp(at + i, &word, len - i < 8 ? len - i : 8) != 0)
            return false;
    }
    return true;
}

uint32_t
party_word(uint32_t life, uint64_t number, uint32_t len)
{
    uint32_t word = (uint32_t)(check_of(life, number, len) >> 32);

    return word > PARTY_ABORTED ? word : word + 2;
}

bool
party_know(struct party *p, uint64_t seq, uint32_t word)
{
    atom_u32 *at = &p->known[seq % PARTY_NUMBERS];

    if (!atom_load_relaxed(at) && atom_cas32_seq(at, 0, word))
        return true;
    return atom_load_relaxed(at) == word;
}
