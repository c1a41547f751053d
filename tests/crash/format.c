/* format.c - a ring that is being made or destroyed is believed by nobody before it is complete. */
#include "tests/crash/run.h"

#include <stdio.h>
#include <string.h>

/* Whoever can join has before him either the ring as it was, or as it will be. */
static bool
check_join(struct run *r, const unsigned char *end, uint64_t n)
{
    struct ring_view *v = &r->w->view, joined;
    struct ring_maps maps = {.data = v->data,
                             .control = v->control,
                             .data_size = v->geo.data_size,
                             .control_size = v->geo.control_size};
    uint64_t size = world_shared_size(r->w);
    char where[64];
    uint32_t version;

    for (int i = 0; i < 2; i++, maps.control = NULL) {
        if (ring_join(&joined, &maps, &version))
            continue;
        if (!memcmp(world_shared(r->w), r->start + r->w->shared, size) ||
            !memcmp(world_shared(r->w), end, size))
            continue;
        (void)snprintf(where, sizeof where, "after %llu instructions", (unsigned long long)n);
        return run_complain(r, where, "an incomplete ring can be joined");
    }
    return true;
}

static bool
format_case(struct run *r, const char *name, void (*fn)(void *), bool is_new)
{
    struct plan plan = {.who = D0, .fn = fn};
    uint64_t n = 0, size = world_shared_size(r->w);
    struct stepper *s;
    bool good = true;

    world_build(r->w, &(struct shape){0});
    r->tc = NULL;
    if (is_new)
        memset(world_shared(r->w), 0, size);
    run_save(r, r->start);
    if (stepper_finish(run_begin(r, &plan)) != STEPPER_DONE)
        return run_complain(r, name, "it does not return");
    memcpy(r->inner, world_shared(r->w), size);
    run_load(r, r->start);
    s = run_begin(r, &plan);
    do
        good = check_join(r, r->inner, n++);
    while (good && stepper_step(s) == STEPPER_ON);
    r->figures.points += n;
    r->figures.cases++;
    printf("  %-52s %6llu points\n", name, (unsigned long long)n);
    return good && (check_join(r, r->inner, n));
}

bool
format_all(struct run *r, const char *part)
{
    if (!strstr("format", part))
        return true;
    return format_case(r, "format new memory", call_format, true) &&
           format_case(r, "format over a former ring", call_format, false) &&
           format_case(r, "destroy", call_destroy, false);
}
