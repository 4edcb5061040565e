package target

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/product"
)

// shape is what the catalogue says of the table. It is read again at each run's
// start: the schema belongs to the cart.
type shape struct {
	table      product.Table
	id         string // the id column, quoted
	encoding   string // the database's
	ids        idColumn
	from       string // the table as statements name it
	identifier string // the table, quoted
	attributes []*attribute
	needed     map[string]bool // attributes that checks look at
	checks     []check
	measures   []measure
	references []reference
	obstacles  []obstacle // what only the database can judge
	rights     rights
	lacking    map[product.Kind][]grant // rights that repairs need besides
	copies     bool                     // COPY makes a row just as INSERT does
	arbiter    bool                     // INSERT … ON CONFLICT can tell by the id that a row is there
}

// Describe reads the table's columns, constraints and our rights from the
// catalogue and checks that they are what a run needs. The error names every
// problem.
func (t *Target) Describe(ctx context.Context) error {
	var s *shape
	err := pgx.BeginTxFunc(ctx, t.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		var err error
		s, err = t.describe(ctx, tx)
		return err
	})
	if err != nil {
		return fmt.Errorf("cart table %s: %w", t.Name(), t.explained(ctx, err))
	}
	t.shape = s
	return nil
}

func (t *Target) describe(ctx context.Context, tx pgx.Tx) (*shape, error) {
	var oid uint32
	var kind, encoding string
	var usable, secured, hidden bool
	var common product.Column // what all columns have in common
	err := tx.QueryRow(ctx, `SELECT c.oid, c.relkind::text, has_schema_privilege(n.oid, 'USAGE'), row_security_active(c.oid),
			row_security_active(c.oid) AND NOT `+fmt.Sprintf(letThrough, "current_user", "'r'")+`,
			current_setting('server_encoding'), current_setting('server_version_num')::integer >= 160000
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2`,
		t.config.Schema, t.config.Table).Scan(&oid, &kind, &usable, &secured, &hidden, &encoding, &common.Literals)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		_, variable := t.config.address()
		return nil, fmt.Errorf("the table does not exist: check the database of %s, CART_SCHEMA and CART_TABLE, and that the Cart Service has started once", variable)
	case err != nil:
		return nil, err
	case kind != "r" && kind != "p":
		return nil, errors.New("this is no table: name the table that the Cart Service writes to in CART_TABLE")
	case !usable:
		return nil, fmt.Errorf("the role may not use schema %s: GRANT USAGE on the schema", t.config.Schema)
	case hidden:
		return nil, errors.New("row-level security hides rows from this role, which would look missing: use a role with BYPASSRLS")
	}
	common.CountsBytes = encoding == asBytes
	s := &shape{encoding: encoding, identifier: t.identifier(), needed: make(map[string]bool), lacking: make(map[product.Kind][]grant), copies: !secured}
	s.table.Name = t.config.Schema + "." + t.config.Table
	collation, err := s.readColumns(ctx, tx, oid, common)
	if err != nil {
		return nil, err
	}
	if err := s.readConstraints(ctx, tx, oid); err != nil {
		return nil, err
	}
	if err := s.readReferences(ctx, tx, oid); err != nil {
		return nil, err
	}
	if err := s.readOrder(ctx, tx, oid, collation); err != nil {
		return nil, err
	}
	s.from = t.identifier()
	return s, nil
}

// selectRows is a SELECT of the id and these fields.
func (s *shape) selectRows(fields []product.Field) string {
	columns := []string{s.id + "::text"}
	for _, f := range fields {
		cast := "::text"
		switch s.table.Fields[f].Type {
		case product.IntegerColumn:
			cast = "::bigint"
		case product.FloatColumn: // whose text may be cut by the role's extra_float_digits
			cast = "::double precision"
		}
		columns = append(columns, pgx.Identifier{s.table.Fields[f].Name}.Sanitize()+cast)
	}
	return "SELECT " + strings.Join(columns, ", ") + " FROM " + s.from
}

// readColumns fills in the table's columns and rights. It returns the id column's
// collation as an SQL clause, empty for the database's own.
func (s *shape) readColumns(ctx context.Context, tx pgx.Tx, oid uint32, common product.Column) (collation string, err error) {
	rows, err := tx.Query(ctx, `SELECT a.attname, t.typname, format_type(a.atttypid, a.atttypmod), base.modifier, NOT base.demanded,
			a.atthasdef OR a.attidentity <> '' OR d.typdefaultbin IS NOT NULL, a.attgenerated <> '' OR a.attidentity = 'a',
			CASE WHEN a.attcollation <> 0 AND l.collprovider <> 'd' THEN format(' COLLATE %I.%I', ln.nspname, l.collname) ELSE '' END,
			tn.nspname, has_column_privilege($1::oid, a.attnum, 'SELECT'), has_column_privilege($1::oid, a.attnum, 'INSERT'),
			has_column_privilege($1::oid, a.attnum, 'UPDATE'), has_table_privilege($1::oid, 'DELETE')
		FROM pg_attribute a`+baseType+` JOIN pg_type t ON t.oid = base.type JOIN pg_namespace tn ON tn.oid = t.typnamespace JOIN pg_type d ON d.oid = a.atttypid
		LEFT JOIN pg_collation l ON l.oid = a.attcollation LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace
		WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`, oid)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var problems, unreadable []string
	seen := make(map[string]bool)
	s.rights.insert = true
	for rows.Next() {
		var typeName, typeSchema, order string
		var modifier int32
		var generated, maySelect, mayInsert, mayUpdate bool
		c := common
		if err := rows.Scan(&c.Name, &typeName, &c.TypeName, &modifier, &c.Nullable, &c.HasDefault, &generated, &order, &typeSchema, &maySelect, &mayInsert, &mayUpdate, &s.rights.delete); err != nil {
			return "", err
		}
		field, isField := product.FieldNamed(c.Name)
		isField = isField && c.Name == field.String()
		if !isField && c.Name != "id" {
			continue
		}
		seen[c.Name] = true
		s.rights.insert = s.rights.insert && mayInsert
		switch known := setType(&c, typeName, modifier); {
		case !known || generated || (c.Name == "id" && c.Type != product.TextColumn):
			problems = append(problems, fmt.Sprintf("column %q is of type %s, which is not supported here", c.Name, c.TypeName))
		case !maySelect:
			unreadable = append(unreadable, c.Name)
		}
		if c.Name == "id" {
			s.table.ID, collation = c, order
			s.id, s.ids = pgx.Identifier{c.Name}.Sanitize(), idColumnOf(typeSchema, typeName)
		} else {
			s.table.Fields[field], s.rights.update[field] = c, mayUpdate
		}
	}
	if err := rows.Err(); err != nil {
		return "", err
	}
	needed := []string{"id"}
	for _, f := range product.CartFields() {
		needed = append(needed, f.String())
	}
	missing := slices.DeleteFunc(needed, func(name string) bool { return seen[name] })
	if len(missing) > 0 {
		problems = append(problems, fmt.Sprintf("column %s missing: is CART_TABLE the Cart Service's product table?", quotedList(missing)))
	}
	if len(unreadable) > 0 {
		problems = append(problems, fmt.Sprintf("column %s may not be read: GRANT SELECT on the table", quotedList(unreadable)))
	}
	if len(problems) > 0 {
		return "", errors.New(strings.Join(problems, "; ")) // one line
	}
	return collation, nil
}

func quotedList(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = strconv.Quote(n)
	}
	return strings.Join(quoted, ", ")
}

// setType classifies a column. A type modifier is the length or the precision
// and scale, plus 4: https://www.postgresql.org/docs/15/catalog-pg-attribute.html
func setType(c *product.Column, typeName string, modifier int32) bool {
	switch typeName {
	case "int2", "int4", "int8":
		c.Type = product.IntegerColumn
		c.Bits = map[string]int{"int2": 16, "int4": 32, "int8": 64}[typeName]
	case "float4", "float8":
		c.Type = product.FloatColumn
		c.Bits = map[string]int{"float4": 32, "float8": 64}[typeName]
	case "numeric":
		c.Type = product.DecimalColumn
		if modifier >= 4 {
			c.Precision = int((modifier - 4) >> 16 & 0xffff)
			// The scale is an 11-bit signed number; since PostgreSQL 15 it may be negative.
			c.Scale = int(((modifier-4)&0x7ff)^1024) - 1024
		}
	case "varchar", "bpchar":
		c.Type = product.TextColumn
		c.MaxLength = max(int(modifier)-4, 0)
		c.Padded = typeName == "bpchar"
	case "text", "citext":
		c.Type = product.TextColumn
	default:
		return false
	}
	return true
}

// readOrder finds out how the id column sorts. That bytes are compared is known
// from the collation's name. That lower-case hexadecimal texts sort as bytes do
// is tried with all texts of three digits: this shows a collation that sorts
// digits behind letters or by number, and one with letter pairs of its own (in
// Danish "aa" sorts behind "z", in Welsh "dd" and "ff" are letters).
func (s *shape) readOrder(ctx context.Context, tx pgx.Tx, oid uint32, collation string) error {
	var deterministic bool
	err := tx.QueryRow(ctx, `SELECT l.collisdeterministic, coalesce(CASE l.collprovider
			WHEN 'd' THEN to_jsonb(d)->>'datlocprovider' IN ('c', 'b') AND
				coalesce(to_jsonb(d)->>'datlocale', CASE WHEN to_jsonb(d)->>'datlocprovider' = 'c' THEN d.datcollate END) IN ('C', 'POSIX')
			ELSE l.collprovider IN ('c', 'b') AND coalesce(to_jsonb(l)->>'colllocale', l.collcollate) IN ('C', 'POSIX') END, false)
		FROM pg_attribute a JOIN pg_collation l ON l.oid = a.attcollation, pg_database d
		WHERE a.attrelid = $1::oid AND a.attname = $2 AND d.datname = current_database()`,
		oid, s.table.ID.Name).Scan(&deterministic, &s.table.BytewiseOrdered)
	if err != nil {
		return err
	}
	s.ids.blurred = s.ids.blurred || !deterministic
	if s.ids.blurred || s.encoding != "UTF8" {
		s.table.BytewiseOrdered = false
	}
	if s.ids.blurred && !s.table.ID.Padded { // padding is no matter for hexadecimal texts
		return nil
	}
	return tx.QueryRow(ctx, `SELECT bool_and(before IS NULL OR before < hex COLLATE "C") FROM (
		SELECT hex, lag(hex COLLATE "C") OVER (ORDER BY hex`+collation+`) AS before
		FROM (SELECT lpad(to_hex(n), 3, '0') AS hex FROM generate_series(0, 4095) n) digits) sorted`).Scan(&s.table.HexOrdered)
}
