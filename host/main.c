/* main.c - hands over to the engine; the command line is read by host/lua/ws/main.lua. */
#include "engine.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A file or pipe that got the number of a standard stream which the caller has closed would be taken for that stream. */
static void open_standard_streams(void)
{
	int fd;
	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char *argv[])
{
	signal(SIGPIPE,
		SIG_IGN); /* a peer that left is an error of the write; libuv gives children the default again */
	open_standard_streams();
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
