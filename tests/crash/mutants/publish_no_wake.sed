# Sleepers are not looked for.
s/if (SHM_UNLIKELY(shm_event_claim(&c->sleep)))/if (0)/
