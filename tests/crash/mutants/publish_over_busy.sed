# A slot is claimed again while its publisher of a lap ago is at work.
s/return diff <= RING_BUSY ? -EAGAIN : 1;/return 0;/
