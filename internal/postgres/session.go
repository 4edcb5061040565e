package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Limits are how long PostgreSQL lets the statements of a room's connections take. They
// stand in the place of those of the role, the database and the server; what the
// address itself sets is left as it is. 0 is without a limit.
type Limits struct {
	Statement     time.Duration
	Lock          time.Duration // waiting for one lock
	InTransaction time.Duration // saying nothing within a transaction, which holds locks
}

// settings are the names that PostgreSQL has for the limits. A limit that this server
// does not know, such as transaction_timeout before version 17, is none to set.
func (l Limits) settings() map[string]time.Duration {
	return map[string]time.Duration{
		"statement_timeout":                   l.Statement,
		"lock_timeout":                        l.Lock,
		"idle_in_transaction_session_timeout": l.InTransaction,
		"transaction_timeout":                 0,
		"idle_session_timeout":                0,
	}
}

const readOnlySetting = "default_transaction_read_only"

// Session makes the connections of one address fit for their work: each is looked at
// before it is used, so that no statement reaches a server that may not answer it.
type Session struct {
	variable string // the address came from
	limits   Limits
	writes   bool

	mu       sync.Mutex
	readOnly *Unfit   // of the newest connection
	replaced []string // of the newest connection, for people
}

// Unfit says why a server that answers may not be used.
type Unfit struct {
	Reason string
	// Passing tells whether another server may answer in its place a moment later.
	Passing bool
}

func (u *Unfit) Error() string { return u.Reason }

// NewSession is the session of an address that came from a variable. One that writes
// refuses a connection that may only read.
func NewSession(variable string, limits Limits, writes bool) *Session {
	return &Session{variable: variable, limits: limits, writes: writes}
}

// Install has the session look at every connection that is made, and bounds each wait
// for an answer. Of several hosts it takes the primary, whatever target_session_attrs
// asks for.
func (s *Session) Install(config *pgx.ConnConfig) {
	config.AfterNetConnect = func(_ context.Context, _ *pgconn.Config, conn net.Conn) (net.Conn, error) {
		return newPatient(conn), nil
	}
	config.ValidateConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		return s.fit(ctx, conn, &config.Config)
	}
}

// fit looks at a new connection and gives it the limits. The order matters: behind a
// pooler that shares its sessions, a setting would stay on another client's.
func (s *Session) fit(ctx context.Context, conn *pgconn.PgConn, config *pgconn.Config) error {
	if version := conn.ParameterStatus("server_version"); !supported(version) {
		return &Unfit{Reason: fmt.Sprintf("PostgreSQL %d or later is needed, and the server of %s is version %s: upgrade it", oldestVersion, s.variable, version)}
	}
	found, err := look(ctx, conn)
	if err != nil {
		return err
	}
	if err := s.alone(ctx, conn, config, found.pid); err != nil {
		return err
	}
	if found.standby {
		return &Unfit{Passing: true, Reason: fmt.Sprintf("this is a standby, which shows rows late: name the primary in %s, or all servers as host1,host2, of which the primary is taken", s.variable)}
	}
	readOnly := s.readOnlyReason(found.settings[readOnlySetting], config)
	if readOnly != nil && s.writes {
		return readOnly
	}
	replaced, err := s.setLimits(ctx, conn, config, found.settings)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readOnly, s.replaced = readOnly, replaced
	return nil
}

// ReadOnly is why the newest connection may not write; nil where it may.
func (s *Session) ReadOnly() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readOnly == nil {
		return nil
	}
	return s.readOnly
}

// Replaced are the limits in whose place the newest connection has its own, each with
// where it is set.
func (s *Session) Replaced() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replaced
}

// setting is a value of pg_settings, and where it comes from.
type setting struct{ value, source string }

// condition is what a connection's first look finds.
type condition struct {
	pid      string
	standby  bool
	settings map[string]setting
}

const lookQuery = `SELECT pg_backend_pid(), pg_is_in_recovery();
SELECT name, setting, source FROM pg_settings WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout',
	'transaction_timeout', 'idle_session_timeout', '` + readOnlySetting + `')`

// look asks in one message, which poolers hand to one session. A limit of the role may
// be too short even for that, and hides where it is set when it is put aside.
func look(ctx context.Context, conn *pgconn.PgConn) (*condition, error) {
	results, err := conn.Exec(ctx, lookQuery).ReadAll()
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == queryCanceled {
		results, err = persistently(ctx, conn, "SET LOCAL statement_timeout = 0;"+lookQuery)
	}
	if err != nil {
		return nil, err
	}
	if len(results) > 2 {
		results = results[1:]
	}
	if len(results) != 2 || len(results[0].Rows) != 1 {
		return nil, fmt.Errorf("the server does not answer as PostgreSQL: %d results for 2 statements", len(results))
	}
	c := &condition{settings: make(map[string]setting)}
	c.pid, c.standby = string(results[0].Rows[0][0]), string(results[0].Rows[0][1]) == "t"
	for _, row := range results[1].Rows {
		c.settings[string(row[0])] = setting{string(row[1]), string(row[2])}
	}
	return c, nil
}

// persistently tries again what a limit of a few milliseconds has ended, until it is put
// aside: PostgreSQL may be busy for that long even before it looks at a statement.
func persistently(ctx context.Context, conn *pgconn.PgConn, statements string) (results []*pgconn.Result, err error) {
	for range maxTries {
		results, err = conn.Exec(ctx, statements).ReadAll()
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.Code != queryCanceled {
			break
		}
	}
	return results, err
}

const oldestVersion = 14

// supported reads a version such as "15.18 (Debian 15.18-0+deb12u1)" or "14beta1".
func supported(version string) bool {
	end := strings.IndexFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(version)
	}
	major, err := strconv.Atoi(version[:end])
	return err == nil && major >= oldestVersion
}

// setLimits gives the limits to the connection. It returns those of others that it
// replaced.
func (s *Session) setLimits(ctx context.Context, conn *pgconn.PgConn, config *pgconn.Config, found map[string]setting) (replaced []string, err error) {
	var statements []string
	answer := s.limits.Statement
	for name, limit := range s.limits.settings() {
		now, known := found[name]
		milliseconds := strconv.FormatInt(limit.Milliseconds(), 10)
		switch {
		case !known || now.value == milliseconds:
		case now.source == "client":
			if n, err := strconv.Atoi(now.value); err == nil && name == "statement_timeout" {
				answer = time.Duration(n) * time.Millisecond
			}
		default:
			statements = append(statements, "SET "+name+" = "+milliseconds)
			switch {
			case now.source == "session":
				replaced = append(replaced, name+" of "+where(now.source, config))
			case now.value != "0":
				replaced = append(replaced, fmt.Sprintf("%s = %sms of %s", name, now.value, where(now.source, config)))
			}
		}
	}
	// A pooler may be told to ignore what a client wants at its start.
	if conn.ParameterStatus("client_encoding") != "UTF8" {
		statements = append(statements, "SET client_encoding = 'UTF8'")
	}
	if len(statements) > 0 {
		if _, err := persistently(ctx, conn, "SET LOCAL statement_timeout = 0; "+strings.Join(statements, "; ")); err != nil {
			return nil, err
		}
	}
	patience(conn.Conn(), answer)
	slices.Sort(replaced)
	return replaced, nil
}

// Unbounded takes all limits from a connection, for work that may take hours.
func Unbounded(ctx context.Context, conn *pgx.Conn) error {
	patience(conn.PgConn().Conn(), 0)
	_, err := conn.PgConn().Exec(ctx, "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0").ReadAll()
	return err
}

// where names the place that a setting comes from.
// https://www.postgresql.org/docs/15/view-pg-settings.html
func where(source string, config *pgconn.Config) string {
	switch source {
	case "user":
		return "role " + config.User
	case "database":
		return "database " + config.Database
	case "database user":
		return "role " + config.User + " in database " + config.Database
	case "global":
		return "all roles"
	case "client":
		return "the address"
	case "session": // our own, for the look
		return "role " + config.User + " or its database"
	}
	return "the server"
}

// readOnlyReason is why a connection may not write.
func (s *Session) readOnlyReason(found setting, config *pgconn.Config) *Unfit {
	if found.value != "on" {
		return nil
	}
	role, database := pgx.Identifier{config.User}.Sanitize(), pgx.Identifier{config.Database}.Sanitize()
	remedy := "set it to off in the server's configuration, once it is known why it is on"
	switch found.source {
	case "user":
		remedy = "ALTER ROLE " + role + " RESET " + readOnlySetting
	case "database":
		remedy = "ALTER DATABASE " + database + " RESET " + readOnlySetting
	case "database user":
		remedy = "ALTER ROLE " + role + " IN DATABASE " + database + " RESET " + readOnlySetting
	case "global":
		remedy = "ALTER ROLE ALL RESET " + readOnlySetting
	case "client":
		remedy = "remove it from there"
	}
	return &Unfit{Reason: fmt.Sprintf("nothing may be written to the database of %s, because %s has %s = on: %s", s.variable, where(found.source, config), readOnlySetting, remedy)}
}
