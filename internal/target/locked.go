package target

import (
	"context"
	"fmt"
	"time"
)

// lookupPatience is how long it may take to find out who holds a lock.
const lookupPatience = 2 * time.Second

// holder is the session whose lock keeps ours from a table: of the table itself where
// there is one, else of another one that refers to it. Who may not see it all learns
// no time.
const holderQuery = `SELECT l.pid, l.granted, format('%I.%I', n.nspname, c.relname), coalesce(a.usename, ''), coalesce(a.application_name, ''), a.xact_start
	FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_stat_activity a ON a.pid = l.pid
	WHERE l.locktype = 'relation' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.pid <> pg_backend_pid()
		AND c.relkind IN ('r', 'p') AND n.nspname <> 'pg_catalog' AND l.mode IN ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock')
	ORDER BY n.nspname = $1 AND c.relname = $2 DESC, l.mode = 'AccessExclusiveLock' DESC, l.granted DESC, a.xact_start LIMIT 1`

// lockReason says which lock of others a statement waited for in vain. ok is false
// where none is seen, as one of a single row is not.
func (t *Target) lockReason(ctx context.Context) (reason string, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, lookupPatience)
	defer cancel()
	var pid int
	var granted bool
	var table, role, application string
	var since *time.Time
	if err := t.pool.QueryRow(ctx, holderQuery, t.config.Schema, t.config.Table).Scan(&pid, &granted, &table, &role, &application, &since); err != nil {
		return "", false
	}
	who := fmt.Sprintf("pid %d (role %s, application %q", pid, role, application)
	if since != nil {
		who += ", since " + since.UTC().Format(time.RFC3339)
	}
	if !granted {
		return fmt.Sprintf("%s) waits for a lock of table %s, and everybody else behind it", who, table), true
	}
	return fmt.Sprintf("table %s is locked by %s)", table, who), true
}
