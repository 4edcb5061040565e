package target

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrLocked says that another repairing run is active on this table.
var ErrLocked = errors.New("another repairing run is active")

// Lock is the right to be the one repairing run on the table. It lives on a
// connection of its own and ends with it, also when this process is killed.
type Lock struct {
	conn *pgx.Conn
	name int64
	lost chan struct{}
	stop context.CancelFunc
}

const (
	// lockInterval is how often the lock's connection is seen to be alive.
	lockInterval = 2 * time.Second
	// idleLimit is when the server takes the lock from a holder that gives no sign.
	idleLimit = 30 * time.Second
)

// MaxLockAge is how long the lock of a holder that vanished may last.
const MaxLockAge = idleLimit + 15*time.Second

// Lock takes the right to repair, an advisory lock named after the table. It does
// not wait: ErrLocked says that another run has it. It lives in a session of its own,
// which is why poolers that share sessions are refused.
func (t *Target) Lock(ctx context.Context) (*Lock, error) {
	config := t.pool.Config().ConnConfig.Copy()
	config.RuntimeParams["application_name"] = "etl lock"
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("take the lock of %s: %w", t.Name(), t.explained(ctx, err))
	}
	hash := fnv.New64a()
	_, _ = hash.Write([]byte("etl repair " + t.config.Schema + "." + t.config.Table))
	name := int64(hash.Sum64())
	// A node that is lost says no goodbye, and the server's keepalive would notice only
	// after hours. The lock is pinged far more often; and it outlives the heartbeat of
	// the holder's connection to the broker, which has lost that by the time. Set by a
	// statement, because poolers refuse start-up parameters that they do not know.
	if _, err := conn.Exec(ctx, fmt.Sprintf("SET idle_session_timeout = '%dms'", idleLimit.Milliseconds())); err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("take the lock of %s: %w", t.Name(), t.explained(ctx, err))
	}
	var taken bool
	if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", name).Scan(&taken); err != nil || !taken {
		_ = conn.Close(context.WithoutCancel(ctx))
		if err == nil {
			return nil, fmt.Errorf("%w on %s: wait for it to end, or look for its connection \"etl lock\" in pg_stat_activity", ErrLocked, t.Name())
		}
		return nil, fmt.Errorf("take the lock of %s: %w", t.Name(), t.explained(ctx, err))
	}
	watchCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	l := &Lock{conn: conn, name: name, lost: make(chan struct{}), stop: stop}
	go l.watch(watchCtx)
	return l, nil
}

// watch closes lost when the connection breaks or the lock is no longer its session's,
// or after Release.
func (l *Lock) watch(ctx context.Context) {
	defer close(l.lost)
	tick := time.NewTicker(lockInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			pingCtx, cancel := context.WithTimeout(ctx, 5*lockInterval)
			held, err := l.held(pingCtx)
			cancel()
			if err != nil || !held {
				return
			}
		}
	}
}

// held asks whether the lock is this session's still.
func (l *Lock) held(ctx context.Context) (held bool, err error) {
	const look = `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND classid = ($1::bigint >> 32 & 4294967295)::oid AND objid = ($1::bigint & 4294967295)::oid)`
	err = l.conn.QueryRow(ctx, look, l.name).Scan(&held)
	return held, err
}

// Lost is closed when the lock's connection is gone, so that another run may
// begin: the holder must stop.
func (l *Lock) Lost() <-chan struct{} { return l.lost }

// Release gives the lock back. The server notices the end of a connection a moment
// later, so the lock is given back before.
func (l *Lock) Release(ctx context.Context) {
	l.stop()
	<-l.lost
	ctx, cancel := context.WithTimeout(ctx, lockInterval)
	defer cancel()
	if !l.conn.IsClosed() {
		_, _ = l.conn.Exec(ctx, "SELECT pg_advisory_unlock($1)", l.name) // the end of the connection does it too
	}
	_ = l.conn.Close(ctx)
}
