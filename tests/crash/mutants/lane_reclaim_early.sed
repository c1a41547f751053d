# Bytes of the lane are used again before all have read them.
s/piece->seq < p->gate;/piece->seq < UINT64_MAX - 1;/
