# What was given out of the lane is not written down.
/atom_store_relaxed(&p->line->lane_head/d
