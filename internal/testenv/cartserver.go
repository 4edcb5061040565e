package testenv

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
)

func (c *CartDB) create(ctx context.Context, options cartOptions) error {
	return c.onServer(ctx, func(conn *pgx.Conn) error {
		locale, err := localeClause(ctx, conn, options.collation)
		if err != nil {
			return err
		}
		// Only template0 allows another locale than its own.
		_, err = conn.Exec(ctx, "CREATE DATABASE "+c.Name+" TEMPLATE template0 ENCODING '"+options.encoding+"'"+locale)
		return err
	})
}

func (c *CartDB) drop() error {
	ctx, cancel := cleanupContext(c.tb)
	defer cancel()
	return c.onServer(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "DROP DATABASE "+c.Name+" WITH (FORCE)")
		return err
	})
}

// onServer does something in the server's own database.
func (c *CartDB) onServer(ctx context.Context, do func(*pgx.Conn) error) (err error) {
	conn, err := pgx.Connect(ctx, c.admin)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	return do(conn)
}

// localeClause is what CREATE DATABASE needs for a collation; empty means the server's default.
func localeClause(ctx context.Context, conn *pgx.Conn, collation string) (string, error) {
	if collation == "" {
		return "", nil
	}
	var known bool
	const find = "SELECT EXISTS (SELECT FROM pg_collation WHERE collname = $1 AND collprovider = 'c')"
	if err := conn.QueryRow(ctx, find, collation).Scan(&known); err != nil {
		return "", fmt.Errorf("look for collation %s: %w", collation, err)
	}
	if known {
		return fmt.Sprintf(" LC_COLLATE '%s' LC_CTYPE '%[1]s'", collation), nil
	}
	language, _, _ := strings.Cut(collation, ".")
	return fmt.Sprintf(" LOCALE_PROVIDER icu ICU_LOCALE '%s'", strings.ReplaceAll(language, "_", "-")), nil
}

// urlFor is the database's URL for a user; nil is the superuser.
func (c *CartDB) urlFor(user *url.Userinfo) string {
	u, err := url.Parse(c.admin)
	if err != nil {
		c.tb.Fatalf("read the PostgreSQL URL: %v", errors.Unwrap(err)) // without the URL and its password
	}
	u.Path = "/" + c.Name
	if user != nil {
		u.User = user
	}
	return u.String()
}
