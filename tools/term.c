#include "tools/term.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "tools/cli.h"

static struct termios saved;

void
term_begin(struct term *t, bool live)
{
    static const char enter[] = "\033[?1049h\033[?25l\033[?7l";
    const char *no_colour = getenv("NO_COLOR"), *kind = getenv("TERM");
    bool terminal = isatty(STDOUT_FILENO) && kind && strcmp(kind, "dumb") != 0;
    struct termios raw;

    *t = (struct term){
        .live = live && terminal,
        .colour = terminal && (!no_colour || !*no_colour),
    };
    if (setlocale(LC_CTYPE, ""))
        t->utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
    if (!t->live)
        return;
    t->keys = isatty(STDIN_FILENO) && !tcgetattr(STDIN_FILENO, &saved);
    if (t->keys) {
        raw = saved;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    (void)!write(STDOUT_FILENO, enter, sizeof enter - 1);
}

void
term_end(struct term *t)
{
    static const char leave[] = "\033[?7h\033[?25h\033[?1049l";

    if (!t->live)
        return;
    if (t->keys)
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &saved);
    (void)!write(STDOUT_FILENO, leave, sizeof leave - 1);
    t->live = false;
}

void
term_size(const struct term *t, int *ret_columns, int *ret_rows)
{
    const char *columns = getenv("COLUMNS");
    struct winsize size;
    long n = columns ? strtol(columns, NULL, 10) : 0;

    (void)t;
    *ret_columns = n >= 20 && n <= 1000 ? (int)n : 80;
    *ret_rows = 24;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || !size.ws_col)
        return;
    *ret_columns = size.ws_col;
    *ret_rows = size.ws_row > 1 ? size.ws_row : 24;
}

/* Each line replaces the one that stood there; what does not fit on the screen is left out. */
static int
show_live(struct term *t, struct buf *frame)
{
    struct buf out = {0};
    int columns, rows, r;
    const char *at = frame->data, *end = frame->data + frame->len;

    term_size(t, &columns, &rows);
    buf_printf(&out, "\033[H");
    for (int row = 1; at < end && row <= rows; row++) {
        const char *line = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((line ? line : end) - at);
        buf_add(&out, at, len);
        buf_printf(&out, "\033[K%s", row < rows ? "\r\n" : "");
        at += len + 1;
    }
    buf_printf(&out, "\033[J");
    r = buf_flush(&out, STDOUT_FILENO);
    buf_free(&out);
    frame->len = 0;
    return r;
}

int
term_show(struct term *t, struct buf *frame)
{
    struct buf blank = {0};
    int r = 0;

    if (t->live)
        return show_live(t, frame);
    if (t->frames++) {
        buf_char(&blank, '\n');
        r = buf_flush(&blank, STDOUT_FILENO);
        buf_free(&blank);
    }
    return r ? r : buf_flush(frame, STDOUT_FILENO);
}

int
term_key(const struct term *t, int64_t timeout_ns)
{
    /* A reader that has gone away ends the wait too: poll reports it whatever is asked for. */
    struct pollfd fds[2] = {{.fd = STDOUT_FILENO},
                            {.fd = t->keys ? STDIN_FILENO : -1, .events = POLLIN}};
    struct timespec left = {(time_t)(timeout_ns / 1000000000), (long)(timeout_ns % 1000000000)};
    unsigned char key = 0;
    int n;

    if (cli_interrupted())
        return -1;
    n = ppoll(fds, 2, &left, NULL);
    if (n < 0)
        return errno == EINTR && !cli_interrupted() ? 0 : -1;
    if (n && (fds[0].revents & (POLLERR | POLLHUP)))
        return -1;
    if (n && (fds[1].revents & (POLLHUP | POLLERR)))
        return -1;
    if (n && fds[1].revents && read(STDIN_FILENO, &key, 1) != 1)
        return -1;
    return key;
}

const char *
term_style(const struct term *t, enum term_style style)
{
    static const char *const codes[] = {"\033[0m",  "\033[1m",  "\033[2m",
                                        "\033[32m", "\033[33m", "\033[31;1m"};

    return t->colour ? codes[style] : "";
}
