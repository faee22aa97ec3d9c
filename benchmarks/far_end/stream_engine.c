/* Paced SRTP streams in C: the far end of the benchmarks, and the engine ours is compared with.
 *
 * Built as a shared object and called through ctypes. libsrtp comes in as function pointers out of
 * the shared object of pylibsrtp, so that both sides of a comparison use the same library.
 * Every stream sends and receives a packet of `payload` octets each 20 ms. What arrives is found by
 * its SSRC, unprotected, and accounted for by RFC 3550 A.1, A.3 and A.8.
 *
 * A far end must not be what is measured: it can encrypt all it is going to send before it begins
 * (`encrypt_ahead`), and decrypt one packet in `check_every`. The others are told by their numbers.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef int (*srtp_call)(void *session, void *packet, int *length);

struct setup {
    int streams, sockets, parts, payload, rtcp, check_every;
    int *descriptors;          /* one a socket */
    int *socket_of;            /* one a stream: its place in `descriptors` */
    struct sockaddr_in *peers; /* one a stream */
    uint32_t *ssrc_out, *ssrc_in;
    void **sessions_out, **sessions_in; /* srtp_t, NULL: plain RTP */
    uint32_t *counts;                   /* packets received, one a stream */
    srtp_call protect, unprotect, protect_rtcp;
    unsigned char *ahead; /* a packet for each tick of each stream, NULL: they are made in time */
    int ahead_length;
};

struct outcome {
    double sent, received, refused, strange, rtcp_received, lost, duplicates;
    double ticks, late, latest, cpu, jitter;
};

struct stream {
    uint16_t sequence, highest;
    uint32_t timestamp, cycles, base, seen;
    double transit, jitter;
};

enum { BATCH = 256, SLOT = 512, AHEAD = 192, TABLE = 1 << 15, HEADER = 12 };

static struct mmsghdr in[BATCH], out[BATCH];
static struct iovec in_vector[BATCH], out_vector[BATCH];
static struct sockaddr_in names[BATCH];
static unsigned char in_slots[BATCH][SLOT], out_slots[BATCH][SLOT];
static uint32_t keys[TABLE];
static int values[TABLE], by_port[65536];

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void sleep_until(double due)
{
    struct timespec at = {(time_t)due, (long)((due - (double)(time_t)due) * 1e9)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

static int *place_of(uint32_t ssrc)
{
    uint32_t place = (ssrc * 2654435761u) >> 17;
    while (keys[place] && keys[place] != ssrc)
        place = (place + 1) & (TABLE - 1);
    if (!keys[place])
        return NULL;
    return &values[place];
}

static void learn(uint32_t ssrc, int stream)
{
    uint32_t place = (ssrc * 2654435761u) >> 17;
    if (!ssrc)
        return;
    while (keys[place] && keys[place] != ssrc)
        place = (place + 1) & (TABLE - 1);
    keys[place] = ssrc;
    values[place] = stream;
}

static void account(struct stream *stream, const unsigned char *packet, double arrival)
{
    uint16_t sequence = (uint16_t)(packet[2] << 8 | packet[3]);
    uint32_t timestamp;
    memcpy(&timestamp, packet + 4, 4);
    double transit = arrival * 8000 - (double)ntohl(timestamp);
    if (!stream->seen++) {
        stream->highest = sequence;
        stream->base = sequence;
        stream->transit = transit;
        return;
    }
    uint16_t ahead = (uint16_t)(sequence - stream->highest);
    if (ahead && ahead < 3000) {
        if (sequence < stream->highest)
            stream->cycles += 65536;
        stream->highest = sequence;
    }
    double deviation = transit - stream->transit;
    stream->transit = transit;
    stream->jitter += ((deviation < 0 ? -deviation : deviation) - stream->jitter) / 16;
}

static void take(const struct setup *s, struct stream *streams, int descriptor, struct outcome *o)
{
    for (;;) {
        for (int i = 0; i < BATCH; i++)
            in[i].msg_hdr.msg_namelen = sizeof names[0];
        int count = recvmmsg(descriptor, in, BATCH, MSG_DONTWAIT, NULL);
        if (count <= 0)
            return;
        double arrival = seconds(CLOCK_MONOTONIC);
        for (int i = 0; i < count; i++) {
            unsigned char *packet = in_slots[i];
            int length = (int)in[i].msg_len;
            if (length < HEADER || packet[0] >> 6 != 2) {
                o->strange++;
                continue;
            }
            if (packet[1] >= 192 && packet[1] < 224) {
                o->rtcp_received++;
                continue;
            }
            uint32_t ssrc;
            memcpy(&ssrc, packet + 8, 4);
            int *place = place_of(ssrc);
            int number = place ? *place : by_port[names[i].sin_port];
            if (number < 0) {
                o->strange++;
                continue;
            }
            if (s->sessions_in[number] && streams[number].seen % (uint32_t)s->check_every == 0 &&
                s->unprotect(s->sessions_in[number], packet, &length)) {
                o->refused++;
                continue;
            }
            if (!place)
                learn(ssrc, number);
            account(&streams[number], packet, arrival);
            s->counts[number]++;
            o->received++;
        }
        if (count < BATCH)
            return;
    }
}

/* What comes before the clock starts counts for nothing, and must not be in the way then. */
static void drain_until(const struct setup *s, double begin)
{
    double now = seconds(CLOCK_MONOTONIC);
    do {
        for (int i = 0; i < s->sockets; i++)
            while (recvmmsg(s->descriptors[i], in, BATCH, MSG_DONTWAIT, NULL) > 0)
                ;
        now = seconds(CLOCK_MONOTONIC);
        sleep_until(now + 0.005 < begin ? now + 0.005 : begin);
    } while (now + 0.005 < begin);
}

static void flush(int descriptor, int count, struct outcome *o)
{
    int done = 0;
    while (done < count) {
        int sent = sendmmsg(descriptor, out + done, (unsigned)(count - done), 0);
        if (sent <= 0)
            break;
        done += sent;
    }
    o->sent += done;
}

static int build(const struct setup *s, int stream, uint16_t sequence, uint32_t timestamp,
                 unsigned char *packet)
{
    uint32_t word = htonl(timestamp);
    int length = HEADER + s->payload;
    packet[0] = 0x80;
    packet[1] = 0;
    packet[2] = (unsigned char)(sequence >> 8);
    packet[3] = (unsigned char)sequence;
    memcpy(packet + 4, &word, 4);
    memcpy(packet + 8, &s->ssrc_out[stream], 4);
    memset(packet + HEADER, 0x55, (size_t)s->payload);
    if (s->sessions_out[stream] && s->protect(s->sessions_out[stream], packet, &length))
        return 0;
    return length;
}

/* Makes what `ticks` ticks will send; returns whether it could. */
int encrypt_ahead(struct setup *s, long ticks)
{
    size_t octets = (size_t)ticks * (size_t)s->streams * AHEAD;
    void *area = mmap(NULL, octets, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED)
        return 0;
    s->ahead = area;
    madvise(area, octets, MADV_HUGEPAGE);
    for (int i = 0; i < s->streams; i++)
        for (long tick = 0; tick < ticks; tick++) {
            unsigned char *packet = s->ahead + (size_t)(tick * s->streams + i) * AHEAD;
            int length = build(s, i, (uint16_t)tick, (uint32_t)tick * (uint32_t)s->payload, packet);
            if (!length || length > AHEAD)
                return 0;
            s->ahead_length = length;
        }
    return 1;
}

static void send_part(const struct setup *s, struct stream *streams, long tick, int from, int to,
                      struct outcome *o)
{
    int count = 0, socket = -1;
    for (int i = from; i < to; i++) {
        if (count && (s->socket_of[i] != socket || count == BATCH)) {
            flush(s->descriptors[socket], count, o);
            count = 0;
        }
        socket = s->socket_of[i];
        unsigned char *packet = out_slots[count];
        int length = s->ahead_length;
        if (s->ahead)
            packet = s->ahead + (size_t)(tick * s->streams + i) * AHEAD;
        else
            length = build(s, i, streams[i].sequence++, streams[i].timestamp, packet);
        streams[i].timestamp += (uint32_t)s->payload;
        if (!length) {
            o->refused++;
            continue;
        }
        out_vector[count] = (struct iovec){packet, (size_t)length};
        out[count++].msg_hdr.msg_name = (void *)&s->peers[i];
    }
    if (count)
        flush(s->descriptors[socket], count, o);
}

/* A sender report and a CNAME (RFC 3550 section 6.4.1). */
static void report(const struct setup *s, struct stream *stream, int number)
{
    unsigned char packet[SLOT] = {0x80, 200, 0, 6};
    const unsigned char cname[] = {1, 3, 'f', 'a', 'r', 0, 0, 0};
    struct timespec now;
    uint32_t word;
    int length = 28 + 16;
    clock_gettime(CLOCK_REALTIME, &now);
    memcpy(packet + 4, &s->ssrc_out[number], 4);
    word = htonl((uint32_t)(now.tv_sec + 2208988800));
    memcpy(packet + 8, &word, 4);
    word = htonl((uint32_t)((double)now.tv_nsec * 4.294967296));
    memcpy(packet + 12, &word, 4);
    word = htonl(stream->timestamp);
    memcpy(packet + 16, &word, 4);
    packet[28] = 0x81;
    packet[29] = 202;
    packet[31] = 3;
    memcpy(packet + 32, &s->ssrc_out[number], 4);
    memcpy(packet + 36, cname, sizeof cname);
    if (s->sessions_out[number] && s->protect_rtcp(s->sessions_out[number], packet, &length))
        return;
    sendto(s->descriptors[s->socket_of[number]], packet, (size_t)length, 0,
           (const struct sockaddr *)&s->peers[number], sizeof(struct sockaddr_in));
}

static void prepare(const struct setup *s)
{
    memset(keys, 0, sizeof keys);
    for (int i = 0; i < 65536; i++)
        by_port[i] = -1;
    for (int i = 0; i < s->streams; i++) {
        int *port = &by_port[s->peers[i].sin_port];
        *port = *port == -1 ? i : -2;
        learn(s->ssrc_in[i], i);
    }
    for (int i = 0; i < BATCH; i++) {
        memset(&in[i], 0, sizeof in[i]);
        memset(&out[i], 0, sizeof out[i]);
        in_vector[i] = (struct iovec){in_slots[i], SLOT};
        out_vector[i] = (struct iovec){out_slots[i], 0};
        in[i].msg_hdr.msg_iov = &in_vector[i];
        in[i].msg_hdr.msg_iovlen = 1;
        in[i].msg_hdr.msg_name = &names[i];
        out[i].msg_hdr.msg_iov = &out_vector[i];
        out[i].msg_hdr.msg_iovlen = 1;
        out[i].msg_hdr.msg_namelen = sizeof(struct sockaddr_in);
    }
}

static void conclude(const struct setup *s, const struct stream *streams, struct outcome *o)
{
    for (int i = 0; i < s->streams; i++) {
        if (!streams[i].seen)
            continue;
        double expected = (double)streams[i].cycles + streams[i].highest - streams[i].base + 1;
        double missing = expected - streams[i].seen;
        if (missing > 0)
            o->lost += missing;
        else
            o->duplicates -= missing;
        o->jitter += streams[i].jitter / 8 / s->streams;
    }
}

/* Runs `ticks` of 20 ms from `begin` on the monotonic clock, and `rest` more that only receive. */
void run(const struct setup *s, double begin, long ticks, long rest, struct outcome *o)
{
    struct stream *streams = calloc((size_t)s->streams, sizeof *streams);
    struct epoll_event ready[64];
    int poller = epoll_create1(0);
    double period = 0.02 / s->parts;
    prepare(s);
    for (int i = 0; i < s->sockets; i++) {
        struct epoll_event event = {EPOLLIN, {.fd = s->descriptors[i]}};
        epoll_ctl(poller, EPOLL_CTL_ADD, s->descriptors[i], &event);
    }
    memset(o, 0, sizeof *o);
    drain_until(s, begin);
    double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (long step = 0; step < (ticks + rest) * s->parts; step++) {
        double due = begin + (double)step * period, now = seconds(CLOCK_MONOTONIC);
        if (now < due) {
            sleep_until(due);
            now = seconds(CLOCK_MONOTONIC);
        }
        o->ticks++;
        o->late += now - due > 0.005;
        if (now - due > o->latest)
            o->latest = now - due;
        long tick = step / s->parts, part = step % s->parts;
        if (tick < ticks) {
            int from = (int)(s->streams * part / s->parts);
            int to = (int)(s->streams * (part + 1) / s->parts);
            send_part(s, streams, tick, from, to, o);
            for (int i = from; s->rtcp && i < to; i++)
                if (tick % 250 == i % 250)
                    report(s, &streams[i], i);
        }
        if (s->sockets == 1)
            take(s, streams, s->descriptors[0], o);
        for (int count = 64; s->sockets > 1 && count == 64;) {
            count = epoll_wait(poller, ready, 64, 0);
            for (int i = 0; i < count; i++)
                take(s, streams, ready[i].data.fd, o);
        }
    }
    o->cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    conclude(s, streams, o);
    close(poller);
    free(streams);
}
