/* request.h - what a client may ask, each type in one function. */
#ifndef DAEMON_REQUEST_H
#define DAEMON_REQUEST_H

#include "daemon/session.h"

/* request_handle does what a well-formed packet asks and answers it, once. May end the session. */
void request_handle(struct session *s, const union wire_any *packet);

#endif
