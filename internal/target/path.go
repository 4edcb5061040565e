package target

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Astray is a role that may fill the table and does not find it by its bare name, as
// the Cart Service's statements have it.
type Astray struct {
	Role, Path string
	Schema     string // that the role looks into first
	Shadowed   bool   // another table of this name is there; else one would be made there
}

func (a Astray) String() string {
	if a.Shadowed {
		return fmt.Sprintf("role %s (search_path %s) uses the table of this name in schema %s", a.Role, a.Path, a.Schema)
	}
	return fmt.Sprintf("role %s (search_path %s) looks into schema %s first, where a Cart Service that starts would make empty tables", a.Role, a.Path, a.Schema)
}

// rolesQuery is the search path of each role that may log in and insert rows. A role's
// setting for this database comes before its general one, and that before the
// database's: https://www.postgresql.org/docs/15/catalog-pg-db-role-setting.html
const rolesQuery = `
SELECT r.rolname, coalesce((
	SELECT substr(entry, length('search_path=') + 1) FROM pg_db_role_setting s, unnest(s.setconfig) AS entry
	WHERE s.setrole IN (r.oid, 0) AND s.setdatabase IN (d.oid, 0) AND entry LIKE 'search\_path=%'
	ORDER BY s.setrole = 0, s.setdatabase = 0 LIMIT 1),
	CASE WHEN p.source IN ('configuration file', 'command line', 'default') THEN p.setting ELSE p.boot_val END)
FROM pg_roles r, pg_database d, pg_settings p, pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE d.datname = current_database() AND p.name = 'search_path' AND n.nspname = $1 AND c.relname = $2
	AND r.rolcanlogin AND has_any_column_privilege(r.oid, c.oid, 'INSERT')
ORDER BY r.oid = c.relowner DESC, r.rolname LIMIT 20`

// schemasQuery is those of a search path that a role may look into.
const schemasQuery = `
SELECT n.nspname, EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = $3 AND c.relkind IN ('r', 'p', 'v', 'm', 'f'))
FROM unnest($2::text[]) WITH ORDINALITY AS wanted (name, place) JOIN pg_namespace n ON n.nspname = wanted.name
WHERE has_schema_privilege($1::text, n.oid, 'USAGE') ORDER BY place`

// Astray lists the roles that may fill the table and, by its bare name, would use or
// make another one. A role that finds none at all is not among them: its statements
// name the schema.
func (t *Target) Astray(ctx context.Context) ([]Astray, error) {
	astray, err := t.astray(ctx)
	if err != nil {
		return nil, fmt.Errorf("look where the roles of %s find it: %w", t.Name(), t.explained(ctx, err))
	}
	return astray, nil
}

func (t *Target) astray(ctx context.Context) ([]Astray, error) {
	rows, err := t.pool.Query(ctx, rolesQuery, t.config.Schema, t.config.Table)
	if err != nil {
		return nil, err
	}
	roles, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (a Astray, err error) { return a, row.Scan(&a.Role, &a.Path) })
	if err != nil {
		return nil, err
	}
	var all []Astray
	for _, role := range roles {
		rows, err := t.pool.Query(ctx, schemasQuery, role.Role, schemasOf(role.Path, role.Role), t.config.Table)
		if err != nil {
			return nil, err
		}
		schemas, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (a Astray, err error) { return a, row.Scan(&a.Schema, &a.Shadowed) })
		if err != nil {
			return nil, err
		}
		ours := slices.IndexFunc(schemas, func(s Astray) bool { return s.Schema == t.config.Schema })
		other := slices.IndexFunc(schemas, func(s Astray) bool { return s.Shadowed })
		if ours == 0 || ours < 0 && other < 0 {
			continue
		}
		// What is made without a schema goes into the first one; what is looked for is
		// the first of its name.
		role.Schema, role.Shadowed = schemas[0].Schema, false
		if other >= 0 && other != ours {
			role.Schema, role.Shadowed = schemas[other].Schema, true
		}
		all = append(all, role)
	}
	return all, nil
}

// schemasOf are the names of a search path: https://www.postgresql.org/docs/15/ddl-schemas.html
func schemasOf(path, role string) []string {
	var names []string
	for path != "" {
		var name string
		path = strings.TrimLeft(path, " ,\t\n")
		if rest, quoted := strings.CutPrefix(path, `"`); quoted {
			for {
				part, after, _ := strings.Cut(rest, `"`)
				name += part
				if rest, quoted = strings.CutPrefix(after, `"`); !quoted {
					path = after
					break
				}
				name += `"`
			}
		} else {
			name, path, _ = strings.Cut(path, ",")
			name = strings.ToLower(strings.TrimSpace(name))
		}
		if name == "$user" {
			name = role
		}
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}
