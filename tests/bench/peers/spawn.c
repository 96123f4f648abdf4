/* spawn TIMES HEAP_MIB COMMAND...: the median time in seconds from posix_spawn of COMMAND to its end, with both of its
 * outputs read through pipes until they end, in a process whose heap holds HEAP_MIB of written memory. */
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "peer.h"

extern char **environ;

static void drain(struct pollfd *fds, int open)
{
	char buffer[65536];
	while (open > 0) {
		peer_need(poll(fds, 2, -1) > 0, "poll failed");
		for (int i = 0; i < 2; i++) {
			if (fds[i].fd < 0 || fds[i].revents == 0 || read(fds[i].fd, buffer, sizeof buffer) > 0)
				continue;
			close(fds[i].fd);
			fds[i].fd = -1;
			open--;
		}
	}
}

static double run(char **argv)
{
	int out[2], err[2], status;
	pid_t pid;
	posix_spawn_file_actions_t actions;
	double start = peer_now();

	peer_need(pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0, "pipe failed");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	posix_spawn_file_actions_adddup2(&actions, err[1], 2);
	int rc = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
	peer_need(rc == 0, strerror(rc));
	posix_spawn_file_actions_destroy(&actions);
	close(out[1]);
	close(err[1]);
	drain((struct pollfd[]){{.fd = out[0], .events = POLLIN}, {.fd = err[0], .events = POLLIN}}, 2);
	peer_need(waitpid(pid, &status, 0) == pid, "waitpid failed");
	return peer_now() - start;
}

int main(int argc, char **argv)
{
	double times[PEER_MAX_TIMES];

	peer_need(argc > 3, "usage: spawn TIMES HEAP_MIB COMMAND...");
	int n = atoi(argv[1]);
	peer_need(n > 0 && n <= PEER_MAX_TIMES, "TIMES is out of range");
	size_t heap = (size_t)atol(argv[2]) << 20;
	volatile char *ballast = NULL;
	if (heap > 0) {
		ballast = malloc(heap);
		peer_need(ballast != NULL, "no memory");
		memset((void *)ballast, 1, heap);
	}
	for (int i = 0; i < n; i++)
		times[i] = run(argv + 3);
	peer_need(ballast == NULL || ballast[heap / 2] == 1, "the heap is gone");
	printf("%.9f\n", peer_median(times, n));
	free((void *)ballast);
	return 0;
}
