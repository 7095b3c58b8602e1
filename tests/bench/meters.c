/* Simulated meters for the benchmarks, fast enough never to be what is measured.
 *
 *   meters tcp        listens on --ports ports of 127.0.0.1; any number of connections to each
 *   meters terminals  dials --port of 127.0.0.1 from --count terminals and registers each: `TERM` + 8 digits + CR LF;
 *                     `BEAT` + 8 digits + CR LF every --heartbeat-s; dials again after a loss
 *   meters serial     --lines pseudo-terminals that pace as --baud, 11 bits a character, does
 *
 * It answers DL/T 645-2007 reads (11H) of any meter, with 4 x FE in front:
 *   04000101, 04000102  date and time: the wall clock of the zone --zone-min minutes east of Greenwich
 *   050600NN            when daily freeze NN was frozen: midnight NN - 1 days ago; NN from 1 to 62
 *   050601NN            its energies, in 0.01 kWh: tariff t shows t * (address modulo 1,000,000) + day, where day counts
 *                       from 1970-01-01; the total in front is the sum of the four
 *   04000503            status word 3: 0, the relay is closed and nobody keeps it
 *   anything else       D1, error word 02: no such data
 * Frames of other functions and noise are not answered. With --modbus it answers Modbus TCP instead: register r of unit
 * u shows 1000 u + r modulo 65,536, functions 3 and 4.
 *
 * Of every --of consecutive addresses the first --dead are silent. Every answer waits --delay-ms.
 * The first line of its output, in JSON, tells that it is ready and where; the last one, after SIGTERM, what it did.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { WAKE_UP = 4, HEAD = 10, OVERHEAD = 12, READ = 0x11, LONGEST_ANSWER = 320, ROOM = 4096, FREEZES = 62 };
enum { BITS_A_CHARACTER = 11, TICK_MS = 100, OPENING_AT_ONCE = 256, EVENTS = 512 };
static const int64_t SECOND = 1000000000, MILLISECOND = 1000000;

static struct {
    int ports, port, count, lines, baud, zone_min, dead, of, heartbeat_s;
    int64_t delay_ns;
    bool modbus;
} options = {.ports = 1, .count = 1000, .lines = 1, .baud = 2400, .of = 20, .heartbeat_s = 30};

static struct {
    long answered, connected, dropped, collisions;
} counted;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * SECOND + now.tv_nsec;
}

/* --- what a meter answers -------------------------------------------------------------------------------------- */

static uint8_t *bcd(uint8_t *out, uint32_t value, int width) {
    for (; width--; value /= 100)
        *out++ = (uint8_t)(value / 10 % 10 << 4 | value % 10);
    return out;
}

static uint64_t address_of(const uint8_t *frame) {
    uint64_t address = 0;
    for (int i = 6; i >= 1; i--)
        address = address * 100 + (frame[i] >> 4) * 10u + (frame[i] & 15);
    return address;
}

/* The data of the answer to one identifier, without the identifier; its width, 0 when there is no such data. */
static int data_of(uint32_t identifier, uint64_t address, uint8_t *out) {
    time_t local = time(NULL) + 60 * options.zone_min;
    int freeze = identifier & 0xFF;
    bool remembers = freeze >= 1 && freeze <= FREEZES;
    uint8_t *end = out;
    struct tm at;
    if (identifier == 0x04000101 || identifier == 0x04000102) {
        gmtime_r(&local, &at);
        bool date = identifier == 0x04000101;
        const int fields[] = {at.tm_wday, at.tm_mday, at.tm_mon + 1, at.tm_year % 100, at.tm_sec, at.tm_min, at.tm_hour};
        for (int i = date ? 0 : 4; i < (date ? 4 : 7); i++)
            end = bcd(end, (uint32_t)fields[i], 1);
    } else if (identifier == 0x04000503) {
        end = bcd(end, 0, 2);
    } else if ((identifier & ~0xFFu) == 0x05060000 && remembers) {
        local -= (freeze - 1) * 86400L;
        gmtime_r(&local, &at);
        const int fields[] = {0, 0, at.tm_mday, at.tm_mon + 1, at.tm_year % 100};
        for (int i = 0; i < 5; i++)
            end = bcd(end, (uint32_t)fields[i], 1);
    } else if ((identifier & ~0xFFu) == 0x05060100 && remembers) {
        uint32_t step = (uint32_t)(address % 1000000), day = (uint32_t)(local / 86400 - (freeze - 1));
        end = bcd(end, 10 * step + 4 * day, 4);
        for (uint32_t tariff = 1; tariff <= 4; tariff++)
            end = bcd(end, tariff * step + day, 4);
    }
    return (int)(end - out);
}

/* The answer to one whole frame that begins with 68H; its length, 0 when nobody answers. */
static int answer_frame(const uint8_t *frame, uint8_t *out) {
    uint64_t address = address_of(frame);
    if (frame[8] != READ || frame[9] < 4 || (int)(address % (uint64_t)options.of) < options.dead)
        return 0;
    uint32_t identifier = 0;
    for (int i = 3; i >= 0; i--)
        identifier = identifier << 8 | (uint8_t)(frame[HEAD + i] - 0x33);
    memset(out, 0xFE, WAKE_UP);
    uint8_t *start = out + WAKE_UP, *data = start + HEAD;
    memcpy(start, frame, HEAD);
    int width = data_of(identifier, address, data + 4);
    for (int i = 0; i < 4; i++)
        data[i] = (uint8_t)(identifier >> 8 * i);
    if (!width)
        data[0] = 0x02;
    int length = width ? 4 + width : 1;
    start[8] = width ? 0x91 : 0xD1;
    start[9] = (uint8_t)length;
    for (int i = 0; i < length; i++)
        data[i] = (uint8_t)(data[i] + 0x33);
    uint8_t sum = 0;
    for (uint8_t *at = start; at < data + length; at++)
        sum = (uint8_t)(sum + *at);
    data[length] = sum;
    data[length + 1] = 0x16;
    return WAKE_UP + OVERHEAD + length;
}

/* How many bytes at the start of `in` are one frame: 0 when more must come, -1 when none begins here. */
static int frame_length(const uint8_t *in, int size) {
    if (in[0] != 0x68 || (size > 7 && in[7] != 0x68))
        return -1;
    if (size < HEAD || size < OVERHEAD + in[9])
        return 0;
    int length = OVERHEAD + in[9];
    uint8_t sum = 0;
    for (int i = 0; i < length - 2; i++)
        sum = (uint8_t)(sum + in[i]);
    return sum == in[length - 2] && in[length - 1] == 0x16 ? length : -1;
}

/* Modbus TCP: the same two. */
static int adu_length(const uint8_t *in, int size) {
    if (size < 6)
        return 0;
    int length = 6 + (in[4] << 8 | in[5]);
    return length < 12 || length > 260 ? -1 : length <= size ? length : 0;
}

static int answer_adu(const uint8_t *adu, uint8_t *out) {
    int unit = adu[6], function = adu[7], first = adu[8] << 8 | adu[9], count = adu[10] << 8 | adu[11];
    bool known = (function == 3 || function == 4) && count >= 1 && count <= 125;
    memcpy(out, adu, 8);
    int length = known ? 9 + 2 * count : 9;
    out[4] = 0;
    out[5] = (uint8_t)(length - 6);
    if (!known)
        out[7] |= 0x80;
    out[8] = known ? (uint8_t)(2 * count) : 1;
    for (int i = 0; known && i < count; i++) {
        int value = 1000 * unit + first + i;
        out[9 + 2 * i] = (uint8_t)(value >> 8);
        out[10 + 2 * i] = (uint8_t)value;
    }
    return length;
}

/* Answers all requests in the `*size` bytes of `in`, as far as they fit, and keeps what is not yet one. */
static int answer(uint8_t *in, int *size, uint8_t *out, int room) {
    int at = 0, made = 0;
    while (at < *size && made + LONGEST_ANSWER <= room) {
        int length = options.modbus ? adu_length(in + at, *size - at) : frame_length(in + at, *size - at);
        if (!length)
            break;
        if (length > 0) {
            int wrote = options.modbus ? answer_adu(in + at, out + made) : answer_frame(in + at, out + made);
            made += wrote;
            counted.answered += wrote > 0;
        }
        at += length > 0 ? length : 1;
    }
    *size -= at;
    memmove(in, in + at, (size_t)*size);
    return made;
}

/* --- sockets --------------------------------------------------------------------------------------------------- */

enum kind { LISTENER, OPENING, CONNECTION, LINE, TICKS, DUE, SIGNAL };

struct end {
    enum kind kind;
    int fd, number, size;
    unsigned generation; /* grows with each use: an answer that waits for a closed connection is not sent to the next */
    struct end *next_unused;
    uint8_t in[ROOM];
};

struct waiting {
    struct waiting *next;
    struct end *to;
    unsigned generation;
    int64_t due;
    int size;
    uint8_t data[];
};

static int epoll, due_timer;
static struct end *unused;
static struct waiting *first, **last = &first;

static struct end *watch(int fd, enum kind kind, uint32_t events) {
    struct end *end = unused;
    if (end)
        unused = end->next_unused;
    else if (!(end = calloc(1, sizeof *end)))
        die("memory");
    end->kind = kind;
    end->fd = fd;
    end->size = 0;
    struct epoll_event event = {.events = events, .data.ptr = end};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
        die("epoll_ctl");
    return end;
}

static void forget(struct end *end) {
    close(end->fd);
    end->fd = -1;
    end->generation++;
    end->next_unused = unused;
    unused = end;
}

static void arm(int timer, int64_t at, int64_t every) {
    struct itimerspec when = {{every / SECOND, every % SECOND}, {at / SECOND, at % SECOND}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static int new_timer(enum kind kind) {
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    watch(timer, kind, EPOLLIN);
    return timer;
}

/* A peer that takes nothing for a second is a mistake of the benchmark. */
static void send_all(int fd, const uint8_t *data, int size) {
    while (size > 0) {
        ssize_t sent = send(fd, data, (size_t)size, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return; /* the peer is gone: reading will tell */
        if (sent < 0 && poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, 1000) <= 0)
            return;
        data += sent > 0 ? sent : 0;
        size -= sent > 0 ? (int)sent : 0;
    }
}

static void reply(struct end *end, const uint8_t *data, int size) {
    if (!options.delay_ns) {
        send_all(end->fd, data, size);
        return;
    }
    struct waiting *waiting = malloc(sizeof *waiting + (size_t)size);
    *waiting = (struct waiting){.to = end, .generation = end->generation, .size = size};
    waiting->due = now_ns() + options.delay_ns;
    memcpy(waiting->data, data, (size_t)size);
    if (!first)
        arm(due_timer, waiting->due, 0);
    *last = waiting;
    last = &waiting->next;
}

static void send_due(void) {
    int64_t now = now_ns();
    while (first && first->due <= now) {
        struct waiting *done = first;
        if (done->generation == done->to->generation)
            send_all(done->to->fd, done->data, done->size);
        if (!(first = done->next))
            last = &first;
        free(done);
    }
    if (first)
        arm(due_timer, first->due, 0);
}

/* False when the other side is gone. */
static bool converse(struct end *end) {
    static uint8_t out[ROOM];
    ssize_t came = recv(end->fd, end->in + end->size, sizeof end->in - (size_t)end->size, 0);
    if (came <= 0)
        return came < 0 && errno == EAGAIN;
    end->size += (int)came;
    for (int made; (made = answer(end->in, &end->size, out, sizeof out));)
        reply(end, out, made);
    return end->size < (int)sizeof end->in;
}

static void accept_all(struct end *listener) {
    for (int fd; (fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK)) >= 0; counted.connected++) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        watch(fd, CONNECTION, EPOLLIN);
    }
}

static void listen_on_ports(void) {
    printf("{\"ports\": [");
    for (int i = 0; i < options.ports; i++) {
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t size = sizeof at;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (fd < 0 || bind(fd, (struct sockaddr *)&at, size) || listen(fd, 4096))
            die("listen");
        getsockname(fd, (struct sockaddr *)&at, &size);
        watch(fd, LISTENER, EPOLLIN);
        printf("%s%d", i ? ", " : "", ntohs(at.sin_port));
    }
    printf("]}\n");
}

/* --- terminals that dial in ------------------------------------------------------------------------------------ */

static struct end **terminals;
static int opening, registered, ticks;

static void dial(int number) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0)
        die("socket");
    /* 250 source addresses, so that no number of terminals uses up the ports of one. */
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7F000002u + (unsigned)number % 250)};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){1}, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (bind(fd, (struct sockaddr *)&from, sizeof from))
        die("bind");
    if (connect(fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) {
        close(fd);
        return;
    }
    terminals[number] = watch(fd, OPENING, EPOLLOUT);
    terminals[number]->number = number;
    opening++;
}

static void say(struct end *end, const char *word) {
    char text[16];
    send_all(end->fd, (uint8_t *)text, snprintf(text, sizeof text, "%s%08d\r\n", word, end->number));
}

static void hang_up(struct end *end) {
    terminals[end->number] = NULL;
    forget(end);
}

static void opened(struct end *end) {
    int error = 0;
    getsockopt(end->fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof error});
    opening--;
    if (error) {
        hang_up(end);
        return;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = end};
    epoll_ctl(epoll, EPOLL_CTL_MOD, end->fd, &event);
    end->kind = CONNECTION;
    counted.connected++;
    say(end, "TERM");
    if (++registered == options.count) {
        printf("{\"registered\": %d}\n", registered);
        fflush(stdout);
    }
}

/* Each terminal has its moment in the heartbeat period; those without a connection dial, not too many at once. */
static void tick(struct end *timer) {
    uint64_t passed = 0;
    if (read(timer->fd, &passed, sizeof passed) < 0)
        return;
    int slots = options.heartbeat_s * 1000 / TICK_MS;
    for (; passed; passed--, ticks++)
        for (int i = ticks % slots; i < options.count; i += slots)
            if (terminals[i] && terminals[i]->kind == CONNECTION)
                say(terminals[i], "BEAT");
    for (int i = 0; i < options.count && opening < OPENING_AT_ONCE; i++)
        if (!terminals[i])
            dial(i);
}

/* --- serial lines ---------------------------------------------------------------------------------------------- */

/* A pseudo-terminal delivers at once. `silent_at` is when a wire would have carried what came so far; byte i of the
 * answer is handed over at `answer_at` + (i + 1) characters. */
struct line {
    struct end *end;
    int64_t silent_at, answer_at;
    int size, sent;
    uint8_t out[ROOM];
};

static struct line *lines;
static int64_t character_ns;

static void open_lines(void) {
    lines = calloc((size_t)options.lines, sizeof *lines);
    character_ns = BITS_A_CHARACTER * SECOND / options.baud;
    printf("{\"devices\": [");
    for (int i = 0; i < options.lines; i++) {
        int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
        if (master < 0 || grantpt(master) || unlockpt(master))
            die("pseudo-terminal");
        int slave = open(ptsname(master), O_RDWR | O_NOCTTY); /* stays open: no hang-up between two masters */
        struct termios raw;
        tcgetattr(slave, &raw);
        cfmakeraw(&raw);
        tcsetattr(slave, TCSANOW, &raw);
        lines[i].end = watch(master, LINE, EPOLLIN);
        lines[i].end->number = i;
        printf("%s\"%s\"", i ? ", " : "", ptsname(master));
    }
    printf("]}\n");
}

static void line_heard(struct line *line) {
    struct end *end = line->end;
    ssize_t came = read(end->fd, end->in + end->size, sizeof end->in - (size_t)end->size);
    if (came <= 0)
        return;
    int64_t now = now_ns();
    line->silent_at = (line->silent_at > now ? line->silent_at : now) + came * character_ns;
    if (line->sent < line->size) {
        counted.collisions++; /* two talk at once: what is left of the answer is lost */
        line->size = line->sent = 0;
    }
    end->size += (int)came;
    int made = answer(end->in, &end->size, line->out, sizeof line->out);
    if (made) {
        line->size = made;
        line->sent = 0;
        line->answer_at = line->silent_at + options.delay_ns;
    }
}

/* Hands over every byte whose time has come and sets the timer for the next one. */
static void lines_speak(void) {
    int64_t next = INT64_MAX, now = now_ns();
    for (struct line *line = lines; line < lines + options.lines; line++) {
        for (; line->sent < line->size; line->sent++) {
            int64_t due = line->answer_at + (line->sent + 1) * character_ns;
            if (due > now) {
                next = due < next ? due : next;
                break;
            }
            if (write(line->end->fd, line->out + line->sent, 1) != 1)
                die("write to a line");
        }
    }
    if (next != INT64_MAX)
        arm(due_timer, next, 0);
}

/* --- the program ----------------------------------------------------------------------------------------------- */

static _Noreturn void stop(void) {
    printf("{\"answered\": %ld, \"connected\": %ld, \"dropped\": %ld, \"collisions\": %ld}\n", counted.answered,
           counted.connected, counted.dropped, counted.collisions);
    exit(0);
}

static void serve(void) {
    struct epoll_event events[EVENTS];
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            struct end *end = events[i].data.ptr;
            switch (end->kind) {
            case SIGNAL:
                stop();
            case LISTENER:
                accept_all(end);
                break;
            case OPENING:
                opened(end);
                break;
            case CONNECTION:
                if (converse(end))
                    break;
                counted.connected--;
                counted.dropped++;
                if (terminals)
                    hang_up(end);
                else
                    forget(end);
                break;
            case TICKS:
                tick(end);
                break;
            case LINE:
                line_heard(&lines[end->number]);
                break;
            case DUE:
                if (read(end->fd, &(uint64_t){0}, sizeof(uint64_t)) > 0 && !lines)
                    send_due();
                break;
            }
        }
        if (lines)
            lines_speak();
    }
}

static void read_options(int count, char **words) {
    static const struct option known[] = {
        {"ports", 1, 0, 'n'},       {"port", 1, 0, 'p'},  {"count", 1, 0, 'c'}, {"lines", 1, 0, 'l'},
        {"baud", 1, 0, 'b'},        {"dead", 1, 0, 'd'},  {"of", 1, 0, 'o'},    {"zone-min", 1, 0, 'z'},
        {"heartbeat-s", 1, 0, 'h'}, {"modbus", 0, 0, 'm'}, {"delay-ms", 1, 0, 'w'}, {0},
    };
    int *numbers[256] = {['n'] = &options.ports, ['p'] = &options.port, ['c'] = &options.count,
                         ['l'] = &options.lines, ['b'] = &options.baud, ['d'] = &options.dead,
                         ['o'] = &options.of,    ['z'] = &options.zone_min, ['h'] = &options.heartbeat_s};
    for (int option; (option = getopt_long(count, words, "", known, NULL)) >= 0;) {
        if (option == 'm')
            options.modbus = true;
        else if (option == 'w')
            options.delay_ns = atoi(optarg) * MILLISECOND;
        else if (option != '?')
            *numbers[option] = atoi(optarg);
        else
            exit(64);
    }
}

int main(int count, char **words) {
    read_options(count, words);
    const char *mode = optind < count ? words[optind] : "";
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* a benchmark that dies leaves no meters behind */
    prctl(PR_SET_TIMERSLACK, 1);
    epoll = epoll_create1(0);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    watch(signalfd(-1, &signals, SFD_NONBLOCK), SIGNAL, EPOLLIN);
    due_timer = new_timer(DUE);
    if (!strcmp(mode, "tcp")) {
        listen_on_ports();
    } else if (!strcmp(mode, "terminals")) {
        terminals = calloc((size_t)options.count, sizeof *terminals);
        arm(new_timer(TICKS), now_ns() + MILLISECOND, TICK_MS * MILLISECOND);
    } else if (!strcmp(mode, "serial")) {
        open_lines();
    } else {
        fprintf(stderr, "meters tcp | terminals | serial: the comment in front of the source tells the options\n");
        return 64;
    }
    fflush(stdout);
    serve();
}
