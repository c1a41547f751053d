/* cases.c - which calls are killed and interleaved, and from where they start (run.h says what the letters mean). */
#include "tests/crash/run.h"

#define CASE(n, s, p, ...)                                                                         \
    {                                                                                              \
        .name = (n), .shape = s, .past = (p), __VA_ARGS__                                          \
    }
#define SEND(p, count, ...)                                                                        \
    {                                                                                              \
        .who = (p), .fn = call_send, .call = {                                                     \
            .publishes = true,                                                                     \
            .n = (count),                                                                          \
            .len = {__VA_ARGS__}                                                                   \
        }                                                                                          \
    }
#define SEND_AGAIN(p, count, times, ...)                                                           \
    {                                                                                              \
        .who = (p), .fn = call_send, .call = {                                                     \
            .publishes = true,                                                                     \
            .n = (count),                                                                          \
            .rounds = (times),                                                                     \
            .len = {__VA_ARGS__}                                                                   \
        }                                                                                          \
    }
#define RECEIVE(s, count)                                                                          \
    {                                                                                              \
        .who = (s), .fn = call_receive, .call = {.n = (count) }                                    \
    }
#define SEEK(s, to)                                                                                \
    {                                                                                              \
        .who = (s), .fn = call_seek, .call = {.seeks = true, .pos = (to) }                         \
    }
#define ATTACH(k, at)                                                                              \
    {                                                                                              \
        .who = D0, .fn = call_attach, .call = {                                                    \
            .attaches = true,                                                                      \
            .target = 3,                                                                           \
            .left_cursors = 1u << 3,                                                               \
            .kind = (k),                                                                           \
            .pos = (at)                                                                            \
        }                                                                                          \
    }
#define ENTER(entry)                                                                               \
    {                                                                                              \
        .who = D0, .fn = call_enter, .call = {.target = (entry), .left_entries = 1u << (entry) }   \
    }
#define SLEEP                                                                                      \
    {                                                                                              \
        .who = S0, .fn = call_sleep                                                                \
    }
#define DAEMON(f, cursor)                                                                          \
    {                                                                                              \
        .who = D0, .fn = (f), .call = {.target = (cursor) }                                        \
    }
#define SETTLE                                                                                     \
    {                                                                                              \
        .who = D0, .fn = call_settle, .call = {.target = 1u << 2, .left_entries = 1u << 2 }        \
    }

#define FREE                                                                                       \
    {                                                                                              \
        .held = false                                                                              \
    }
#define HELD                                                                                       \
    {                                                                                              \
        .held = true                                                                               \
    }
#define LOSSY                                                                                      \
    {                                                                                              \
        .overwrite = true                                                                          \
    }
#define FENCED                                                                                     \
    {                                                                                              \
        .held = true, .fenced = true                                                               \
    }
/* The low 48 bits of an intent go round. */
#define FAR                                                                                        \
    {                                                                                              \
        .held = true, .origin = (1ull << 48) - 2                                                   \
    }

const struct test_case kill_cases[] = {
    CASE("publish, new ring", HELD, "", .a = SEND(P0, 1, 8), .never_held = true),
    CASE("publish, no payload", HELD, "", .a = SEND(P0, 1, 0), .never_held = true),
    CASE("publish, later laps", HELD, "iIbdlMdiIbdx", .a = SEND(P0, 1, 32), .never_held = true),
    CASE("publish, in the lane", HELD, "iI", .a = SEND(P0, 1, 40), .never_held = true),
    CASE("publish, a long one in the lane", HELD, "iI", .a = SEND(P0, 1, 1000), .never_held = true),
    CASE("publish, batch", HELD, "iI", .a = SEND(P0, 3, 8, 9, 10), .never_held = true),
    CASE("publish, batch over the lap", HELD, "bMdi", .a = SEND(P0, 4, 8, 9, 10, 11),
         .never_held = true),
    CASE("publish, batch of mixed lengths", HELD, "iI", .a = SEND(P0, 3, 8, 40, 33),
         .never_held = true),
    CASE("publish, batch in the lane, lap", HELD, "bMdi", .a = SEND(P0, 4, 40, 33, 64, 65),
         .never_held = true),
    CASE("publish, held back", HELD, "bbii", .a = SEND(P0, 1, 8)),
    CASE("publish, held back with a loan", HELD, "bbii", .a = SEND(P0, 1, 40)),
    CASE("publish, room for a part of the batch", HELD, "bbi", .a = SEND(P0, 2, 40, 8)),
    CASE("publish, freed just before", HELD, "bbiir", .a = SEND(P0, 1, 40)),
    CASE("publish, holder evicted", HELD, "bbiie", .a = SEND(P0, 1, 8)),
    CASE("publish, lane full", HELD, "hhhh", .a = SEND(P0, 1, 1000)),
    CASE("publish, lane full in a batch", HELD, "hhhl", .a = SEND(P0, 3, 40, 64, 1000)),
    CASE("publish, lane reclaimed", HELD, "hhhhd", .a = SEND(P0, 1, 1000), .never_held = true),
    CASE("publish, lane wraps", HELD, "lhhhd", .a = SEND(P0, 1, 1000), .never_held = true),
    CASE("publish, again and again", HELD, "b", .a = SEND_AGAIN(P0, 2, 3, 8, 40)),
    CASE("publish, lossy", LOSSY, "bbii", .a = SEND(P0, 3, 8, 9, 10), .never_held = true),
    CASE("publish, lossy, lane overwritten", LOSSY, "hhhh", .a = SEND(P0, 2, 8, 1000),
         .never_held = true),
    CASE("publish, a sleeper is armed", HELD, "iIa", .a = SEND(P0, 1, 8), .never_held = true),
    CASE("publish, a sleeper is armed, fenced", FENCED, "iIa", .a = SEND(P0, 3, 8, 9, 10),
         .never_held = true),
    CASE("publish, the bell is armed", HELD, "iIg", .a = SEND(P0, 2, 8, 40), .never_held = true),
    CASE("publish, intents go round", FAR, "", .a = SEND(P0, 4, 8, 40, 8, 8), .never_held = true),
    CASE("loan and abort", HELD, "iI",
         .a = {.who = P0,
               .fn = call_abandon,
               .call = {.publishes = true, .n = 2, .len = {40, 1000}}},
         .never_held = true),
    CASE("receive, nothing there", HELD, "", .a = RECEIVE(S0, 1), .never_held = true),
    CASE("receive", HELD, "iI", .a = RECEIVE(S0, 1), .never_held = true),
    CASE("receive, batch of mixed lengths", HELD, "M", .a = RECEIVE(S0, 4), .never_held = true),
    CASE("receive, aborted places", HELD, "xI", .a = RECEIVE(S0, 2), .never_held = true),
    CASE("receive, live, batch", HELD, "m", .a = RECEIVE(S1, 2), .never_held = true),
    CASE("receive, overrun", LOSSY, "bbiMi", .a = RECEIVE(S1, 2), .never_held = true),
    CASE("receive, the lane is gone", LOSSY, "ihhhhh", .a = RECEIVE(S1, 3), .never_held = true),
    CASE("receive, evicted", HELD, "bbiieIi", .a = RECEIVE(S0, 2), .never_held = true),
    CASE("seek back", HELD, "iIid", .a = SEEK(S0, 2), .never_held = true),
    CASE("seek forward", HELD, "iIi", .a = SEEK(S0, 3), .never_held = true),
    CASE("seek back, live", LOSSY, "bbiMid", .a = SEEK(S0, 1), .never_held = true),
    CASE("sleep, a message is there", HELD, "i", .a = SLEEP, .never_held = true),
    CASE("sleep to the end", HELD, "", .a = SLEEP, .never_held = true),
    CASE("attach, gating", FREE, "bMiI", .a = ATTACH(RING_KIND_GATING, 1)),
    CASE("attach, live", FREE, "bMiI", .a = ATTACH(RING_KIND_LIVE, 3), .never_held = true),
    CASE("attach, the log's", FREE, "bMdiI", .a = ATTACH(RING_KIND_LOG, 5), .never_held = true),
    CASE("free a cursor that holds all back", HELD, "bbii", .a = DAEMON(call_free, 1)),
    CASE("evict a cursor that holds all back", HELD, "bbii", .a = DAEMON(call_evict, 1)),
    CASE("enter an entry", HELD, "iI", .a = ENTER(3), .never_held = true),
    CASE("enter an entry, its lane is in use", HELD, "qi", .a = ENTER(2), .never_held = true),
    CASE("settle, one message", HELD, "iI", .a = SETTLE, .victim = {8}),
    CASE("settle, in the lane", HELD, "iI", .a = SETTLE, .victim = {40}),
    CASE("settle, batch", HELD, "iI", .a = SETTLE, .victim = {8, 9, 10}),
    CASE("settle, batch over the lap", HELD, "bMdi", .a = SETTLE, .victim = {8, 40, 9, 33}),
    {0},
};

const struct test_case preempt_cases[] = {
    CASE("publish / publish", HELD, "iI", .a = SEND(P0, 1, 8), .b = SEND(P1, 1, 8),
         .never_held = true),
    CASE("publish / batch", HELD, "iI", .a = SEND(P0, 1, 8), .b = SEND(P1, 3, 8, 9, 10),
         .never_held = true),
    CASE("batch / batch over the lap", HELD, "bMd", .a = SEND(P0, 2, 8, 9),
         .b = SEND(P1, 3, 8, 40, 10), .never_held = true),
    CASE("publish / publish, lanes", HELD, "hhhdi", .a = SEND(P0, 1, 40), .b = SEND(P1, 1, 33),
         .never_held = true),
    CASE("publish / publish, one place left", HELD, "bbi", .a = SEND(P0, 1, 8),
         .b = SEND(P1, 1, 40)),
    CASE("batch / batch, room for one of them", HELD, "bii", .a = SEND(P0, 3, 8, 9, 10),
         .b = SEND(P1, 2, 8, 9)),
    CASE("publish / publish, lossy", LOSSY, "bbii", .a = SEND(P0, 1, 8), .b = SEND(P1, 2, 8, 9),
         .never_held = true),
    CASE("batch / lap after lap, lossy", LOSSY, "bbii", .a = SEND(P0, 3, 8, 9, 10),
         .b = SEND_AGAIN(P1, 4, 3, 8, 9, 40, 10)),
    CASE("publish / publishes, a lap", LOSSY, "bb", .a = SEND(P0, 1, 8),
         .b = SEND_AGAIN(P1, 3, 3, 8, 9, 10)),
    CASE("publish / publish, a sleeper and the bell are armed", HELD, "ag", .a = SEND(P0, 1, 8),
         .b = SEND(P1, 2, 8, 40), .never_held = true),
    CASE("publish / receive", HELD, "i", .a = SEND(P0, 1, 8), .b = RECEIVE(S0, 2),
         .never_held = true),
    CASE("batch / receive", HELD, "", .a = SEND(P0, 3, 8, 40, 9), .b = RECEIVE(S0, 4),
         .never_held = true),
    CASE("batch / receive, fenced", FENCED, "", .a = SEND(P0, 2, 8, 9), .b = RECEIVE(S0, 3),
         .never_held = true),
    CASE("publish / receive, ring full", HELD, "bbii", .a = SEND(P0, 1, 8), .b = RECEIVE(S0, 1)),
    CASE("publish / receive, lane full", HELD, "hhhh", .a = SEND(P0, 1, 1000), .b = RECEIVE(S0, 1),
         .only_once = true),
    CASE("publish / receive, lossy", LOSSY, "bbii", .a = SEND(P0, 1, 8), .b = RECEIVE(S1, 2),
         .never_held = true),
    CASE("batch / receive, lossy", LOSSY, "bbii", .a = SEND(P0, 3, 8, 9, 40), .b = RECEIVE(S1, 2),
         .never_held = true),
    CASE("publish / receive, lane overwritten", LOSSY, "hhhh", .a = SEND(P0, 1, 1000),
         .b = RECEIVE(S1, 1), .never_held = true, .only_once = true),
    CASE("publish / settle", HELD, "iI", .a = SEND(P0, 1, 8), .b = SETTLE, .victim = {8},
         .never_held = true),
    CASE("publish / settle of a batch", HELD, "iI", .a = SEND(P0, 1, 40), .b = SETTLE,
         .victim = {8, 9, 10}, .never_held = true),
    CASE("batch / settle of a batch", HELD, "bMd", .a = SEND(P0, 3, 8, 9, 10), .b = SETTLE,
         .victim = {8, 40, 9}, .never_held = true),
    CASE("batch / settle of a batch, lossy", LOSSY, "bbii", .a = SEND(P0, 3, 8, 9, 10), .b = SETTLE,
         .victim = {8, 9}, .never_held = true),
    CASE("receive / settle of a batch", HELD, "i", .a = RECEIVE(S0, 4), .b = SETTLE,
         .victim = {8, 9, 10}, .never_held = true),
    CASE("publish / attach", FREE, "bMid", .a = SEND(P0, 1, 8), .b = ATTACH(RING_KIND_GATING, 1),
         .never_held = true),
    CASE("batch / attach", FREE, "bMiI", .a = SEND(P0, 3, 8, 9, 10),
         .b = ATTACH(RING_KIND_GATING, 1)),
    CASE("batch / attach, limit reached", FREE, "bMiIi", .a = SEND(P0, 3, 8, 9, 10),
         .b = ATTACH(RING_KIND_GATING, 3), .never_held = true),
    CASE("publish in the lane / attach", FREE, "hhhh", .a = SEND(P0, 1, 900),
         .b = ATTACH(RING_KIND_GATING, 1), .only_once = true),
    CASE("publish / seek back", HELD, "bMiId", .a = SEND(P0, 1, 8), .b = SEEK(S0, 2),
         .never_held = true),
    CASE("batch / seek back, not read all", HELD, "bMdbM", .a = SEND(P0, 2, 8, 9),
         .b = SEEK(S0, 4)),
    CASE("batch / seek forward", HELD, "bMiI", .a = SEND(P0, 2, 8, 9), .b = SEEK(S0, 5)),
    CASE("publish / free", HELD, "bbii", .a = SEND(P0, 1, 8), .b = DAEMON(call_free, 1)),
    CASE("publish / evict", HELD, "bbii", .a = SEND(P0, 2, 8, 9), .b = DAEMON(call_evict, 1)),
    CASE("receive / evict", HELD, "bbii", .a = RECEIVE(S0, 2), .b = DAEMON(call_evict, 1)),
    CASE("publish / enter", HELD, "iI", .a = SEND(P0, 1, 8), .b = ENTER(3), .never_held = true),
    CASE("publish / enter, lane in use", HELD, "qi", .a = SEND(P0, 1, 8), .b = ENTER(2),
         .never_held = true),
    CASE("publish / sleep", HELD, "", .a = SEND(P0, 1, 8), .b = SLEEP, .never_held = true),
    CASE("batch / sleep, fenced", FENCED, "", .a = SEND(P0, 2, 8, 40), .b = SLEEP,
         .never_held = true),
    {0},
};
