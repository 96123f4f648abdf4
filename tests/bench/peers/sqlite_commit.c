/* sqlite_commit FILE TIMES: the median time in seconds of one commit of one row, WAL and synchronous=FULL. */
#include <sqlite3.h>

#include "peer.h"

int main(int argc, char **argv)
{
	double times[PEER_MAX_TIMES];
	sqlite3 *db;
	sqlite3_stmt *insert;

	peer_need(argc == 3, "usage: sqlite_commit FILE TIMES");
	int n = atoi(argv[2]);
	peer_need(n > 0 && n <= PEER_MAX_TIMES, "TIMES is out of range");
	peer_need(sqlite3_open(argv[1], &db) == SQLITE_OK, "cannot open the file");
	peer_need(sqlite3_exec(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE x (a, b)", NULL,
			  NULL, NULL) == SQLITE_OK,
		"cannot make the table");
	peer_need(sqlite3_prepare_v2(db, "INSERT INTO x VALUES (?, 'what a step returns, and its name')", -1, &insert,
			  NULL) == SQLITE_OK,
		"cannot prepare");
	for (int i = 0; i < n; i++) {
		double start = peer_now();
		sqlite3_bind_int(insert, 1, i);
		peer_need(sqlite3_step(insert) == SQLITE_DONE, "cannot insert");
		sqlite3_reset(insert);
		times[i] = peer_now() - start;
	}
	sqlite3_finalize(insert);
	sqlite3_close(db);
	printf("%.9f\n", peer_median(times, n));
	return 0;
}
