/* main.c - hands over to the engine; the command line is read by host/lua/ws/main.lua. */
#include "engine.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char *argv[])
{
	signal(SIGPIPE,
		SIG_IGN); /* a peer that left is an error of the write; libuv gives children the default again */
	argv = uv_setup_args(argc, argv);
	struct ws_engine *engine = ws_engine_new();
	if (engine == NULL) {
		fputs("wsrun: out of memory\n", stderr);
		return EXIT_FAILURE;
	}
	int code = ws_engine_run(engine, argc, argv);
	ws_engine_free(engine);
	return code;
}
