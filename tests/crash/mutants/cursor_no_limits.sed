# The limits that publishers have shown are not asked.
/most = shm_max(most, atom_load_seq/d
