package testenv

import (
	"errors"
	"testing"

	"github.com/ecom-micro/etl/internal/servers"
)

// PrivateBroker starts a RabbitMQ node that the test may kill and start again, with a virtual host on it. It ends
// with the test. Starting one takes some seconds, so tests that can do with Vhost should. The test is skipped if
// the stack's servers were given by URL: then there is no way to start one.
func PrivateBroker(tb testing.TB, opts ...VhostOption) (*servers.Broker, *Broker) {
	tb.Helper()
	server, err := servers.StartBroker(tb.TempDir())
	keep(tb, "RabbitMQ", server, err)
	return server, VhostOn(tb, server.URL, server.Management, opts...)
}

// PrivatePostgreSQL starts a PostgreSQL server that the test may kill and start again; Cart makes a database on it
// with the option OnPostgreSQL. It ends with the test, and is skipped where PrivateBroker is.
func PrivatePostgreSQL(tb testing.TB) *servers.Postgres {
	tb.Helper()
	server, err := servers.StartPostgres(tb.TempDir(), servers.OfTheStack)
	keep(tb, "PostgreSQL", server, err)
	return server
}

// NextPostgreSQL starts a PostgreSQL server of the version of the stack's profile next, whatever the stack's is. It
// ends with the test, and is skipped where PrivateBroker is.
func NextPostgreSQL(tb testing.TB) *servers.Postgres {
	tb.Helper()
	server, err := servers.StartPostgres(tb.TempDir(), servers.Newest)
	keep(tb, "PostgreSQL", server, err)
	return server
}

// OldPostgreSQL starts a PostgreSQL server of version 13. It is skipped where servers come from Docker too.
func OldPostgreSQL(tb testing.TB) *servers.Postgres {
	tb.Helper()
	server, err := servers.StartPostgres(tb.TempDir(), servers.Oldest)
	keep(tb, "PostgreSQL 13", server, err)
	return server
}

// Standby starts a standby of a private PostgreSQL server. It is skipped where servers come from Docker too.
func Standby(tb testing.TB, primary *servers.Postgres) *servers.Postgres {
	tb.Helper()
	server, err := servers.StartStandby(tb.TempDir(), primary)
	keep(tb, "standby", server, err)
	return server
}

func keep(tb testing.TB, name string, server interface{ Close() error }, err error) {
	tb.Helper()
	if errors.Is(err, servers.ErrUnsupported) {
		tb.Skip(err)
	}
	if err != nil {
		tb.Fatalf("start a private %s: %v", name, err)
	}
	tb.Cleanup(func() {
		if err := server.Close(); err != nil {
			tb.Errorf("end the private %s: %v", name, err)
		}
	})
}
