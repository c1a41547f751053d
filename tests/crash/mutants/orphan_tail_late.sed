# Intents are read before the tail.
/s\.tail = atom_load_acquire/d
/if (s\.tail < v->geo/i\    s.tail = atom_load_acquire(ring_tail(v));
