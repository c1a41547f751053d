# What was copied is not looked at again.
s/return ring_validate(v, msg);/return 0;/
