/* The floor: flat events in, episodes out, one call a batch. Knows this one job: no late, doubled or broken records, no
 * snapshot, nothing is ever forgotten. A record it can't read stops it. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { NAME = 32, AT_ONE_POINT = 64 };

typedef struct { double lon0, lat0, per_lon, per_lat; int32_t wide, high; } Grid;
typedef struct { int32_t zone, from, to; } Entry;          /* from < 0: the whole cell is inside */
typedef struct { double x, y, top, slope; } Edge;          /* from (x, y) up to `top` */
typedef struct { char track[NAME]; int32_t zone, pad; int64_t start_ms, fire_ms; } Raised;
typedef struct { int64_t since; int32_t zone, told; } Stand;
typedef struct { char name[NAME]; uint64_t hash; int32_t stands, room; Stand *stand; } Track;

typedef struct {
    Grid grid;
    const int32_t *cells;                                  /* where each cell's entries begin; one more at the end */
    const Entry *entries;
    const Edge *edges;
    const uint8_t *parked;                                 /* by zone: whether the rule looks at it */
    int64_t for_ms;
    int32_t filter_first, tracks, room;
    Track *track;
    int32_t *slots;                                        /* hash table of track numbers + 1 */
    int64_t memberships;
} Kernel;

Kernel *kernel_new(Grid grid, const int32_t *cells, const Entry *entries, const Edge *edges, const uint8_t *parked,
                   int64_t for_ms, int32_t filter_first) {
    Kernel *k = calloc(1, sizeof *k);
    k->grid = grid, k->cells = cells, k->entries = entries, k->edges = edges, k->parked = parked;
    k->for_ms = for_ms, k->filter_first = filter_first, k->room = 1024;
    k->track = malloc(k->room * sizeof *k->track);
    k->slots = calloc(2 * k->room, sizeof *k->slots);
    return k;
}

int64_t kernel_memberships(const Kernel *k) { return k->memberships; }

static uint64_t hash_of(const char *name) {                /* of NAME bytes, zeros behind */
    uint64_t hash = 0x9E3779B97F4A7C15u, word;
    for (int at = 0; at < NAME; at += 8) {
        memcpy(&word, name + at, 8);
        hash = (hash ^ word) * 0xFF51AFD7ED558CCDu;
        hash ^= hash >> 32;
    }
    return hash;
}

static void grow(Kernel *k) {
    k->room *= 2;
    k->track = realloc(k->track, k->room * sizeof *k->track);
    free(k->slots);
    k->slots = calloc(2 * k->room, sizeof *k->slots);
    for (int32_t n = 0; n < k->tracks; n++) {
        uint64_t at = k->track[n].hash & (2 * k->room - 1);
        while (k->slots[at]) at = (at + 1) & (2 * k->room - 1);
        k->slots[at] = n + 1;
    }
}

static Track *intern(Kernel *k, const char *name) {
    uint64_t hash = hash_of(name), mask = 2 * (uint64_t)k->room - 1, at = hash & mask;
    for (; k->slots[at]; at = (at + 1) & mask) {
        Track *t = &k->track[k->slots[at] - 1];
        if (t->hash == hash && !memcmp(t->name, name, NAME)) return t;
    }
    if (k->tracks == k->room) {
        grow(k);
        return intern(k, name);
    }
    Track *t = &k->track[k->tracks++];
    memset(t, 0, sizeof *t);
    memcpy(t->name, name, NAME);
    t->hash = hash;
    k->slots[at] = k->tracks;
    return t;
}

static int inside(const Edge *edge, const Edge *end, double x, double y) {
    int odd = 0;
    for (; edge < end; edge++)
        odd ^= (edge->y <= y) & (y < edge->top) & (x < edge->x + (y - edge->y) * edge->slope);
    return odd;
}

static int zones_at(const Kernel *k, double lon, double lat, int32_t *zones) {
    double column = (lon - k->grid.lon0) * k->grid.per_lon, row = (lat - k->grid.lat0) * k->grid.per_lat;
    if (!(column >= 0 && column < k->grid.wide && row >= 0 && row < k->grid.high)) return 0;
    const int32_t *cell = k->cells + (int64_t)row * k->grid.wide + (int64_t)column;
    int found = 0;
    for (const Entry *e = k->entries + cell[0], *end = k->entries + cell[1]; e < end; e++)
        if (found < AT_ONE_POINT && (e->from < 0 || inside(k->edges + e->from, k->edges + e->to, lon, lat)))
            zones[found++] = e->zone;
    return found;
}

/* The next state of a vehicle that is slow in these zones; zones that it has left are forgotten. */
static int stand(const Kernel *k, Track *t, int64_t now, const int32_t *zones, int count, Raised *raised) {
    Stand next[AT_ONE_POINT];
    int stands = 0, told = 0;
    for (int n = 0; n < count; n++) {
        if (!k->parked[zones[n]]) continue;
        Stand *s = &next[stands++];
        *s = (Stand){now, zones[n], 0};
        for (int old = 0; old < t->stands; old++)
            if (t->stand[old].zone == zones[n]) *s = t->stand[old];
        if (!s->told && now - s->since >= k->for_ms) {
            s->told = 1;
            Raised *r = &raised[told++];
            memcpy(r->track, t->name, NAME);
            r->zone = s->zone, r->start_ms = s->since, r->fire_ms = now;
        }
    }
    if (stands > t->room) t->stand = realloc(t->stand, (t->room = stands) * sizeof *t->stand);
    if (stands) memcpy(t->stand, next, stands * sizeof *next);
    t->stands = stands;
    return told;
}

static const double TENS[] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};

/* A JSON number. Exact: up to 15 digits and a power of ten are both whole doubles; others go the long way. */
static const char *number(const char *p, double *value, int64_t *whole) {
    const char *start = p;
    int64_t digits = 0;
    int minus = *p == '-', count = 0, behind = 0;
    for (p += minus; *p >= '0' && *p <= '9'; p++, count++) digits = digits * 10 + (*p - '0');
    if (*p == '.')
        for (p++; *p >= '0' && *p <= '9'; p++, count++, behind++) digits = digits * 10 + (*p - '0');
    if (count == 0) return NULL;
    if (count > 15 || *p == 'e' || *p == 'E') {
        *value = strtod(start, (char **)&p);
        *whole = (int64_t)*value;
        return p;
    }
    *whole = minus ? -digits : digits;
    *value = (double)*whole / TENS[behind];
    return p;
}

static const char *text_end(const char *p) {               /* behind the opening quote → at the closing one */
    for (; *p != '"'; p++) {
        if (*p == '\\') p++;
        if (!*p) return NULL;
    }
    return p;
}

#define IS(key) (length == sizeof(key) - 1 && !memcmp(name, key, sizeof(key) - 1))

/* Feeds the events of a batch, one a line, NUL behind the last. Gives how many episodes it wrote to `raised`, or minus
 * the number of the line it can't read. */
int64_t kernel_feed(Kernel *k, const char *p, Raised *raised) {
    int64_t told = 0;
    for (int64_t line = 1; *p; line++) {
        char track[NAME] = {0};
        double lon = 0, lat = 0, speed = 0, spare;
        int64_t now = 0, whole;
        int seen = 0;
        if (*p++ != '{') return -line;
        for (;;) {
            if (*p++ != '"') return -line;
            const char *name = p;
            if (!(p = text_end(p))) return -line;
            int64_t length = p++ - name;
            if (*p++ != ':') return -line;
            if (*p == '"') {
                const char *value = ++p;
                if (!(p = text_end(p))) return -line;
                if (IS("track")) {
                    if (p - value > NAME) return -line;
                    memcpy(track, value, p - value);
                    seen |= 1;
                }
                p++;
            } else {
                if (IS("lon")) p = number(p, &lon, &whole), seen |= 2;
                else if (IS("lat")) p = number(p, &lat, &whole), seen |= 4;
                else if (IS("speed")) p = number(p, &speed, &whole), seen |= 8;
                else if (IS("ts")) p = number(p, &spare, &now), seen |= 16;
                else p = number(p, &spare, &whole);
                if (!p) return -line;
            }
            if (*p == ',') p++;
            else break;
        }
        if (*p++ != '}' || seen != 31) return -line;
        if (*p == '\n') p++;
        int32_t zones[AT_ONE_POINT];
        int slow = speed < 1.0, count = 0;
        if (slow || !k->filter_first) k->memberships += count = zones_at(k, lon, lat, zones);
        Track *t = intern(k, track);
        if (slow && count) told += stand(k, t, now, zones, count, raised + told);
        else t->stands = 0;
    }
    return told;
}
