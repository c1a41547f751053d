/* bus.h - calls of the library that are killed and interrupted while a real daemon serves: what the forms of crash_bus share. */
#ifndef TESTS_CRASH_BUS_H
#define TESTS_CRASH_BUS_H

#include "tests/crash/trial.h"

/* bus_begin readies a guest's call. */
struct stepper *bus_begin(struct trial *t, const struct bus_call *c);

/* The forms. */
bool bus_kill(struct trial *t, const char *part);
bool bus_preempt(struct trial *t, const char *part);

#endif
