package testenv

import (
	"fmt"
	"net/url"
	"testing"

	"github.com/ecom-micro/etl/internal/servers"
)

// Pooler is a PgBouncer in front of a cart's database.
type Pooler struct {
	*servers.Pooler
	tb testing.TB
	db *CartDB
}

// PoolModes are PgBouncer's ways to share its connections.
var PoolModes = []string{"session", "transaction", "statement"}

// PoolerOf starts a PgBouncer in front of a cart's database, of which it shows three: one for each of PoolModes.
// settings are further lines of its configuration. It ends with the test, and is skipped where servers come from
// Docker or by URL.
func PoolerOf(tb testing.TB, db *CartDB, settings ...string) *Pooler {
	tb.Helper()
	u, err := url.Parse(db.URL)
	if err != nil {
		tb.Fatal("the cart's URL cannot be read")
	}
	password, _ := u.User.Password()
	var databases []string
	for _, mode := range PoolModes {
		databases = append(databases, fmt.Sprintf("%s = host=%s port=%s dbname=%s user=%s password='%s' pool_mode=%s",
			mode, u.Hostname(), u.Port(), db.Name, u.User.Username(), password, mode))
	}
	server, err := servers.StartPooler(tb.TempDir(), databases, append([]string{"auth_type = any"}, settings...))
	keep(tb, "PgBouncer", server, err)
	return &Pooler{server, tb, db}
}

// URL is the database's, through the pooler in one of PoolModes.
func (p *Pooler) URL(mode string) string {
	return ChangedURL(p.tb, p.db.URL, func(u *url.URL) { u.Host, u.Path = p.Addr, "/"+mode })
}
