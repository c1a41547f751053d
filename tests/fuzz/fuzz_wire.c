/* Packets of arbitrary bytes against the checks of wire.h, and through a real socket with any number of
 * descriptors. Each packet stands in memory of exactly its length, so that a read past what was received is seen. */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/fuzz/input.h"
#include "wire/wire.h"

/* Longer than any packet, so that too long ones occur. */
#define PACKET_MAX 700
#define PACKETS_MAX 64
#define FDS_SENT_MAX 4

static bool
ends(const char *field, size_t room)
{
    return memchr(field, 0, room) != NULL;
}

/* What the daemon relies on once a request has passed. */
static void
check_promises(const union wire_any *p, size_t len)
{
    MUST(len == p->h.size && len == wire_request_size(p->h.type));
    MUST(p->h.version == WIRE_VERSION && !p->h.status);
    switch (p->h.type) {
    case WIRE_TOPIC_CREATE:
    case WIRE_TOPIC_REMOVE:
    case WIRE_TOPIC_INFO:
    case WIRE_PUB_OPEN:
        MUST(ends(p->topic.name, sizeof p->topic.name));
        break;
    case WIRE_SUB_OPEN:
        MUST(ends(p->sub_open.topic, sizeof p->sub_open.topic));
        MUST(ends(p->sub_open.name, sizeof p->sub_open.name));
        MUST(p->sub_open.kind <= 2 && p->sub_open.start <= WIRE_LAST_N);
        break;
    case WIRE_SUB_REMOVE:
        MUST(ends(p->sub_remove.topic, sizeof p->sub_remove.topic));
        MUST(ends(p->sub_remove.name, sizeof p->sub_remove.name));
        break;
    default:
        break;
    }
}

static void
check_answer(struct input *in, const union wire_any *p, size_t len)
{
    uint16_t type = (uint16_t)input_below(in, WIRE_TYPES + 1);
    uint32_t id = input_u8(in);
    int r = wire_check_answer(p, len, type, id);

    MUST(r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT || r == -EAGAIN);
    if (r)
        return;
    MUST(len == sizeof p->answer && p->h.type == type && p->h.id == id && p->h.status <= 0);
    MUST(p->answer.fds <= WIRE_FDS_MAX && ends(p->answer.text, sizeof p->answer.text));
}

/* --- through a socket ------------------------------------------------------------------------- */

static int
send_raw(int socket, const void *bytes, size_t len, unsigned fds)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(FDS_SENT_MAX * sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
    struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1};
    struct cmsghdr *c;

    if (fds) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(fds * sizeof(int));
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(fds * sizeof(int));
        for (unsigned i = 0; i < fds; i++)
            memcpy(CMSG_DATA(c) + i * sizeof(int), &socket, sizeof(int));
    }
    return sendmsg(socket, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

/* The number that the next descriptor will get: the same before and after when none was left open. */
static int
next_descriptor(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    if (fd >= 0)
        close(fd);
    return fd;
}

static void
send_and_receive(struct input *in, const void *bytes, size_t len)
{
    static int ends_of[2] = {-1, -1};
    unsigned sent = input_below(in, FDS_SENT_MAX + 1);
    int fds[WIRE_FDS_MAX], before, n;
    union wire_any got;

    if (ends_of[0] < 0)
        MUST(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends_of));
    before = next_descriptor();
    memset(&got, 0x5a, sizeof got);
    MUST(!send_raw(ends_of[0], bytes, len, sent));
    n = wire_receive(ends_of[1], &got, fds, MSG_DONTWAIT);
    if (n < 0) {
        MUST(n == -EBADMSG && (len > sizeof got || sent > WIRE_FDS_MAX));
    } else {
        MUST((size_t)n == len && !memcmp(&got, bytes, len));
        for (unsigned i = 0; i < WIRE_FDS_MAX; i++) {
            MUST((fds[i] >= 0) == (i < sent));
            if (fds[i] >= 0)
                MUST((fcntl(fds[i], F_GETFD) & FD_CLOEXEC) && !close(fds[i]));
        }
    }
    MUST(next_descriptor() == before);
}

/* --- packets ---------------------------------------------------------------------------------- */

static void
check_packet(struct input *in, const unsigned char *bytes, size_t len, bool answer)
{
    unsigned char *exact = malloc(len ? len : 1);
    const union wire_any *p = (const void *)exact;
    int r;

    MUST(exact);
    if (len)
        memcpy(exact, bytes, len);
    r = wire_check_request(p, len);
    MUST(r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT);
    if (!r)
        check_promises(p, len);
    if (answer)
        check_answer(in, p, len);
    MUST(!len || !memcmp(exact, bytes, len));
    free(exact);
}

/* The first byte says which type; the header is made right as far as its bits say. */
static void
take_packet(struct input *in)
{
    static unsigned char bytes[PACKET_MAX];
    uint8_t how = input_u8(in), what = input_u8(in);
    uint16_t type = how & 15;
    bool answer = how & 16;
    struct wire_header h;
    size_t len = wire_request_size(type), got;

    if (answer)
        len = sizeof(struct wire_answer);
    if (!(how & 32))
        len = input_below(in, PACKET_MAX + 1);
    memset(bytes, what & 1 ? 0xff : 0, len);
    got = input_bytes(in, bytes, what & 2 ? len : (size_t)input_below(in, PACKET_MAX));
    (void)got;
    if ((how & 64) && len >= sizeof h) {
        memcpy(&h, bytes, sizeof h);
        h.size = (uint32_t)len;
        h.version = WIRE_VERSION;
        h.type = type;
        h.status = answer ? h.status : 0;
        h.id = answer ? h.id & 3 : h.id;
        memcpy(bytes, &h, sizeof h);
    }
    check_packet(in, bytes, len, answer);
    if ((how & 128) && len)
        send_and_receive(in, bytes, len);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct input in = {.at = data, .left = len};

    for (int i = 0; i < PACKETS_MAX && in.left; i++)
        take_packet(&in);
    return 0;
}
