# A reader that is set down in a batch does not look for its first slot.
s/SHM_UNLIKELY(r->landed)/0/
