package target

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/product"
)

// relation is the table itself, a partition of it at any depth, or a table that
// inherits from it: all that may hold its rows.
type relation struct {
	oid       uint32
	parent    uint32 // 0 for the table itself
	name      string // quoted, with its schema
	kind      string // as pg_class.relkind
	partition bool   // of this table or, for the table itself, of another one
	bound     string // FOR VALUES … or DEFAULT
	fulfils   string // what follows for its rows from this bound and those above
	changes   int32  // of a foreign table: bits of what can be done with its rows
}

// Kinds of relation: https://www.postgresql.org/docs/15/catalog-pg-class.html
const (
	partitionedTable = "p"
	foreignTable     = "f"
)

// What pg_relation_is_updatable answers: 1 << CMD_UPDATE and 1 << CMD_DELETE.
const (
	updatable = 1 << 2
	deletable = 1 << 4
)

// of names the relation behind something of it, unless that is the table itself.
func (r *relation) of() string {
	if r.parent == 0 {
		return ""
	}
	return " of " + r.name
}

// kinds are the repairs that may make a row of the relation. What is inserted into
// the table never gets into one that merely inherits from it.
func (r *relation) kinds() []product.Kind {
	if r.parent != 0 && !r.partition {
		return []product.Kind{product.Stale}
	}
	return []product.Kind{product.Missing, product.Stale}
}

func (c *catalogue) readRelations(ctx context.Context) error {
	rows, err := c.tx.Query(ctx, `WITH RECURSIVE tree (oid, parent) AS (
			SELECT $1::oid, 0::oid
			UNION SELECT i.inhrelid, i.inhparent FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid WHERE NOT i.inhdetachpending)
		SELECT DISTINCT ON (c.oid <> $1::oid, c.oid) c.oid, tree.parent, format('%I.%I', n.nspname, c.relname), c.relkind::text, c.relispartition,
			coalesce(pg_get_expr(c.relpartbound, c.oid), ''), coalesce(pg_get_partition_constraintdef(c.oid), ''),
			CASE c.relkind WHEN 'f' THEN pg_relation_is_updatable(c.oid, false) ELSE 0 END
		FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace
		ORDER BY c.oid <> $1::oid, c.oid`, c.oid)
	if err != nil {
		return err
	}
	c.relations, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r relation, err error) {
		return r, row.Scan(&r.oid, &r.parent, &r.name, &r.kind, &r.partition, &r.bound, &r.fulfils, &r.changes)
	})
	for i := range c.relations {
		r := &c.relations[i]
		c.oids = append(c.oids, r.oid)
		if r.kind == foreignTable {
			c.obstruct("foreign table "+r.name, append(r.kinds(), product.Orphaned)...)
			if r.changes&(updatable|deletable) != updatable|deletable {
				c.forbid("foreign table "+r.name, "its server takes no changes", product.Stale, product.Orphaned)
			}
		}
	}
	return err
}

func (c *catalogue) root() *relation { return &c.relations[0] }

func (c *catalogue) relation(oid uint32) *relation {
	return &c.relations[slices.Index(c.oids, oid)]
}

// readBounds adds the check that some partition takes the row, unless one is there for
// each, and that the table, where it is a partition itself, takes it.
func (c *catalogue) readBounds(context.Context) error {
	root := c.root()
	if root.kind != partitionedTable && !root.partition {
		return nil
	}
	var taken []string
	for i := range c.relations[1:] {
		if r := &c.relations[i+1]; r.kind != partitionedTable {
			taken = append(taken, "("+c.within(r.fulfils)+")")
		}
	}
	rule := "the bounds of the partition " + root.name
	if root.kind == partitionedTable && !c.complete(root) {
		rule = "the bounds of all partitions of " + root.name
		root.fulfils = "false"
		if len(taken) > 0 {
			root.fulfils = strings.Join(taken, " OR ")
		}
	} else {
		root.fulfils = c.within(root.fulfils)
	}
	if root.fulfils != "true" {
		c.add(root, check{name: "partition bounds", column: c.shape.table.ID.Name, rule: rule, expression: expression{text: root.fulfils, columns: c.keyed}})
	}
	return nil
}

var hashModulus = regexp.MustCompile(`(?i)modulus (\d+)`)

// complete tells whether each row has its place below a relation: where there is a
// default partition, or one for every remainder.
func (c *catalogue) complete(r *relation) bool {
	if r.kind != partitionedTable {
		return true
	}
	hasDefault, remainders := false, 0.0
	for i := range c.relations {
		child := &c.relations[i]
		if child.parent != r.oid {
			continue
		}
		if !c.complete(child) {
			return false
		}
		hasDefault = hasDefault || child.bound == "DEFAULT"
		if found := hashModulus.FindStringSubmatch(child.bound); found != nil {
			modulus, _ := strconv.Atoi(found[1])
			remainders += 1 / float64(modulus)
		}
	}
	return hasDefault || remainders > 0.999999
}

// readKeys learns how bounds compare: in the type and by a collation that are the key's
// own, and that the condition's text does not tell. Of expressions it learns nothing.
func (c *catalogue) readKeys(ctx context.Context) error {
	if root := c.root(); root.kind != partitionedTable && !root.partition {
		return nil
	}
	rows, err := c.tx.Query(ctx, `SELECT DISTINCT coalesce(a.attname::text, ''), coalesce(format_type(a.atttypid, a.atttypmod), ''), coalesce(format(' COLLATE %I.%I', n.nspname, l.collname), '')
		FROM pg_partitioned_table p CROSS JOIN LATERAL unnest(p.partattrs::int2[], p.partcollation::oid[]) AS key (number, compares)
		LEFT JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = key.number AND key.number > 0
		LEFT JOIN pg_collation l ON l.oid = key.compares LEFT JOIN pg_namespace n ON n.oid = l.collnamespace
		WHERE p.partrelid = ANY ($1::oid[]) OR p.partrelid IN (SELECT relid FROM pg_partition_ancestors($2::oid)) ORDER BY 1`, c.oids, c.oid)
	if err != nil {
		return err
	}
	defer rows.Close()
	var keys []string
	for rows.Next() {
		var name, typeName, collation string
		if err := rows.Scan(&name, &typeName, &collation); err != nil {
			return err
		}
		if slices.Contains(c.keyed, name) { // two levels compare it in two ways
			name = ""
		}
		c.keyed = append(c.keyed, name)
		quoted := pgx.Identifier{name}.Sanitize()
		keys = append(keys, fmt.Sprintf("%s::%s%s AS %[1]s", quoted, typeName, collation))
	}
	c.keys = strings.Join(keys, ", ")
	return rows.Err()
}

// within is a condition that follows from bounds, asked of a row that is a candidate.
func (c *catalogue) within(fulfils string) string {
	if fulfils == "" || c.keys == "" {
		return "true"
	}
	return "SELECT " + fulfils + " FROM (SELECT " + c.keys + ") AS key"
}

// scope is the condition on a candidate under which it is a row of the relation.
func (c *catalogue) scope(r *relation) string {
	switch {
	case r.parent == 0:
		return "true"
	case r.partition:
		return c.within(r.fulfils)
	default:
		return fmt.Sprintf("EXISTS (SELECT FROM %s AS held WHERE %s AND held.tableoid = %d)", c.root().name, c.shape.one("candidate."+c.shape.id+"::text"), r.oid)
	}
}
