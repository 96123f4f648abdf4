/* yaml_document FILE TIMES: the median time in seconds to load FILE with libyaml's document loader. */
#include <yaml.h>

#include "peer.h"

int main(int argc, char **argv)
{
	double times[PEER_MAX_TIMES];
	size_t len;

	peer_need(argc == 3, "usage: yaml_document FILE TIMES");
	int n = atoi(argv[2]);
	peer_need(n > 0 && n <= PEER_MAX_TIMES, "TIMES is out of range");
	char *text = peer_read(argv[1], &len);
	for (int i = 0; i < n; i++) {
		yaml_parser_t parser;
		yaml_document_t document;
		double start = peer_now();
		peer_need(yaml_parser_initialize(&parser), "no memory");
		yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
		peer_need(yaml_parser_load(&parser, &document), "not YAML");
		peer_need(yaml_document_get_root_node(&document) != NULL, "an empty document");
		yaml_document_delete(&document);
		yaml_parser_delete(&parser);
		times[i] = peer_now() - start;
	}
	printf("%.9f\n", peer_median(times, n));
	free(text);
	return 0;
}
