# The magic stands before what it vouches for.
s/memset(control, 0, geo->control_size);/& atom_store_release(\&dh->magic, SHM_MAGIC); atom_store_release(\&ch->magic, SHM_MAGIC);/
