# Fields are written under the stamp of a lap ago.
/RING_BUSY));/d
