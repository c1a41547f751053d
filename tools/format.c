#include "tools/format.h"

#include <inttypes.h>
#include <string.h>

#include "tools/units.h"

/* 16 when it is none. */
static unsigned
hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    const char *at = c ? strchr(digits, c) : NULL;

    return at ? (unsigned)(at - digits) % 16 : 16;
}

const char *
format_check(const char *format)
{
    for (const char *p = format; *p; p++) {
        if (*p != '%' && *p != '\\')
            continue;
        p++;
        if (!*p)
            return p[-1] == '%' ? "it ends in a lone %" : "it ends in a lone backslash";
        if (p[-1] == '%' && !strchr("sSokyptTD%", *p))
            return "after % stands one of s S o k y p t T D %";
        if (p[-1] == '\\' && !strchr("ntr0ex\\", *p))
            return "after a backslash stands one of n t r 0 e x \\";
        if (p[-1] == '\\' && *p == 'x' && (hex_digit(p[1]) > 15 || hex_digit(p[2]) > 15))
            return "after \\x stand two hexadecimal digits";
    }
    return NULL;
}

static void
escape(struct buf *b, const char **at)
{
    static const char from[] = "ntr0e\\", to[] = "\n\t\r\0\033\\";
    const char *p = *at;

    if (*p == 'x') {
        buf_char(b, (char)(hex_digit(p[1]) << 4 | hex_digit(p[2])));
        *at += 2;
        return;
    }
    buf_char(b, to[strchr(from, *p) - from]);
}

static void
field(struct buf *b, char what, const struct format_message *m)
{
    struct units_text room;

    switch (what) {
    case 's':
        buf_add(b, m->data, m->len);
        break;
    case 't':
        buf_printf(b, "%s", m->topic);
        break;
    case 'S':
        buf_printf(b, "%zu", m->len);
        break;
    case 'o':
        buf_printf(b, "%" PRIu64, m->seq);
        break;
    case 'k':
        buf_printf(b, "%" PRIu64, m->key);
        break;
    case 'y':
        buf_printf(b, "%u", m->type);
        break;
    case 'p':
        buf_printf(b, "%u", m->publisher);
        break;
    case 'T':
        buf_printf(b, "%" PRIu64, m->time_ns);
        break;
    case 'D':
        buf_printf(b, "%s", m->time_ns ? units_date(m->time_ns, &room) : "-");
        break;
    default:
        buf_char(b, '%');
        break;
    }
}

void
format_text(struct buf *b, const char *format, const struct format_message *m)
{
    for (const char *p = format; *p; p++) {
        if (*p == '%')
            field(b, *++p, m);
        else if (*p == '\\') {
            p++;
            escape(b, &p);
        } else
            buf_char(b, *p);
    }
}

void
format_hex(struct buf *b, const struct format_message *m)
{
    struct units_text room;

    buf_printf(b, "%" PRIu64 "  %s  key %" PRIu64 "  type %u  publisher %u  %zu bytes\n", m->seq,
               m->time_ns ? units_date(m->time_ns, &room) : "-", m->key, m->type, m->publisher,
               m->len);
    buf_dump(b, m->data, m->len, "  ");
}

void
format_json(struct buf *b, const struct format_message *m)
{
    buf_printf(b,
               "{\"topic\":\"%s\",\"seq\":%" PRIu64 ",\"time_ns\":%" PRIu64 ",\"key\":%" PRIu64
               ",\"type\":%u,\"publisher\":%u,\"length\":%zu,\"payload",
               m->topic, m->seq, m->time_ns, m->key, m->type, m->publisher, m->len);
    size_t mark = b->len;
    buf_add(b, "\":", 2);
    if (buf_json_string(b, m->data, m->len)) {
        b->len = mark;
        buf_printf(b, "_base64\":\"");
        buf_base64(b, m->data, m->len);
        buf_char(b, '"');
    }
    buf_add(b, "}\n", 2);
}
