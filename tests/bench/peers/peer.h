/* What the C peers of the benchmarks share: a file in memory, a clock, and the middle one of several times. */
#ifndef PEER_H
#define PEER_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PEER_MAX_TIMES 1000

/* Seconds on a clock that only goes forward. Never raises. */
static inline double peer_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static inline int peer_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* The median; sorts `times`. */
static inline double peer_median(double *times, int n)
{
	qsort(times, (size_t)n, sizeof *times, peer_compare);
	return times[n / 2];
}

/* Ends the program with a message when `ok` is false. */
static inline void peer_need(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "%s\n", what);
	exit(1);
}

/* The whole file, NUL-terminated; its length in *len. Ends the program when it cannot be read. */
static inline char *peer_read(const char *path, size_t *len)
{
	FILE *f = fopen(path, "rb");
	peer_need(f != NULL, path);
	peer_need(fseek(f, 0, SEEK_END) == 0, path);
	long size = ftell(f);
	peer_need(size >= 0, path);
	rewind(f);
	char *text = malloc((size_t)size + 1);
	peer_need(text != NULL, "no memory");
	peer_need(fread(text, 1, (size_t)size, f) == (size_t)size, path);
	text[size] = '\0';
	fclose(f);
	*len = (size_t)size;
	return text;
}

#endif
