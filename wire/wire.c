#include "wire/wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* The highest values of the enumerators that ring.h gives these fields; siblings do not include each
 * other, and the daemon asserts that they agree. */
#define KIND_MAX 2u
#define DURABILITY_MAX 1u
#define WHEN_FULL_MAX 1u
#define TIMESTAMPS_MAX 2u
#define GIVEN_ALL (WIRE_GIVEN_MODE | WIRE_GIVEN_UID | WIRE_GIVEN_GID | WIRE_GIVEN_RULE)

uint32_t
wire_request_size(uint16_t type)
{
    static const uint16_t sizes[WIRE_TYPES] = {
        [WIRE_HELLO] = sizeof(struct wire_hello),
        [WIRE_TOPIC_CREATE] = sizeof(struct wire_topic),
        [WIRE_TOPIC_REMOVE] = sizeof(struct wire_topic),
        [WIRE_TOPIC_INFO] = sizeof(struct wire_topic),
        [WIRE_PUB_OPEN] = sizeof(struct wire_topic),
        [WIRE_PUB_CLOSE] = sizeof(struct wire_handle),
        [WIRE_SUB_OPEN] = sizeof(struct wire_sub_open),
        [WIRE_SUB_CLOSE] = sizeof(struct wire_handle),
        [WIRE_SUB_REMOVE] = sizeof(struct wire_sub_remove),
        [WIRE_LOG_OPEN] = sizeof(struct wire_position),
        [WIRE_POSITION] = sizeof(struct wire_position),
        [WIRE_RING] = sizeof(struct wire_ring),
    };

    return type < WIRE_TYPES ? sizes[type] : 0;
}

void
wire_begin(void *packet, uint32_t size, enum wire_type type, uint32_t id)
{
    struct wire_header *h = packet;

    memset(packet, 0, size);
    h->size = size;
    h->version = WIRE_VERSION;
    h->type = (uint16_t)type;
    h->id = id;
}

static bool
ends(const char *field, size_t room)
{
    return memchr(field, 0, room) != NULL;
}

static bool
options_are_good(const struct wire_options *o)
{
    return o->durability <= DURABILITY_MAX && o->when_full <= WHEN_FULL_MAX &&
           o->timestamps <= TIMESTAMPS_MAX && o->retain_until_acked <= 1 &&
           !(o->given & ~GIVEN_ALL) && !o->reserved;
}

static bool
body_is_good(const union wire_any *p)
{
    static const struct wire_options none;

    switch ((enum wire_type)p->h.type) {
    case WIRE_HELLO:
        return p->hello.oldest && p->hello.oldest <= p->hello.newest && !p->hello.reserved;
    case WIRE_TOPIC_CREATE:
        return ends(p->topic.name, sizeof p->topic.name) && options_are_good(&p->topic.options);
    case WIRE_TOPIC_REMOVE:
    case WIRE_TOPIC_INFO:
    case WIRE_PUB_OPEN:
        return ends(p->topic.name, sizeof p->topic.name) &&
               !memcmp(&p->topic.options, &none, sizeof none);
    case WIRE_SUB_OPEN:
        return ends(p->sub_open.topic, sizeof p->sub_open.topic) &&
               ends(p->sub_open.name, sizeof p->sub_open.name) && p->sub_open.kind <= KIND_MAX &&
               p->sub_open.start <= WIRE_LAST_N;
    case WIRE_PUB_CLOSE:
    case WIRE_SUB_CLOSE:
        return !p->handle.reserved;
    case WIRE_SUB_REMOVE:
        return ends(p->sub_remove.topic, sizeof p->sub_remove.topic) &&
               ends(p->sub_remove.name, sizeof p->sub_remove.name);
    case WIRE_LOG_OPEN:
        return p->position.start == WIRE_AT_SEQ && !p->position.reserved;
    case WIRE_POSITION:
        return p->position.start <= WIRE_LAST_N && !p->position.reserved;
    case WIRE_RING:
        return true;
    case WIRE_TYPES:
        break;
    }
    return false;
}

bool
wire_is_one_way(const struct wire_header *h)
{
    return h->type == WIRE_RING ||
           (!h->id && (h->type == WIRE_PUB_CLOSE || h->type == WIRE_SUB_CLOSE));
}

int
wire_check_request(const union wire_any *packet, size_t len)
{
    const struct wire_header *h = &packet->h;

    if (len < sizeof *h || h->size != len)
        return -EBADMSG;
    if (h->version != WIRE_VERSION)
        return -EPROTONOSUPPORT;
    if (h->status || len != wire_request_size(h->type))
        return -EBADMSG;
    return body_is_good(packet) ? 0 : -EBADMSG;
}

int
wire_check_answer(const union wire_any *packet, size_t len, uint16_t type, uint32_t id)
{
    const struct wire_answer *a = &packet->answer;

    if (len < sizeof a->h || a->h.size != len)
        return -EBADMSG;
    if (a->h.version != WIRE_VERSION)
        return -EPROTONOSUPPORT;
    if (len != sizeof *a || a->h.status > 0 || a->fds > WIRE_FDS_MAX ||
        !ends(a->text, sizeof a->text) || !wire_request_size(a->h.type))
        return -EBADMSG;
    if (a->h.id != id)
        return -EAGAIN;
    return a->h.type == type ? 0 : -EBADMSG;
}

/* Room for the descriptors of one packet, aligned as the kernel wants it. */
union descriptors {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(WIRE_FDS_MAX * sizeof(int))];
};

int
wire_send(int socket, const void *packet, const int *fds, unsigned nfds, int flags)
{
    const struct wire_header *h = packet;
    struct iovec part = {.iov_base = (void *)(uintptr_t)packet, .iov_len = h->size};
    struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1};
    union descriptors control = {.bytes = {0}};
    ssize_t n;

    if (nfds > WIRE_FDS_MAX)
        return -EINVAL;
    if (nfds) {
        size_t len = nfds * sizeof(int);
        struct cmsghdr *c;

        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(len);
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(len);
        memcpy(CMSG_DATA(c), fds, len);
    }
    do
        n = sendmsg(socket, &msg, flags | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

static void
take_descriptors(struct msghdr *msg, int fds[WIRE_FDS_MAX])
{
    unsigned n = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        size_t count;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count && n < WIRE_FDS_MAX; i++)
            memcpy(&fds[n++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
    }
}

int
wire_receive(int socket, union wire_any *ret, int ret_fds[WIRE_FDS_MAX], int flags)
{
    union wire_any packet;
    struct iovec part = {.iov_base = &packet, .iov_len = sizeof packet};
    union descriptors control;
    struct msghdr msg = {.msg_iov = &part,
                         .msg_iovlen = 1,
                         .msg_control = ret_fds ? control.bytes : NULL,
                         .msg_controllen = ret_fds ? sizeof control.bytes : 0};
    int fds[WIRE_FDS_MAX] = {-1, -1};
    ssize_t n;

    do
        n = recvmsg(socket, &msg, flags | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    take_descriptors(&msg, fds);
    /* Some of them are as good as none; what the packet says is as good as ever. */
    for (unsigned i = 0; msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC) && i < WIRE_FDS_MAX; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
        fds[i] = -1;
    }
    if (msg.msg_flags & MSG_TRUNC)
        return -EBADMSG;
    memcpy(ret, &packet, (size_t)n);
    if (ret_fds)
        memcpy(ret_fds, fds, sizeof fds);
    return (int)n;
}

/* A non-blocking socket and the address of `path`. */
static int
open_socket(const char *path, struct sockaddr_un *ret_address, int *ret_socket)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    int s;

    if (!len)
        return -EINVAL;
    if (len >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, len);
    s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s < 0)
        return -errno;
    *ret_address = address;
    *ret_socket = s;
    return 0;
}

int
wire_connect(const char *path, int *ret_socket)
{
    struct sockaddr_un address;
    int s, r = open_socket(path, &address, &s);

    if (r)
        return r;
    do
        r = connect(s, (const struct sockaddr *)&address, sizeof address) ? -errno : 0;
    while (r == -EINTR);
    if (r) {
        close(s);
        return r;
    }
    *ret_socket = s;
    return 0;
}

/* Takes a socket away that nobody listens on any more. -EADDRINUSE: somebody does, or it is no socket. */
static int
remove_stale(const char *path)
{
    struct stat st;
    int s, r;

    if (lstat(path, &st))
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EADDRINUSE;
    r = wire_connect(path, &s);
    if (!r)
        close(s);
    if (r != -ECONNREFUSED)
        return r == -ENOENT ? 0 : -EADDRINUSE;
    return unlink(path) && errno != ENOENT ? -errno : 0;
}

int
wire_listen(const char *path, uint32_t mode, int *ret_socket)
{
    struct sockaddr_un address;
    int s, r = open_socket(path, &address, &s);

    if (r)
        return r;
    r = remove_stale(path);
    if (!r && bind(s, (const struct sockaddr *)&address, sizeof address))
        r = -errno;
    /* Nobody can connect before listen, so nobody slips in before the mode is set. */
    if (!r && (chmod(path, (mode_t)(mode & 0777)) || listen(s, SOMAXCONN))) {
        r = -errno;
        (void)unlink(path);
    }
    if (r) {
        close(s);
        return r;
    }
    *ret_socket = s;
    return 0;
}
