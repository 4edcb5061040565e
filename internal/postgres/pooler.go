package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// looks are how often each of two connections asks for its session, twice in a row. A
	// pooler that shares sessions hands out the one that was given back last, or the one
	// that has rested longest: the first gives one session to both, the second gives two
	// to one. Where others use the pool too, it is a matter of chance, soon enough.
	looks = 4
	// secondPatience is how long a pooler may take to give a second session.
	secondPatience = 3 * time.Second
)

// alone makes sure that the server's session is this connection's from one statement
// to the next: a lock and a setting live in it. A pooler is known by the number of
// the session that it makes up for its client; whether it shares sessions shows where
// two clients get the same one, or one client gets several.
func (s *Session) alone(ctx context.Context, conn *pgconn.PgConn, config *pgconn.Config, pid string) error {
	if pid == strconv.FormatUint(uint64(conn.PID()), 10) {
		return nil // no pooler
	}
	second, here := config.Copy(), conn.Conn().RemoteAddr().String()
	second.ValidateConnect = nil
	second.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != here {
			return nil, errors.New("not the server that is looked at")
		}
		return config.DialFunc(ctx, network, address)
	}
	limited, cancel := context.WithTimeout(ctx, secondPatience)
	defer cancel()
	other, err := pgconn.ConnectConfig(limited, second)
	if err != nil {
		return s.noSecond(ctx, limited, err)
	}
	defer func() { _ = other.Close(ctx) }()
	pids := map[*pgconn.PgConn]string{conn: pid}
	for range looks {
		for _, who := range []*pgconn.PgConn{other, other, conn, conn} {
			now, err := sessionOf(limited, who)
			if err != nil {
				return s.noSecond(ctx, limited, err)
			}
			if known := pids[who]; known == "" && now != pid {
				pids[who] = now
			} else if now != known {
				return &Unfit{Reason: fmt.Sprintf("%s leads to a connection pooler (such as PgBouncer) in transaction or statement mode, which gives a session to several clients: "+
					"name PostgreSQL itself, or a pool in session mode", s.variable)}
			}
		}
	}
	return nil
}

// sessionOf is the number of the session that answers a connection.
func sessionOf(ctx context.Context, conn *pgconn.PgConn) (string, error) {
	results, err := conn.Exec(ctx, "SELECT pg_backend_pid()").ReadAll()
	if err != nil {
		return "", err
	}
	return string(results[0].Rows[0][0]), nil
}

// noSecond explains why a pooler did not give a second session.
func (s *Session) noSecond(ctx, limited context.Context, err error) error {
	if ctx.Err() == nil && limited.Err() != nil {
		return &Unfit{Passing: true, Reason: fmt.Sprintf("the connection pooler of %s gives no second session within %s: raise its pool size, or name PostgreSQL itself", s.variable, secondPatience)}
	}
	return err
}
