/* facts.h - what the inspector says about topics, publishers and cursors, as JSON objects for table.h. */
#ifndef TOOLS_FACTS_H
#define TOOLS_FACTS_H

#include <jansson.h>
#include <leat.h>

/* facts_topic: everything of leat_topic_info. */
json_t *facts_topic(const char *name, const struct leat_topic_info *info);

/* facts_publishers and facts_cursors: arrays of all there are now. `now_ns` is realtime: ages are counted back from it. */
json_t *facts_publishers(leat_inspect *i, const char *topic, uint64_t now_ns);
json_t *facts_cursors(leat_inspect *i, const char *topic);

/* facts_copied takes out of cursors what is said of their processes: in a directory with copies a pid is of another time, and
 * maybe of another host; none of them is alive. */
void facts_copied(json_t *cursors);

/* facts_state names a topic's state. */
const char *facts_state(uint32_t state);

/* facts_scrub replaces whatever is not printable ASCII: a text out of shared memory, which others can write, must not speak
 * to the terminal. */
void facts_scrub(char *text);

/* facts_process says how a process is: "running", "stopped" (by a signal or a debugger), "dead", or "hidden": it is there, and
 * /proc does not show it to us. */
const char *facts_process(uint32_t pid);

/* facts_command writes a living process's command name ("-" when it has gone). */
void facts_command(uint32_t pid, char ret[32]);

#endif
