/* json_jansson FILE TIMES: the median times in seconds to load FILE with jansson and to dump it, on two lines. */
#include <jansson.h>

#include "peer.h"

int main(int argc, char **argv)
{
	double load[PEER_MAX_TIMES], dump[PEER_MAX_TIMES];
	size_t len;

	peer_need(argc == 3, "usage: json_jansson FILE TIMES");
	int n = atoi(argv[2]);
	peer_need(n > 0 && n <= PEER_MAX_TIMES, "TIMES is out of range");
	char *text = peer_read(argv[1], &len);
	for (int i = 0; i < n; i++) {
		json_error_t error;
		double start = peer_now();
		json_t *value = json_loadb(text, len, 0, &error);
		peer_need(value != NULL, error.text);
		double loaded = peer_now();
		char *out = json_dumps(value, JSON_COMPACT);
		peer_need(out != NULL, "cannot dump");
		double dumped = peer_now();
		free(out);
		double freed = peer_now();
		json_decref(value);
		load[i] = (loaded - start) + (peer_now() - freed);
		dump[i] = dumped - loaded;
	}
	printf("%.9f\n%.9f\n", peer_median(load, n), peer_median(dump, n));
	free(text);
	return 0;
}
